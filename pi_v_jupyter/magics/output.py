"""From a command's bytes to the cell that asked for them: decoded, at most 20 times a second, never too much.

A cell shows the first `SHOWN` characters; the whole goes to a file, and its last lines are shown at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pi_v_jupyter.loops import Screen
from pi_v_jupyter.remote.channel import StreamName, TextDecoder
from pi_v_jupyter.settings import cache_dir

INTERVAL = 0.05  # seconds between two updates of a cell
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
    """The output of one command on its way to `write`. `feed` is called on the I/O loop, `finish` in the cell's thread."""

    def __init__(self, screen: Screen, write: Write = to_cell) -> None:
        self._screen, self._write = screen, write
        self._decoders: dict[StreamName, TextDecoder] = {"stdout": TextDecoder(), "stderr": TextDecoder()}
        self._pending: list[tuple[StreamName, str]] = []
        self._scheduled = False
        self._last = 0.0
        self._shown = 0
        self._head: list[bytes] | None = []
        self._spool: BinaryIO | None = None
        self._path: Path | None = None
        self._spooled = 0
        self._total = 0
        self._tail = ""

    def feed(self, stream: StreamName, data: bytes) -> None:
        """More of it."""
        self._total += len(data)
        self._take(stream, data, final=False)

    def _take(self, stream: StreamName, data: bytes, *, final: bool) -> None:
        room = SHOWN - self._shown
        if room > 0:
            if self._head is not None:
                self._head.append(data)
            text = self._decoders[stream].feed(data, final=final)
            self._shown += len(text)
            if text:
                self._pending.append((stream, text[:room]))
            if len(text) > room:
                self._overflow(text[room:])
        elif data:
            self._keep(data)
            self._overflow(self._decoders[stream].feed(data[-4 * TAIL :], final=final))
        if self._pending and not final and not self._scheduled:
            self._scheduled = True
            delay = max(0.0, self._last + INTERVAL - time.monotonic())
            asyncio.get_running_loop().call_later(delay, self._hand_over)

    def _overflow(self, text: str) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            folder = cache_dir() / "output"
            folder.mkdir(mode=0o700, exist_ok=True)
            for old in sorted(folder.glob("*.log"))[: -FILES + 1]:
                old.unlink(missing_ok=True)
            self._path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{next(_numbers):04}.log"
            self._spool = self._path.open("xb")
            for data in head:
                self._keep(data)
        self._tail = (self._tail + text)[-TAIL:]

    def _keep(self, data: bytes) -> None:
        if self._spool is None:
            return
        try:
            self._spool.write(data[: KEPT - self._spooled])
        except OSError:  # a full disk must not end the user's command; `finish` says how much was kept
            self._spool = None
            return
        self._spooled += len(data[: KEPT - self._spooled])

    def _hand_over(self) -> None:
        self._scheduled, self._last = False, time.monotonic()
        pending, self._pending = self._pending, []
        self._screen.call(lambda: self._print(pending))

    def _print(self, pending: list[tuple[StreamName, str]]) -> None:
        for stream, group in itertools.groupby(pending, key=lambda piece: piece[0]):
            self._write(stream, "".join(text for _, text in group))

    def finish(self) -> None:
        """All has come: show what is left of it."""
        for stream in self._decoders:
            self._take(stream, b"", final=True)
        pending, self._pending = self._pending, []
        self._print(pending)
        if self._head is None:
            self._close_spool()

    def _close_spool(self) -> None:
        if self._spool is not None:
            self._spool.close()
        kept = (
            "all of it is" if self._spooled == self._total else f"the first {self._spooled / 1e6:.0f} MB are"
        )
        self._write(
            "stdout",
            f"\n… {self._total / 1e6:.1f} MB in all; {kept} in {self._path}. The end of it:\n…{self._tail}",
        )


class Labelled:
    """Lines of several VMs in one cell, each under its label."""

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
