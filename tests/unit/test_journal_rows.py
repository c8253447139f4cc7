"""Rows for programs: a cursor, wherever it is taken, goes on with the next line; nothing comes twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_journal import ACTS, rows, sizes, write

from pi_v_jupyter.remote import journals
from pi_v_jupyter.remote._resident import journal
from pi_v_jupyter.remote.journals import Row, RowReader, Wanted

Acts = list[tuple[str, bytes | None]]
STREAMS = st.sampled_from(["stdout", "stderr", "both"])


def read(
    folder: str, cursor: int, stream: Wanted, limit: int, end: int | None = None
) -> tuple[list[Row], int]:
    """As `BackgroundLog.rows` does: what there is behind a cursor, and how much of it is missing."""
    marks = [mark for name, mark in journal.MARKS.items() if stream in (name, "both")]
    reader = RowReader(min(journal.opening(folder, cursor, mark) for mark in marks), cursor, stream)
    found, missed = list[Row](), 0
    while (got := journal.read(folder, reader.cursor, limit))[1] and (end is None or reader.cursor < end):
        at, data = got
        batch = reader.rows(at, data if end is None else data[: end - at])
        found += batch
        missed += batch.missed
    return found, missed


def whole(data: bytes) -> list[str]:
    """Its lines, but for one without an end."""
    return data.decode("utf-8", "backslashreplace").split("\n")[:-1]


@given(ACTS, STREAMS, st.integers(1, 100))
def test_all_whole_lines_come_and_those_of_one_stream_alone_if_wanted(
    acts: Acts, stream: Wanted, limit: int
) -> None:
    with sizes() as folder:
        written = journal.Journal(folder)
        for row in rows(acts):
            written.write(row)
        found, missed = read(folder, 0, stream, limit)
    assert missed == 0
    assert {row.stream for row in found} <= ({"stdout", "stderr"} if stream == "both" else {stream})
    for name in {row.stream for row in found}:
        data = b"".join(data for each, data in acts if each == name and data is not None)
        got = [row.text for row in found if row.stream == name]
        assert got == data.decode("utf-8", "backslashreplace").split("\n")[: len(got)]
        assert len(got) >= len(whole(data)) - 1


@given(ACTS, ACTS, STREAMS, st.integers(1, 100), st.data())
def test_whoever_stops_behind_any_line_goes_on_with_the_next(
    before: Acts, after: Acts, stream: Wanted, limit: int, pick: Any
) -> None:
    with sizes() as folder:
        written = journal.Journal(folder)
        for row in (*rows(before), journal.AGAIN + b"again\n", *rows(after)):
            written.write(row)
        everything, _ = read(folder, 0, stream, 1 << 20)
        for row in pick.draw(st.lists(st.sampled_from(everything), max_size=3)):
            early, _ = read(folder, 0, stream, limit, end=row.cursor)
            late, missed = read(folder, row.cursor, stream, limit)
            assert (early + late, missed) == (everything, 0)
            assert early[-1] == row
    assert [row.text for row in everything if row.stream == "again"] == ["again"]


def test_a_line_is_one_wherever_unicode_would_end_it_and_whatever_its_size() -> None:
    line = '{"text": "a\u2028b\u2029c\x85d\r"}'
    long = "x" * 9_000_000
    with sizes(file=10 << 20, row=64 << 10) as folder:
        journal.Journal(folder).write(
            b"".join(rows([("stdout", f"{line}\n{long}\n".encode()), ("stderr", b"y\n")]))
        )
        found, _ = read(folder, 0, "both", 256 << 10)
    assert [(row.stream, row.text) for row in found] == [("stdout", line), ("stdout", long), ("stderr", "y")]


def test_what_is_written_between_the_pieces_of_a_line_is_not_repeated_for_it() -> None:
    with sizes() as folder:
        write(folder, b"Oone \neerr\nOtwo \neerr2\nothree\n")
        everything, _ = read(folder, 0, "both", 100)
        assert [row.text for row in everything] == ["err", "err2", "one two three"]
        for number, row in enumerate(everything):
            assert read(folder, row.cursor, "both", 100)[0] == everything[number + 1 :]


def test_a_line_that_was_never_ended_is_none_and_runs_into_no_other() -> None:
    with sizes() as folder:
        write(folder, b"Ohalf\n" + journal.AGAIN + b"later\nohello\nOopen\n")
        found, _ = read(folder, 0, "both", 100)
    assert [(row.stream, row.text) for row in found] == [("again", "later"), ("stdout", "hello")]


def test_a_line_that_is_too_long_is_let_go_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "WHOLE", 40)
    with sizes() as folder:
        journal.Journal(folder).write(b"".join(rows([("stdout", b"x" * 41 + b"\n" + b"y" * 40 + b"\nz\n")])))
        found, missed = read(folder, 0, "stdout", 7)
    assert ([row.text for row in found], missed) == (["y" * 40, "z"], 41)


@given(st.integers(1, 5), st.lists(st.integers(1, 60), max_size=60), st.integers(0, 3000))
def test_who_comes_late_is_told_how_much_it_missed(kept: int, lengths: list[int], cursor: int) -> None:
    lines = [f"{number}:".ljust(length, "-") for number, length in enumerate(lengths)]
    data = b"".join(b"o" + line.encode() + b"\n" for line in lines)
    with sizes(kept=kept) as folder:
        write(folder, data)
        first = journal.starts(folder)[0]
        cursor = min(cursor, len(data))
        cursor -= cursor and len(data[:cursor].rpartition(b"\n")[2])
        found, missed = read(folder, cursor, "stdout", 50)
    assert missed == max(0, first - cursor)
    assert [row.text for row in found] == [
        row[1:] for row in data[max(first, cursor) :].decode().split("\n")[:-1]
    ]


def test_a_stream_without_lines_is_looked_for_in_a_file_that_goes_while_it_is() -> None:
    with sizes() as folder:
        write(folder, b"".join(b"o%d\n" % number for number in range(100)))
        starts = journal.starts(folder)
        Path(journal.path(folder, starts[1])).unlink()
        end = journal.end(folder)
        assert journal.opening(folder, end, b"e") == end
