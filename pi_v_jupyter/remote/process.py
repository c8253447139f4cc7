"""One command on the VM as its client sees it: cursors, windows, and what is due after a break."""

from __future__ import annotations

import asyncio
import collections
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from pi_v_jupyter.errors import ConnectionLostError
from pi_v_jupyter.remote._resident import wire
from pi_v_jupyter.remote.channel import Exit, Request, StreamName

STREAMS: tuple[StreamName, StreamName] = ("stdout", "stderr")
STDIN_WINDOW = 4 << 20  # bytes on their way to a process that has not taken them


class Carrier(Protocol):
    """What a process needs of its `Resident`."""

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Send a frame, if there is a link; what is lost without one is made good by `resume`."""

    def forget(self, number: int) -> None:
        """Have no more of a command; one that still runs is killed."""


class ResidentProcess:
    """One command on the VM; see `channel.Process`."""

    def __init__(self, resident: Carrier, number: int, request: Request) -> None:
        self._resident, self._number, self.request = resident, number, request
        self._size = request.pty
        self._window = wire.TERMINAL_WINDOW if request.pty else wire.WINDOW
        self.pid: int | None = None
        self.on_away: Callable[[bool], object] = lambda _: None
        self.sent_to: int | None = None  # pid of the program that was told of it
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
        self._signals: list[int] = []  # all that were sent; a new link learns which arrived

    @property
    def over(self) -> bool:
        return self._exit is not None or self._failure is not None

    async def chunks(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        while True:
            while self._chunks:
                stream, data = self._chunks.popleft()
                yield STREAMS[stream], data
                self._consumed[stream] += len(data)
                if self._consumed[stream] - self._acked[stream] >= self._window // 4:
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
            self._send_signals(len(self._signals) - 1)

    def resize(self, cols: int, rows: int) -> None:
        self._size = (cols, rows)
        self._send_size()

    def _send_size(self) -> None:
        if self._size is not None:
            cols, rows = self._size
            self._send(wire.RESIZE, json.dumps({"cols": cols, "rows": rows}).encode())

    def _send_signals(self, first: int) -> None:
        for index in range(first, len(self._signals)):
            body = {"index": index, "signal": self._signals[index]}
            self._send(wire.SIGNAL, json.dumps(body).encode())

    async def close(self) -> None:
        if not self.over:
            self._resident.forget(self._number)
            self.fail(ConnectionLostError("The command was let go of."))

    def _send(self, kind: int, payload: bytes) -> None:
        self._resident.send(kind, self._number, payload)

    # From here on: called by the resident.

    def cursors(self) -> tuple[int, int]:
        """Bytes received so far; they need not be sent again."""
        return self._received[0], self._received[1]

    def resume(self, known: dict[str, Any] | None, pid: int) -> None:
        """A new link is there; `known` is what the program says of this command, or None."""
        self.on_away(False)
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
        for stream in range(len(STREAMS)):
            self.acknowledge(stream)
        for offset, piece in self._stdin:
            self._send(wire.STDIN, wire.CURSOR.pack(offset) + piece)
        if self._stdin_closed:
            self._send(wire.CLOSE, wire.CURSOR.pack(self._stdin_sent))
        self._send_signals(known["signals"] if known else 0)
        self._send_size()

    def transmit(self, pid: int) -> None:
        self.sent_to = pid
        request = self.request
        body: dict[str, Any] = {
            "env": dict(request.env),
            "cwd": request.cwd,
            "timeout": request.timeout,
            "stdin": request.stdin,
        }
        if request.work is not None:
            body["work"] = dict(request.work)
        elif request.socket is not None:
            body["socket"] = request.socket
        elif request.shell is not None:
            body["shell"] = request.shell
        elif request.command is not None:
            body["command"] = request.command
        else:
            body["argv"] = list(request.argv)
        if self._size is not None:
            body["pty"] = self._size
        if request.code is not None:
            body["code"] = request.code
        self._send(wire.START, json.dumps(body).encode())

    def received(self, stream: int, payload: bytes) -> bool:
        """Output came; is it to be acknowledged at once, as the stream's first is?"""
        (offset,) = wire.CURSOR.unpack_from(payload)
        if offset > self._received[stream]:
            self._resident.forget(self._number)
            self.fail(ConnectionLostError("Output is missing: the VM sent bytes out of order."))
            return False
        if self._received[stream] - self._consumed[stream] > self._window + wire.CHUNK:
            self._resident.forget(self._number)
            self.fail(ConnectionLostError("The VM sent more output than it may before it is read."))
            return False
        at_once = self.request.prompt or not self._received[stream]
        data = payload[wire.CURSOR.size + max(0, self._received[stream] - offset) :]
        if data:
            self._received[stream] += len(data)
            self._chunks.append((stream, data))
            self._changed.set()
        return at_once

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
