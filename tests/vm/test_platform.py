"""The embedded platform is the Vers API in front of real machines, each of them itself."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import psutil
import pytest
from vers_sdk import VersSdkClient

from pi_v_jupyter.remote import resident

if TYPE_CHECKING:
    from platforms import Platform

pytestmark = pytest.mark.vm

# The alert that names the reason may be overtaken by the closing of the connection.
REFUSED = (ssl.SSLError, ConnectionResetError)


@pytest.fixture
async def vm(platform: Platform) -> Any:
    """A VM for one test."""
    vm_id = await platform.create()
    yield vm_id
    await platform.delete(vm_id)


async def handshake(platform: Platform, host: str) -> None:
    """A TLS handshake with the gateway under the name `host`."""
    context = ssl.create_default_context(cafile=platform.description.ca_file)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", platform.description.vm_port, ssl=context, server_hostname=host
    )
    writer.close()


async def state_of(platform: Platform, vm_id: str) -> str:
    return str((await platform.get(f"/vm/{vm_id}/status"))["state"])


async def becomes(platform: Platform, vm_id: str, state: str) -> None:
    """Wait until the VM is in `state`."""
    async with asyncio.timeout(120):
        while await state_of(platform, vm_id) != state:
            await asyncio.sleep(0.05)


async def test_a_new_vm_is_listed_with_its_labels_and_runs_commands_under_its_name(
    platform: Platform,
) -> None:
    vm_id = await platform.create(labels={"name": "Build box", "team": "blue"})
    (listed,) = [vm for vm in await platform.get("/vm") if vm["vm_id"] == vm_id]
    assert listed["state"] == "running"
    assert listed["labels"] == {"name": "Build box", "team": "blue"}
    assert listed in await platform.get("/vms")
    assert (await platform.shell(vm_id, "hostname; uname -s")).split() == ["build-box", "Linux"]
    await platform.delete(vm_id)


async def test_metadata_has_every_field_the_vendors_client_reads(platform: Platform, vm: str) -> None:
    told = await platform.get(f"/vm/{vm}/metadata")
    assert {"vm_id", "owner_id", "state", "created_at", "ip", "vcpu_count", "mem_size_mib"} <= set(told)
    assert (told["vcpu_count"], told["mem_size_mib"]) == (1, 512)


async def test_restored_vms_share_neither_identity_nor_keys_nor_randomness(platform: Platform) -> None:
    vms = await asyncio.gather(platform.create(), platform.create())
    mine = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /root/.ssh/authorized_keys; hostname"
    lines = [(await platform.shell(vm, mine)).splitlines() for vm in vms]
    noise = [await platform.shell(vm, "head -c 32 /dev/urandom | base64") for vm in vms]
    assert noise[0] != noise[1]
    assert len(lines[0]) == 4
    assert not set(lines[0]) & set(lines[1])
    keys = [(await platform.get(f"/vm/{vm}/ssh_key"))["ssh_private_key"] for vm in vms]
    with pytest.raises(asyncssh.PermissionDenied):
        async with platform.ssh(vms[0], client_keys=[asyncssh.import_private_key(keys[1])]):
            pass
    for vm in vms:
        await platform.delete(vm)


async def test_the_clock_of_a_restored_vm_is_right(platform: Platform, vm: str) -> None:
    before = time.time()
    told = float(await platform.shell(vm, "date +%s.%N"))
    assert before - 2 <= told <= time.time() + 2


async def test_the_resident_program_is_reached_through_a_forwarded_unix_socket(
    platform: Platform, vm: str
) -> None:
    async with platform.ssh(vm) as connection:
        reader, writer = await connection.open_unix_connection(resident.socket_path())
        writer.close()
        await writer.wait_closed()
        assert reader is not None
        ages = await connection.run(
            "ps -o etimes= -C python3 | sort -n | tail -1; cat /proc/uptime", check=True
        )
    # It started while the saved machine booted; the uptime of a restored machine goes on from there.
    assert int(str(ages.stdout).split()[0]) > 0


async def test_a_vm_is_made_of_files_of_the_platform_alone(platform: Platform, vm: str) -> None:
    # Users may clear their cache at any time.
    (emulator,) = [each for each in platform.qemus() if vm in " ".join(each.cmdline())]
    named = re.findall(r'"(?:filename|mem-path)": "([^"]+)"', " ".join(emulator.cmdline()))
    assert len(named) == 4  # a memory, and three layers of a disk
    assert all(Path(file).is_relative_to(platform.state) for file in named)


async def test_tcp_forwarding_and_sftp_work(platform: Platform, vm: str) -> None:
    async with platform.ssh(vm) as connection:
        reader, writer = await connection.open_connection("127.0.0.1", 22)
        assert (await reader.readline()).startswith(b"SSH-2.0-")
        writer.close()
        async with connection.start_sftp_client() as sftp:
            assert "etc" in await sftp.listdir("/")


async def test_a_session_has_the_usual_path_and_what_is_in_etc_environment(
    platform: Platform, vm: str
) -> None:
    await platform.shell(vm, "echo GREETING=hello >> /etc/environment")
    told = await platform.shell(vm, "echo $GREETING $LANG; echo $PATH")
    assert told.splitlines()[0] == "hello C.UTF-8"
    assert {"/usr/local/sbin", "/usr/local/bin", "/usr/bin", "/usr/sbin"} <= set(
        told.splitlines()[1].split(":")
    )


async def test_the_image_has_what_users_expect(platform: Platform, vm: str) -> None:
    await platform.shell(vm, "command -v git curl tmux python3 ip ps less systemctl")
    assert await platform.shell(vm, "stat -c '%U %a' /usr/bin/passwd") == "root 4755\n"
    assert await platform.shell(vm, "systemctl is-system-running") == "running\n"


async def test_another_size_boots_and_has_that_size_and_without_wait_boot_it_is_booting_first(
    platform: Platform,
) -> None:
    config = {"mem_size_mib": 256, "fs_size_mib": 5000}
    async with platform.api() as api:
        vm_id = (await api.post("/vm/new_root", json={"vm_config": config})).json()["vm_id"]
    assert await state_of(platform, vm_id) == "booting"  # which takes long, in this size
    await becomes(platform, vm_id, "running")
    memory, disk = (
        await platform.shell(
            vm_id, "awk '/MemTotal/ {print $2}' /proc/meminfo; df -m --output=size / | tail -1"
        )
    ).split()
    assert 180 * 1024 < int(memory) < 256 * 1024
    assert 4700 < int(disk) <= 5000
    await platform.delete(vm_id)


async def test_a_deleted_vm_is_gone_with_all_that_was_kept_of_it(platform: Platform) -> None:
    before = {process.pid for process in platform.qemus()}
    vm_id = await platform.create()
    host = f"{vm_id}.vm.{platform.description.domain}"
    await handshake(platform, host)
    await platform.delete(vm_id)
    assert {process.pid for process in platform.qemus()} <= before
    assert not (platform.state / "vms" / vm_id).exists()
    with pytest.raises(REFUSED):
        await handshake(platform, host)
    async with platform.api() as api:
        assert (await api.get(f"/vm/{vm_id}/status")).status_code == 404


async def test_a_vm_whose_qemu_ends_is_dead_and_can_be_deleted(platform: Platform) -> None:
    others = {process.pid for process in platform.qemus()}
    vm_id = await platform.create()
    (mine,) = [process for process in platform.qemus() if process.pid not in others]
    mine.kill()
    await becomes(platform, vm_id, "dead")
    with pytest.raises(REFUSED):
        await handshake(platform, f"{vm_id}.vm.{platform.description.domain}")
    await platform.delete(vm_id)


async def test_one_idempotency_key_makes_one_vm_even_when_tries_arrive_at_once(platform: Platform) -> None:
    async with platform.api() as api:
        api.headers["X-Idempotency-Key"] = "one-call"
        tries = [api.post("/vm/new_root", json={"vm_config": {}}) for _ in range(3)]
        (vm_id,) = {answer.json()["vm_id"] for answer in await asyncio.gather(*tries)}
        again = await api.post("/vm/new_root", json={"vm_config": {}})
        assert again.json()["vm_id"] == vm_id
        other = await api.post("/vm/new_root", json={"vm_config": {"mem_size_mib": 256}})
        assert other.status_code == 400
    await platform.delete(vm_id)


async def test_what_does_not_fit_in_memory_is_refused(platform: Platform) -> None:
    async with platform.api() as api:
        answer = await api.post("/vm/new_root", json={"vm_config": {"mem_size_mib": 10_000_000}})
    assert answer.status_code == 507
    assert "MB of memory" in answer.json()["error"]
    assert "--max-memory" in answer.json()["error"]


async def test_the_vendors_client_lists_creates_and_deletes(platform: Platform) -> None:
    base = platform.description.base_url.removesuffix("/api/v1")
    client = VersSdkClient(base_url=base, api_key=Path(platform.description.key_file).read_text())
    vm_id = (await client.create_new_root_vm({"vm_config": {"labels": {"name": "sdk"}}}))["vm_id"]
    assert vm_id in {vm["vm_id"] for vm in await client.list_vms()}
    assert (await client.get_vm_metadata(vm_id))["mem_size_mib"] == 512
    await client.delete_vm(vm_id)
    assert vm_id not in {vm["vm_id"] for vm in await client.list_vms()}
    await client._client.aclose()


async def test_no_secret_is_in_a_log_or_on_a_command_line(platform: Platform, vm: str) -> None:
    ssh_key = (await platform.get(f"/vm/{vm}/ssh_key"))["ssh_private_key"]
    secrets = [Path(platform.description.key_file).read_text(), *ssh_key.splitlines()[1:-1]]
    texts = [(platform.state / "daemon.log").read_text()]
    texts += [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [text for text in texts for secret in secrets if secret in text]
    for file in (
        *platform.state.rglob("*.key"),
        *platform.state.rglob("id_ed25519"),
        platform.state / "api_key",
    ):
        assert file.stat().st_mode & 0o077 == 0, file
