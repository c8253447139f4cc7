"""What a background process writes is read as the lines it wrote: whole, in order, each once."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_v_jupyter.remote._resident import background, journal
from pi_v_jupyter.remote._resident.frames import ABOUT, HEAD, LARGEST, LOG, frame
from pi_v_jupyter.remote.journals import LONGEST, Line, Reader, frames, piece, told

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n") | st.sampled_from("aé日🙂\r\t"),
    max_size=40,
)
BYTES = st.one_of(
    st.binary(max_size=40),
    st.lists(TEXTS, max_size=4).map(lambda lines: "\n".join(lines).encode()),
    st.sampled_from(
        [b"\n", b"\n\n\n", b"x" * 70, "🙂".encode() * 20, b"\xf0", b"\x9f", b"\xe2\x82", b"o", b"O"]
    ),
)
AGAIN = journal.AGAIN + b"again\n"
# What a process does: writes to a stream, or is quiet for a while.
ACTS = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), BYTES | st.none()), max_size=40)


@contextmanager
def sizes(*, file: int = 150, row: int = 16, kept: int = 1 << 30) -> Iterator[str]:
    """A folder for a journal, and limits that little data reaches."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(journal, "SIZE", file)
        patch.setattr(journal, "LONGEST", row)
        patch.setattr(journal, "KEPT", kept)
        yield folder


def shown(data: bytes) -> list[str]:
    """The lines of that, the last one without an end included."""
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    return lines if lines[-1] else lines[:-1]


def rows(acts: list[tuple[str, bytes | None]]) -> Iterator[bytes]:
    """What the minder writes for it."""
    streams = {name: journal.Lines(name) for name in journal.MARKS}
    for name, data in acts:
        yield streams[name].hurry() if data is None else streams[name].feed(data)
    for stream in streams.values():
        yield stream.rest()


def read(folder: str, cursor: int, limit: int = 7) -> tuple[list[Line], Reader]:
    """All lines from `cursor` on, some bytes at a time."""
    reader, found = Reader(cursor), list[Line]()
    while (got := journal.read(folder, reader.cursor, limit))[1]:
        found += reader.lines(*got)
    return found + reader.rest(), reader


def write(folder: str, data: bytes) -> journal.Journal:
    written = journal.Journal(folder)
    for row in data.splitlines(keepends=True):
        written.write(row)
    return written


@given(ACTS, st.integers(1, 100))
def test_any_bytes_in_any_pieces_are_the_same_lines(acts: list[tuple[str, bytes | None]], limit: int) -> None:
    with sizes() as folder:
        written = journal.Journal(folder)
        for row in rows(acts):
            written.write(row)
        found, reader = read(folder, 0, limit)
        assert (reader.missed, reader.cursor) == (0, journal.end(folder))
    for stream in journal.MARKS:
        data = b"".join(data for name, data in acts if name == stream and data is not None)
        assert [line for line in found if line.stream == stream] == shown(data)


@given(ACTS)
def test_rows_are_short_and_a_character_is_in_one_row(acts: list[tuple[str, bytes | None]]) -> None:
    whole = {name: b"".join(data or b"" for each, data in acts if each == name) for name in journal.MARKS}
    with sizes():
        found = b"".join(rows(acts)).split(b"\n")[:-1]
    assert all(len(row) <= len(b"o") + 16 for row in found)
    for stream, data in whole.items():
        if data == data.decode(errors="ignore").encode():
            for row in found:
                assert row[:1].lower() != journal.MARKS[stream] or row.decode()


def test_a_slow_character_waits_for_its_other_bytes() -> None:
    lines, got = journal.Lines("stdout"), b""
    for byte in "é日🙂".encode():
        got += lines.feed(bytes([byte])) + lines.hurry()
    assert got.decode().split() == ["Oé", "O日", "O🙂"]


