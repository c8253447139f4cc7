"""A computer has an end: what goes beyond it is refused, with what is short and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.local import bounds, capacity, requests
from pi_v_jupyter.local.capacity import Limits
from pi_v_jupyter.local.hardware import Size
from pi_v_jupyter.local.problems import NoRoomError, NotPossibleError
from pi_v_jupyter.local.record import VMRecord

GIB = 1024**3
SIZE = Size(vcpus=1, memory_mib=512, disk_mib=4096)
WIDE = Limits(vms=10, vcpus=10, memory_mib=5120, disk_mib=40960)


@pytest.fixture(autouse=True)
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two processors, 2 GB of memory with half of it free, a disk of 40 GB that is half full."""
    has = SimpleNamespace(total=2 * GIB, available=GIB, free=20 * GIB)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(bounds, "_MEMBERSHIP", tmp_path / "none")  # whatever the tests themselves may have
    monkeypatch.setattr("psutil.virtual_memory", lambda: has)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=40 * GIB, free=has.free))
    return has


def vms(count: int, state: VMState = VMState.RUNNING) -> list[VMRecord]:
    size = {"vcpu_count": SIZE.vcpus, "mem_size_mib": SIZE.memory_mib, "fs_size_mib": SIZE.disk_mib}
    made_of: dict[str, Any] = {"image": "i", "machine": "m", "layers": (), "memory": "m"}
    return [
        VMRecord(vm_id=str(number), state=state, created_at=datetime.now(UTC), **size, **made_of)
        for number in range(count)
    ]


def check(
    limits: Limits, there: Sequence[VMRecord] = (), starting: Sequence[VMRecord] = (), **asked: Any
) -> None:
    capacity.check_room(limits, there, starting, SIZE, **asked)


def test_the_defaults_suit_a_small_computer() -> None:
    limits = Limits.sensible()
    assert limits == Limits(vms=10, vcpus=32, memory_mib=8192, disk_mib=163840)
    check(limits)


@pytest.mark.parametrize(
    ("limit", "what"),
    [
        ({"vms": 3}, r"3 VMs; 3 are in use, 1 more .*--max-vms"),
        ({"vcpus": 3}, r"3 vCPUs; 3 are in use, 1 more .*--max-vcpus"),
        ({"memory_mib": 2000}, r"2000 MB of memory; 1536 are in use, 512 more .*--max-memory"),
        ({"disk_mib": 16000}, r"16000 MB of disk; 12288 are in use, 4096 more .*--max-disk"),
    ],
)
def test_each_limit_is_named_with_the_option_that_changes_it(limit: dict[str, int], what: str) -> None:
    limits = Limits(**(vars(WIDE) | limit))
    check(limits, vms(2))
    with pytest.raises(NoRoomError) as error:
        check(limits, vms(3))
    assert error.match(what) or pytest.fail(str(error.value))


def test_many_at_once_are_counted_at_once() -> None:
    check(WIDE, vms(4), count=6)
    with pytest.raises(NoRoomError, match="7 more"):
        check(WIDE, vms(4), count=7)


def test_the_dead_take_no_room() -> None:
    check(WIDE, vms(100, VMState.DEAD))


def test_a_copy_takes_little_memory_and_one_that_boots_takes_all_it_is_given(
    computer: SimpleNamespace,
) -> None:
    computer.available = 320 * 1024**2
    check(WIDE, count=2)
    with pytest.raises(NoRoomError, match="480 MB of memory are needed and 320 MB are free"):
        check(WIDE, count=3)
    with pytest.raises(NoRoomError, match="576 MB of memory are needed"):
        check(WIDE, boots=True)


def test_what_is_being_started_is_counted_before_it_has_taken_its_memory(computer: SimpleNamespace) -> None:
    computer.available = 320 * 1024**2
    check(WIDE, starting=vms(1))
    with pytest.raises(NoRoomError, match="160 MB of memory are needed and 0 MB are free"):
        check(WIDE, starting=vms(2))


def test_nothing_is_begun_on_a_disk_that_is_nearly_full(computer: SimpleNamespace) -> None:
    computer.free = 511 * 1024**2
    with pytest.raises(NoRoomError, match="The disk is full: 511 MB are free"):
        check(WIDE)


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (Size(3, 512, 4096), "3 vCPUs cannot be: this computer has 2"),
        (Size(1, 127, 4096), "127 MB cannot be"),
        (Size(1, 512, 4095), "A disk of 4095 MB"),
        (Size(1, 512, 2**20 + 1), "A disk of 1048577 MB"),
    ],
)
def test_a_machine_that_cannot_be_is_not_possible(size: Size, why: str) -> None:
    with pytest.raises(NotPossibleError, match=why):
        requests.check_size(size, smallest_disk_mib=4096)


def test_the_smallest_and_the_largest_can_be() -> None:
    requests.check_size(Size(1, 128, 4096), smallest_disk_mib=4096)
    requests.check_size(Size(2, 512, 2**20), smallest_disk_mib=4096)
