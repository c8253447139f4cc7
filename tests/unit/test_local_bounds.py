"""How much there is for this process is what its container may have, not what its computer has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pi_v_jupyter.local import bounds

GIB = 1024**3


class Groups:
    """Control groups as files, of a process that says which it is in."""

    def __init__(self, folder: Path) -> None:
        self.top = folder / "groups"
        self.top.mkdir()
        self.membership = folder / "membership"

    def are(self, membership: str, files: dict[str, object]) -> None:
        self.membership.write_text(membership)
        for name, content in files.items():
            (self.top / name).parent.mkdir(parents=True, exist_ok=True)
            (self.top / name).write_text(f"{content}\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Groups:
    """Of a computer with 64 GiB, half of it free, and 8 processors."""
    made = Groups(tmp_path)
    monkeypatch.setattr(bounds, "_GROUPS", made.top)
    monkeypatch.setattr(bounds, "_MEMBERSHIP", made.membership)
    has = SimpleNamespace(total=64 * GIB, available=32 * GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: has)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return made


def there() -> tuple[int, int, int]:
    return bounds.memory(), bounds.available_memory(), bounds.processors()


def test_without_bounds_there_is_what_the_computer_has(groups: Groups) -> None:
    assert there() == (64 * GIB, 32 * GIB, 8), "where there are no control groups"
    groups.are("0::/\n", {"memory.max": "max", "memory.current": GIB, "cpu.max": "max 100000"})
    assert there() == (64 * GIB, 32 * GIB, 8)


def test_a_container_has_what_its_group_may_have_and_files_at_hand_count_as_free(groups: Groups) -> None:
    files = {
        "memory.max": 2 * GIB,
        "memory.current": GIB + GIB // 2,
        "memory.stat": f"anon {GIB}\nactive_file {GIB // 4}\ninactive_file {GIB // 4}",
        "cpu.max": "200000 100000",
    }
    groups.are("0::/\n", files)
    assert there() == (2 * GIB, GIB, 2)


def test_the_older_kind_of_groups_says_the_same(groups: Groups) -> None:
    # Such a container sees its own group at the top, and is told the path outside.
    membership = "9:memory:/docker/1\n8:cpu,cpuacct:/docker/1\n3:pids:/docker/1\n0::/\n"
    files = {
        "memory/memory.limit_in_bytes": 2 * GIB,
        "memory/memory.usage_in_bytes": GIB,
        "memory/memory.stat": f"cache {GIB}\nactive_file 0\ninactive_file {GIB // 2}",
        "cpu/cpu.cfs_quota_us": 100000,
        "cpu/cpu.cfs_period_us": 100000,
    }
    groups.are(membership, files)
    assert there() == (2 * GIB, GIB + GIB // 2, 1)
    groups.are(membership, {"memory/memory.limit_in_bytes": 2**63 - 4096, "cpu/cpu.cfs_quota_us": -1})
    assert there() == (64 * GIB, 32 * GIB, 8)


def test_the_narrowest_of_the_groups_that_one_is_in_counts(groups: Groups) -> None:
    session = "0::/user/session\n"
    groups.are(session, {"user/memory.max": 4 * GIB, "user/session/memory.max": "max"})
    assert bounds.memory() == 4 * GIB
    groups.are(session, {"user/session/memory.max": 3 * GIB})
    assert bounds.memory() == 3 * GIB


def test_files_at_hand_of_groups_within_count_as_free_in_the_older_kind_too(groups: Groups) -> None:
    files = {
        "memory/memory.limit_in_bytes": 4 * GIB,
        "memory/memory.usage_in_bytes": 3 * GIB,
        "memory/memory.stat": f"inactive_file 0\ntotal_active_file {GIB}\ntotal_inactive_file {GIB}",
    }
    groups.are("9:memory:/\n", files)
    assert bounds.available_memory() == 3 * GIB


def test_what_slows_all_down_is_a_bound_as_well(groups: Groups) -> None:
    groups.are("0::/\n", {"memory.max": 3 * GIB, "memory.high": 2 * GIB, "memory.current": GIB})
    assert there()[:2] == (2 * GIB, GIB)


def test_processors_that_others_are_to_have_do_not_count(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {2, 5, 7})
    assert bounds.processors() == 3
    groups.are("0::/\n", {"cpu.max": "100000 100000"})
    assert bounds.processors() == 1


def test_groups_that_cannot_be_read_bound_nothing(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    groups.are("0::/user/session\n", {"user/session/memory.max": GIB, "user/memory.max": 4 * GIB})
    reads, stats = Path.read_text, Path.stat

    def refused(file: Path) -> None:
        if file.is_relative_to(groups.top / "user/session"):
            raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_text", lambda file: (refused(file), reads(file))[1])
    monkeypatch.setattr(Path, "stat", lambda file, **how: (refused(file), stats(file, **how))[1])
    assert bounds.memory() == 4 * GIB


def test_a_share_of_a_processor_is_one(groups: Groups) -> None:
    groups.are("0::/\n", {"cpu.max": "20000 100000"})
    assert bounds.processors() == 1


def test_where_more_is_taken_than_may_be_nothing_is_left(groups: Groups) -> None:
    groups.are("0::/\n", {"memory.max": GIB, "memory.current": 2 * GIB})
    assert bounds.available_memory() == 0
