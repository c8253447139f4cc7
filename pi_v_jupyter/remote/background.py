"""Background processes of a machine: started, looked at, followed, stopped. They outlive whoever does so.

Over there each has a program of its own that runs it and keeps what it writes (`_resident/minder.py`). Here
is one client of it: whatever breaks in between, a log goes on from its cursor, and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal as signals
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pi_v_jupyter.errors import (
    ConnectionLostError,
    NotReadyError,
    RemoteCommandError,
    RemoteError,
    RemoteFileError,
    UnknownProcessError,
    UsageError,
    VMGoneError,
)
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote._resident.frames import ABOUT
from pi_v_jupyter.remote.callbacks import Callback, Callbacks
from pi_v_jupyter.remote.channel import Process, Request, StreamName, checked
from pi_v_jupyter.remote.journals import MARKS, Line, Reader, Wanted, frames, piece, told
from pi_v_jupyter.remote.refusals import shown, understood

LAST = 50  # lines of a log that are shown
GRACE = 5.0  # seconds a process has after its signal, before SIGKILL
READY_TIMEOUT = 120.0  # seconds
STOP_TIMEOUT = 30.0  # seconds it has after that to be gone
LOOK = 0.1  # seconds between two looks
END = 1 << 62  # a cursor that no journal comes to
SAID = ("run", "state", "trouble", "code", "signal", "stopped_by", "ended", "end")  # of it, by its minder
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


class Machine(Protocol):
    """Where it runs."""

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on."""

    @property
    def label(self) -> str:
        """What to call it in a sentence."""

    async def launch(self, request: Request) -> Process:
        """Start a command."""


