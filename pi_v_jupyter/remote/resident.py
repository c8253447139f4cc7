"""The client of the resident program: many commands over one channel, none of them lost with it.

A `Resident` outlives its links. When one breaks, commands go on over there and their readers wait; the next
link starts from each reader's cursor. `_resident.wire` describes the frames.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Protocol, Self

from pi_v_jupyter.errors import ConnectError, ConnectionLostError
from pi_v_jupyter.remote import _resident, sources
from pi_v_jupyter.remote._resident import wire
from pi_v_jupyter.remote.channel import Exit, Request, checked
from pi_v_jupyter.remote.process import ResidentProcess

LINGER = 600.0  # seconds commands go on without their client
GOODBYE_TIMEOUT = 2.0  # seconds

LARGEST = 1 << 20  # bytes of one frame from the program
PATIENCE = 0.02  # seconds a frame may wait for another to go with


@cache
def program() -> bytes:
    """The resident program as one source text, to be run by `python3` on a VM."""
    return sources.source(_resident, "pi_v_resident")


def socket_path() -> str:
    """Where a resident of exactly this release listens on a VM whose image started it, for root."""
    return f"/run/pi-v/{hashlib.sha256(program()).hexdigest()[:16]}.sock"


class Link(Protocol):
    """A byte stream to the program, as `Resident` needs it."""

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent."""

    def close(self) -> None:
        """End it; `Resident.lost` is told."""


