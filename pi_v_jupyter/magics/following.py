"""What a background process writes, shown in a cell as a command's output is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Self

from pi_v_jupyter import loops
from pi_v_jupyter.magics.output import CellOutput
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.remote.channel import StreamName
from pi_v_jupyter.remote.journals import Line, Wanted

ALTERNATE = 200  # times that the streams of a log may; each time is a message to the notebook
FULL = "\n… more than a cell shows. `%bg logs {}{}` has the latest; the end of it comes here at the end …\n"


def show(lines: Iterable[Line], screen: loops.Screen) -> None:
    """Show them as if they were written now. On the I/O loop."""
    output = CellOutput(screen, most=ALTERNATE, in_order=True)
    for line in lines:
        output.feed(line.stream, f"{line}\n".encode("utf-8", "backslashreplace"))
    output.finish()


class Follower:
    """Shows on `screen` what a process writes, within an `async with` on the I/O loop.

    `awaited`: a pattern of a line that others wait for too; see `caught_up`.
    """

    def __init__(
        self,
        process: BackgroundProcess,
        screen: loops.Screen,
        stream: Wanted = "both",
        *,
        last: int | None = None,
        awaited: str | None = None,
    ) -> None:
        self._process, self._stream, self._last = process, stream, last
        self._output = CellOutput(screen, in_order=True)
        self._awaited = None if awaited is None else re.compile(awaited)
        self._came = asyncio.Event()
        self._open: dict[StreamName, str] = {"stdout": "", "stderr": ""}  # lines that have not ended yet
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._output.finish()

    async def _follow(self) -> None:
        async with aclosing(self._process.output(self._stream, last=self._last)) as pieces:
            async for stream, text in pieces:
                was_full = self._output.full
                self._output.feed(stream, text.encode("utf-8", "backslashreplace"))
                if self._output.full and not was_full:
                    self._output.flush()
                    self._output.say("stderr", FULL.format(self._process.id, self._process.machine.option))
                if self._awaited is not None and not self._came.is_set():
                    self._look(self._awaited, stream, text)

    def _look(self, awaited: re.Pattern[str], stream: StreamName, text: str) -> None:
        *lines, self._open[stream] = (self._open[stream] + text).split("\n")
        if any(map(awaited.search, lines)):
            self._came.set()

    async def caught_up(self) -> None:
        """Until the line that is awaited was shown, or there is no more to show."""
        came = asyncio.create_task(self._came.wait())
        await asyncio.wait([came, self._task], return_when=asyncio.FIRST_COMPLETED)
        came.cancel()

    async def ended(self, timeout: float | None = None) -> None:
        """Until the process has ended and all of it was shown, or for `timeout` seconds.

        Raises:
            ConnectError: its machine can be reached no longer.
        """
        done, _ = await asyncio.wait([self._task], timeout=timeout)
        for task in done:
            task.result()
