"""Starts the one keeper of a kernel, out of reach of whoever starts it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from .keeper import AGAIN, PATIENCE, Keeper


def only_one(path: Path) -> int | None:
    """Hold the lock that makes this the one keeper of `path`; None when there is another, which answers."""
    lock = os.open(str(path.with_suffix(".lock")), os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with socket.socket(socket.AF_UNIX) as other, contextlib.suppress(OSError):
                other.connect(str(path))
                return None
            if time.monotonic() > deadline:
                raise TimeoutError("another one starts, and does not come to an end") from None
            time.sleep(AGAIN)
        else:
            return lock


def sweep() -> None:
    """Remove what keepers that were killed have left."""
    for folder in Path(tempfile.gettempdir()).glob("pi-v-kernel-*"):
        pid = folder.name.split("-")[3]
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid() and not Path(f"/proc/{pid}").exists():
                shutil.rmtree(str(folder), ignore_errors=True)


def main(words: list[str]) -> None:
    """Keep a kernel whose clients come to the path in `words`; what was started ends when it is ready."""
    path = Path(words[0]).expanduser()
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    lock = only_one(path)
    if lock is None:
        return
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        with os.fdopen(reader, "rb") as told:
            said = told.read()
        if said != b"ready":
            sys.stderr.write(said.decode(errors="replace") or "it ended as it started")
            sys.stderr.flush()
        os._exit(said != b"ready")
    os.close(reader)
    os.setsid()
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(str(path.with_suffix(".log")), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for fd in (1, 2):
        os.dup2(log, fd)
    sweep()
    silent = True

    def tell(what: bytes) -> None:
        nonlocal silent
        if silent:
            silent = False
            with contextlib.suppress(OSError):  # who waited for it has gone
                os.write(writer, what)
            os.close(writer)

    async def keep() -> None:
        await Keeper(path).run(tell)

    try:
        asyncio.run(keep())
    except BaseException as error:
        tell(f"{type(error).__name__}: {error}".encode())
        raise
