"""Branches, commits and restores of real machines: true forks, each its own machine."""

from __future__ import annotations

import asyncio
import re
import time

import asyncssh
import pytest
import pytest_asyncio
from platforms import Platform

pytestmark = pytest.mark.vm

# It has counted when this returns.
COUNT = """\
setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.02; done' \\
  >/dev/null 2>&1 </dev/null & echo $!
until [ -s /root/count ]; do sleep 0.05; done
"""


@pytest_asyncio.fixture
async def source(platform: Platform) -> str:
    """A VM that runs."""
    return await platform.create(labels={"name": "source"})


async def branch(platform: Platform, vm_id: str, count: int = 1) -> list[str]:
    async with platform.api() as api:
        answer = await api.post(f"/vm/{vm_id}/branch", params={"count": count})
        assert answer.status_code == 200, answer.text
        return [vm["vm_id"] for vm in answer.json()["vms"]]


async def commit(platform: Platform, vm_id: str, **body: str) -> str:
    async with platform.api() as api:
        answer = await api.post(f"/vm/{vm_id}/commit", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["commit_id"])


async def restore(platform: Platform, commit_id: str) -> str:
    async with platform.api() as api:
        answer = await api.post("/vm/from_commit", json={"commit_id": commit_id})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["vm_id"])


async def test_a_process_goes_on_in_both_from_the_same_number(platform: Platform, source: str) -> None:
    pid = (await platform.shell(source, COUNT)).strip()
    (twin,) = await branch(platform, source)
    for vm in (source, twin):
        before = int(await platform.shell(vm, "tail -n1 /root/count"))
        counted = await platform.shell(vm, f"sleep 1; ps -o args= {pid}; cat /root/count")
        command, *numbers = counted.splitlines()
        assert command.startswith("sh -c i=0")
        assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1)), (
            "none lost, none twice"
        )
        assert len(numbers) > before > 0


async def test_what_is_in_memory_alone_comes_along(platform: Platform, source: str) -> None:
    await platform.shell(source, "tmux new-session -d -s work 'echo in tmux; exec cat'")
    await platform.shell(source, "head -c 3M /dev/urandom > /dev/shm/data; exec 7</dev/shm/data; sync")
    digest = await platform.shell(source, "sha256sum /dev/shm/data")
    (twin,) = await branch(platform, source)
    assert "in tmux" in await platform.shell(twin, "tmux capture-pane -p -t work")
    assert await platform.shell(twin, "sha256sum /dev/shm/data") == digest


@pytest.mark.parametrize("megabytes", [5, 90])
async def test_a_memory_is_restored_whole_however_much_of_it_was_written(
    platform: Platform, source: str, megabytes: int
) -> None:
    await platform.shell(source, f"head -c {megabytes}M /dev/urandom > /dev/shm/data")
    digest = await platform.shell(source, "sha256sum /dev/shm/data")
    kept = await commit(platform, source)
    await platform.shell(source, "head -c 1M /dev/zero | dd of=/dev/shm/data conv=notrunc 2>/dev/null")
    restored = await restore(platform, kept)
    (twin,) = await branch(platform, restored)
    for vm in (restored, twin):
        assert await platform.shell(vm, "sha256sum /dev/shm/data") == digest


async def test_a_commit_stays_what_it_was(platform: Platform, source: str) -> None:
    await platform.shell(source, "echo one > /root/file; echo one > /dev/shm/file")
    kept = await commit(platform, source, name="one", description="the first")
    await platform.shell(source, "echo two > /root/file; echo two > /dev/shm/file")
    for _ in range(3):
        vm = await restore(platform, kept)
        assert await platform.shell(vm, "cat /root/file /dev/shm/file") == "one\none\n"
        await platform.shell(vm, "echo three > /root/file; echo three > /dev/shm/file; sync")
    assert await platform.shell(source, "cat /root/file /dev/shm/file") == "two\ntwo\n"


async def test_each_copy_is_a_machine_of_its_own(platform: Platform, source: str) -> None:
    twins = await branch(platform, source, 2)
    told = "hostname; cat /etc/machine-id; cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | xxd -p"
    told = told.replace("xxd -p", "od -An -tx1")
    own = [(await platform.shell(vm, told)).splitlines() for vm in (source, *twins)]
    for different in zip(*own, strict=True):
        assert len(set(different)) == 3, different
    assert own[0][0] == "source"
    assert all(re.fullmatch("vm-[0-9a-f]{8}", lines[0]) for lines in own[1:])


