"""What commands write, in bounded memory: as a whole, by machine, and as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from pi_v_jupyter.texts import harmless

OUTPUT = 64 << 10  # characters that are told of a command's output, or of a log
PIECE, GAP = 16 << 10, 0.1  # characters that are told at once, and seconds between two such pieces


class Bounded:
    """The beginning and the end of a text that comes in pieces, in bounded memory."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._first = ""
        self._last: deque[str] = deque()
        self._kept = 0
        self._left_out = 0

    def add(self, text: str) -> None:
        """More of it."""
        room = self._half - len(self._first)
        self._first, text = self._first + text[:room], text[room:]
        if text:
            self._last.append(text)
            self._kept += len(text)
        while self._kept > self._half:
            over = self._kept - self._half
            piece = self._last.popleft()
            if len(piece) > over:
                self._last.appendleft(piece[over:])
            cut = min(over, len(piece))
            self._kept -= cut
            self._left_out += cut

    def __str__(self) -> str:
        missing = f"\n… {self._left_out} characters left out …\n" if self._left_out else ""
        return f"{self._first}{missing}{''.join(self._last)}"


class Lines:
    """What comes in pieces of one machine among several, as whole lines that name it."""

    def __init__(self, label: str, tell: Callable[[str], object]) -> None:
        self._before, self._tell = f"[{label}] ", tell
        self._begun = ""

    def add(self, text: str) -> None:
        """More of it."""
        whole, newline, self._begun = (self._begun + text).rpartition("\n")
        if newline:
            self._tell("".join(f"{self._before}{line}\n" for line in whole.split("\n")))
        if len(self._begun) > OUTPUT:
            self._begun = self._begun[-OUTPUT:]

    def end(self) -> None:
        """No more comes."""
        if self._begun:
            self._tell(f"{self._before}{self._begun}\n")


class Output:
    """Tells what is written as it comes, in bounded pieces, ten in a second at most. On a running loop."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._waits = Bounded(PIECE)
        self._timer: asyncio.TimerHandle | None = None

    def add(self, text: str) -> None:
        """More of it."""
        self._waits.add(text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GAP, self._flush)

    def close(self) -> None:
        """No more comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush()

    def _flush(self) -> None:
        text, self._waits, self._timer = harmless(str(self._waits)), Bounded(PIECE), None
        self._tell(text)
