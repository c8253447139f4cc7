"""Whatever dies, and whenever: every VM is there afterwards, or said to be dead, and nothing half done is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from platforms import running_platform

if TYPE_CHECKING:
    from platforms import Platform

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

# A number that grows in a process's memory, shown in a file that is in the guest's memory too.
COUNT = """import os, time
number = 0
while True:
    number += 1
    with open("/run/count.new", "w") as file:
        file.write(f"{os.getpid()} {number}")
    os.rename("/run/count.new", "/run/count")
    time.sleep(0.02)
"""


@dataclass(frozen=True)
class Counter:
    """The counting process of a VM at a moment."""

    pid: int
    number: int


async def start_counting(platform: Platform, vm_id: str) -> Counter:
    await platform.inside(vm_id, f"setsid python3 -c '{COUNT}' >/dev/null 2>&1 </dev/null &")
    await platform.inside(vm_id, "until [ -e /run/count ]; do sleep 0.05; done; echo kept > /root/note; sync")
    return await counting(platform, vm_id)


async def counting(platform: Platform, vm_id: str) -> Counter:
    """The counter, seen to count."""
    changes = 'was=$(cat /run/count); until [ "$was" != "$(cat /run/count)" ]; do sleep 0.05; done'
    script = f"cat /run/count; {changes}"
    pid, number = (await platform.inside(vm_id, script)).split()
    return Counter(int(pid), int(number))


async def goes_on(platform: Platform, vm_id: str, since: Counter) -> None:
    now = await counting(platform, vm_id)
    assert now.pid == since.pid
    assert now.number >= since.number


async def clock_is_right(platform: Platform, vm_id: str) -> None:
    """To two seconds, however long the answer takes."""
    before = time.time()
    told = float(await platform.inside(vm_id, "date +%s.%N"))
    assert before - 2 < told < time.time() + 2


async def call(platform: Platform, method: str, path: str, status: int = 200, **body: Any) -> Any:
    async with platform.api() as api:
        answer = await api.request(method, path, json=body or None)
        assert answer.status_code == status, answer.text
        return answer.json()


async def states(platform: Platform) -> dict[str, str]:
    return {vm["vm_id"]: vm["state"] for vm in await platform.get("/vm")}


async def settled(platform: Platform) -> dict[str, str]:
    """The states of all VMs, once none of them is being brought back any more, and all is tidy."""
    async with asyncio.timeout(120):
        while "booting" in (now := await states(platform)).values() or platform.misplaced():
            await asyncio.sleep(0.05)
    return now


async def become(platform: Platform, vm_id: str, state: str) -> None:
    async with asyncio.timeout(60):
        while (await states(platform))[vm_id] != state:
            await asyncio.sleep(0.05)


def qemu(platform: Platform, vm_id: str) -> psutil.Process:
    (process,) = [each for each in platform.qemus() if any(vm_id in word for word in each.cmdline())]
    return process


def kill(process: psutil.Process) -> None:
    process.kill()
    psutil.wait_procs([process], timeout=10)


async def test_a_daemon_that_is_killed_takes_nothing_with_it(own_platform: Platform) -> None:
    own_platform.up()
    running, paused = await own_platform.create(labels={"name": "a"}), await own_platform.create()
    before = {vm_id: await start_counting(own_platform, vm_id) for vm_id in (running, paused)}
    await call(own_platform, "PATCH", f"/vm/{paused}/state", state="Paused")
    processes = {process.pid for process in own_platform.qemus()}
    own_platform.crash()
    own_platform.up()
    assert await states(own_platform) == {running: "running", paused: "paused"}
    assert {process.pid for process in own_platform.qemus()} == processes
    await goes_on(own_platform, running, before[running])
    await call(own_platform, "PATCH", f"/vm/{paused}/state", state="Running")
    await goes_on(own_platform, paused, before[paused])
    (child,) = (await call(own_platform, "POST", f"/vm/{running}/branch"))["vms"]
    await goes_on(own_platform, child["vm_id"], before[running])


async def test_a_qemu_that_is_killed_is_one_dead_vm_that_can_be_had_back(own_platform: Platform) -> None:
    own_platform.up()
    lost, other = await own_platform.create(), await own_platform.create()
    before = {vm_id: await start_counting(own_platform, vm_id) for vm_id in (lost, other)}
    commit = (await call(own_platform, "POST", f"/vm/{lost}/commit"))["commit_id"]
    await own_platform.inside(lost, "echo later > /root/later; sync")
    kill(qemu(own_platform, lost))
    await become(own_platform, lost, "dead")
    assert (await own_platform.get(f"/vm/{lost}/metadata"))["reason"] == "Its QEMU has ended."
    refused = await call(own_platform, "POST", f"/vm/{lost}/branch", 409)
    assert "restore its last commit" in refused["error"]
    await goes_on(own_platform, other, before[other])

    restored = (await call(own_platform, "POST", "/vm/from_commit", commit_id=commit))["vm_id"]
    await goes_on(own_platform, restored, before[lost])

    await call(own_platform, "PATCH", f"/vm/{lost}/state", state="Running")
    assert (
        await own_platform.inside(lost, "cat /root/note /root/later; ls /run/count || true")
        == "kept\nlater\n"
    )
    assert await own_platform.shell(lost, "echo a login works") == "a login works\n"
    assert set((await states(own_platform)).values()) == {"running"}


async def test_down_saves_every_machine_and_up_brings_them_back_as_they_were(own_platform: Platform) -> None:
    own_platform.up()
    running = await own_platform.create(labels={"name": "a"})
    before = await start_counting(own_platform, running)
    (paused,) = (await call(own_platform, "POST", f"/vm/{running}/branch"))["vms"]
    await own_platform.inside(
        running, "head -c 60000000 /dev/urandom > /run/noise; sha256sum /run/noise > /run/sum"
    )
    await call(own_platform, "PATCH", f"/vm/{paused['vm_id']}/state", state="Paused")
    assert own_platform.run("down", "-f").returncode == 0
    assert own_platform.qemus() == []
    own_platform.up()
    assert await settled(own_platform) == {running: "running", paused["vm_id"]: "paused"}
    await goes_on(own_platform, running, before)
    await own_platform.inside(running, "sha256sum -c /run/sum")
    await clock_is_right(own_platform, running)
    await call(own_platform, "PATCH", f"/vm/{paused['vm_id']}/state", state="Running")
    await goes_on(own_platform, paused["vm_id"], before)
    await clock_is_right(own_platform, paused["vm_id"])
    assert await own_platform.shell(running, "echo a login works") == "a login works\n"


class Moment:
    """The moment in which a file appears that was not there, under a platform's folder."""

    def __init__(self, platform: Platform, pattern: str) -> None:
        self._folder, self._pattern = platform.state, pattern
        self._before = set(self._folder.glob(pattern))

    async def comes(self, work: asyncio.Task[Any]) -> None:
        """Wait for it, or until `work` is done."""
        async with asyncio.timeout(60):
            while not work.done() and not set(self._folder.glob(self._pattern)) - self._before:
                await asyncio.sleep(0.0003)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Platform]:
    """A platform for all tests in which something dies in the midst of work."""
    with running_platform() as platform:
        yield platform


