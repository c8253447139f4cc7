"""What becomes of VMs when something goes wrong with them; without QEMU."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import disks, machine, paths, record
from pi_v_jupyter.local.base import Base
from pi_v_jupyter.local.fleet import Fleet, NoRoomError, NotPossibleError
from pi_v_jupyter.local.image import Image
from pi_v_jupyter.local.machine import Machine
from pi_v_jupyter.local.record import VMRecord


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State and cache of the test's own."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    image = Image(tmp_path, "d", "r", "bookworm", "6.1", "2026-01-01T00:00:00+00:00")
    return Fleet(image, Base(tmp_path / "base"), "tcg", "owner", lambda vm_id, port: None)


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    """A process that stands for a QEMU an earlier daemon left."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as popen:
        yield psutil.Process(popen.pid)
        popen.kill()


def fails(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def full(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["save", "save_key"])
async def test_nothing_is_kept_of_a_vm_that_the_disk_has_no_room_to_record(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    monkeypatch.setattr(VMRecord, step, fails(full(number)))
    with pytest.raises(NoRoomError, match="The disk is full: "):
        fleet.create(VMConfig())
    assert fleet.list() == []
    assert list(paths.vms_dir().iterdir()) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (full(errno.ENOSPC), NoRoomError),
        (full(errno.EACCES), PlatformError),
        (PlatformError("No."), PlatformError),
        (RuntimeError("unforeseen"), RuntimeError),
    ],
)
async def test_no_vm_boots_for_ever(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[Exception]
) -> None:
    monkeypatch.setattr(disks, "overlay", fails(error))
    vm = fleet.create(VMConfig())
    with pytest.raises(told):
        await fleet.started(vm.vm_id)
    assert [each.state for each in fleet.list()] == [VMState.DEAD]


async def test_a_vm_is_dead_even_where_the_disk_has_no_room_to_say_so(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = fleet.create(VMConfig())
    monkeypatch.setattr(disks, "overlay", fails(full(errno.ENOSPC)))
    monkeypatch.setattr(VMRecord, "save", fails(full(errno.ENOSPC)))
    with pytest.raises(NoRoomError):
        await fleet.started(vm.vm_id)
    assert [each.state for each in fleet.list()] == [VMState.DEAD]


async def test_a_vm_deleted_before_its_start_began_takes_no_room(fleet: Fleet) -> None:
    await fleet.delete(fleet.create(VMConfig()).vm_id)
    await fleet.delete(fleet.create(VMConfig()).vm_id)
    assert list(paths.vms_dir().iterdir()) == []


@pytest.mark.parametrize(
    "config",
    [
        VMConfig(fs_size_mib=1024**2 + 1),
        VMConfig(labels={str(number): "" for number in range(65)}),
        VMConfig(labels={"name": "a" * 257}),
        VMConfig(labels={"a" * 257: ""}),
        VMConfig.model_construct(labels={"name": "\ud800"}),
    ],
)
async def test_what_is_beyond_measure_is_refused(fleet: Fleet, config: VMConfig) -> None:
    with pytest.raises(NotPossibleError):
        fleet.create(config)
    assert fleet.list() == []


def running(process: psutil.Process, vm_id: str) -> VMRecord:
    """A record of a VM whose QEMU is `process`."""
    vm = VMRecord(
        vm_id=vm_id,
        state=VMState.RUNNING,
        created_at=datetime.now(UTC),
        pid=process.pid,
        started=process.create_time(),
    )
    vm.save()
    return vm


class Adopted:
    """A QEMU that answers, of a guest that does not."""

    def __init__(self, pid: int, started: float) -> None:
        self.pid, self.started, self.guest = pid, started, self

    async def ask(self, op: str, *, timeout: float) -> None:
        raise PlatformError("The VM did not answer 'ping'.")

    async def ssh_port(self) -> int:
        return 2222

    async def ended(self) -> None:
        await asyncio.Event().wait()

    async def end(self) -> None:
        pass


async def test_one_vm_that_cannot_be_taken_over_neither_ends_nor_keeps_back_another(
    fleet: Fleet, process: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute, broken = running(process, "mute"), running(process, "broken")

    async def adopt(pid: int, started: float, wiring: Any) -> Adopted:
        if wiring == broken.wiring():
            raise RuntimeError("unforeseen")
        return Adopted(pid, started)

    spared: list[int] = []
    monkeypatch.setattr(Machine, "adopt", adopt)
    monkeypatch.setattr(machine, "left_over", lambda prefix, known: spared.extend(known) or [])
    await fleet.adopt()
    states = {vm.vm_id: vm.state for vm in fleet.list()}
    assert states == {mute.vm_id: VMState.RUNNING, broken.vm_id: VMState.UNKNOWN}
    assert set(spared) == {process.pid}
    assert {vm.pid for vm in record.load_all()} == {process.pid}  # for the next daemon to try again
    await fleet.delete(mute.vm_id)

    await fleet.delete(broken.vm_id)
    assert not machine.is_there(process.pid, process.create_time() if process.is_running() else 0.0)


async def test_a_vm_whose_process_is_gone_is_dead(fleet: Fleet, process: psutil.Process) -> None:
    vm = running(process, "gone")
    vm.model_copy(update={"started": 1.0}).save()  # the process id is another process's by now
    await fleet.adopt()
    assert [(each.state, each.pid) for each in fleet.list()] == [(VMState.DEAD, None)]
    assert process.is_running()
