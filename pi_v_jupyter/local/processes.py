"""QEMU processes of machines, found again: by a record, which names one beyond doubt, or by their names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

import psutil

_KILL_TIMEOUT = 10.0  # seconds


def find(pid: int, started: float) -> psutil.Process | None:
    """The process that a record names, while it runs."""
    try:
        process = psutil.Process(pid)
        same = process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def is_there(pid: int, started: float) -> bool:
    """Whether the process that a record names still runs."""
    return find(pid, started) is not None


def kill(pid: int, started: float) -> None:
    """End at once the process that a record names, and wait for that."""
    process = find(pid, started)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        psutil.wait_procs([process], timeout=_KILL_TIMEOUT)


def name_of(process: psutil.Process) -> str:
    """The machine's name of one of the processes found by `left_over`."""
    words = process.info["cmdline"]
    return str(words[words.index("-name") + 1])


def left_over(prefix: str, known: Collection[int]) -> list[psutil.Process]:
    """QEMU processes of this user whose machine's name begins with `prefix`, but for those `known` by pid."""
    found = []
    for process in psutil.process_iter(["uids", "cmdline"]):
        words = process.info["cmdline"] or []
        if not words or "qemu-system" not in words[0] or "-name" not in words or process.pid in known:
            continue
        mine = process.info["uids"] is not None and process.info["uids"].real == os.getuid()
        if mine and words[words.index("-name") + 1].startswith(prefix):
            found.append(process)
    return found
