"""How much memory and how many processors there are for this process: the computer's, or its container's.

A container sees all that its computer has, and is ended when it takes more than it may have: what that is,
its control groups say: https://docs.kernel.org/admin-guide/cgroup-v2.html (`memory.max`, `cpu.max`, and
`memory.high`, beyond which it is slowed down to a crawl) and, of the older kind,
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def memory() -> int:
    """All memory there is, in bytes."""
    return min([psutil.virtual_memory().total, *(limit for _, limit in _limits())])


def available_memory() -> int:
    """The memory that can still be had, in bytes; what only keeps files at hand counts as free."""
    free = (limit - _taken(group) for group, limit in _limits())
    return max(0, min([psutil.virtual_memory().available, *free]))


def processors() -> int:
    """How many processors can be busy at once, at least 1."""
    shares = [share for group in _groups("cpu") if (share := _share(group)) is not None]
    return max(1, round(min([_usable(), *shares])))


def _usable() -> int:
    """Those that this process may be put on: a container or a batch system may pin it to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limits() -> Iterator[tuple[Path, int]]:
    for group in _groups("memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limit = _number(group / name)
            if limit is not None:
                yield group, limit


def _taken(group: Path) -> int:
    used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
    stat = dict(line.split() for line in _lines(group / "memory.stat"))
    # In the older kind a name alone is of the group without those in it.
    names = ("active_file", "inactive_file")
    return used - sum(int(stat.get(f"total_{name}", stat.get(name, 0))) for name in names)


def _share(group: Path) -> float | None:
    quota, period = None, None
    for line in _lines(group / "cpu.max"):
        most, per = line.split()
        quota, period = (None if most == "max" else int(most)), int(per)
    if quota is None:
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota and quota > 0 and period else None


def _groups(controller: str) -> Iterator[Path]:
    """Those that bound this process in that respect, its own and those around it, seen here or not."""
    for line in _lines(_MEMBERSHIP):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = _GROUPS / controller if controllers else _GROUPS
        own = PurePosixPath(path)
        # In a container the path may be the one outside, of which only the top is seen here.
        yield from (top / str(up).lstrip("/") for up in (own, *own.parents))


def _number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].lstrip("-").isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