async def test_a_branch_has_its_parents_host_key_and_a_login_of_its_own(
    platform: Platform, source: str
) -> None:
    (twin,) = await branch(platform, source)
    keys = []
    for vm in (source, twin):
        async with platform.ssh(vm) as connection:
            keys.append(connection.get_server_host_key().export_public_key())
    assert keys[0] == keys[1]
    parents = (await platform.get(f"/vm/{source}/ssh_key"))["ssh_private_key"]
    with pytest.raises(asyncssh.PermissionDenied):
        async with platform.ssh(twin, client_keys=[asyncssh.import_private_key(parents)]):
            pass


async def test_the_clock_of_a_copy_is_right(platform: Platform, source: str) -> None:
    kept = await commit(platform, source)
    await asyncio.sleep(6)  # what a wrong clock would be behind by
    vm = await restore(platform, kept)
    before = time.time()
    told = float(await platform.shell(vm, "date +%s.%N"))
    assert before - 4 < told < time.time() + 1


async def test_the_clock_of_a_vm_that_was_committed_is_right(platform: Platform, source: str) -> None:
    for _ in range(10):
        await commit(platform, source)
    right = False
    async with asyncio.timeout(60):  # it is put right behind the commit, which nobody waits for
        while not right:
            before = time.time()
            told = float(await platform.shell(source, "sleep 0.5; date +%s.%N"))
            right = before + 0.4 < told < time.time() + 0.1


async def test_a_vm_in_which_files_of_the_system_were_replaced_can_be_branched(
    platform: Platform, source: str
) -> None:
    await platform.shell(source, "cd /etc; rm hosts hostname; mkfifo hosts; mkdir hostname")
    await platform.shell(source, "rm -rf /root/.ssh")
    (twin,) = await branch(platform, source)
    assert (await platform.shell(twin, "hostname")).startswith("vm-")


async def test_a_paused_vm_stands_still_and_goes_on(platform: Platform, source: str) -> None:
    await platform.shell(source, COUNT)
    async with platform.api() as api:
        answer = await api.patch(f"/vm/{source}/state", json={"state": "Paused"})
        assert (answer.status_code, answer.json()["state"]) == (200, "paused")
        (twin,) = await branch(platform, source)
        assert (await platform.get(f"/vm/{source}/status"))["state"] == "paused"
        assert int(await platform.shell(twin, "tail -n1 /root/count")) > 0
        answer = await api.patch(f"/vm/{source}/state", json={"state": "Running"})
        assert (answer.status_code, answer.json()["state"]) == (200, "running")
    before = time.time()
    assert before - 1 < float(await platform.shell(source, "date +%s.%N")) < time.time() + 1


async def test_what_a_vm_came_from_is_told(platform: Platform, source: str) -> None:
    first = await commit(platform, source, name="first")
    vm = await restore(platform, first)
    second = await commit(platform, vm, name="second")
    told = await platform.get(f"/vm/{vm}/metadata")
    assert (told["parent_commit_id"], told["grandparent_vm_id"]) == (first, source)
    parents = await platform.get(f"/vm/commits/{second}/parents")
    assert [each["commit_id"] for each in parents] == [first]
    async with platform.api() as api:
        refused = await api.delete(f"/commits/{first}")
        assert refused.status_code == 409
        assert "second" in refused.json()["error"]
        await platform.delete(vm)
        for gone in (second, first):
            assert (await api.delete(f"/commits/{gone}")).status_code in (200, 204)


async def test_a_disk_grows_while_the_vm_runs(platform: Platform, source: str) -> None:
    async with platform.api() as api:
        answer = await api.patch(f"/vm/{source}/disk", json={"fs_size_mib": 5000})
        assert answer.status_code in (200, 204), answer.text
        smaller = await api.patch(f"/vm/{source}/disk", json={"fs_size_mib": 5000})
        assert smaller.status_code == 400
    assert int(await platform.shell(source, "df --output=size -m / | tail -n1")) > 4500
    (twin,) = await branch(platform, source)
    assert int(await platform.shell(twin, "df --output=size -m / | tail -n1")) > 4500
