"""Which process something was begun by, and whether that is still there."""

from __future__ import annotations

import contextlib
import functools
import platform
from pathlib import Path

import psutil

SKEW = 60.0  # seconds by which our clock may be set while a process runs


@functools.cache
def host() -> str:
    """Where a process id means what it means here: this computer since its start, or a container."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # where there is no /proc, the name has to do
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def runs(pid: int, started: float) -> bool:
    """Does the process of this host run that has that id, and began then? In seconds since the epoch."""
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and abs(process.create_time() - started) < SKEW
    except psutil.NoSuchProcess:
        return False
