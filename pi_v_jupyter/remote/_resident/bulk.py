"""The blocks of a copy: many records in one write, compressed while the way is slower than compressing.

    block = BLOCK payload                   RAW, or ZLIB

Whether compressing pays is measured, not guessed: by how long writes block, against what zlib costs and
saves on this very content. A way that keeps up with memory is never slowed down to find out.
"""

from __future__ import annotations

import io
import os
import struct
import time

from .records import (
    CHUNK,
    DATA,
    HEAD,
    LONGEST,
    RECORD,
    SMALL,
    Cut,
    Nonsense,
    Stopped,
    promise,
)
from .wire import widen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RAW, ZLIB = 0, 1
BLOCK = struct.Struct("!BII")  # kind, bytes of payload, bytes once unpacked
FULL = CHUNK + RECORD.size  # bytes at which a block goes
LIMIT = FULL + RECORD.size + 255 + SMALL  # what a block may hold: it goes when it is full, or a little later

KEEPS_UP = 3e-9  # seconds a byte: a way as fast as this is faster than zlib ever is
MEASURED = 2 << 20  # bytes written raw, or
MEASURED_FOR = 0.25  # seconds of writing them, that make a measurement
PROBE_SHARE = 64  # one part of that many of the time may go to finding out that compressing does not pay
RECHECK = 64 << 20  # bytes after which a way that no longer blocks is measured again
USELESS = 0.95  # of the size is left: not worth unpacking


class Pace:
    """Whether to compress."""

    def __init__(self) -> None:
        self.link = 0.0  # seconds that writing a byte takes; 0.0 while not measured
        self.cost = self.ratio = 0.0  # of compressing: seconds a byte, and bytes left of a byte
        self.squeezing = False
        self.next_probe = 0.0
        self.seconds = self.spent = 0.0
        self.bytes = self.unblocked = 0

    def squeeze(self, plain: memoryview) -> bytes | None:
        """The compressed block, if it is to be sent instead."""
        began, self.spent = time.perf_counter(), 0.0
        if not self.squeezing and (self.link < KEEPS_UP or began < self.next_probe):
            return None
        try:
            import zlib
        except ImportError:  # a Python built without it
            self.squeezing, self.next_probe = False, float("inf")
            return None
        packed = zlib.compress(plain, 1)
        self.spent = time.perf_counter() - began
        weight = 0.25 if self.squeezing else 1.0
        self.cost += weight * (self.spent / len(plain) - self.cost)
        self.ratio += weight * (len(packed) / len(plain) - self.ratio)
        self.squeezing = self.cost < self.link * (1 - self.ratio)
        if not self.squeezing:
            self.next_probe = began + PROBE_SHARE * self.spent
        return packed if len(packed) < USELESS * len(plain) else None

    def written(self, size: int, seconds: float) -> None:
        """`size` bytes went, and it took that long."""
        if not self.squeezing:
            self.seconds += seconds
            self.bytes += size
            if self.bytes >= MEASURED or self.seconds >= MEASURED_FOR:
                self.link = self.seconds / self.bytes
                self.seconds, self.bytes = 0.0, 0
        elif seconds > self.spent / 4:  # the way moved these bytes while the last were compressed
            self.link += 0.25 * ((seconds + self.spent) / size - self.link)
            self.unblocked = 0
        else:
            self.unblocked += size
            if self.unblocked >= RECHECK:
                self.squeezing, self.link, self.unblocked = False, 0.0, 0


class Writer:
    """Records and parts of files, on their way into a pipe."""

    def __init__(self, fd: int, stopped: Callable[[], bool]) -> None:
        self.fd, self.stopped = fd, stopped
        self.pace = Pace()
        self.sent = 0  # bytes that went into the pipe
        self.pending = bytearray(BLOCK.size)  # room for the header, then records
        self.room: memoryview | None = None
        widen(fd)

    def put(self, *parts: bytes) -> None:
        for part in parts:
            self.pending += part
        if len(self.pending) >= FULL:
            self.flush()

    def put_data(self, fd: int, at: int, size: int) -> int:
        """A part of a file, straight from it, in a block of its own; how much that was, 0 at its end."""
        if self.room is None:
            self.room = memoryview(bytearray(BLOCK.size + FULL))
        start = BLOCK.size + RECORD.size
        got = os.preadv(fd, [self.room[start : start + min(size, CHUNK)]], at)
        if got:
            self.flush()
            RECORD.pack_into(self.room, BLOCK.size, DATA, 0, 0, 0, 0, 0, at, got)
            self.send(self.room[: start + got])
        return got

    def flush(self) -> None:
        if len(self.pending) > BLOCK.size:
            with memoryview(self.pending) as view:
                self.send(view)
            del self.pending[BLOCK.size :]

    def send(self, block: memoryview) -> None:
        if self.stopped():
            raise Stopped("The copy was stopped.")
        with block[BLOCK.size :] as plain:
            size = len(plain)
            packed = self.pace.squeeze(plain)
        began = time.perf_counter()
        if packed is None:
            BLOCK.pack_into(block, 0, RAW, size, size)
            written = self.write(block)
        else:
            with memoryview(BLOCK.pack(ZLIB, len(packed), size) + packed) as view:
                written = self.write(view)
        self.pace.written(written, time.perf_counter() - began)

    def write(self, data: memoryview) -> int:
        size = done = len(data)
        try:
            done = os.write(self.fd, data)
            while done < size:
                done += os.write(self.fd, data[done:])
        except OSError:
            raise Cut("The other side of the copy went away.") from None
        self.sent += size
        return size


