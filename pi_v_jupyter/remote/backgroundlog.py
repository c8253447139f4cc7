"""A background process as its machine tells of it: what it is like, and its log, followed from a cursor.

Over there a program of its own minds each (`_resident/minder.py`). Whatever breaks in between, a log goes on
from its cursor, and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from typing import Any, Self

from pi_v_jupyter.errors import ConnectionLostError, UnknownProcessError
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote._resident.frames import ABOUT, LOG
from pi_v_jupyter.remote.backgroundstatus import NEWS, Status, Table, made
from pi_v_jupyter.remote.channel import Request, StreamName
from pi_v_jupyter.remote.journals import MARKS, Line, Reader, Wanted, frames, piece, said
from pi_v_jupyter.remote.journals import told as parsed
from pi_v_jupyter.remote.refusals import understood

LAST = 50  # lines of a log that are shown
LOOK = 0.1  # seconds between two looks
TRIES = 5  # to follow, none of which led to any output, or lasted
STEADY = 2.0  # seconds
SPAN = 1.0  # seconds at least over which the use of a processor is told: clocks tick 100 times in one
END = 1 << 62  # a cursor that no journal comes to


class BackgroundLog:
    """What is known of one run of a command, and what it writes."""

    def __init__(self, table: Table, status: Status) -> None:
        self._table, self.machine, self.status = table, table.machine, status
        self.on_away: Callable[[bool], object] = lambda _: None  # see `channel.Process`, while it is followed
        self._measured: tuple[float, float] = (0.0, 0.0)
        self.cpu_percent = 0.0
        self._measure()

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """Its machine's loop."""
        return self.machine.home

    @property
    def id(self) -> str:
        """Its name, unique on its machine."""
        return self.status.id

    @property
    def state(self) -> str:
        """When last looked at: "running", "ended" or "lost"; see `refresh`."""
        return self.status.state

    @property
    def _option(self) -> str:
        return self.machine.option

    @property
    def exited(self) -> bool:
        """Has the first of its processes ended? What that has started may go on."""
        return self.state != "running" or self.status.code is not None or self.status.signal is not None

    @property
    def exit(self) -> str:
        """How that ended, in words, such as "exit code 0", "ended by SIGTERM"; "lost" if nobody knows."""
        if self.status.signal:
            return f"ended by {self.status.signal}"
        return "lost" if self.status.code is None else f"exit code {self.status.code}"

    @property
    def outcome(self) -> str:
        """Its state in words, such as "running", "exit code 0", "ended by SIGTERM"."""
        if self.state == "running":
            return "running"
        if self.status.left:
            return f"lost, and {self.status.left} of its processes run on"
        return self.exit

    @at_home
    async def refresh(self) -> Self:
        """Look at it again."""
        await self._refresh(load=True)
        return self

    async def _refresh(self, *, load: bool = False) -> None:
        try:
            status = await self._table.status(self.id, load=load)
            if load:
                self.measured(status)
            else:
                self.learn(replace(status, cpu=self.status.cpu, memory=self.status.memory))
        except UnknownProcessError:
            self.learn(self._as_lost())

    def learn(self, status: Status) -> None:
        """Take in what the machine said; that of a later run of this id is no news of this one."""
        if status.run != self.status.run:
            if self.state == "running":
                self.status = self._as_lost(status.begin)
            return
        self.status = status

    def measured(self, status: Status) -> None:
        """Likewise, of what it said of the load too."""
        self.learn(status)
        self._measure()

    def _measure(self) -> None:
        """Percent of one processor, since an earlier look or the start."""
        cpu, uptime = self._measured
        seconds = self.status.uptime - uptime
        if seconds >= SPAN or (seconds > 0 and not uptime):
            self.cpu_percent = 100 * max(0.0, self.status.cpu - cpu) / seconds
        if seconds >= SPAN:
            self._measured = self.status.cpu, self.status.uptime

    def _as_lost(self, end: int | None = None) -> Status:
        state = "lost" if self.state == "running" else self.state
        return replace(self.status, state=state, end=self.status.end if end is None else end)

    # What it writes.

    @at_home
    async def logs(self, last: int = LAST, stream: Wanted = "both") -> list[Line]:
        """The last lines it has written, to one stream or both; those of earlier runs with this id too."""
        reader, found = Reader(await self._tail(last, stream)), list[Line]()
        async for at, data in self._kept(reader.cursor, None):
            with self._understood():
                found += reader.lines(at, data)
        return [line for line in (*found, *reader.rest()) if stream in ("both", line.stream)][-last:]

    async def lines(self, stream: Wanted = "both", *, last: int | None = None) -> AsyncGenerator[Line, None]:
        """Each line it writes, from its start, or from the `last` that are there, until it has ended."""
        async with aclosing(cross(self._lines(last, stream), self.home)) as batches:
            async for missed, batch in batches:
                if missed:
                    warnings.warn(self._missed(missed), stacklevel=2)
                for line in batch:
                    if stream in ("both", line.stream):
                        yield line

    async def output(
        self, stream: Wanted = "both", *, last: int | None = None
    ) -> AsyncGenerator[tuple[StreamName, str], None]:
        """What it writes, as it comes, lines without an end included: ("stdout" or "stderr", text)."""
        async with aclosing(cross(self._output(last, stream), self.home)) as batches:
            async for batch in batches:
                for name, text in batch:
                    if stream in ("both", name):
                        yield name, text

    async def _beginning(self, last: int | None, stream: Wanted) -> int:
        return self.status.begin if last is None else await self._tail(last, stream)

    async def _tail(self, last: int, stream: Wanted) -> int:
        found = await self._table.ask("tail", id=self.id, lines=last, stream=stream)
        with self._understood():
            return int(found["cursor"])

    async def _lines(self, last: int | None, stream: Wanted) -> AsyncGenerator[tuple[int, list[Line]], None]:
        """Some lines at once, and how many bytes before them were let go unread."""
        reader = Reader(await self._beginning(last, stream))
        async with aclosing(self._follow(reader.cursor)) as pieces:
            async for at, data in pieces:
                missed = reader.missed
                with self._understood():
                    found = reader.lines(at, data)
                if found or reader.missed > missed:
                    yield reader.missed - missed, found
        if rest := reader.rest():
            yield 0, rest

    def _missed(self, size: int) -> str:
        return f"{size / 1e6:.1f} MB of the log of {self.id} were let go before they were read."

    async def _output(
        self, last: int | None, stream: Wanted
    ) -> AsyncGenerator[list[tuple[StreamName, str]], None]:
        reader = Reader(await self._beginning(last, stream))
        async with aclosing(self._follow(reader.cursor)) as pieces:
            async for at, data in pieces:
                missed = reader.missed
                with self._understood():
                    rows = reader.rows(at, data)
                found = [
                    (MARKS[mark.lower()], text if mark.isupper() else f"{text}\n")
                    for mark, text in rows
                    if mark.lower() in MARKS
                ]
                if reader.missed > missed:
                    found.insert(0, ("stderr", f"… {self._missed(reader.missed - missed)}\n"))
                if found:
                    yield found

    async def _follow(
        self, cursor: int, order: dict[str, Any] | None = None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Pieces of its journal from `cursor` on, until it has ended; empty ones when there is news of it.

        On its machine's loop.
        """

        def words() -> bytes:
            return said({"do": "follow", "from": cursor}) + (said(order) if order else b"")

        async with aclosing(self._talk(words)) as found:
            async for kind, body in found:
                if kind == LOG:
                    at, data = self._piece(body)
                    cursor = at + len(data)
                    yield at, data
                elif kind == ABOUT:
                    yield cursor, b""
        async with aclosing(self._kept(cursor, self.status.end)) as pieces:
            async for at, data in pieces:
                yield at, data

    async def _talk(self, words: Callable[[], bytes]) -> AsyncGenerator[tuple[int, bytes], None]:
        """What its minder answers to `words`, which it is told again after a break, until all has ended."""
        partings, tries = self._table.partings, TRIES
        while self.state == "running":
            began = asyncio.get_running_loop().time()
            try:
                async with aclosing(self._frames(Request(socket=self.status.socket), words())) as found:
                    async for kind, body in found:
                        if kind == ABOUT:
                            self._told(body)
                        else:
                            tries = TRIES
                        yield kind, body
                if self.state == "running":
                    await self._refresh()
            except ConnectionLostError:  # with the resident program that led to it; or what came was nonsense
                tries = TRIES if asyncio.get_running_loop().time() - began > STEADY else tries - 1
                if self._table.partings != partings or not tries:
                    raise
            if self.state == "running":
                await asyncio.sleep(LOOK)  # too many clients, or it is just about to end

    async def _kept(self, cursor: int, end: int | None) -> AsyncGenerator[tuple[int, bytes], None]:
        """What its files have."""
        if end is not None and cursor >= end:
            return
        asked = self._table.request("read", id=self.id, cursor=cursor, end=end)
        async with aclosing(self._frames(asked)) as found:
            async for _, body in found:
                yield self._piece(body)

    async def _frames(self, request: Request, words: bytes = b"") -> AsyncGenerator[tuple[int, bytes], None]:
        """What comes, over one connection, to which `words` are said."""
        process = await self.machine.launch(request)
        process.on_away = lambda away: self.on_away(away)
        self.on_away(False)  # an earlier one may have been given up while it was out of reach
        saying = asyncio.create_task(process.write(words))  # what comes may be why no more is taken
        buffer = bytearray()
        try:
            async for _, data in process.chunks():
                buffer += data
                with self._understood():
                    found = list(frames(buffer))
                for kind, body in found:
                    yield kind, body
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
            await process.close()

    def _understood(self) -> AbstractContextManager[None]:
        return understood(lambda: self.machine.label)  # there are many pieces, and few that make no sense

    def _piece(self, body: bytes) -> tuple[int, bytes]:
        with self._understood():
            return piece(body)

    def _told(self, body: bytes) -> None:
        """Its minder says how it is; what only a look from outside tells is as it was."""
        with self._understood():
            news = {name: value for name, value in parsed(body).items() if name in NEWS}
            self.learn(made({**self.status.__dict__, **news}))
