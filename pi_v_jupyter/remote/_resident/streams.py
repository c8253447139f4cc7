"""The output and the input of a job: pipes on one side, offsets on the other."""

from __future__ import annotations

import collections
import fcntl
import os
import selectors
import struct
import termios

from .wire import CHUNK, CURSOR, TAKEN, WINDOW, widen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .jobs import Job
    from .loop import Timer

PATIENCE = 0.1  # seconds until the client is told what was taken of its input
MUCH = 256 << 10  # bytes of it after which it is told at once
EVERYTHING = 1 << 62  # an offset past all input: whatever more is sent has nowhere to go


class Stream:
    """One output of a job: read from a pipe, if it has one, and kept until acknowledged."""

    window = WINDOW

    def __init__(self, job: Job, kind: int) -> None:
        self.job, self.kind = job, kind
        self.fd: int | None = None
        self.writer: int | None = None
        self.kept: collections.deque[tuple[int, bytes]] = collections.deque()  # offset, bytes; oldest first
        self.read = 0  # offset of the next byte from the pipe
        self.acked = 0
        self.left: int | None = None  # bytes still to come once the job has ended; None while it runs
        self.watched = False

    def read_from(self, reader: int, writer: int | None) -> None:
        """Take what comes out of `reader`; `writer` is the end for the job."""
        self.fd, self.writer = reader, writer
        os.set_blocking(reader, False)
        widen(reader)
        self.regulate()

    def close_writer(self) -> None:
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None

    def close(self) -> None:
        self.close_writer()
        if self.fd is not None:
            self.unwatch(self.fd)
            os.close(self.fd)
            self.fd = None

    def unwatch(self, fd: int) -> None:
        if self.watched:
            self.job.client.program.unwatch(fd)
            self.watched = False

    def regulate(self) -> None:
        """Watch the pipe exactly while there is room for what comes out of it."""
        if self.fd is None:
            return
        if not (self.job.over or (self.read - self.acked < self.window and not self.job.client.congested())):
            self.unwatch(self.fd)
        elif not self.watched:
            self.job.client.program.watch(self.fd, selectors.EVENT_READ, self.readable)
            self.watched = True

    def readable(self, _events: int) -> None:
        if self.fd is None:
            return
        size = CHUNK if self.left is None or self.job.over else min(CHUNK, self.left)
        data = self.take(self.fd, size)
        if data == b"":
            self.close()
        if self.job.over:
            return  # a process left in the background: what it prints has no reader, and must not block it
        if data:
            if self.left is not None:
                self.left -= len(data)
            self.put(data)
            self.regulate()
        elif self.left is not None:
            self.left = 0
        self.job.finish()

    def take(self, fd: int, size: int) -> bytes | None:
        """What there is, up to `size` bytes; None when that is nothing as yet, empty at the end."""
        try:
            return os.read(fd, size)
        except BlockingIOError:
            return None

    def put(self, data: bytes) -> None:
        """To the client, and kept until it has it."""
        if data:
            offset, self.read = self.read, self.read + len(data)
            self.kept.append((offset, data))
            self.job.client.send(self.kind, self.job.number, CURSOR.pack(offset), data)

    def drained(self) -> bool:
        return self.fd is None or self.left == 0

    def end(self) -> None:
        """The job has ended: what is in the pipe now is its own, anything later is not."""
        self.close_writer()
        self.left = 0
        if self.fd is not None:
            size = bytearray(4)
            fcntl.ioctl(self.fd, termios.FIONREAD, size)
            (self.left,) = struct.unpack("i", size)
            self.regulate()

    def ack(self, offset: int) -> None:
        self.acked = max(self.acked, offset)
        while self.kept and self.kept[0][0] + len(self.kept[0][1]) <= self.acked:
            self.kept.popleft()
        self.regulate()

    def resend(self, received: int) -> None:
        """To a client that came back: what it has not received."""
        for offset, data in self.kept:
            skip = max(0, received - offset)
            if skip < len(data):
                self.job.client.send(self.kind, self.job.number, CURSOR.pack(offset + skip), data[skip:])
        self.regulate()


class Stdin:
    """Bytes on their way into a job."""

    def __init__(self, job: Job, fd: int) -> None:
        self.job = job
        self.fd: int | None = fd
        os.set_blocking(fd, False)
        self.queue: collections.deque[bytes] = collections.deque()
        self.got = self.taken = 0
        self.end: int | None = None
        self.whole = False  # did all of it arrive, down to its end?
        self.told = 0
        self.timer: Timer | None = None

    def feed(self, offset: int, data: bytes) -> None:
        fresh = data[max(0, self.got - offset) :]
        if self.fd is not None and fresh:
            self.got += len(fresh)
            self.queue.append(fresh)
            self.flush()

    def finish_at(self, offset: int) -> None:
        """No more is sent past `offset`."""
        self.end = offset
        self.flush()

    def flush(self, _events: int = 0) -> None:
        program = self.job.client.program
        while self.fd is not None and self.queue:
            try:
                written = os.write(self.fd, self.queue[0])
            except BlockingIOError:
                program.watch(self.fd, selectors.EVENT_WRITE, self.flush)
                break
            except OSError:
                self.close()
                break
            self.taken += written
            rest = self.queue.popleft()[written:]
            if rest:
                self.queue.appendleft(rest)
        else:
            if self.fd is not None:
                program.unwatch(self.fd)
                if self.end is not None and self.taken >= self.end:
                    self.whole = True
                    self.close()
        self.tell()

    def tell(self) -> None:
        """How far it got: soon enough for the window, and rarely alone in a packet.

        Behind one that is not acknowledged yet, sshd's TCP keeps the answer to what was just taken.
        """
        if self.taken - self.told >= MUCH or self.fd is None:
            self.telling()
        elif self.timer is None:
            self.timer = self.job.client.program.later(PATIENCE, self.telling)

    def telling(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.told = self.taken
        self.job.client.send(TAKEN, self.job.number, CURSOR.pack(self.taken))

    def close(self) -> None:
        if self.fd is not None:
            self.job.client.program.unwatch(self.fd)
            os.close(self.fd)
            self.fd, self.taken = None, EVERYTHING
            self.queue.clear()
