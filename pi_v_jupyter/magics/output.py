"""From a command's bytes to the cell that asked for them: decoded, at most 20 times a second, never too much.

A cell shows the first `SHOWN` characters; the whole goes to a file, and its last lines are shown at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from pi_v_jupyter.loops import Screen
from pi_v_jupyter.remote.channel import StreamName, TextDecoder
from pi_v_jupyter.settings import cache_dir

INTERVAL = 0.05  # seconds between two updates of a cell
MOST = 8  # pieces of one update in which the streams are shown in the order they came
SHOWN = 512 << 10  # characters of one cell
TAIL = 4 << 10  # characters shown of the end
KEPT = 1 << 30  # bytes of one cell's output in its file
FILES = 20  # such files; older ones are removed

Write = Callable[[StreamName, str], object]

_numbers = itertools.count(1)


def to_cell(stream: StreamName, text: str) -> None:
    """Print in the current cell."""
    out = sys.stdout if stream == "stdout" else sys.stderr
    out.write(text)
    out.flush()


class CellOutput:
    """The output of one command on its way to a cell; lives on the I/O loop.

    `share`: how many commands show in that cell; `label`: what each line of this one begins with. Where the
    streams alternate more than `most` times in an update, each is shown whole; or, `in_order`, all as stdout.
    """

    def __init__(
        self,
        screen: Screen,
        write: Write = to_cell,
        *,
        label: str | None = None,
        share: int = 1,
        most: int = MOST,
        in_order: bool = False,
    ) -> None:
        self._screen, self._most, self._in_order = screen, most, in_order
        self._labelled = None if label is None else Labelled(label, write)
        self._write = self._labelled.write if self._labelled else write
        self._interval, self._room = INTERVAL * share, SHOWN // share
        self._decoders: dict[StreamName, TextDecoder] = {"stdout": TextDecoder(), "stderr": TextDecoder()}
        self._pending: list[tuple[StreamName, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # when the cell may be updated again, by the loop's clock
        self._head: list[bytes] = []
        self._spool: Spool | None = None
        self._total = 0
        self._tail = ""
        self._finished = False

    @property
    def full(self) -> bool:
        """Has there been more than is shown? Its end comes with `finish`."""
        return self._spool is not None

    def feed(self, stream: StreamName, data: bytes) -> None:
        """More of it."""
        self._total += len(data)
        if self._spool is not None:
            self._spool.write(data)
            self._overflow(self._decoders[stream].feed(data[-4 * TAIL :]))
            return
        self._head.append(data)
        self._show(stream, self._decoders[stream].feed(data))

    def say(self, stream: StreamName, text: str) -> None:
        """Something about the command rather than by it."""
        self._screen.call(lambda: self._write(stream, text))

    def flush(self) -> None:
        """Hand over what there is: something else is to be shown behind it."""
        if self._timer is not None:
            self._timer.cancel()
            self._hand_over()

    def finish(self) -> None:
        """All has come: hand over what is left of it."""
        if self._finished:
            return
        self._finished = True
        for stream, decoder in self._decoders.items():
            self._show(stream, decoder.feed(b"", final=True))
        if self._timer is not None:
            self._timer.cancel()
        if self._spool is not None:
            kept = self._spool.close()
            self._pending.append(
                ("stdout", f"\n… {self._total / 1e6:.1f} MB in all; {kept}. The end of it:\n…{self._tail}")
            )
        self._hand_over()
        if self._labelled is not None:
            self._screen.call(self._labelled.finish)

    def _show(self, stream: StreamName, text: str) -> None:
        shown, rest = text[: self._room], text[self._room :]
        self._room -= len(shown)
        if shown:
            self._pending.append((stream, shown))
        if rest:
            self._overflow(rest)
        if self._pending and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next, loop.time()), self._hand_over)

    def _overflow(self, text: str) -> None:
        if self._spool is None:
            self._spool = Spool()
            for data in self._head:
                self._spool.write(data)
            self._head.clear()
        self._tail = (self._tail + text)[-TAIL:]

    def _hand_over(self) -> None:
        pending, self._pending = self._pending, []
        grouped = [
            (stream, "".join(text for _, text in pieces))
            for stream, pieces in itertools.groupby(pending, key=lambda piece: piece[0])
        ]
        if len(grouped) > self._most and self._in_order:
            grouped = [("stdout", "".join(text for _, text in grouped))]
        elif len(grouped) > self._most:  # the streams alternate faster than a cell can be updated
            streams = dict.fromkeys(stream for stream, _ in grouped)
            grouped = [
                (each, "".join(text for stream, text in grouped if stream == each)) for each in streams
            ]
        self._timer = None
        self._next = asyncio.get_running_loop().time() + self._interval * len(grouped)
        self._screen.call(lambda: [self._write(stream, text) for stream, text in grouped])


class Spool:
    """All of one cell's output in a file. A disk that is full ends the file, never the user's command."""

    def __init__(self) -> None:
        self._written, self._dropped = 0, 0
        self._file: BinaryIO | None = None
        folder = cache_dir() / "output"
        self.path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_numbers):04}.log"
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            for old in sorted(folder.glob("*.log"))[: -FILES + 1]:
                old.unlink(missing_ok=True)
            self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, data: bytes) -> None:
        """More of it."""
        piece = data[: KEPT - self._written]
        try:
            if self._file is None or self._dropped:
                piece = b""
            elif piece:
                self._file.write(piece)
        except OSError:
            piece = b""
        self._written += len(piece)
        self._dropped += len(data) - len(piece)

    def close(self) -> str:
        """End the file; what was kept, in words."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        if self._file is None or not self._written:
            return f"it could not be kept in {self.path.parent}"
        what = f"the first {self._written / 1e6:.0f} MB are" if self._dropped else "all of it is"
        return f"{what} in {self.path}"


class Labelled:
    """Lines of one of several VMs in a cell, each under its label."""

    def __init__(self, label: str, write: Write = to_cell) -> None:
        self._label, self._target = label, write
        self._open: dict[StreamName, str] = {"stdout": "", "stderr": ""}

    def write(self, stream: StreamName, text: str) -> None:
        """Whole lines go out at once, the beginning of one waits for its end."""
        lines = (self._open[stream] + text).split("\n")
        self._open[stream] = lines.pop()
        if lines:
            self._target(stream, "".join(f"[{self._label}] {line}\n" for line in lines))

    def finish(self) -> None:
        """Show lines that never ended."""
        for stream, line in self._open.items():
            if line:
                self._target(stream, f"[{self._label}] {line}\n")
        self._open = {"stdout": "", "stderr": ""}
