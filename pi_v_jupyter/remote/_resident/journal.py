"""What a background process has written: rows in files that rotate, read by cursor.

A row is the mark of its stream, bytes, and a newline. A small mark stands before a whole line or the end of
one, a large one before a piece of a line that goes on. Another process begins with a row of its own, marked
`AGAIN`: lines that are open then are never ended. A cursor counts bytes since the journal's beginning, files
that are gone included; a file is named by the cursor at which it begins, and begins with a row.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 10 << 20  # bytes of a file
KEPT = 5  # files
LONGEST = 64 << 10  # bytes of a row
CHUNK = 256 << 10  # bytes read at once
MANY = 4096  # rows
MARKS = {"stdout": b"o", "stderr": b"e"}
AGAIN = b"a"


class Lines:
    """Bytes of one stream, cut into rows."""

    def __init__(self, stream: str) -> None:
        self.mark = MARKS[stream]
        self.open = b""

    def feed(self, data: bytes) -> bytes:
        """The rows that are whole now."""
        *whole, self.open = (self.open + data).split(b"\n")
        rows = [row for line in whole for row in self.rows(line)]
        while len(self.open) > LONGEST:
            rows.append(self.piece(before(self.open, LONGEST)))
        return b"".join(rows)

    def rows(self, line: bytes) -> Iterator[bytes]:
        while len(line) > LONGEST:
            size = before(line, LONGEST)
            yield self.mark.upper() + line[:size] + b"\n"
            line = line[size:]
        yield self.mark + line + b"\n"

    def piece(self, size: int) -> bytes:
        piece, self.open = self.open[:size], self.open[size:]
        return self.mark.upper() + piece + b"\n" if piece else b""

    def hurry(self) -> bytes:
        """The beginning of a line whose end is long in coming, but for half a character."""
        return self.piece(before(self.open, len(self.open)))

    def rest(self) -> bytes:
        """What is left at the end."""
        return self.piece(len(self.open))


def before(data: bytes, size: int) -> int:
    """`size`, or a little less where that is within a character of UTF-8."""
    for back in range(1, 4):
        at = size - back
        if at < 0 or data[at] < 0x80:
            break
        if data[at] >= 0xC0:  # where the last character begins; its first byte tells how long it is
            length = 2 if data[at] < 0xE0 else 3 if data[at] < 0xF0 else 4
            return at if length > back else size
    return size


def path(folder: str, start: int) -> str:
    return os.path.join(folder, f"{start:020d}.log")


def starts(folder: str) -> list[int]:
    """The cursors at which files begin."""
    names = (os.path.splitext(name) for name in os.listdir(folder))
    return sorted(int(stem) for stem, kind in names if kind == ".log" and stem.isdigit())


def end(folder: str) -> int:
    """The cursor behind the last byte."""
    found = starts(folder)
    return found[-1] + os.path.getsize(path(folder, found[-1])) if found else 0


class Journal:
    """The one who writes it. What the disk has no room for waits in memory; see `pending`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        found = starts(folder)
        self.start = found[-1] if found else 0
        self.end = end(folder)
        self.file = os.open(path(folder, self.start), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.mend()
        self.pending = b""
        self.whole = True  # does the file end with a row?

    def mend(self) -> None:
        """End the row in which an earlier writer was killed."""
        if self.end > self.start:
            with open(path(self.folder, self.start), "rb") as file:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    self.end += os.write(self.file, b"\n")

    def write(self, rows: bytes) -> None:
        """Add whole rows. OSError: there is no room; `write(b"")` tries again."""
        self.pending += rows
        while self.pending:
            if self.end - self.start >= SIZE and self.whole:
                self.turn()
            written = os.write(self.file, self.pending)
            self.end += written
            self.whole = self.pending[written - 1 : written] == b"\n"
            self.pending = self.pending[written:]

    def turn(self) -> None:
        """Begin a file, and let the oldest go."""
        made = os.open(path(self.folder, self.end), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.close(self.file)
        self.file, self.start = made, self.end
        for old in starts(self.folder)[:-KEPT]:
            os.unlink(path(self.folder, old))


def read(folder: str, cursor: int, limit: int = CHUNK) -> tuple[int, bytes]:
    """Some of what was written from `cursor` on, with the cursor at which that begins; empty: no more."""
    for start in starts(folder):
        try:
            with open(path(folder, start), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if start + size > cursor:
                    at = max(cursor, start)
                    file.seek(at - start)
                    return at, file.read(limit)
        except FileNotFoundError:  # it was let go just now
            continue
    return cursor, b""


def tail(folder: str, lines: int, marks: bytes, check: Callable[[], object] = lambda: None) -> int:
    """The cursor at which the last `lines` lines with one of `marks` begin, pieces before them included.

    `check` is called now and then, to raise what ends this.
    """
    found = starts(folder)
    if not found or lines <= 0:
        return end(folder)
    left = lines + 1  # a line begins behind the end of the one before
    begun: set[bytes] = set()  # streams of which a line is in the tail, and perhaps not all of it
    cursor = found[0]
    for start in reversed(found):
        try:
            with open(path(folder, start), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            break
        for count, (at, after) in enumerate(backwards(data, marks + marks.upper() + AGAIN)):
            if count % MANY == 0:
                check()
            mark = data[at : at + 1]
            if left > 0 and mark in marks:
                left -= 1
                cursor = start + after
            elif left == 0 and mark.lower() in begun and mark != mark.lower():
                cursor = start + at
            if mark == AGAIN:
                begun.clear()
            elif mark == mark.lower():
                begun.discard(mark)
            if left == 0 and not begun:
                return cursor
            if left > 0 and mark != AGAIN and mark.lower() in marks:
                begun.add(mark.lower())
    return cursor if left == 0 else found[0]


def opening(folder: str, cursor: int, mark: bytes, check: Callable[[], object] = lambda: None) -> int:
    """The cursor at which the line of a stream begins that has no end at `cursor` yet; itself, if none has.

    `check` as for `tail`.
    """
    found = cursor
    for start in reversed([start for start in starts(folder) if start < cursor]):
        try:
            with open(path(folder, start), "rb") as file:
                data = file.read(cursor - start)
        except FileNotFoundError:
            return found
        check()
        for at, _ in backwards(data, mark + mark.upper() + AGAIN):
            if data[at : at + 1] != mark.upper():
                return found
            found = start + at
    return found


def backwards(data: bytes, marks: bytes) -> Iterator[tuple[int, int]]:
    """The rows with one of `marks`, the last first: where each begins and ends. Others cost nothing."""

    def last(mark: bytes, before: int) -> int:
        at = data.rfind(b"\n" + mark, 0, before) + 1
        return at if at or (before and data[:1] == mark) else -1

    spots = {mark: last(mark, len(data)) for mark in (marks[n : n + 1] for n in range(len(marks)))}
    while spots:
        mark = max(spots, key=lambda each: spots[each])
        at = spots[mark]
        if at < 0:
            return
        yield at, data.find(b"\n", at) + 1 or len(data)
        spots[mark] = last(mark, at)


def last_line(folder: str) -> str:
    """For a table."""
    try:
        _, data = read(folder, max(0, end(folder) - 4096), 4096)
    except OSError:
        return ""
    rows = [row for row in data.split(b"\n") if row[:1].lower() in (b"o", b"e")]
    return rows[-1][1:].decode("utf-8", "replace")[-200:] if rows else ""
