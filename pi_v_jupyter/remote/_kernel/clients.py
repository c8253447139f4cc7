"""One who has come to a kernel: what it asks is led in, what comes of that is led out."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

from .wire import CONTROL, HEAD, IOPUB, LARGE, LARGEST, LENGTH, OWN, SHELL, STDIN, pieces

if TYPE_CHECKING:
    from .keeper import Keeper

BEHIND = 32 << 20  # bytes that wait for a client before it has to do without some output
OUTPUT = ("stream", "display_data", "update_display_data")  # what it can do without


class Client:
    """One connection, with sockets to the kernel that have its name: replies and prompts come to them."""

    def __init__(self, keeper: Keeper, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.keeper, self.reader, self.writer = keeper, reader, writer
        self.name = os.urandom(16).hex().encode()
        self.session = ""
        self.sockets: dict[int, Any] = {}
        self.pumps: list[asyncio.Task[None]] = []
        self.asked = False  # for input that has not come
        self.lost = 0

    def connect(self) -> None:
        """To the kernel there is now."""
        self.disconnect()
        manager = self.keeper.manager
        for channel, connect in (
            (SHELL, manager.connect_shell),
            (CONTROL, manager.connect_control),
            (STDIN, manager.connect_stdin),
        ):
            made = self.sockets[channel] = connect(identity=self.name)
            made.linger = 0
            self.pumps.append(self.keeper.started_task(self.pump(channel, made)))
        self.tell(**self.keeper.about())

    def disconnect(self) -> None:
        for pump in self.pumps:
            pump.cancel()
        for made in self.sockets.values():
            made.close()
        self.pumps, self.sockets, self.asked = [], {}, False

    async def pump(self, channel: int, made: Any) -> None:
        while True:
            frames = await made.recv_multipart(copy=False)
            self.asked = self.asked or channel == STDIN
            self.send(channel, [frame.buffer for frame in frames])

    def send(self, channel: int, parts: list[memoryview]) -> None:
        for piece in pieces(channel, parts):
            self.writer.write(piece)

    def publish(self, kind: str, parts: list[memoryview]) -> None:
        waiting = self.writer.transport.get_write_buffer_size()
        if kind in OUTPUT and waiting > BEHIND:
            self.lost += sum(map(len, parts))
            return
        if self.lost and waiting <= BEHIND:
            self.tell(lost=self.lost)
            self.lost = 0
        self.send(IOPUB, parts)

    def tell(self, **what: Any) -> None:
        data = json.dumps(what).encode()
        self.writer.write(HEAD.pack(len(data), OWN) + data)

    async def serve(self) -> None:
        try:
            while True:
                size, channel = HEAD.unpack(await self.reader.readexactly(HEAD.size))
                if size > LARGEST:
                    return
                if channel == OWN:
                    await self.order(json.loads(await self.reader.readexactly(size)))
                    continue
                parts = await self.parts(size)
                if channel in self.sockets:
                    self.keeper.used = True
                    self.asked = self.asked and channel != STDIN
                    await self.sockets[channel].send_multipart(parts, copy=False)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            asked = self.asked
            self.disconnect()
            self.writer.close()
            if asked:  # nobody will ever answer
                await self.keeper.interrupt()

    async def parts(self, size: int) -> list[bytearray]:
        """Of a message of that many bytes; none of them is in memory twice."""
        parts = []
        while size > 0:
            (length,) = LENGTH.unpack(await self.reader.readexactly(LENGTH.size))
            size -= LENGTH.size + length
            if size < 0:
                raise ConnectionError("no frame")
            part = bytearray()
            while len(part) < length:
                piece = await self.reader.read(min(length - len(part), LARGE))
                if not piece:
                    raise ConnectionError("half a frame")
                part += piece
            parts.append(part)
        return parts

    async def order(self, what: dict[str, Any]) -> None:
        if what["do"] == "hello":
            self.session = what["session"]
        elif what["do"] == "interrupt":
            await self.keeper.interrupt()
        elif what["do"] == "restart":
            await self.keeper.restart()
        elif what["do"] == "end":
            await self.keeper.end()
