"""Functions of the user's are called when something happens to a process: in order, and seen to fail."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from backgrounds import leave
from machines import Reached
from running import until

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.loops import io_loop, stop_io_loop
from pi_v_jupyter.machine import Here, Machine
from pi_v_jupyter.remote.journals import Line

Failures = list[BaseException]


@pytest.fixture
def failures(place: Machine) -> Failures:
    """What callbacks have raised."""
    found: Failures = []
    place.background.callbacks.on_failure = found.append
    return found


async def test_each_line_that_matches_is_given_in_order_and_then_the_end(place: Machine) -> None:
    told: list[object] = []
    process = await place.start("seq 30000; echo 40000 >&2", id="web")
    process.on_line("0$", told.append)
    process.on_exit(told.append)
    await until(lambda: process in told)
    assert told.pop() is process and "40000" in told
    lines = [each for each in told if isinstance(each, Line) and each.stream == "stdout"]
    assert lines == [str(number) for number in range(10, 30001, 10)]


async def test_the_end_waits_for_what_a_line_is_still_awaited_for(place: Machine) -> None:
    told: list[object] = []
    gate = asyncio.Event()

    async def slow(line: str) -> None:
        await gate.wait()
        told.append(line)

    process = await place.start("echo line", id="web")
    process.on_exit(told.append)
    process.on_line("line", slow)
    others = process.on_line("line", told.append)
    process.on_line("line", slow).cancel()
    await process
    await until(lambda: told)
    assert told == ["line"] and not others.over
    gate.set()
    await until(lambda: process in told)
    assert told == ["line", "line", process]


async def test_lines_that_were_there_before_are_given_or_not(place: Machine) -> None:
    every: list[str] = []
    last: list[str] = []
    new: list[str] = []
    process = await place.start(
        "seq 5; until [ -e /proc/self/fd/9 ]; do read -t 0.2 <> <(:); echo new; done", id="a"
    )
    await process.ready("new")
    seen = len(await process.logs(1000))
    process.on_line("", every.append)
    process.on_line("", last.append, last=1)
    process.on_line("", new.append, last=0)
    await until(lambda: every and last and new)
    assert every[:6] == ["1", "2", "3", "4", "5", "new"] and last[0] == "new" and set(new) == {"new"}
    assert seen >= 6


async def test_one_that_is_cancelled_is_called_no_more(place: Machine) -> None:
    told: list[str] = []
    process = await place.start("while :; do echo tick; sleep 0.01; done", id="web")
    registration = process.on_line("tick", lambda line: (told.append(line), registration.cancel()))
    other: list[str] = []
    process.on_line("tick", other.append)
    await until(lambda: len(other) > 20)
    assert told == ["tick"]


async def test_what_one_raises_is_shown_once_and_it_is_called_no_more(
    place: Machine, failures: Failures
) -> None:
    calls: list[str] = []

    def fails(line: str) -> None:
        calls.append(line)
        raise ValueError(line)

    process = await place.start("seq 100", id="web")
    process.on_line("", fails)
    ended: list[object] = []
    process.on_exit(ended.append)
    await until(lambda: ended and failures)
    assert calls == ["1"] and [str(failure) for failure in failures] == ["1"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("is_async", [False, True])
async def test_whatever_one_raises_ends_nothing_but_itself(
    place: Machine, failures: Failures, kind: type[BaseException], is_async: bool
) -> None:
    calls: list[str] = []

    def fails(line: str) -> None:
        calls.append(line)
        raise kind("mine")

    async def fails_late(line: str) -> None:
        await asyncio.sleep(0)
        fails(line)

    process = await place.start("seq 3", id="web")
    process.on_line("", fails_late if is_async else fails)
    ended: list[object] = []
    process.on_exit(ended.append)
    await until(lambda: ended and failures)
    assert calls == ["1"] and [type(failure) for failure in failures] == [kind]


async def test_a_coroutine_is_awaited_before_the_next_is_begun_and_cancelled_by_closing(
    reach: Callable[[], Reached],
) -> None:
    machine = reach()
    begun: list[str] = []
    over: list[str] = []

    async def waits(line: str) -> None:
        assert begun == over, "one after the other"
        begun.append(line)
        try:
            await asyncio.sleep(3600 if line == "100" else 0)
        finally:
            over.append(line)

    process = await machine.start("seq 200; exec sleep 300", id="web")
    process.on_line("", waits)
    await until(lambda: len(begun) == 100)
    assert len(over) == 99
    await leave(machine)
    await until(lambda: len(over) == 100)
    assert len(begun) == 100


async def test_a_stop_strikes_within_one_that_does_not_end(place: Machine, failures: Failures) -> None:
    begun = threading.Event()

    def waits(line: str) -> None:
        begun.set()
        while True:
            time.sleep(0.01)  # not in one: a signal just before it began would not end that

    process = await place.start("echo one; exec sleep 300", id="web")
    stopping = threading.Thread(target=lambda: (begun.wait(60), os.kill(os.getpid(), signal.SIGINT)))
    stopping.start()
    process.on_line("one", waits)
    await until(lambda: failures)
    stopping.join()
    assert [type(failure) for failure in failures] == [KeyboardInterrupt]


async def test_what_cannot_be_called_is_refused(place: Machine) -> None:
    process = await place.start("exec sleep 300", id="web")
    with pytest.raises(UsageError, match="cannot be called back"):
        process.on_line("x", 5)  # type: ignore[arg-type]


async def test_a_pattern_is_looked_for_in_the_beginning_of_a_line(place: Machine) -> None:
    process = await place.start(
        "head -c 900000 /dev/zero | tr '\\0' a; echo; echo ab; exec sleep 300", id="web"
    )
    assert await process.ready("a.*b") == "ab"


async def test_coroutines_are_run_and_what_they_raise_is_shown_once(
    place: Machine, failures: Failures
) -> None:
    calls: list[str] = []

    async def fails(line: str) -> None:
        await asyncio.sleep(0)
        calls.append(line)
        raise ValueError("late")

    process = await place.start("seq 3; sleep 0.5; seq 3", id="web")
    process.on_line("2", fails)
    await process
    await until(lambda: failures)
    assert len(failures) == 1 and calls[0] == "2"


async def test_one_that_is_made_when_it_has_ended_is_called(place: Machine) -> None:
    process = await (await place.start("echo one; exit 3", id="web"))
    told: list[Any] = []
    process.on_exit(lambda process: told.append(process.exit_code))
    process.on_line("one", told.append)
    await until(lambda: sorted(map(str, told)) == ["3", "one"])


async def test_a_lost_one_has_ended_too(place: Machine) -> None:
    process = await place.start("exec sleep 300", id="web")
    told: list[str] = []
    process.on_exit(lambda process: told.append(process.outcome))
    os.kill(process.status.minder, signal.SIGKILL)
    await until(lambda: told == ["lost, and 1 of its processes run on"])
    await process.stop()


async def test_a_pattern_that_is_none_is_refused_at_once(place: Machine) -> None:
    process = await place.start("exec sleep 300", id="web")
    with pytest.raises(UsageError, match="no regular expression"):
        process.on_line("(", print)
    assert not place.background._watching


async def test_they_are_called_on_the_loop_where_they_were_made(data: object) -> None:
    machine = Here(io_loop())
    try:
        process = await machine.start("seq 100", id="web")
        threads: set[int] = set()
        lines: list[str] = []
        process.on_line("", lambda line: (threads.add(threading.get_ident()), lines.append(line)))
        await until(lambda: len(lines) == 100)
        assert threads == {threading.get_ident()}
        got: list[str] = []
        async for line in process.lines():
            got.append(line)
            assert threading.get_ident() in threads
        assert got == lines
        await machine.close()
    finally:
        stop_io_loop()


async def test_closing_ends_what_waits_for_a_callback(reach: Callable[[], Reached]) -> None:
    machine = reach()
    process = await machine.start("while :; do echo tick; sleep 0.01; done", id="web")
    calls: list[str] = []
    process.on_line("tick", calls.append)
    process.on_exit(lambda _: calls.append("ended"))
    await until(lambda: len(calls) > 3)
    await leave(machine)
    count = len(calls)
    assert not machine.background._watching
    process = await reach().process("web")
    await process.stop()
    assert len(calls) == count and "ended" not in calls