class Table(Protocol):
    """The table of a machine's background processes, as one of them needs it; see `ProcessTable`."""

    @property
    def machine(self) -> Machine:
        """Where they run."""

    callbacks: Callbacks
    partings: int

    async def status(self, process_id: str, *, load: bool) -> Status:
        """What is known of one."""

    async def ask(self, what: str, **arguments: Any) -> Any:
        """Have the resident program do it."""

    def request(self, what: str, **arguments: Any) -> Request:
        """What the resident program is asked."""

    def attend(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` done until the session ends."""


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

    def __init__(self, table: Table, status: Status) -> None:
        self._table, self.machine, self.status = table, table.machine, status
        self._cpu_before: tuple[float, float] = (0.0, 0.0)
        self.cpu_percent = _percent(status, *self._cpu_before)

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
        await self._refresh(load=True)
        return self

    async def _refresh(self, *, load: bool = False) -> None:
        try:
            status = await self._table.status(self.id, load=load)
            if not load:
                status = replace(status, cpu=self.status.cpu, memory=self.status.memory)
            self.learn(status)
        except UnknownProcessError:
            self.learn(self._as_lost())

    def learn(self, status: Status) -> None:
        """Take in what the machine said; that of a later run of this id is no news of this one."""
        if status.run != self.status.run:
            if self.state == "running":
                self.status = self._as_lost(status.begin)
            return
        self._cpu_before = (self.status.cpu, self.status.uptime)
        self.status = status
        self.cpu_percent = _percent(status, *self._cpu_before)

    def _as_lost(self, end: int | None = None) -> Status:
        state = "lost" if self.state == "running" else self.state
        return replace(self.status, state=state, end=self.status.end if end is None else end)

    # Its end.

    def __await__(self) -> Generator[Any, None, BackgroundProcess]:
        return self.wait().__await__()

    @at_home
    async def wait(self) -> BackgroundProcess:
        """Until all of it has ended."""
        async with aclosing(self._follow(END)) as pieces:
            async for _ in pieces:
                pass
        return self

    @at_home
    async def stop(self, signal: str | int = "SIGTERM", *, grace: float = GRACE) -> BackgroundProcess:
        """Signal all of it, wait for its end, and send SIGKILL to what is left after `grace` seconds.

        `stopped_by` tells which signal it took. Nothing to do where it has ended already.

        Raises:
            UsageError: there is no such signal.
            RemoteError: it could not be ended, as when it is another user's.
        """
        number = signal_number(signal)
        await self._refresh()
        if self.state == "running":
            order = {"do": "stop", "signal": number, "grace": grace}
            try:
                async with (
                    asyncio.timeout(grace + STOP_TIMEOUT),
                    aclosing(self._follow(END, order)) as pieces,
                ):
                    async for _ in pieces:
                        pass
            except TimeoutError:
                raise RemoteError(
                    f"{self.id} on {self.machine.label} goes on: SIGKILL did not end all of it.",
                    "`%vm ps -ef` shows whose it is, and whether it waits for a disk.",
                ) from None
        return self

    @at_home
    async def remove(self) -> None:
        """Forget it, log and all.

        Raises:
            UsageError: it runs.
        """
        try:
            await self._table.ask("remove", id=self.id)
        except RemoteFileError as error:
            if error.errno is None:
                raise UsageError(
                    f"{self.id} runs on {self.machine.label}.", f"`%bg stop {self.id}` ends it first."
                ) from None
            raise

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
        found = await self._table.ask("tail", id=self.id, lines=last, stream=stream)
        with understood(self.machine.label):
            return int(found["cursor"])

    async def _lines(self, last: int | None, stream: Wanted) -> AsyncGenerator[list[Line], None]:
        reader = Reader(await self._beginning(last, stream))
        async with aclosing(self._follow(reader.cursor)) as pieces:
            async for at, data in pieces:
                missed = reader.missed
                found = reader.lines(at, data)
                if reader.missed > missed:
                    self._table.callbacks.on_notice(self._missed(reader.missed - missed))
                if found:
                    yield found
        if rest := reader.rest():
            yield rest

    def _missed(self, size: int) -> str:
        return f"{size / 1e6:.1f} MB of the log of {self.id} were let go before they were read"

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
                    found.insert(0, ("stderr", f"… {self._missed(reader.missed - missed)} …\n"))
                if found:
                    yield found

    async def _follow(
        self, cursor: int, order: dict[str, Any] | None = None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Pieces of its journal from `cursor` on, until it has ended. On its machine's loop."""
        partings = self._table.partings
        while self.state == "running":
            heard = False
            orders = ({"do": "follow", "from": cursor}, *([order] if order else ()))
            try:
                async with aclosing(self._frames(Request(socket=self.status.socket), *orders)) as found:
                    async for kind, body in found:
                        heard = True
                        if kind == ABOUT:
                            self._told(body)
                            continue
                        at, data = self._piece(body)
                        cursor = at + len(data)
                        yield at, data
            except ConnectionLostError:
                if self._table.partings != partings:
                    raise
            if self.state == "running":
                await self._refresh()  # it ended, or the resident program that led to it did
            if self.state == "running" and not heard:
                await asyncio.sleep(LOOK)  # too many clients, or it is just about to end
        async with aclosing(self._kept(cursor, self.status.end)) as pieces:
            async for at, data in pieces:
                yield at, data

    async def _kept(self, cursor: int, end: int | None) -> AsyncGenerator[tuple[int, bytes], None]:
        """What its files have."""
        if end is not None and cursor >= end:
            return
        asked = self._table.request("read", id=self.id, cursor=cursor, end=end)
        async with aclosing(self._frames(asked)) as found:
            async for _, body in found:
                yield self._piece(body)

    async def _frames(
        self, request: Request, *orders: dict[str, Any]
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """What comes, over one connection."""
        process = await self.machine.launch(request)
        buffer = bytearray()
        try:
            for words in orders:
                await process.write(json.dumps(words).encode() + b"\n")
            async for _, data in process.chunks():
                buffer += data
                with understood(self.machine.label):
                    found = list(frames(buffer))
                for kind, body in found:
                    yield kind, body
        finally:
            await process.close()

    def _piece(self, body: bytes) -> tuple[int, bytes]:
        with understood(self.machine.label):
            return piece(body)

    def _told(self, body: bytes) -> None:
        """Its minder says how it is; what only a look from outside tells is as it was."""
        with understood(self.machine.label):
            said = {name: value for name, value in told(body).items() if name in SAID}
            self.learn(checked(Status, {**self.status.__dict__, **said}))

    # When something happens.

    def on_exit(self, callback: Callable[[BackgroundProcess], Any]) -> Registration:
        """Have `callback` called with this process once all of it has ended, or was lost."""
        made = self._table.callbacks.made(callback)

        async def watch() -> None:
            try:
                await self.wait()
            except VMGoneError:
                self.status = self._as_lost()
            await made.call([self])

        self._table.attend(watch())
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
        made = self._table.callbacks.made(callback)

        async def watch() -> None:
            async with aclosing(self._lines(last, "both")) as batches:
                async for batch in batches:
                    if lines := [line for line in batch if found(line)]:
                        await made.call(lines)
                    if made.over:
                        return

        self._table.attend(watch())
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
            if await self._table.ask("listening", id=self.id, port=port):
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


def _percent(status: Status, cpu: float, uptime: float) -> float:
    """Of one processor, since an earlier look."""
    seconds = status.uptime - uptime
    return 100 * max(0.0, status.cpu - cpu) / seconds if seconds > 0 else 0.0


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
