"""What the tests of the way in share: run a command, wait for something on the machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pi_v_jupyter.remote.channel import Exit, Process, Request


@dataclass
class Outcome:
    """How a command ended, and what it wrote."""

    exit: Exit
    stdout: bytes
    stderr: bytes

    @property
    def code(self) -> int | None:
        return self.exit.code


async def collect(process: Process) -> Outcome:
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    async for stream, data in process.chunks():
        kept[stream] += data
    return Outcome(await process.wait(), bytes(kept["stdout"]), bytes(kept["stderr"]))


async def run(connection: Any, *, stdin_data: bytes | None = None, **request: Any) -> Outcome:
    process = await connection.start(Request(stdin=stdin_data is not None, **request))
    if stdin_data is None:
        return await collect(process)

    async def feed() -> None:
        await process.write(stdin_data)
        await process.write_eof()

    outcome, _ = await asyncio.gather(collect(process), feed())
    return outcome


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something that happens on the machine, where no event tells of it."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def until_there(file: Path) -> str:
    """What waits in bash for a file: a command does so for its test, however late either is."""
    return f"until [ -e {file} ]; do sleep 0.02; done"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def resident_pid(connection: Any) -> int:
    pid = connection._resident.pid
    assert isinstance(pid, int)
    return pid


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def links(pid: int) -> list[str]:
    """What a process has open; what it closes meanwhile is left out."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


def sockets(pid: int) -> set[str]:
    """What a process is connected to; no two in turn are the same."""
    return {link for link in links(pid) if link.startswith("socket:")}


def working(program: psutil.Process) -> list[tuple[int, list[str]]]:
    """Pid and words of all that runs below a program; what ends meanwhile is left out."""
    found = []
    for process in program.children(recursive=True):
        try:
            found.append((process.pid, process.cmdline()))
        except psutil.NoSuchProcess:
            continue
    return found


def memory_mb(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6
