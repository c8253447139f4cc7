"""The client of the resident program: many commands over one channel, none of them lost with it.

A `Resident` outlives its links. When one breaks, commands go on over there and their readers wait; the next
link starts from each reader's cursor. `_resident.wire` describes the frames.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from functools import cache
from importlib import resources
from typing import Any, Protocol

from pi_v_jupyter.errors import ConnectionLostError
from pi_v_jupyter.remote import _resident
from pi_v_jupyter.remote._resident import wire
from pi_v_jupyter.remote.channel import Exit, Request, StreamName

STREAMS: tuple[StreamName, StreamName] = ("stdout", "stderr")
STDIN_WINDOW = 1 << 20  # bytes on their way to a process that has not taken them


MODULES = ("wire", "jobs", "shells", "program")  # in the order they import each other
LOADER = """\
import sys, types
for name, source in SOURCES.items():
    module = types.ModuleType("pi_v_resident" + name)
    module.__package__, module.__path__ = "pi_v_resident", []
    sys.modules[module.__name__] = module
    exec(compile(source, module.__name__, "exec"), module.__dict__)
sys.modules["pi_v_resident.program"].main(sys.argv[1:])
"""


@cache
def program() -> bytes:
    """The resident program as one source text, to be run by `python3` on a VM."""
    folder = resources.files(_resident)
    sources = {"": ""} | {f".{name}": folder.joinpath(f"{name}.py").read_text() for name in MODULES}
    return f"SOURCES = {sources!r}\n{LOADER}".encode()


def socket_path() -> str:
    """Where a resident of exactly this release listens on a VM whose image started it, for root."""
    return f"/run/pi-v/{hashlib.sha256(program()).hexdigest()[:16]}.sock"


class Link(Protocol):
    """A byte stream to the program, as `Resident` needs it."""

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent."""

    def close(self) -> None:
        """End it; `Resident.lost` is told."""


class ResidentProcess:
    """One command on the VM; see `channel.Process`."""

    def __init__(self, resident: Resident, number: int, request: Request) -> None:
        self._resident, self._number, self.request = resident, number, request
        self.pid: int | None = None
        self.sent_to: int | None = None
        self._chunks: collections.deque[tuple[int, bytes]] = collections.deque()
        self._received = [0, 0]
        self._consumed = [0, 0]
        self._acked = [0, 0]
        self._exit: Exit | None = None
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._stdin: collections.deque[tuple[int, bytes]] = collections.deque()
        self._stdin_sent = self._stdin_taken = 0
        self._stdin_closed = False
        self._signals: list[int] = []  # that no link could carry yet

    @property
    def over(self) -> bool:
        return self._exit is not None or self._failure is not None

    async def chunks(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        while True:
            while self._chunks:
                stream, data = self._chunks.popleft()
                yield STREAMS[stream], data
                self._consumed[stream] += len(data)
                if self._consumed[stream] - self._acked[stream] >= wire.WINDOW // 4:
                    self.acknowledge(stream)
            if self._failure is not None:
                raise self._failure
            if self._exit is not None:
                return
            self._changed.clear()
            await self._changed.wait()

    def acknowledge(self, stream: int) -> None:
        self._acked[stream] = self._consumed[stream]
        self._send(wire.ACK, wire.ACKED.pack(stream, self._acked[stream]))

    async def wait(self) -> Exit:
        async for _ in self.chunks():
            pass
        assert self._exit is not None  # noqa: S101  chunks() ends with an exit or raises
        return self._exit

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), wire.CHUNK):
            piece = data[start : start + wire.CHUNK]
            while self._stdin_sent - self._stdin_taken > STDIN_WINDOW and not self.over:
                self._changed.clear()
                await self._changed.wait()
            if self.over:
                return
            self._stdin.append((self._stdin_sent, piece))
            self._send(wire.STDIN, wire.CURSOR.pack(self._stdin_sent) + piece)
            self._stdin_sent += len(piece)

    async def write_eof(self) -> None:
        self._stdin_closed = True
        self._send(wire.CLOSE, wire.CURSOR.pack(self._stdin_sent))

    def kill(self, signal: int) -> None:
        if not self.over:
            self._signals.append(signal)
            self._flush_signals()

    def _flush_signals(self) -> None:
        while self._signals and self._resident.attached:
            self._send(wire.SIGNAL, json.dumps({"signal": self._signals.pop(0)}).encode())

    async def close(self) -> None:
        if not self.over:
            self.kill(9)
            self._resident.forget(self._number)
            self.fail(ConnectionLostError("The command was let go of.", ""))

    def _send(self, kind: int, payload: bytes) -> None:
        self._resident.send(kind, self._number, payload)

    # From here on: called by the resident.

    def cursors(self) -> tuple[int, int]:
        """Bytes received so far; they need not be sent again."""
        return self._received[0], self._received[1]

    def resume(self, known: dict[str, Any] | None, pid: int) -> None:
        """A new link is there; `known` is what the program says of this command, or None."""
        if known is None and self.sent_to not in (None, pid):
            self.fail(
                ConnectionLostError(
                    "The command was lost: the VM was restarted, or was out of reach for too long.",
                    "Look at what it did before you run it again.",
                )
            )
            return
        if known is None:
            self.transmit(pid)
        for offset, piece in self._stdin:
            self._send(wire.STDIN, wire.CURSOR.pack(offset) + piece)
        if self._stdin_closed:
            self._send(wire.CLOSE, wire.CURSOR.pack(self._stdin_sent))
        self._flush_signals()

    def transmit(self, pid: int) -> None:
        self.sent_to = pid
        request = self.request
        body: dict[str, Any] = {"env": dict(request.env), "cwd": request.cwd, "timeout": request.timeout}
        if request.shell is not None:
            body["shell"] = request.shell
        elif request.command is not None:
            body["command"], body["stdin"] = request.command, request.stdin
        else:
            body["argv"], body["stdin"] = list(request.argv), request.stdin
        if request.code is not None:
            body["code"] = request.code
        self._send(wire.START, json.dumps(body).encode())

    def received(self, stream: int, payload: bytes) -> None:
        (offset,) = wire.CURSOR.unpack_from(payload)
        if offset > self._received[stream]:
            self.fail(ConnectionLostError("Output is missing: the VM sent bytes out of order."))
            return
        data = payload[wire.CURSOR.size + max(0, self._received[stream] - offset) :]
        if data:
            self._received[stream] += len(data)
            self._chunks.append((stream, data))
            self._changed.set()

    def taken(self, offset: int) -> None:
        self._stdin_taken = max(self._stdin_taken, offset)
        while self._stdin and self._stdin[0][0] + len(self._stdin[0][1]) <= offset:
            self._stdin.popleft()
        self._changed.set()

    def exited(self, how: Exit) -> None:
        self._exit = how
        self._changed.set()

    def fail(self, error: Exception) -> None:
        if not self.over:
            self._failure = error
            self._changed.set()


