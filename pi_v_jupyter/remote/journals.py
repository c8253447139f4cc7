"""What a background process has written, as it comes from its machine: rows of a journal, and lines of them.

`_resident/journal.py` describes the rows. A cursor counts bytes of the journal since its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pi_v_jupyter.remote._resident.frames import ABOUT, ANSWER, CURSOR, HEAD, LARGEST, LOG
from pi_v_jupyter.remote.channel import StreamName

LONGEST = 1 << 20  # characters of a line; one that goes on for longer is given in parts
WHOLE = 64 << 20  # bytes of a line that a program is given
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


class Row(NamedTuple):
    """A line that a process has written to `stream`, without its end, and the cursor behind it.

    `stream` is "again" where another process of the same id begins; its `text` says when.
    """

    cursor: int
    stream: Literal["stdout", "stderr", "again"]
    text: str


class Rows(list[Row]):
    """Rows that came together.

    `missed`: bytes before and between them that were let go unread; `behind`: the cursor up to which the log
    was read.
    """

    missed = behind = 0


def frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take the frames that are complete out of `buffer`; ValueError for one that nobody would send."""
    while len(buffer) >= HEAD.size:
        size, kind = HEAD.unpack_from(buffer)
        if size > LARGEST or kind not in (ABOUT, LOG, ANSWER):
            raise ValueError("no frame")
        if len(buffer) < HEAD.size + size:
            return
        body = bytes(memoryview(buffer)[HEAD.size : HEAD.size + size])
        del buffer[: HEAD.size + size]
        yield kind, body


def said(order: dict[str, Any]) -> bytes:
    """An order to a minder."""
    return json.dumps(order).encode() + b"\n"


def told(body: bytes) -> dict[str, Any]:
    """What an ABOUT or an ANSWER says."""
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


class RowReader:
    """Bytes of a journal from `start` on, in order, taken apart into the whole lines that end behind `after`.

    A line that has no end is none. One of more than 64 MiB is let go, and so is the rest of one whose
    beginning was, but for the pieces of it that were kept.
    """

    def __init__(self, start: int, after: int, stream: Wanted) -> None:
        self.cursor = start  # of the next byte
        self._after = after
        self._streams = {
            mark.encode(): name for mark, name in MARKS.items() if mark != AGAIN and stream in (name, "both")
        }
        self._row = b""
        self._open: dict[bytes, list[bytes]] = {}
        self._size: dict[bytes, int] = {}

    def rows(self, at: int, data: bytes) -> Rows:
        """The lines that are whole now."""
        found = Rows()
        if at > self.cursor:  # a file begins with a row
            found.missed = max(0, at - max(self.cursor, self._after))
            self._row = b""
            self._open.clear()
            self._size.clear()
            self.cursor = at
        place = self.cursor - len(self._row)
        data = data[self.cursor - at :]
        self.cursor += len(data)
        *whole, self._row = (self._row + data).split(b"\n")
        if len(self._row) > LONGEST:
            raise ValueError("no minder writes such a row")
        for row in whole:
            place += len(row) + 1
            mark = row[:1]
            small = mark.lower()
            if small == AGAIN.encode():
                self._open.clear()
                self._size.clear()
                if place > self._after:
                    found.append(Row(place, "again", _text(row[1:])))
            elif small in self._streams:
                if mark != small or small in self._size:
                    text = self._joined(small, row[1:], found, end=mark == small)
                else:
                    text = row[1:]
                if text is not None and place > self._after:
                    found.append(Row(place, self._streams[small], _text(text)))
        found.behind = self.cursor
        return found

    def _joined(self, mark: bytes, piece: bytes, found: Rows, *, end: bool) -> bytes | None:
        """A line that came in pieces, at its end."""
        pieces = self._open.setdefault(mark, [])
        size = self._size[mark] = self._size.get(mark, 0) + len(piece)
        pieces.append(piece)
        if size > WHOLE:
            pieces.clear()
        if not end:
            return None
        del self._open[mark], self._size[mark]
        if size > WHOLE:
            found.missed += size
            return None
        return b"".join(pieces)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
