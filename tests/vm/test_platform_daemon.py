"""The daemon may be killed, started twice or find its port taken: nothing is lost, nothing runs unseen."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

if TYPE_CHECKING:
    from platforms import Platform

pytestmark = pytest.mark.vm


def kill(platform: Platform) -> None:
    """End the daemon as a crash would."""
    daemon = psutil.Process(platform.description.pid)
    daemon.kill()
    psutil.wait_procs([daemon], timeout=10)


async def test_vms_outlive_a_daemon_that_is_killed_and_the_next_one_takes_them_over(
    own_platform: Platform,
) -> None:
    own_platform.up()
    vm_id = await own_platform.create(labels={"name": "survivor"})
    await own_platform.shell(vm_id, "echo kept > /root/note")
    identity = await own_platform.shell(vm_id, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    kill(own_platform)
    assert "1 VM of a platform that died" in own_platform.run("status").stdout
    own_platform.up()
    (listed,) = await own_platform.get("/vm")
    assert (listed["vm_id"], listed["state"], listed["labels"]) == (vm_id, "running", {"name": "survivor"})
    assert await own_platform.shell(vm_id, "cat /root/note") == "kept\n"
    assert await own_platform.shell(vm_id, "cat /etc/ssh/ssh_host_ed25519_key.pub") == identity


async def test_a_vm_that_died_with_its_daemon_is_dead_and_strays_are_ended(own_platform: Platform) -> None:
    own_platform.up()
    lost, unrecorded = await own_platform.create(), await own_platform.create()
    (own_platform.state / "vms" / unrecorded / "vm.json").unlink()
    kill(own_platform)
    for process in own_platform.qemus():
        if any(lost in word for word in process.cmdline()):
            process.kill()
    own_platform.up()
    assert [(vm["vm_id"], vm["state"]) for vm in await own_platform.get("/vm")] == [(lost, "dead")]
    assert own_platform.qemus() == []
    await own_platform.delete(lost)
    assert await own_platform.get("/vm") == []


async def test_down_saves_vms_without_asking_and_deletes_them_only_if_told(own_platform: Platform) -> None:
    own_platform.up()
    vm_id = await own_platform.create()
    await own_platform.shell(vm_id, "echo still here > /dev/shm/note")
    down = own_platform.run("down")
    assert (down.returncode, down.stdout) == (
        0,
        "embedded platform down · 1 VM saved; `up` brings it back\n",
    )
    assert own_platform.qemus() == []
    assert json.loads(own_platform.run("status", "--json").stdout)["up"] is False
    own_platform.up()
    # Through the API, which waits for a VM that is on its way back.
    assert await own_platform.inside(vm_id, "cat /dev/shm/note") == "still here\n"

    refused = own_platform.run("down", "--purge")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: 1 VM and all commits will be deleted for good")
    assert await own_platform.shell(vm_id, "cat /dev/shm/note") == "still here\n"
    assert own_platform.run("down", "--purge", "-f").returncode == 0
    own_platform.up()
    assert await own_platform.get("/vm") == []


def test_up_is_one_line_and_up_again_says_so(own_platform: Platform) -> None:
    first = own_platform.run("up", "--port", "0", "--gateway-port", "0")
    again = own_platform.run("up")
    assert (first.returncode, again.returncode) == (0, 0)
    assert len(first.stdout.splitlines()) == 1
    assert again.stdout.startswith("embedded platform up already: ")
    assert own_platform.description.base_url in again.stdout
    told = json.loads(own_platform.run("status", "--json").stdout)
    assert told["up"] is True
    assert told["base_url"] == own_platform.description.base_url


def test_down_is_no_error_when_nothing_is_up(own_platform: Platform) -> None:
    done = own_platform.run("down")
    assert (done.returncode, done.stdout) == (0, "the embedded platform was not up\n")


def test_a_port_taken_by_another_program_is_named_with_what_to_do(own_platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for option, what in (("--port", "the API"), ("--gateway-port", "the VMs")):
            free = "--gateway-port" if option == "--port" else "--port"
            done = own_platform.run("up", option, port, free, "0")
            assert done.returncode == 1
            assert done.stderr.strip().splitlines()[-1] == (
                f"Error: Port {port} for {what} is taken by another program."
                f"  Choose another with `{option} PORT`; 0 takes a free one."
            )
            assert "Traceback" not in done.stderr


def test_where_the_usual_ports_are_taken_free_ones_are_found(own_platform: Platform) -> None:
    with contextlib.ExitStack() as taken:
        for port in (7730, 7731):
            with contextlib.suppress(OSError):  # somebody has it
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        done = own_platform.run("up")
        assert done.returncode == 0, done.stderr
        told = own_platform.description
    assert {httpx.URL(told.base_url).port, told.vm_port}.isdisjoint({7730, 7731, 0})


def test_a_port_taken_by_another_platform_is_told_apart(platform: Platform, own_platform: Platform) -> None:
    port = str(httpx.URL(platform.description.base_url).port)
    done = own_platform.run("up", "--port", port, "--gateway-port", "0")
    assert done.returncode == 1
    assert f"Port {port} for the API is taken by another embedded platform." in done.stderr


def test_missing_programs_are_named_with_the_command_that_installs_them(own_platform: Platform) -> None:
    own_platform.env["PATH"] = "/nonexistent"
    done = own_platform.run("up", "--port", "0", "--gateway-port", "0")
    own_platform.env["PATH"] = os.environ["PATH"]
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "Error: qemu-system-x86_64 is not installed.  "
        "sudo apt-get install --no-install-recommends qemu-system-x86"
    )


async def test_the_daemon_ends_its_vms_when_it_is_told_to_end(own_platform: Platform) -> None:
    own_platform.up()
    await own_platform.create()
    daemon = psutil.Process(own_platform.description.pid)
    daemon.send_signal(signal.SIGTERM)
    psutil.wait_procs([daemon], timeout=120)
    assert own_platform.qemus() == []
    assert not (own_platform.state / "platform.json").exists()


def test_the_daemon_holds_no_file_of_the_terminal_that_started_it(own_platform: Platform) -> None:
    # `run` reads to the end of both pipes: it would hang if the daemon had kept them.
    done = threading.Thread(target=own_platform.up, daemon=True)
    done.start()
    done.join(200)
    assert not done.is_alive()
    fds = Path(f"/proc/{own_platform.description.pid}/fd")
    targets = {str(fd.readlink()) for fd in fds.iterdir() if fd.name in ("0", "1", "2")}
    assert targets == {"/dev/null", str(own_platform.state / "daemon.log")}