class Resident:
    """One client of the program on one VM; see `channel.Runner`."""

    def __init__(self) -> None:
        self.socket: str | None = None
        self.pid: int | None = None
        self._client = secrets.token_hex(8)
        self._numbers = 0
        self._jobs: dict[int, ResidentProcess] = {}
        self._link: Link | None = None
        self._greeted = False
        self._buffer = bytearray()
        self._outgoing = bytearray()
        self._welcome: asyncio.Future[None] | None = None
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def attached(self) -> bool:
        return self._greeted

    @property
    def busy(self) -> bool:
        """Is any command waiting for this program?"""
        return bool(self._jobs)

    def start(self, request: Request) -> ResidentProcess:
        self._numbers += 1
        job = ResidentProcess(self, self._numbers, request)
        self._jobs[self._numbers] = job
        if self._greeted and self.pid is not None:
            job.transmit(self.pid)
        return job

    async def attach(self, link: Link) -> None:
        """Greet the program over a new link; commands that wait go on from their cursors."""
        self._link, self._greeted = link, False
        self._buffer.clear()
        self._outgoing.clear()
        self._welcome = asyncio.get_running_loop().create_future()
        cursors = {number: job.cursors() for number, job in self._jobs.items()}
        self._write(wire.HELLO, 0, json.dumps({"client": self._client, "cursors": cursors}).encode())
        await self._welcome

    def send(self, kind: int, number: int, payload: bytes) -> None:
        if self._greeted:  # otherwise `resume` sends what is still due
            self._write(kind, number, payload)

    def _write(self, kind: int, number: int, payload: bytes) -> None:
        """Queue a frame for the end of this turn of the loop: frames share a packet, which costs far more."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing += wire.HEADER.pack(kind, number, len(payload)) + payload

    def _flush(self) -> None:
        outgoing, self._outgoing = bytes(self._outgoing), bytearray()
        if self._link is not None:
            self._link.write(outgoing)

    def forget(self, number: int) -> None:
        if self._jobs.pop(number, None) is not None:
            self.send(wire.FORGET, number, b"")

    def lost(self, link: Link) -> None:
        """The link is gone. Commands wait for the next one."""
        if link is self._link:
            self._link, self._greeted = None, False
            if self._welcome is not None and not self._welcome.done():
                self._welcome.set_exception(ConnectionLostError("The connection broke while it was made."))
            self.on_lost()

    def fail(self, error: Exception) -> None:
        """There will be no next link."""
        for job in list(self._jobs.values()):
            job.fail(error)
        self._jobs.clear()

    def goodbye(self) -> None:
        """Nobody is interested any more: the program ends this client's commands and sessions."""
        self._write(wire.BYE, 0, b"")
        self._flush()
        self.fail(ConnectionLostError("The connection was closed."))

    def feed(self, data: bytes) -> None:
        """Bytes from the program."""
        buffer = self._buffer
        buffer += data
        start, header = 0, wire.HEADER
        while len(buffer) - start >= header.size:
            kind, number, size = header.unpack_from(buffer, start)
            end = start + header.size + size
            if len(buffer) < end:
                break
            self._handle(kind, number, bytes(memoryview(buffer)[start + header.size : end]))
            start = end
        if start:
            del buffer[:start]

    def _handle(self, kind: int, number: int, payload: bytes) -> None:
        if kind == wire.WELCOME:
            self._welcomed(json.loads(payload))
            return
        job = self._jobs.get(number)
        if job is None:
            return  # let go of while this was on its way
        if kind in (wire.OUT, wire.ERR):
            job.received(kind - wire.OUT, payload)
        elif kind == wire.STARTED:
            job.pid = json.loads(payload)["pid"]
        elif kind == wire.TAKEN:
            job.taken(wire.CURSOR.unpack(payload)[0])
        elif kind == wire.EXIT:
            self.forget(number)
            job.exited(Exit(**json.loads(payload)))

    def _welcomed(self, welcome: dict[str, Any]) -> None:
        self.pid, self.socket, self._greeted = welcome["pid"], welcome["socket"], True
        for number, job in list(self._jobs.items()):
            job.resume(welcome["jobs"].get(str(number)), welcome["pid"])
            if job.over:
                self._jobs.pop(number)
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_result(None)
