"""Events out of rows, on their way to whoever reads them: each once, none dropped."""

from __future__ import annotations

import asyncio
import json

import pytest

from pi_v_jupyter.remote.journals import Row, Rows
from pi_v_jupyter.swarm.feeds import QUEUED, Event, Feed, events

DEEP = 300 * "[" + 300 * "]"


def numbered(*cursors: int) -> list[Event]:
    return [(cursor, {"type": "number"}) for cursor in cursors]


async def taken(feed: Feed) -> list[int]:
    return [cursor async for batch in feed.batches() for cursor, _ in batch]


async def test_who_was_ahead_of_the_reader_is_given_only_what_is_new() -> None:
    feed = Feed(behind=5)
    for found in (numbered(3, 4), numbered(5, 6), numbered(7)):
        feed.put(found)
    feed.end(None, None)
    assert await taken(feed) == [6, 7]


async def test_the_end_comes_though_it_is_behind_nothing_new() -> None:
    feed = Feed(behind=5)
    feed.put(numbered(5))
    feed.end((5, {"type": "process_end"}), None)
    assert await taken(feed) == [5]


async def test_who_reads_too_late_is_left_with_what_waits_and_no_more() -> None:
    feed = Feed(behind=0)
    feed.put(numbered(*range(1, QUEUED + 1)))
    assert feed.open
    feed.put(numbered(QUEUED + 1))
    assert not feed.open
    assert await taken(feed) == list(range(1, QUEUED + 2))


async def test_who_waits_is_woken() -> None:
    feed = Feed(behind=0)
    reading = asyncio.create_task(taken(feed))
    await asyncio.sleep(0)
    feed.put(numbered(1))
    await asyncio.sleep(0)
    feed.end(None, None)
    assert await reading == [1]


def test_rows_are_records_or_told_for_what_they_are() -> None:
    rows = Rows(
        [
            Row(10, "stdout", '{"type": "agent_start"}\r'),
            Row(12, "stdout", "x"),
            Row(14, "stdout", '{"type": 5}'),
            Row(15, "stdout", ' {"type": "a"}'),
            Row(16, "stdout", '{"type": "a"} b'),
            Row(17, "stdout", '{"type": "a", "half": "\\ud83d"}'),
            Row(18, "stdout", '{"type": "a", "deep": ' + DEEP + "}"),
            Row(20, "again", "— started again —"),
        ]
    )
    rows.missed = 7
    assert events(rows, 3) == [
        (3, {"type": "process_missed", "bytes": 7}),
        (10, {"type": "agent_start"}),
        (12, {"type": "process_noise", "text": "x"}),
        (14, {"type": "process_noise", "text": '{"type": 5}'}),
        (15, {"type": "a"}),
        (16, {"type": "process_noise", "text": '{"type": "a"} b'}),
        (17, {"type": "a", "half": "\ud83d"}),
        (18, {"type": "a", "deep": json.loads(DEEP)}),
        (20, {"type": "process_again", "text": "— started again —"}),
    ]


@pytest.mark.parametrize(
    "kind", ["process_end", "process_again", "process_missed", "process_noise", "process_x"]
)
def test_what_is_told_of_a_process_cannot_be_written_by_it(kind: str) -> None:
    line = json.dumps({"type": kind, "exit_code": 0, "signal": None, "stderr": ""})
    assert events(Rows([Row(9, "stdout", line)]), 0) == [(9, {"type": "process_noise", "text": line})]