@asynccontextmanager
async def counted(platform: Platform) -> AsyncIterator[tuple[str, Counter]]:
    """A VM that counts and has a commit; afterwards nothing is left of what the test made."""
    vm_id = await platform.create()
    yield vm_id, await start_counting(platform, vm_id)
    for each in await states(platform):
        await platform.delete(each)
    while commits := (await platform.get("/commits"))["commits"]:
        await call(platform, "DELETE", f"/commits/{commits[0]['commit_id']}")
    assert platform.misplaced() == set()


async def try_to(platform: Platform, what: str, vm_id: str) -> None:
    async with platform.api() as api:
        with suppress(httpx.TransportError):
            await api.post(f"/vm/{vm_id}/{what}", params={"count": 2} if what == "branch" else {})


def daemon_dies(platform: Platform, vm_id: str) -> None:
    platform.crash()


def qemu_dies(platform: Platform, vm_id: str) -> None:
    kill(qemu(platform, vm_id))


def both_die(platform: Platform, vm_id: str) -> None:
    platform.crash()
    kill(qemu(platform, vm_id))


POINTS = [
    ("commit", "layers/*.qcow2", daemon_dies),
    ("commit", "snapshots/*.partial", both_die),
    ("commit", "snapshots/*.partial/devices", daemon_dies),
    ("commit", "snapshots/*.partial/devices", qemu_dies),
    ("commit", "snapshots/*.partial/pages", daemon_dies),
    ("commit", "snapshots/*.partial/pages.index", both_die),
    ("commit", "snapshots/*/snapshot.json", daemon_dies),
    ("commit", "commits/*.json", daemon_dies),
    ("branch", "snapshots/*.partial/pages", daemon_dies),
    ("branch", "snapshots/*.partial/pages", qemu_dies),
    ("branch", "snapshots/*/snapshot.json", both_die),
    ("branch", "vms/*/id_ed25519", daemon_dies),
    ("branch", "vms/*/vm.json", both_die),
    ("branch", "layers/*.qcow2", daemon_dies),
]