def test_a_line_of_megabytes_is_whole_and_one_without_end_comes_in_parts() -> None:
    with sizes(file=1 << 20, row=64 << 10) as folder:
        long = b"x" * 1_000_000
        journal.Journal(folder).write(
            b"".join(rows([("stdout", long + b"\n"), ("stdout", b"y" * 3_000_000)]))
        )
        found, _ = read(folder, 0, 1 << 18)
    assert found[0] == long.decode()
    assert "".join(found[1:]) == "y" * 3_000_000
    assert max(map(len, found)) <= LONGEST + (64 << 10)


@given(st.integers(1, 30), st.lists(st.integers(0, 60), max_size=60), st.integers(0, 3000))
def test_a_reader_that_comes_late_is_told_how_much_it_missed(
    kept: int, lengths: list[int], cursor: int
) -> None:
    lines = [f"{number}:".ljust(length, "-") for number, length in enumerate(lengths)]
    with sizes(kept=kept) as folder:
        data = b"".join(b"o" + line.encode() + b"\n" for line in lines)
        write(folder, data)
        starts = journal.starts(folder)
        assert len(starts) <= kept
        assert all(data[start - 1 : start] == b"\n" for start in starts if start)
        assert journal.end(folder) == len(data)
        cursor = min(cursor, len(data))
        cursor -= cursor and len(data[:cursor].rpartition(b"\n")[2])  # where a row begins
        found, reader = read(folder, cursor)
        assert reader.missed == max(0, starts[0] - cursor)
        kept_from = max(cursor, starts[0])
    assert found == [row[1:] for row in data[kept_from:].decode().split("\n")[:-1]]


def test_a_reader_that_was_overtaken_goes_on_with_whole_lines_and_knows_of_the_gap() -> None:
    with sizes(kept=2) as folder:
        written = write(folder, b"ofirst\nOhalf a\no line\nOnever ended\n")
        reader = Reader(0)
        found = reader.lines(*journal.read(folder, 0))
        for number in range(100):
            written.write(b"o%d\n" % number)
        gap = journal.starts(folder)[0] - reader.cursor
        while (got := journal.read(folder, reader.cursor))[1]:
            found += reader.lines(*got)
        assert reader.missed == gap > 0
    assert found[:3] == ["first", "half a line", "never ended"]
    assert found[3:] == [str(number) for number in range(100)][-len(found[3:]) :]


@given(ACTS, st.integers(0, 12), st.sampled_from(["stdout", "stderr", "both"]))
def test_a_tail_begins_where_the_last_lines_do(
    acts: list[tuple[str, bytes | None]], last: int, stream: str
) -> None:
    with sizes() as folder:
        written = journal.Journal(folder)
        for row in rows([*acts, ("stdout", b"\n"), ("stderr", b"\n")]):
            written.write(row)
        everything, _ = read(folder, 0)
        found, _ = read(folder, journal.tail(folder, last, background.MARKS[stream]))
    wanted = [line for line in everything if stream in ("both", line.stream)]
    got = [line for line in found if stream in ("both", line.stream)]
    assert got[max(0, len(got) - last) :] == wanted[max(0, len(wanted) - last) :]


@given(ACTS, ACTS, st.integers(0, 10_000))
def test_a_writer_that_was_killed_within_a_row_leaves_the_next_one_a_clean_start(
    before: list[tuple[str, bytes | None]], after: list[tuple[str, bytes | None]], at: int
) -> None:
    with sizes(file=1 << 20) as folder:
        first = b"".join(rows(before))
        first = first[: at % (len(first) + 1)]
        Path(journal.path(folder, 0)).write_bytes(first)
        begin = journal.Journal(folder).end
        assert begin == len(first) + (first[-1:] not in (b"", b"\n"))
        second = journal.Journal(folder)
        second.write(AGAIN)
        for row in rows(after):
            second.write(row)
        kept, _ = read(folder, 0)
        found, _ = read(folder, begin)
    for stream in journal.MARKS:
        data = b"".join(data or b"" for name, data in after if name == stream)
        assert [line for line in found[1:] if line.stream == stream] == shown(data)
    assert kept[len(kept) - len(found) :] == found