@dataclass(frozen=True)
class Legacy:
    """What a clone of a VM holds for the client that comes to it."""

    clients: tuple[str, ...] = ()  # who was served there, nearest first
    socket: str | None = None  # at which socket
    numbers: int = 0  # of commands that were used up

    def dump(self) -> str:
        """As text, for whoever restores a commit later."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str | None) -> Self:
        """From that text; nothing, where there is none or it is damaged: only comfort is lost."""
        try:
            told = json.loads(text or "{}")
            return cls(tuple(map(str, told["clients"])), told["socket"], int(told["numbers"]))
        except (ValueError, KeyError, TypeError):
            return cls()


NO_LEGACY = Legacy()


@dataclass(frozen=True)
class Seat:
    """Under which name a client is known to the program, and at which socket."""

    client: str
    socket: str | None = None


class Resident:
    """One client of the program on one VM; see `channel.Runner`.

    `linger`: seconds its commands go on over there while no link is up. `legacy`: the VM is a clone; its
    shell sessions are gone on with where they were. `seat`: of a client that is no more, whose sessions are
    gone on with likewise; what it was running is interrupted.
    """

    def __init__(self, linger: float = LINGER, legacy: Legacy = NO_LEGACY, seat: Seat | None = None) -> None:
        self.linger = linger
        self.socket = (seat and seat.socket) or legacy.socket
        self._inherits = legacy.clients
        self.pid: int | None = None
        self._client = seat.client if seat else secrets.token_hex(8)
        # Nobody knows how far that client had counted.
        self._numbers = secrets.randbelow(1 << 30) if seat else legacy.numbers
        self._jobs: dict[int, ResidentProcess] = {}
        self._link: Link | None = None
        self._greeted = False
        self._buffer = bytearray()
        self._outgoing = bytearray()
        self._flushing = False
        # Jobs whose first output has just come: said at once, or sshd's TCP would keep what comes next (an
        # exit, mostly) until this end's TCP has acknowledged it, which it does after 40 ms.
        self._heard: list[tuple[ResidentProcess, int]] = []
        self._welcome: asyncio.Future[None] | None = None
        self._gone = asyncio.Event()  # the link is, or what this client had over there
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def attached(self) -> bool:
        """Is there a link?"""
        return self._greeted

    @property
    def legacy(self) -> Legacy:
        """For the clones that are made of the VM from now on."""
        return Legacy((self._client, *self._inherits), self.socket, self._numbers)

    @property
    def seat(self) -> Seat:
        """For whoever comes back in this client's place."""
        return Seat(self._client, self.socket)

    @property
    def busy(self) -> bool:
        """Is any command waiting for this program?"""
        return bool(self._jobs)

    def start(self, request: Request) -> ResidentProcess:
        """Start a command, now or when the next link is there."""
        self._numbers += 1
        job = ResidentProcess(self, self._numbers, request)
        self._jobs[self._numbers] = job
        if self._greeted and self.pid is not None:
            job.transmit(self.pid)
        return job

    async def attach(self, link: Link) -> None:
        """Greet the program over a new link; commands that wait go on from their cursors."""
        self._link, self._greeted = link, False
        self._gone.clear()
        self._buffer.clear()
        self._outgoing.clear()
        self._welcome = asyncio.get_running_loop().create_future()
        cursors = {number: job.cursors() for number, job in self._jobs.items()}
        hello = {
            "client": self._client,
            "linger": self.linger,
            "cursors": cursors,
            "inherits": self._inherits,
        }
        self._write(wire.HELLO, 0, json.dumps(hello).encode())
        await self._welcome

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Send a frame, if there is a link; otherwise `ResidentProcess.resume` sends what is still due."""
        if self._greeted:
            self._write(kind, number, payload)

    def _write(self, kind: int, number: int, payload: bytes) -> None:
        """Queue a frame for the end of this turn of the loop: frames share a packet, which costs far more."""
        self._outgoing += wire.HEADER.pack(kind, number, len(payload)) + payload
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _write_later(self, kind: int, number: int) -> None:
        """Queue a frame nobody waits for: it goes with the next, or alone after a while."""
        if not self._outgoing:
            asyncio.get_running_loop().call_later(PATIENCE, self._flush)
        self._outgoing += wire.HEADER.pack(kind, number, 0)

    def _flush(self) -> None:
        outgoing, self._outgoing, self._flushing = bytes(self._outgoing), bytearray(), False
        if self._link is not None and outgoing:
            self._link.write(outgoing)

    def forget(self, number: int) -> None:
        """Have no more of a command; one that still runs is killed, now or when the next link is there."""
        if self._jobs.pop(number, None) is not None:
            self.send(wire.FORGET, number, b"")

    def lost(self, link: Link) -> None:
        """The link is gone. Commands wait for the next one."""
        if link is self._link:
            self._link, self._greeted = None, False
            self._gone.set()
            for job in self._jobs.values():
                job.on_away(True)
            if self._welcome is not None and not self._welcome.done():
                self._welcome.set_exception(ConnectionLostError("The connection broke while it was made."))
            self.on_lost()

    def fail(self, error: ConnectError) -> None:
        """There will be no next link."""
        for job in list(self._jobs.values()):
            job.fail(type(error)(error.message, error.hint))  # each its own: raising adds to an error
        self._jobs.clear()

    async def goodbye(self) -> None:
        """Nobody is interested any more: the program ends this client's commands and sessions.

        Waits for it to say so: what a server has not passed on when its connection ends, it drops.
        """
        self.fail(ConnectionLostError("The connection was closed."))
        if self._greeted:
            self._write(wire.BYE, 0, b"")
            try:
                async with asyncio.timeout(GOODBYE_TIMEOUT):
                    await self._gone.wait()
            except TimeoutError:
                return

    def feed(self, data: bytes) -> None:
        """Bytes from the program."""
        buffer = self._buffer
        buffer += data
        start, header = 0, wire.HEADER
        self._heard.clear()
        while len(buffer) - start >= header.size:
            kind, number, size = header.unpack_from(buffer, start)
            end = start + header.size + size
            if size > LARGEST:
                self._babble()
                return
            if len(buffer) < end:
                break
            try:
                self._handle(kind, number, bytes(memoryview(buffer)[start + header.size : end]))
            except (ValueError, KeyError, TypeError, RecursionError, struct.error):
                self._babble()
                return
            start = end
        if start:
            del buffer[:start]
        for job, stream in self._heard:
            if not job.over:
                job.acknowledge(stream)

    def _babble(self) -> None:
        """What came is nothing the program would send: whoever sends it is not listened to any longer."""
        self.fail(
            ConnectionLostError(
                "The VM sent what the resident program never would; its commands are given up."
            )
        )
        self._buffer.clear()
        if (link := self._link) is not None:
            link.close()
            self.lost(link)  # a server whose program lives on may never say that the channel is closed

    def _handle(self, kind: int, number: int, payload: bytes) -> None:
        if kind == wire.WELCOME:
            self._welcomed(json.loads(payload))
            return
        if kind == wire.GONE:
            self._gone.set()
            return
        job = self._jobs.get(number)
        if job is None:
            return  # let go of while this was on its way
        if kind in (wire.OUT, wire.ERR):
            if job.received(kind - wire.OUT, payload):
                self._heard.append((job, kind - wire.OUT))
        elif kind == wire.STARTED:
            job.pid = json.loads(payload)["pid"]
        elif kind == wire.TAKEN:
            job.taken(wire.CURSOR.unpack(payload)[0])
        elif kind == wire.EXIT:
            how = checked(Exit, json.loads(payload))
            self._jobs.pop(number)
            self._write_later(wire.FORGET, number)
            job.exited(how)

    def _welcomed(self, welcome: dict[str, Any]) -> None:
        self.pid, self.socket, self._greeted = welcome["pid"], welcome["socket"], True
        self._inherits = ()  # it has what there was
        for number, job in list(self._jobs.items()):
            job.resume(welcome["jobs"].get(str(number)), welcome["pid"])
            if job.over:
                self._jobs.pop(number)
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_result(None)
