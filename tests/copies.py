"""Copies over a real pipe: what was sent, what came, and streams that no sender of ours would send."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pi_v_jupyter.remote._resident import bulk, records
from pi_v_jupyter.remote._resident.pack import pack
from pi_v_jupyter.remote._resident.unpack import unpack

Poll = Callable[[], bool]


def never() -> bool:
    return False


def always() -> bool:
    return True


def after(polls: int, act: Callable[[], object] = never) -> Poll:
    """Stops at the poll of that number; `act` is called at every one."""
    left = [polls]

    def poll() -> bool:
        act()
        left[0] -= 1
        return left[0] < 0

    return poll


def copy(
    *sources: Path | str,
    to: Path | str,
    resume: dict[str, Any] | None = None,
    sender_stops: Poll = never,
    receiver_stops: Poll = never,
    owners: bool = False,
    same_machine: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both sides tell; what the receiver raises, or else the sender."""
    reader, writer = os.pipe()
    whole: list[bool] = []

    def send() -> dict[str, Any]:
        try:
            sent = pack([str(path) for path in sources], writer, resume=resume, stopped=sender_stops)
            whole.append(True)
            return sent
        finally:
            os.close(writer)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        try:
            came = unpack(
                reader,
                str(to),
                asked=[str(path) for path in sources],
                owners=owners,
                whole=lambda: bool(whole),
                stopped=receiver_stops,
                same_machine=same_machine,
            )
        except records.Cut:
            sending.result()
            raise
        finally:
            os.close(reader)
        return sending.result(), came


def packed(*sources: Path, resume: dict[str, Any] | None = None, stopped: Poll = never) -> bytes:
    """The stream of a copy."""
    reader, writer = os.pipe()

    def send() -> None:
        try:
            pack([str(path) for path in sources], writer, resume=resume, stopped=stopped)
        finally:
            os.close(writer)

    with ThreadPoolExecutor(1) as pool, os.fdopen(reader, "rb") as file:
        sending = pool.submit(send)
        data = file.read()
        sending.result()
        return data


def feed(data: bytes, to: Path, *, asked: Path | str = "it", whole: bool = True) -> dict[str, Any]:
    """Receive a stream that is `data`, whatever that is, in answer to a copy of `asked`."""
    reader, writer = os.pipe()

    def send() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file, suppress(BrokenPipeError):
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    with ThreadPoolExecutor(1) as pool:
        pool.submit(send)
        try:
            return unpack(
                reader, str(to), asked=[str(asked)], owners=False, whole=lambda: whole, stopped=never
            )
        finally:
            os.close(reader)


def record(kind: int, name: bytes = b"", tail: bytes = b"", *, mode: int = 0o700, value: int = 0) -> bytes:
    return records.RECORD.pack(kind, len(name), mode, 0, 0, 0, value, len(tail)) + name + tail


def source(name: bytes = b"it") -> bytes:
    return record(records.SOURCE, name, records.ORIGIN.pack(0, 0))


def large(name: bytes = b"it", *, size: int = 0, start: int = 0, number: int = 0) -> bytes:
    return record(records.LARGE, name, records.SPAN.pack(size, start, 0, 0), value=number)


def done(entries: int, size: int) -> bytes:
    return record(records.DONE, tail=records.COUNTS.pack(entries, size))


def block(plain: bytes, *, squeezed: bool = False) -> bytes:
    payload = zlib.compress(plain) if squeezed else plain
    kind = bulk.ZLIB if squeezed else bulk.RAW
    return bulk.BLOCK.pack(kind, len(payload), len(plain)) + payload


def stream(sent: Iterable[bytes]) -> bytes:
    """Of records, each in a block of its own."""
    return records.HEAD.pack(records.MAGIC, 1, -1, -1, 0) + b"".join(map(block, sent))


def records_of(data: bytes) -> Iterator[bytes]:
    """The records of a stream of ours."""
    plain, at = b"", records.HEAD.size
    while at < len(data):
        kind, size, _ = bulk.BLOCK.unpack_from(data, at)
        at += bulk.BLOCK.size
        plain += zlib.decompress(data[at : at + size]) if kind == bulk.ZLIB else data[at : at + size]
        at += size
    at = 0
    while at < len(plain):
        _, name, *_, tail = records.RECORD.unpack_from(plain, at)
        end = at + records.RECORD.size + name + tail
        yield plain[at:end]
        at = end


def seen(top: Path) -> dict[bytes, tuple[object, ...]]:
    """All there is to see of a file or folder and what is in it: kind, mode, time, content, which are one."""
    found: dict[bytes, tuple[object, ...]] = {}
    first: dict[int, bytes] = {}

    def look(path: Path, name: bytes) -> None:
        about = path.lstat()
        content: object = None
        if stat.S_ISLNK(about.st_mode):
            content = path.readlink()
        elif stat.S_ISREG(about.st_mode):
            one = first.setdefault(about.st_ino, name)
            content = (path.read_bytes(), None if one == name else one)
        found[name] = (stat.S_IFMT(about.st_mode), about.st_mode & 0o1777, about.st_mtime_ns, content)
        if stat.S_ISDIR(about.st_mode):
            for inner in sorted(path.iterdir()):
                look(inner, name + b"/" + os.fsencode(inner.name))

    look(top, b"")
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
