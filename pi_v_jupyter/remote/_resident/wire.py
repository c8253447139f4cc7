"""Frames between the resident program and its client, and the program's end of one connection.

A frame: type (u8), job (u32), length (u32), payload; big-endian.

    to the resident                        from the resident
    HELLO   {client, linger, cursors,      WELCOME  {pid, socket, jobs: {number: {pid, signals}}}
             inherits: clients of the
             machine this is a clone of}
    START   {argv | command | shell, code  STARTED  {pid}, of jobs that last
             | work | socket, cwd, env, stdin,      OUT, ERR u64 offset, bytes
             timeout, pty: [cols, rows]}   TAKEN    u64 offset of stdin the process has taken
    STDIN   u64 offset, bytes              EXIT     {code | signal | error, what, message, timed_out,
    CLOSE   u64 offset: the end of stdin            shell_ended, value: what work found}
    SIGNAL  {index, signal}
    RESIZE  {cols, rows} of its terminal
    ACK     u8 stream, u64 offset of output that was read
    FORGET  the client has the exit, or does not want it: a job that still runs is killed
    BYE     the client is done: end its       GONE     they are ended
            jobs and sessions
"""

from __future__ import annotations

import collections
import fcntl
import itertools
import json
import os
import selectors
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .clients import Client
    from .program import Program

HELLO, START, STDIN, CLOSE, SIGNAL, ACK, FORGET, BYE, RESIZE = range(1, 10)
WELCOME, STARTED, OUT, ERR, EXIT, TAKEN, GONE = range(16, 23)
HEADER = struct.Struct("!BII")
CURSOR = struct.Struct("!Q")
ACKED = struct.Struct("!BQ")

WINDOW = 4 << 20  # bytes of one stream kept until acknowledged; a process that is ahead waits
TERMINAL_WINDOW = 256 << 10  # the same of a terminal: all of it is shown before what Ctrl-C does
CONGESTED = 512 << 10  # bytes queued to one client before its processes' output is left in their pipes
CHUNK = 128 << 10
PIPE = 1 << 20
F_SETPIPE_SZ = 1031  # in the fcntl module only since Python 3.10


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def widen(fd: int) -> None:
    """A larger pipe means fewer wake-ups; without it everything works too."""
    try:
        fcntl.fcntl(fd, F_SETPIPE_SZ, PIPE)
    except OSError:
        return


class Connection:
    """One byte stream to a client: a pair of pipes from sshd, or a Unix socket."""

    def __init__(self, program: Program, reader: int, writer: int) -> None:
        self.program, self.reader, self.writer = program, reader, writer
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self.buffer = bytearray()
        self.queue: collections.deque[bytes | memoryview] = collections.deque()
        self.queued = 0
        self.client: Client | None = None
        program.connections.add(self)
        widen(writer)
        program.watch(reader, selectors.EVENT_READ, self.ready)

    def send(self, kind: int, number: int, *parts: bytes) -> None:
        """Queue a frame; the loop flushes once per turn, so that frames share a packet."""
        size = sum(map(len, parts))
        self.queue.append(HEADER.pack(kind, number, size) + (parts[0] if parts else b""))
        self.queue.extend(parts[1:])
        self.queued += HEADER.size + size
        self.program.unflushed.add(self)

    def want_to_write(self, wanted: bool) -> None:
        if self.writer == self.reader:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self.program.watch(self.reader, both if wanted else selectors.EVENT_READ, self.ready)
        elif wanted:
            self.program.watch(self.writer, selectors.EVENT_WRITE, self.ready)
        else:
            self.program.unwatch(self.writer)

    def flush(self) -> None:
        if self not in self.program.connections:
            return  # it closed after this was asked for, and its descriptors may be another's by now
        was_congested = self.queued > CONGESTED
        while self.queue:
            try:
                written = os.writev(self.writer, list(itertools.islice(self.queue, 16)))
            except BlockingIOError:
                self.want_to_write(True)
                break
            except OSError:
                self.close()
                return
            self.queued -= written
            while written:
                first = self.queue.popleft()
                if written < len(first):
                    self.queue.appendleft(memoryview(first)[written:])
                    break
                written -= len(first)
        else:
            self.want_to_write(False)
        if was_congested and self.queued <= CONGESTED and self.client is not None:
            self.client.regulate()

    def ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.program.unflushed.add(self)
        if events & selectors.EVENT_READ:
            try:
                data = os.read(self.reader, CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self.buffer += data
                self.parse()
            else:
                self.close()

    def parse(self) -> None:
        start = 0
        while len(self.buffer) - start >= HEADER.size:
            kind, number, size = HEADER.unpack_from(self.buffer, start)
            end = start + HEADER.size + size
            if len(self.buffer) < end:
                break
            payload = bytes(memoryview(self.buffer)[start + HEADER.size : end])
            start = end
            if kind == HELLO:
                hello = json.loads(payload)
                self.client = self.program.client(hello["client"])
                self.client.inherit(hello["inherits"])
                self.client.attach(self, hello["linger"], hello["cursors"])
            elif self.client is not None:
                self.client.handle(kind, number, payload)
        del self.buffer[:start]

    def close(self) -> None:
        if self not in self.program.connections:
            return
        self.program.connections.discard(self)
        for fd in {self.reader, self.writer}:
            self.program.unwatch(fd)
            os.close(fd)
        self.queue.clear()
        self.queued = 0
        if self.client is not None and self.client.connection is self:
            self.client.detach()
