"""Background processes of a machine: awaited, stopped, watched. They outlive whoever does so."""

from __future__ import annotations

import asyncio
import concurrent.futures
import difflib
import re
import secrets
import signal as signals
from collections.abc import Callable, Generator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from pi_v_jupyter.errors import (
    NotReadyError,
    RemoteCommandError,
    RemoteError,
    RemoteFileError,
    UsageError,
    VMGoneError,
)
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.remote.backgroundinput import BackgroundInput
from pi_v_jupyter.remote.backgroundlog import END, LAST, LOOK
from pi_v_jupyter.remote.backgroundstatus import Status, Table
from pi_v_jupyter.remote.callbacks import Callback
from pi_v_jupyter.remote.journals import Line
from pi_v_jupyter.remote.refusals import shown

__all__ = ["LAST", "BackgroundProcess", "BackgroundProcesses", "Status"]  # what is used of it outside

SEARCHED = 4096  # characters of a line: `a.*b` takes time by their square
MOST_GRACE = 86400.0  # seconds
GRACE = 5.0  # seconds a process has after its signal, before SIGKILL
READY_TIMEOUT = 120.0  # seconds
STOP_TIMEOUT = 30.0  # seconds it has after that to be gone
TAIL = 20  # lines of stderr that an error quotes


class BackgroundProcesses(list["BackgroundProcess"]):
    """Background processes, which show as a table in a notebook."""


class BackgroundProcess(BackgroundInput):
    """One run of a command in the background of `machine`, with all that came from it.

    `await process` waits until all of it has ended, and is the process itself. Methods may be awaited on any
    loop; callbacks are called on the one where they were registered, which in a notebook is the kernel's.

    Raises, all methods:
        ConnectError: the machine cannot be reached, or is paused, or gone.
    """

    def __init__(self, table: Table, status: Status) -> None:
        super().__init__(table, status)
        self._lined: list[concurrent.futures.Future[None]] = []  # each done when all lines were given

    @property
    def command(self) -> str:
        """What was to be run."""
        return self.status.command

    @property
    def pid(self) -> int:
        """The first of its processes, over there."""
        return self.status.pid

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
    def alive(self) -> bool:
        """Does anything of it run, minded or lost?"""
        return self.state == "running" or self.status.left > 0

    def __repr__(self) -> str:
        return f"<BackgroundProcess {self.id} on {self.machine.label}: {self.outcome}>"

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
            UsageError: there is no such signal, or no such time.
            RemoteError: it could not be ended, as when it is another user's.
        """
        number = signal_number(signal)
        if not 0 <= grace <= MOST_GRACE:
            raise UsageError(f"grace={grace} is no time to wait.", f"Seconds, from 0 to {MOST_GRACE:g}.")
        await self._refresh()
        if self.status.left:
            took = await self._table.ask("end_strays", id=self.id, signal=number, grace=grace)
            self.status = replace(self.status, stopped_by=str(took), left=0)
        if self.state == "running":
            name = secrets.token_hex(8)  # for it is given again after a break
            order = {"do": "stop", "signal": number, "grace": grace, "order": name}
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
                    f"{self.id} runs on {self.machine.label}.",
                    f"`%bg stop {self.id}{self._option}` ends it first.",
                ) from None
            raise

    def on_exit(self, callback: Callable[[BackgroundProcess], Any]) -> Callback[Any]:
        """Have `callback` called with this process once all of it has ended, or was lost; to be cancelled.

        After the last line that functions given to `on_line` are called with.
        """
        made = self._table.callbacks.made(callback)

        async def watch() -> None:
            try:
                await self.wait()
            except VMGoneError:
                self.status = self._as_lost()
            if lined := [asyncio.wrap_future(each) for each in self._lined]:
                await asyncio.wait(lined)
            await made.call([self])

        made.watch = self._table.attend(watch)
        return made

    def on_line(
        self,
        pattern: str | re.Pattern[str],
        callback: Callable[[Line], Any],
        *,
        last: int | None = None,
    ) -> Callback[Any]:
        """Have `callback` called with each line in which `pattern`, a regular expression, is found.

        It is looked for in the first 4096 characters of a line; from the start of the process on, or from the
        `last` lines that are there; 0: only what comes.
        """
        found = compiled(pattern).search
        made = self._table.callbacks.made(callback)

        async def watch() -> None:
            async with aclosing(self._lines(last, "both")) as batches:
                async for missed, batch in batches:
                    if missed:
                        await made.warn(self._missed(missed))
                    if lines := [line for line in batch if found(line, 0, SEARCHED)]:
                        await made.call(lines)
                    if made.over:
                        return

        made.watch = self._table.attend(watch)
        self._lined = [each for each in self._lined if not each.done()] + [made.watch]
        return made

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
                    async for _, batch in batches:
                        for line in batch:
                            if found(line, 0, SEARCHED):
                                return line
        except TimeoutError:
            missing, hint = f"it does not listen to port {what}", ""
            if not isinstance(what, int):
                missing = f"no line matched {shown(_text(what))}"
                hint = " Some hold it back where no terminal is: `python3 -u` does not."
            raise NotReadyError(
                f"{self.id} on {self.machine.label} is not ready after {timeout:g} s: {missing}.",
                f"It goes on: `%bg logs {self.id}{self._option}` shows what it writes.{hint}",
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
            f"`%bg logs {self.id}{self._option}` shows what it wrote.",
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
        names = [each.name for each in signals.Signals]
        near = difflib.get_close_matches(name if name.startswith("SIG") else f"SIG{name}", names, 1)
        raise UsageError(
            f"There is no signal {shown(str(signal))}." + (f" Did you mean {near[0]}?" if near else ""),
            "Such as SIGTERM, SIGINT, SIGHUP, SIGKILL.",
        ) from None
