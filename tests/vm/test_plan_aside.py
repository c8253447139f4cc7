"""Plan mode holds by construction: whatever a command does that nobody has judged, the VM is as it was.

The judge lets everything pass here: that is the hole nobody knows of.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from platforms import Platform

from pi_v_jupyter import Vers
from pi_v_jupyter.errors import PlanModeError, RemoteCommandError
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.plan import asides, readonly
from pi_v_jupyter.vm import VM

pytestmark = pytest.mark.vm

# Each would change something that `STATE` tells of, or reach somebody; each says "done" if it could.
WRITES = {
    "a new file": "touch /root/new && echo done",
    "a file of a user": "echo other >/root/kept && echo done",
    "a line in place": "sed -i s/kept/other/ /root/kept && echo done",
    "Python": 'python3 -c \'open("/root/new", "w"); print("done")\'',
    "a link": "ln -s /etc /root/new && echo done",
    "a mode": "chmod 600 /root/kept && echo done",
    "a time": "touch -d 2001-01-01 /root/kept && echo done",
    "a deletion": "rm /root/kept && echo done",
    "mounts": "mount -o remount,rw / && echo done",
    "mounts of its own": "unshare -rm sh -c 'mount -o remount,rw / && touch /root/new' && echo done",
    "the disk": "mknod /tmp/d b $(stat -c '0x%t 0x%T' /dev/vda) && dd if=/root/kept of=/tmp/d && echo done",
    "the disk by its name": "dd if=/dev/null of=/dev/vda conv=nocreat,notrunc && echo done",
    "a setting of the kernel": "echo other >/proc/sys/kernel/hostname && echo done",
    "a device's setting": "echo 1 >/sys/block/vda/queue/nomerges && echo done",
    "a name": "hostname other && echo done",
    "the clock": "date -s 2001-01-01 && echo done",
    "a process": "kill -9 $(cat /root/pid) && echo done",
    "a process's priority": "renice 19 $(cat /root/pid) && echo done",
    "another's namespaces": "nsenter --target 1 --mount touch /root/new && echo done",
    "another's root": "touch /proc/1/root/root/new && echo done",
    "a root of its own": "chroot /proc/1/root touch /root/new && echo done",
    "a pipe": "timeout 2 sh -c 'echo other >/root/pipe' && echo done",
}
KEY = """import ctypes, os
call = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
print("done" if ctypes.CDLL(None).syscall(call, b"user", b"other", b"x", 1, -4) > 0 else "")"""
WRITES["a key that the kernel keeps"] = f"python3 -c {shlex.quote(KEY)}"
SOCKETS = {
    "a server": "s.create_connection(('127.0.0.1', 22))",
    "a packet": "s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "a socket of a daemon": "s.socket(s.AF_UNIX).connect('/run/open')",
    "a pair that goes on to one": "s.socketpair()",
}
REACHES = {
    "a server by bash": "exec 3<>/dev/tcp/127.0.0.1/22 && echo done",
    **{name: f'python3 -c "import socket as s; {code}" && echo done' for name, code in SOCKETS.items()},
}
PREPARE = """\
echo kept >/root/kept; mkdir -p /root/src; mkfifo /root/pipe
setsid sh -c 'cat /root/pipe >/root/read' </dev/null >/dev/null 2>&1 &
setsid python3 -c 'import socket, time
s = socket.socket(1); s.bind("/run/open"); s.listen(); time.sleep(9999)' </dev/null >/dev/null 2>&1 &
setsid sleep 9999 </dev/null >/dev/null 2>&1 &
echo $! >/root/pid
until [ -S /run/open ]; do sleep 0.1; done
"""
STATE = """\
stat -c '%n %s %a %y %U' /root /root/* /etc /tmp /var/tmp; cat /root/kept
cat /proc/sys/kernel/hostname /sys/block/vda/queue/nomerges
ps -o ni=,args= $(cat /root/pid); ls /root /tmp /var/tmp; [ $(date +%Y) -gt 2020 ]
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def session(_shared_platform: Platform) -> AsyncIterator[Vers]:
    """A user of the platform, with a VM named build in use."""
    before = {name: os.environ.get(name) for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    os.environ.update({name: _shared_platform.env[name] for name in before})
    try:
        async with Vers(_shared_platform.settings) as vers:
            vm = await vers.create(name="build")
            await vers.use(vm)
            await vm.run(PREPARE)
            yield vers
            await vers.plan.off()
            await vers.delete(vm)
            assert await vers.list() == []
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@pytest.fixture
def vm(session: Vers) -> VM:
    """The active VM."""
    assert session.active is not None
    return session.active


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge lets everything pass."""
    monkeypatch.setattr(readonly, "judge", lambda command: None)


async def tried(machine: Machine, command: str) -> str:
    """What a command that may fail has said."""
    result = await machine.run(command, check=False, timeout=60)
    return result.stdout


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.usefixtures("blind")
async def test_a_write_through_an_unknown_hole_fails_where_the_vm_is_seen_read_only(
    session: Vers, vm: VM
) -> None:
    before = await vm.run(STATE)
    await session.plan.on("readonly")
    machine = session.plan.machine(vm)
    worked = [name for name, command in (WRITES | REACHES).items() if "done" in await tried(machine, command)]
    assert not worked
    assert (await vm.run(STATE)).stdout == before.stdout


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.usefixtures("blind")
async def test_a_write_through_an_unknown_hole_is_done_to_a_branch_alone(session: Vers, vm: VM) -> None:
    before = await vm.run(STATE)
    await session.plan.on("branch")
    machine = session.plan.machine(vm)
    assert await tried(machine, WRITES["a file of a user"] + " && cat /root/kept") == "done\nother\n"
    for command in WRITES.values():
        await tried(machine, command)
    reached = [name for name, command in REACHES.items() if "done" in await tried(machine, command)]
    assert not reached
    assert (await vm.run(STATE)).stdout == before.stdout
    await session.plan.off()
    assert [each.name for each in await session.list()] == ["build"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.usefixtures("blind")
async def test_what_a_command_writes_where_all_may_write_is_gone_with_it(session: Vers, vm: VM) -> None:
    await vm.run("echo seen >/tmp/there")
    await session.plan.on("readonly")
    machine = session.plan.machine(vm)
    told = await machine.run("cat /tmp/there; echo mine >/tmp/mine; cat /tmp/mine; echo x >/dev/null")
    assert told.stdout == "seen\nmine\n"
    assert (await machine.run("ls /tmp/mine", check=False)).exit_code == 2
    assert "mine" not in (await vm.run("ls /tmp")).stdout


@pytest.mark.asyncio(loop_scope="module")
async def test_a_refused_command_does_not_begin_and_makes_no_branch(session: Vers, vm: VM) -> None:
    await session.plan.off()  # a branch that another test has made is deleted
    await session.plan.on("branch")
    with pytest.raises(PlanModeError) as refused:
        await session.plan.machine(vm).run("ls; sort -o /root/out /root/kept")
    assert refused.value.part and refused.value.rule
    assert session.plan.status.branch == ""


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("inside", ["branch", "readonly"])
async def test_the_folder_goes_on_from_command_to_command_and_nothing_else_does(
    session: Vers, vm: VM, inside: str
) -> None:
    await session.plan.on(inside)  # type: ignore[arg-type]
    machine = session.plan.machine(vm)
    await machine.run("cd src; here=1")
    assert (await machine.run('pwd; echo "$here"')).stdout == "/root/src\n\n"
    with pytest.raises(RemoteCommandError) as failed:
        await machine.run("cd /etc; false")
    assert failed.value.exit_code == 1 and failed.value.stderr == ""
    assert (await machine.run("pwd")).stdout == "/etc\n"
    assert (await machine.run("pwd", cwd="/srv")).stdout == "/srv\n"
    await session.plan.off()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_branch_shows_what_has_been_written_since(session: Vers, vm: VM) -> None:
    await session.plan.on("branch")
    machine = session.plan.machine(vm)
    await machine.run("ls /root")
    first = session.plan.status.branch
    assert (await machine.run("ls /root/later", check=False)).exit_code == 2
    assert session.plan.status.branch == first, "nothing was written: it is the same branch"
    await vm.run("echo later >/root/later")
    try:
        assert (await machine.run("cat /root/later")).stdout == "later\n"
    finally:
        await vm.run("rm /root/later")
    assert sum(each.aside for each in await session.list()) <= 2, "the former one goes"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("inside", ["branch", "readonly"])
async def test_nothing_that_a_command_has_started_runs_on(session: Vers, vm: VM, inside: str) -> None:
    await session.plan.on(inside)  # type: ignore[arg-type]
    machine = session.plan.machine(vm)
    await machine.run("setsid sleep 4321 </dev/null >/dev/null 2>&1 & echo started")
    late = await machine.run("trap '' INT TERM; setsid sleep 4321 & sleep 4321", timeout=1, check=False)
    assert late.timed_out
    left = "ps -eo args= | grep -c '^sleep 4321'"
    assert (await machine.run(left, check=False)).stdout == "0\n"
    assert (await vm.run(left, check=False)).stdout == "0\n"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_branch_of_a_kernel_that_was_killed_is_deleted_by_the_next(
    session: Vers, vm: VM, request: pytest.FixtureRequest
) -> None:
    await session.plan.off()  # a branch that another test has made is deleted
    platform: Platform = request.getfixturevalue("_shared_platform")
    script = (
        "import asyncio, os, signal\n"
        "from pi_v_jupyter import Vers\n"
        "async def main():\n"
        "    vers = Vers()\n"
        "    await vers.plan.on('branch')\n"
        f"    await vers.plan.machine(await vers.vm({vm.id!r})).run('true')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], env=platform.env, timeout=120, check=False
    )
    left = [each for each in await session.list() if each.aside]
    assert len(left) == 1
    await session.plan.sweep()
    assert not [each for each in await session.list() if each.aside]
    assert session.fleet.state.all(session.settings.base_url, asides.KIND) == {}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_branch_whose_answer_was_lost_is_deleted_too(session: Vers, vm: VM) -> None:
    record = asides.Record("a-key-of-its-own", vm.id, pid=2**22 - 1, started=1.0)
    session.fleet.state.set(session.settings.base_url, asides.KIND, record.key, json.dumps(vars(record)))
    (made,) = await session.client.branch_vm(vm.id, key=record.key)
    assert made in {each.id for each in await session.list()}
    await session.plan.sweep()
    assert made not in {each.id for each in await session.list()}