def test_the_half_row_of_a_writer_that_was_killed_is_not_lost() -> None:
    with sizes() as folder:
        Path(journal.path(folder, 0)).write_bytes(b"ewhole\noha")
        assert read(folder, 0)[0] == ["whole", "ha"]
        assert journal.tail(folder, 1, b"oe") == 7


def test_a_line_that_never_ended_does_not_run_into_the_next_run() -> None:
    with sizes() as folder:
        write(folder, b"Oprompt> \n" + AGAIN + b"ohello\n")
        found, _ = read(folder, 0)
    assert [(line.stream, line) for line in found] == [
        ("stdout", "prompt> "),
        ("stderr", "again"),
        ("stdout", "hello"),
    ]


class TightDisk:
    """`os`, for a disk with so much room."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: bytes) -> int:
        if data and not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, data[: self.room])
        self.room -= written
        return written


@given(ACTS, st.lists(st.integers(0, 40), max_size=30))
def test_a_full_disk_loses_nothing_once_there_is_room(
    acts: list[tuple[str, bytes | None]], rooms: list[int]
) -> None:
    with sizes() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "os", disk := TightDisk(0))
        written, refused = journal.Journal(folder), 0
        for row, room in itertools.zip_longest(rows(acts), rooms):
            disk.room = room or 0
            try:
                written.write(row or b"")
            except OSError:
                refused += 1
        disk.room = 1 << 30
        written.write(b"")
        assert written.pending == b""
        starts = journal.starts(folder)
        whole = b"".join(Path(journal.path(folder, start)).read_bytes() for start in starts)
        assert whole == b"".join(rows(acts))
        assert all(whole[start - 1 : start] == b"\n" for start in starts if start)
        assert written.end == journal.end(folder) == len(whole)


def test_a_tail_has_the_pieces_of_its_lines_wherever_they_are() -> None:
    with sizes() as folder:
        write(folder, b"ozero\nOone \nea\neb\nec\notwo\n")
        found, _ = read(folder, journal.tail(folder, 2, b"oe"))
    assert found[-2:] == ["c", "one two"]


@pytest.mark.parametrize(
    ("data", "last"),
    [
        (b"", ""),
        (b"oone\netwo\n", "two"),
        (b"o" + b"x" * 15 + b"\nOthree\n", "three"),
        (b"Obuilding ... \nodone\n", "done"),
        (b"oone\n" + AGAIN, "one"),
    ],
)
def test_a_table_shows_the_last_line_there_is(data: bytes, last: str) -> None:
    with sizes(file=20) as folder:
        write(folder, data)
        assert journal.last_line(folder) == last


def test_frames_come_apart_whatever_they_come_in() -> None:
    sent = frame(ABOUT, b'{"a": 1}') + frame(LOG, b"\0" * 7 + b"\5", b"rows\n") + frame(LOG, b"\0" * 8)
    buffer, found = bytearray(), list[tuple[int, bytes]]()
    for byte in sent:
        buffer.append(byte)
        found += frames(buffer)
    assert [kind for kind, _ in found] == [ABOUT, LOG, LOG] and not buffer
    assert (told(found[0][1]), piece(found[1][1])) == ({"a": 1}, (5, b"rows\n"))


@pytest.mark.parametrize(
    "nonsense", [HEAD.pack(LARGEST + 1, LOG), HEAD.pack(0xFFFFFFFF, LOG), HEAD.pack(3, 7) + b"abc"]
)
def test_a_frame_that_nobody_would_send_is_none(nonsense: bytes) -> None:
    with pytest.raises(ValueError, match="no frame"):
        list(frames(bytearray(nonsense)))


def test_a_log_without_a_cursor_is_none() -> None:
    with pytest.raises(ValueError, match="no cursor"):
        piece(b"\0\0\0")


@pytest.mark.parametrize("nonsense", [b"[]", b"1", b"{", b"\xff"])
def test_words_about_a_process_that_are_none(nonsense: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        told(nonsense)
