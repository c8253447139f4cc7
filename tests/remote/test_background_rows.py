"""Rows of a background process: a program that keeps their cursors reads on whatever broke in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from backgrounds import leave
from loopback import Loopback
from machines import Reached

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.journals import Row

Reach = Callable[[], Reached]
# It writes so far ahead of the cuts, for each of which there is a file in its folder, that all strike it.
MIXED = """
import json, os, sys, time
for number in range(3000):
    while number > 300 * (len(os.listdir()) + 2):
        time.sleep(0.01)
    record = {"n": number, "text": "\\u2028" * (100 if number % 500 else 100_000)}
    print(json.dumps(record, ensure_ascii=False), flush=True)
    if number % 7 == 0:
        print(number, file=sys.stderr, flush=True)
    if number % 100 == 0:
        time.sleep(0.05)
"""


async def test_rows_through_cuts_and_new_kernels_come_once_each(
    backing: Loopback, reach: Reach, tmp_path: Path
) -> None:
    assert backing.front is not None
    made = tmp_path / "cuts"
    made.mkdir()
    machine, cuts, got, cursor = reach(), 0, list[Row](), None
    process = await machine.start(
        [sys.executable, "-c", MIXED], id="mixed", env={"PYTHONUTF8": "1"}, cwd=str(made)
    )
    for end in (1000, 2000, None):
        async with aclosing(process.rows(cursor)) as batches:
            async for batch in batches:
                assert batch.missed == 0
                got += batch
                cursor = got[-1].cursor
                if len(got) > 300 * (cuts + 1) and cuts < 8:
                    cuts += 1
                    backing.front.cut()
                    (made / f"{cuts}").touch()
                if end is not None and len(got) >= end:
                    break
        if end is not None:
            await leave(machine)
            machine = reach()
            process = await machine.process("mixed")
    assert cuts == 8 and process.state == "ended"
    out = [json.loads(row.text) for row in got if row.stream == "stdout"]
    assert [record["n"] for record in out] == list(range(3000))
    assert {len(record["text"]) for record in out} == {100, 100_000}
    assert [row.text for row in got if row.stream == "stderr"] == [str(n) for n in range(0, 3000, 7)]
    assert [row.cursor for row in got] == sorted({row.cursor for row in got})


async def test_a_line_that_is_not_whole_where_a_program_stops_is_whole_where_it_goes_on(
    reach: Reach, tmp_path: Path
) -> None:
    machine = reach()
    command = (
        f"printf 'one '; sleep 1; echo err >&2; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo two"
    )
    process = await machine.start(command, id="web")
    async with aclosing(process.rows()) as batches:
        async for batch in batches:
            if batch:
                break
    assert [row.text for row in batch] == ["err"]
    await leave(machine)
    again = await reach().process("web")
    (tmp_path / "go").touch()
    rows = [row async for batch in again.rows(batch[0].cursor) for row in batch]
    assert [row.text for row in rows] == ["one two"]


async def test_that_the_first_of_its_processes_has_ended_is_news(place: Machine) -> None:
    process = await place.start("sleep 300 & echo end; exit 3", id="web")
    seen = list[str]()
    async with aclosing(process.rows()) as batches:
        async for batch in batches:
            seen += [row.text for row in batch]
            if process.exited and batch.behind >= process.status.end:
                break
    assert (seen, process.exit, process.outcome, process.alive) == (["end"], "exit code 3", "running", True)
    await process.stop()
    assert process.exit_code == 3


async def test_a_line_of_megabytes_comes_whole(place: Machine) -> None:
    process = await place.start("head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end", id="long")
    rows = [row async for batch in process.rows() for row in batch]
    assert [len(row.text) for row in rows] == [20_000_000, 3]


async def test_rows_of_earlier_runs_are_there_for_who_wants_them(place: Machine) -> None:
    await (await place.start("echo one; printf open", id="web"))
    process = await (await place.start("echo two", id="web"))
    own = [row async for batch in process.rows() for row in batch]
    assert [(row.stream, row.text) for row in own] == [("stdout", "two")]
    rows = [row async for batch in process.rows(0) for row in batch]
    assert [row.stream for row in rows] == ["stdout", "again", "stdout"]
    assert [row.text for row in rows][::2] == ["one", "two"] and "started again" in rows[1].text
    assert [row async for batch in process.rows(rows[0].cursor, "stdout") for row in batch] == rows[1:]
    assert [row async for batch in process.rows(rows[-1].cursor) for row in batch] == []
    with pytest.raises(UsageError, match="-1 is no cursor"):
        await anext(process.rows(-1))


async def test_what_was_let_go_is_told(place: Machine) -> None:
    process = await (await place.start("yes $(printf %0998d 0) | head -n 70000", id="much"))
    missed = count = 0
    async for batch in process.rows():
        missed += batch.missed
        count += len(batch)
    assert missed > 0
    assert missed + 1000 * count == 70_000_000