@pytest.mark.parametrize(
    ("what", "point", "dies"), POINTS, ids=lambda value: getattr(value, "__name__", value)
)
async def test_a_death_in_the_midst_of_work_leaves_a_consistent_platform(
    mortal: Platform, what: str, point: str, dies: Callable[[Platform, str], None]
) -> None:
    async with counted(mortal) as (vm_id, before):
        moment = Moment(mortal, point)
        work = asyncio.create_task(try_to(mortal, what, vm_id))
        await moment.comes(work)
        dies(mortal, vm_id)
        await work
        await consistent(mortal, vm_id, before, lost=dies is not daemon_dies)


@pytest.mark.parametrize("what", ["commit", "branch"])
@pytest.mark.parametrize("part", [0.1, 0.4, 0.8])
async def test_a_death_at_any_moment_leaves_a_consistent_platform(
    mortal: Platform, what: str, part: float
) -> None:
    async with counted(mortal) as (vm_id, before):
        began = time.monotonic()
        await try_to(mortal, what, vm_id)
        took = time.monotonic() - began
        work = asyncio.create_task(try_to(mortal, what, vm_id))
        await asyncio.sleep(took * part)
        mortal.crash()
        await work
        await consistent(mortal, vm_id, before, lost=False)


async def consistent(platform: Platform, vm_id: str, before: Counter, *, lost: bool) -> None:
    """The platform is as it was, apart from what died and what was finished, and goes on working."""
    platform.up()
    if lost:
        await become(platform, vm_id, "dead")
    now = await settled(platform)
    assert now[vm_id] == ("dead" if lost else "running")
    alive = {each for each, state in now.items() if state != "dead"}
    assert {
        name for process in platform.qemus() for name in alive if any(name in w for w in process.cmdline())
    } == alive
    assert len(platform.qemus()) == len(alive)
    for commit in (await platform.get("/commits"))["commits"]:
        restored = (await call(platform, "POST", "/vm/from_commit", commit_id=commit["commit_id"]))["vm_id"]
        await goes_on(platform, restored, before)
    if lost:
        await call(platform, "PATCH", f"/vm/{vm_id}/state", state="Running")
        assert await platform.inside(vm_id, "cat /root/note") == "kept\n"
        before = await start_counting(platform, vm_id)
    await goes_on(platform, vm_id, before)
    commit_id = (await call(platform, "POST", f"/vm/{vm_id}/commit"))["commit_id"]
    restored = (await call(platform, "POST", "/vm/from_commit", commit_id=commit_id))["vm_id"]
    await goes_on(platform, restored, before)
    assert platform.misplaced() == set()


@pytest.fixture
def small_disk(own_platform: Platform) -> Iterator[Path]:
    """A file system of its own for the state of a platform."""
    state = own_platform.folder / "state"
    state.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=3G,mode=700", "tmpfs", str(state)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets nobody mount a file system")
    yield state
    own_platform.run("down", "--purge", "--force")
    subprocess.run(["umount", str(state)], check=True)


async def test_down_right_after_up_loses_nothing(own_platform: Platform) -> None:
    own_platform.up()
    vms = [await own_platform.create() for _ in range(3)]
    before = {vm_id: await start_counting(own_platform, vm_id) for vm_id in vms}
    for _ in range(3):
        assert own_platform.run("down").returncode == 0
        own_platform.up()  # which returns while they are on their way back
    for vm_id in vms:
        await goes_on(own_platform, vm_id, before[vm_id])


async def test_a_commit_for_which_the_disk_has_no_room_fails_and_the_vm_runs_on(
    own_platform: Platform, small_disk: Path
) -> None:
    own_platform.up()
    vm_id = await own_platform.create()
    before = await start_counting(own_platform, vm_id)
    await own_platform.inside(vm_id, "head -c 60000000 /dev/urandom > /run/noise")
    filler = small_disk / "filler"
    filesystem = os.statvfs(small_disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, filesystem.f_bavail * filesystem.f_frsize - 40_000_000)
    for what in ("commit", "branch"):
        refused = await call(own_platform, "POST", f"/vm/{vm_id}/{what}", 507)
        assert refused["error"].startswith("The disk is full: "), refused
    assert await states(own_platform) == {vm_id: "running"}
    await goes_on(own_platform, vm_id, before)
    assert (await own_platform.get("/commits"))["commits"] == []
    assert own_platform.misplaced() == set()

    down = own_platform.run("down")
    assert down.returncode == 1
    assert "1 of the VMs could not be saved, and still run" in down.stderr
    filler.unlink()
    own_platform.up()
    await goes_on(own_platform, vm_id, before)
    commit_id = (await call(own_platform, "POST", f"/vm/{vm_id}/commit"))["commit_id"]
    restored = (await call(own_platform, "POST", "/vm/from_commit", commit_id=commit_id))["vm_id"]
    await goes_on(own_platform, restored, before)
