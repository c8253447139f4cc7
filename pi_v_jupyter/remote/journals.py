"""What a background process has written, as it comes from its machine: rows of a journal, and lines of them.

`_resident/journal.py` describes the rows. A cursor counts bytes of the journal since its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from pi_v_jupyter.remote._resident.frames import ABOUT, CURSOR, HEAD, LARGEST, LOG
from pi_v_jupyter.remote.channel import StreamName

LONGEST = 1 << 20  # characters of a line; one that goes on for longer is given in parts
AGAIN = "a"
MARKS: dict[str, StreamName] = {"o": "stdout", "e": "stderr", AGAIN: "stderr"}
Wanted = Literal["stdout", "stderr", "both"]


class Line(str):
    """A line that a process has written, without its end. `stream`: "stdout" or "stderr"."""

    __slots__ = ("stream",)
    stream: StreamName

    @classmethod
    def of(cls, stream: StreamName, text: str) -> Line:
        """Make one."""
        line = cls(text)
        line.stream = stream
        return line


def frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take the frames that are complete out of `buffer`; ValueError for one that nobody would send."""
    while len(buffer) >= HEAD.size:
        size, kind = HEAD.unpack_from(buffer)
        if size > LARGEST or kind not in (ABOUT, LOG):
            raise ValueError("no frame")
        if len(buffer) < HEAD.size + size:
            return
        body = bytes(memoryview(buffer)[HEAD.size : HEAD.size + size])
        del buffer[: HEAD.size + size]
        yield kind, body


def told(body: bytes) -> dict[str, Any]:
    """What an ABOUT says."""
    found = json.loads(body)
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


def piece(body: bytes) -> tuple[int, bytes]:
    """The cursor and the bytes of a LOG; ValueError: it has none."""
    if len(body) < CURSOR.size:
        raise ValueError("no cursor")
    (cursor,) = CURSOR.unpack_from(body)
    return cursor, body[CURSOR.size :]


class Reader:
    """Bytes of a journal, in order, taken apart. `missed`: bytes that were let go before they were read."""

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor  # of the next byte
        self.missed = 0
        self._row = b""
        self._open: dict[str, str] = {}

    def rows(self, at: int, data: bytes) -> list[tuple[str, str]]:
        """Whole rows: their marks, and their texts; bytes that are no UTF-8 are shown as `\\xff`."""
        if at > self.cursor:  # a file begins with a row
            self.missed += at - self.cursor
            self._row = b""
        data = data[max(0, self.cursor - at) :]
        self.cursor = max(self.cursor, at + len(data))
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._row += rest
            if len(self._row) > LONGEST:
                raise ValueError("no minder writes such a row")
            return []
        text = (self._row + whole).decode("utf-8", "backslashreplace")
        self._row = rest
        return [(row[:1], row[1:]) for row in text.split("\n")]

    def lines(self, at: int, data: bytes) -> list[Line]:
        """Whole lines; a piece waits for the rest of its line, unless that was let go unread."""
        found = self.rest() if at > self.cursor else []
        for mark, text in self.rows(at, data):
            small = mark.lower()
            stream = MARKS.get(small)
            if stream is None:
                continue
            if mark == AGAIN:
                found += self.ended()
            if self._open and small in self._open:
                text = self._open.pop(small) + text
            if mark == small or len(text) > LONGEST:
                found.append(Line.of(stream, text))
            else:
                self._open[small] = text
        return found

    def rest(self) -> list[Line]:
        """At the end: lines whose ends never came, and a row in which its writer was killed."""
        row, self._row = self._row.decode("utf-8", "backslashreplace"), b""
        if (mark := row[:1].lower()) in MARKS:
            self._open[mark] = self._open.get(mark, "") + row[1:]
        return self.ended()

    def ended(self) -> list[Line]:
        """Lines that no more of will come."""
        left, self._open = self._open, {}
        return [Line.of(MARKS[mark], text) for mark, text in left.items() if text]
