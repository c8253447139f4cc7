"""Background processes of a machine: started, looked at, followed, stopped. They outlive whoever does so.

Over there each has a program of its own that runs it and keeps what it writes (`_resident/minder.py`). Here
is one client of it: whatever breaks in between, a log goes on from its cursor, and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal as signals
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from pi_v_jupyter.errors import (
    ConnectionLostError,
    NotReadyError,
    RemoteCommandError,
    UnknownProcessError,
    UsageError,
    VersError,
)
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote._resident.frames import ABOUT, LOG
from pi_v_jupyter.remote.callbacks import Callback, Callbacks
from pi_v_jupyter.remote.channel import Process, Request, StreamName, checked
from pi_v_jupyter.remote.journals import MARKS, Line, Reader, Wanted, frames, piece, told
from pi_v_jupyter.remote.refusals import shown, understood

LAST = 50  # lines of a log that are shown
GRACE = 5.0  # seconds a process has after its signal, before SIGKILL
READY_TIMEOUT = 120.0  # seconds
LOOK = 0.1  # seconds between two looks whether a port is listened to, and two tries to follow
TRIES = 5  # to follow, none of which led to any output
SPAN = (
    1.0  # seconds at least over which the use of a processor is told: its clock ticks a hundred times in one
)
TAIL = 20  # lines of stderr that an error quotes


@dataclass(frozen=True)
class Status:
    """A background process when last looked at; times in seconds, of its machine's clock.

    `state`: "running", as long as anything that came from it runs; "ended"; or "lost": what minded it was
    killed, or its machine restarted. `stopped_by`: the signal that a stop took. `trouble`: why its log
    stands still. `cpu`: seconds of processor time; `memory`: bytes.
    """

    id: str
    run: str
    command: str
    cwd: str
    state: str
    pid: int
    minder: int
    minder_began: str
    started: float
    begin: int
    end: int
    socket: str = ""
    uptime: float = 0.0
    ended: float | None = None
    code: int | None = None
    signal: str | None = None
    stopped_by: str | None = None
    trouble: str = ""
    cpu: float = 0.0
    memory: int = 0
    last_line: str = ""


class BackgroundPlace(Protocol):
    """A machine, as its background processes need it."""

    partings: int  # how often its session has let go of it

    @property
    def callbacks(self) -> Callbacks:
        """How functions of the user's are called."""

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on."""

    @property
    def label(self) -> str:
        """What to call it in a sentence."""

    async def launch(self, request: Request) -> Process:
        """Start a command."""

    async def status_of(self, process_id: str) -> Status:
        """What it knows of one."""

    async def on_background(self, what: str, **arguments: Any) -> tuple[bytes, Any]:
        """Have the resident program do it: its output, and what it found."""

    def attend(self, work: Any) -> None:
        """Have `work` done on its loop, until it ends or the session does."""


class BackgroundProcesses(list["BackgroundProcess"]):
    """Background processes, which show as a table in a notebook."""


class Registration:
    """A callback that was registered; `cancel` has it called no more."""

    def __init__(self, callback: Callback[Any]) -> None:
        self._callback = callback

    def cancel(self) -> None:
        """Call it no more."""
        self._callback.cancel()


class BackgroundProcess:
    """One run of a command in the background of `machine`, with all that came from it.

    `await process` waits until all of it has ended, and is the process itself. Methods may be awaited on any
    loop; callbacks are called on the one where they were registered, which in a notebook is the kernel's.

    Raises, all methods:
        ConnectError: the machine cannot be reached, or is paused, or gone.
    """

    def __init__(self, machine: BackgroundPlace, status: Status) -> None:
        self.machine, self.status = machine, status
        self._measured: tuple[float, float] = (0.0, 0.0)
        self.cpu_percent = 0.0
        self._measure()

    # What is known of it.

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """Its machine's loop."""
        return self.machine.home

    @property
    def id(self) -> str:
        """Its name, unique on its machine."""
        return self.status.id

    @property
    def command(self) -> str:
        """What was to be run."""
        return self.status.command

    @property
    def pid(self) -> int:
        """The first of its processes, over there."""
        return self.status.pid

    @property
    def state(self) -> str:
        """When last looked at: "running", "ended" or "lost"; see `refresh`."""
        return self.status.state

    @property
    def exit_code(self) -> int | None:
        """Of the first of its processes; None while it runs, or when a signal ended it."""
        return self.status.code

    @property
    def signal(self) -> str | None:
        """What ended that, such as "SIGTERM", if a signal did."""
        return self.status.signal

    @property
    def stopped_by(self) -> str | None:
        """The signal it took to stop all of it, if it was stopped."""
        return self.status.stopped_by

    @property
    def outcome(self) -> str:
        """Its state in words, such as "running", "exit code 0", "ended by SIGTERM"."""
        if self.state == "running":
            return "running"
        if self.status.signal:
            return f"ended by {self.status.signal}"
        return "lost" if self.status.code is None else f"exit code {self.status.code}"

    def __repr__(self) -> str:
        return f"<BackgroundProcess {self.id} on {self.machine.label}: {self.outcome}>"

    @at_home
    async def refresh(self) -> BackgroundProcess:
        """Look at it again."""
        await self._refresh()
        return self

    async def _refresh(self) -> None:
        try:
            self.learn(await self.machine.status_of(self.id))
        except UnknownProcessError:
            self.learn(self._as_lost())

    def learn(self, status: Status) -> None:
        """Take in what the machine said; that of a later run of this id is no news of this one."""
        if status.run != self.status.run:
            if self.state == "running":
                self.status = self._as_lost(status.begin)
            return
        self.status = status
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
        known = self.status.__dict__ | {"state": "lost" if self.state == "running" else self.state}
        return Status(**(known if end is None else known | {"end": end}))

    # Its end.

    def __await__(self) -> Generator[Any, None, BackgroundProcess]:
        return self.wait().__await__()

    @at_home
    async def wait(self) -> BackgroundProcess:
        """Until all of it has ended."""
        async with aclosing(self._follow(1 << 62)) as pieces:
            async for _ in pieces:
                pass
        return self

    @at_home
    async def stop(self, signal: str | int = "SIGTERM", *, grace: float = GRACE) -> BackgroundProcess:
        """Signal all of it, wait for its end, and send SIGKILL to what is left after `grace` seconds.

        `stopped_by` tells which signal it took. Nothing to do where it has ended already.

        Raises:
            UsageError: there is no such signal.
        """
        number = signal_number(signal)
        await self._refresh()
        if self.state == "running":
            async with aclosing(
                self._follow(1 << 62, {"do": "stop", "signal": number, "grace": grace})
            ) as pieces:
                async for _ in pieces:
                    pass
        return self

    @at_home
    async def remove(self) -> None:
        """Forget it, log and all.

        Raises:
            UsageError: it runs.
        """
        await self.machine.on_background("remove", id=self.id)

    # What it writes.

    @at_home
    async def logs(self, last: int = LAST, stream: Wanted = "both") -> list[Line]:
        """The last lines it has written, to one stream or both; those of earlier runs with this id too."""
        reader, found = Reader(await self._tail(last, stream)), list[Line]()
        async for at, data in self._kept(reader.cursor, None):
            found += reader.lines(at, data)
        return [line for line in (*found, *reader.rest()) if stream in ("both", line.stream)][-last:]

    async def lines(self, stream: Wanted = "both", *, last: int | None = None) -> AsyncGenerator[Line, None]:
        """Each line it writes, from its start, or from the `last` that are there, until it has ended."""
        async with aclosing(cross(self._lines(last, stream), self.home)) as batches:
            async for batch in batches:
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
        _, found = await self.machine.on_background("tail", id=self.id, lines=last, stream=stream)
        with understood(self.machine.label):
            return int(found["cursor"])

    async def _lines(self, last: int | None, stream: Wanted) -> AsyncGenerator[list[Line], None]:
        reader = Reader(await self._beginning(last, stream))
        async with aclosing(self._follow(reader.cursor)) as pieces:
            async for at, data in pieces:
                if found := reader.lines(at, data):
                    yield found
        if rest := reader.rest():
            yield rest

    async def _output(
        self, last: int | None, stream: Wanted
    ) -> AsyncGenerator[list[tuple[StreamName, str]], None]:
        reader = Reader(await self._beginning(last, stream))
        async with aclosing(self._follow(reader.cursor)) as pieces:
            async for at, data in pieces:
                missed = reader.missed
                rows = reader.rows(at, data)
                found = [
                    (MARKS[mark.lower()], text if mark.isupper() else f"{text}\n")
                    for mark, text in rows
                    if mark.lower() in MARKS
                ]
                if reader.missed > missed:
                    lost = f"… {(reader.missed - missed) / 1e6:.1f} MB of the log were let go unread …\n"
                    found.insert(0, ("stderr", lost))
                if found:
                    yield found

    async def _follow(
        self, cursor: int, order: dict[str, Any] | None = None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Pieces of its journal from `cursor` on, until it has ended. On its machine's loop."""
        partings, tries = self.machine.partings, TRIES
        while self.state == "running":
            try:
                async with aclosing(self._talk(cursor, order)) as pieces:
                    async for at, data in pieces:
                        cursor, tries = at + len(data), TRIES
                        yield at, data
                if self.state == "running":
                    await self._refresh()  # it ended, or the resident program that led to it did
            except ConnectionLostError:
                tries -= 1
                if self.machine.partings != partings or not tries:
                    raise
            if self.state == "running":
                await asyncio.sleep(LOOK)
        async for at, data in self._kept(cursor, self.status.end):
            yield at, data

    async def _talk(
        self, cursor: int, order: dict[str, Any] | None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """What its minder says, over one connection."""
        process = await self.machine.launch(Request(socket=self.status.socket))
        buffer = bytearray()
        try:
            for words in ({"do": "follow", "from": cursor}, *([order] if order else ())):
                await process.write(json.dumps(words).encode() + b"\n")
            async for _, data in process.chunks():
                buffer += data
                with understood(self.machine.label):
                    for kind, body in list(frames(buffer)):
                        if kind == LOG:
                            yield piece(body)
                        elif kind == ABOUT:
                            self._told(told(body))
        finally:
            await process.close()

    def _told(self, about: dict[str, Any]) -> None:
        looked_at = ("socket", "uptime", "cpu", "memory", "last_line")
        self.learn(checked(Status, about | {name: getattr(self.status, name) for name in looked_at}))

    async def _kept(self, cursor: int, end: int | None) -> AsyncGenerator[tuple[int, bytes], None]:
        """What its files have."""
        if end is not None and cursor >= end:
            return
        data, _ = await self.machine.on_background("read", id=self.id, cursor=cursor, end=end)
        with understood(self.machine.label):
            for _, body in frames(bytearray(data)):
                yield piece(body)

    # When something happens.

    def on_exit(self, callback: Callable[[BackgroundProcess], Any]) -> Registration:
        """Have `callback` called with this process once all of it has ended, or was lost."""
        made = self.machine.callbacks.made(callback)

        async def watch() -> None:
            try:
                await self.wait()
            except ConnectionLostError:
                raise
            except VersError:  # its machine is gone
                self.status = self._as_lost()
            await made.call([self])

        self.machine.attend(watch())
        return Registration(made)

    def on_line(
        self,
        pattern: str | re.Pattern[str],
        callback: Callable[[Line], Any],
        *,
        last: int | None = None,
    ) -> Registration:
        """Have `callback` called with each line in which `pattern`, a regular expression, is found.

        From the start of the process on, or from the `last` lines that are there; 0: only what comes.
        """
        found = compiled(pattern).search
        made = self.machine.callbacks.made(callback)

        async def watch() -> None:
            async with aclosing(self._lines(last, "both")) as batches:
                async for batch in batches:
                    if lines := [line for line in batch if found(line)]:
                        await made.call(lines)
                    if made.over:
                        return

        self.machine.attend(watch())
        return Registration(made)

    @at_home
    async def ready(
        self, what: str | int | re.Pattern[str], *, timeout: float = READY_TIMEOUT
    ) -> Line | None:
        """Until a line has the pattern `what` in it, which is returned; or one of it listens to port `what`.

        `timeout` is in seconds, 0 for none.

        Raises:
            RemoteCommandError: it ended before.
            NotReadyError: time is up; it goes on.
        """
        try:
            async with asyncio.timeout(timeout or None):
                if isinstance(what, int):
                    await self._listening(what)
                    return None
                found = compiled(what).search
                async with aclosing(self._lines(None, "both")) as batches:
                    async for batch in batches:
                        for line in batch:
                            if found(line):
                                return line
        except TimeoutError:
            wanted = f"port {what}" if isinstance(what, int) else f"a line with {shown(_text(what))}"
            raise NotReadyError(
                f"{self.id} on {self.machine.label} is not ready after {timeout:g} s: {wanted} did not come.",
                f"It goes on: `%bg logs {self.id}` shows what it says.",
            ) from None
        await self.raise_if_failed(ready=True)
        return None

    async def _listening(self, port: int) -> None:
        while True:
            _, found = await self.machine.on_background("listening", id=self.id, port=port)
            if found:
                return
            await self._refresh()
            if self.state != "running":
                await self.raise_if_failed(ready=True)
            await asyncio.sleep(LOOK)

    @at_home
    async def raise_if_failed(self, *, ready: bool = False) -> None:
        """Raise RemoteCommandError if it has ended otherwise than with 0; with `ready`, if it has ended."""
        if self.state == "running" or (self.status.code == 0 and not ready):
            return
        lines = await self.logs(TAIL, "stderr") if self.state == "ended" else []
        raise RemoteCommandError(
            f"{self.id} on {self.machine.label} has ended{' before it was ready' * ready}: {self.outcome}",
            f"`%bg logs {self.id}` shows what it wrote.",
            exit_code=self.status.code,
            signal=self.status.signal,
            stderr="\n".join(lines),
        )


def _text(pattern: str | re.Pattern[str]) -> str:
    return pattern if isinstance(pattern, str) else pattern.pattern


def compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    """A regular expression.

    Raises:
        UsageError: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"{_text(pattern)!r} is no regular expression: {error}.", "`re.escape` makes one of plain text."
        ) from None


def signal_number(signal: str | int) -> int:
    """The number of a signal; its name may lack SIG.

    Raises:
        UsageError: there is none.
    """
    name = str(signal).strip().upper()
    try:
        if name.isascii() and name.isdecimal():
            return signals.Signals(int(name)).value
        return signals.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
    except (KeyError, ValueError):
        raise UsageError(
            f"There is no signal {signal}.", "Such as SIGTERM, SIGINT, SIGHUP, SIGKILL."
        ) from None
