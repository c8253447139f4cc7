"""What the tests of background processes share: who is left of a test's own, and the machines they run on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from machines import Reached
from running import until

from pi_v_jupyter.machine import Here, Machine


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def owned(data: Path) -> set[int]:
    """All that was started with that as XDG_DATA_HOME: resident programs, minders, and what they run."""
    words = f"XDG_DATA_HOME={data}".encode()
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and words in _read(entry / "environ").split(b"\0")
    }


def end_all(data: Path) -> None:
    """Kill what a test has left, however much that forks."""
    deadline = time.monotonic() + 20
    while left := owned(data):
        assert time.monotonic() < deadline, f"{left} do not end"
        for pid in left:
            try:
                os.killpg(os.getpgid(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue


async def gone(pids: Iterable[int]) -> None:
    """Until none of them is there."""
    await until(lambda: not any(_read(Path(f"/proc/{pid}/cmdline")) for pid in pids))


def marked(word: str) -> list[int]:
    """The processes that have `word` on their command line."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and word.encode() in _read(entry / "cmdline")
    ]


async def leave(machine: Machine) -> None:
    """Let go of a machine as the end of a session does."""
    if isinstance(machine, Here):
        await machine.close()
    else:
        assert isinstance(machine, Reached)
        await machine.background.leave()
        await machine.connection.close()