class Reader:
    """Records and parts of files, as they come out of a pipe; everything in it may be a lie."""

    def __init__(self, fd: int, whole: Callable[[], bool], stopped: Callable[[], bool]) -> None:
        self.whole, self.stopped = whole, stopped
        self.pipe = io.FileIO(fd, closefd=False)
        self.header = memoryview(bytearray(BLOCK.size))
        self.room = memoryview(bytearray(LIMIT))
        self.plain = self.room[:0]
        self.at = 0
        widen(fd)

    def begin(self) -> dict[str, Any]:
        first = bytearray(HEAD.size)
        self.read(memoryview(first))
        return promise(bytes(first))

    def read(self, into: memoryview) -> None:
        """Fill `into`."""
        done, size = 0, len(into)
        while done < size:
            got = self.pipe.readinto(into[done:])
            if not got:
                self.ended_early()
            done += got

    def poll(self) -> None:
        if self.stopped():
            raise Stopped("The copy was stopped.")

    def ended_early(self) -> None:
        self.poll()
        if self.whole():
            raise Nonsense("The other side ended the copy in the middle.")
        raise Cut("The copy was cut off: the other side went away.")

    def fill(self) -> None:
        """The next block."""
        self.poll()
        self.read(self.header)
        kind, size, plain = BLOCK.unpack(self.header)
        if kind not in (RAW, ZLIB) or not 0 < size <= LIMIT or not 0 < plain <= LIMIT:
            raise Nonsense("The other side sent a block that cannot be one of a copy.")
        self.read(self.room[:size])
        self.plain, self.at = self.room[:size], 0
        if kind == ZLIB:
            self.plain = memoryview(unpacked(self.plain, plain))
        elif size != plain:
            raise Nonsense("The other side sent a block of another size than it says.")

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end <= len(self.plain):
            data = bytes(self.plain[self.at : end])
            self.at = end
            return data
        parts = []
        while size:
            if self.at == len(self.plain):
                self.fill()
            parts.append(bytes(self.plain[self.at : self.at + size]))
            self.at += len(parts[-1])
            size -= len(parts[-1])
        return b"".join(parts)

    def record(self) -> tuple[int, bytes, int, int, int, int, int, int]:
        """Kind, name, mode, uid, gid, mtime, value, and how long a tail is to be taken now."""
        kind, length, mode, uid, gid, mtime, value, tail = RECORD.unpack(self.take(RECORD.size))
        if length > 255 or tail > LONGEST.get(kind, -1):
            raise Nonsense("The other side sent a record that cannot be one of a copy.")
        return kind, self.take(length) if length else b"", mode, uid, gid, mtime, value, tail

    def pour(self, fd: int, at: int, size: int) -> None:
        """The next `size` bytes, into a file."""
        while size:
            if self.at == len(self.plain):
                self.fill()
            done = os.pwrite(fd, self.plain[self.at : self.at + size], at)
            self.at += done
            at += done
            size -= done


def unpacked(data: memoryview, size: int) -> bytes:
    """What `data` was before it was compressed, if that is `size` bytes; no more than those are made."""
    import zlib

    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, size)
        rest = b"" if unpacker.eof else unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error:
        raise Nonsense("The other side sent a block that cannot be unpacked.") from None
    if len(plain) != size or rest or not unpacker.eof or unpacker.unused_data:
        raise Nonsense("The other side sent a block of another size than it says.")
    return plain


class Meter:
    """How far a copy is, for whoever pumps its bytes without unpacking them."""

    def __init__(self) -> None:
        self.head: dict[str, Any] | None = None  # as `records.promise` tells it
        self.moved = 0  # bytes unpacked, records included, and what was there already
        self.passing = 0
        self.kept = b""

    def feed(self, data: bytes) -> None:
        at = min(self.passing, len(data))
        self.passing -= at
        while at < len(data):
            wanted = HEAD.size if self.head is None else BLOCK.size
            more = data[at : at + wanted - len(self.kept)]
            self.kept += more
            at += len(more)
            if len(self.kept) < wanted:
                return
            self.parse()
            skipped = min(self.passing, len(data) - at)
            self.passing -= skipped
            at += skipped

    def parse(self) -> None:
        header, self.kept = self.kept, b""
        if self.head is None:
            self.head = promise(header)
            self.moved = self.head["start"]
            return
        _kind, self.passing, plain = BLOCK.unpack(header)
        if self.passing > LIMIT or plain > LIMIT:
            raise Nonsense("The other side sent a block that cannot be one of a copy.")
        self.moved += plain
