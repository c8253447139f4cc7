"""The I/O loop, the loop of the user, and the way between."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from pi_v_jupyter import loops

T = TypeVar("T")


@pytest.fixture(autouse=True)
def io_loop(caplog: pytest.LogCaptureFixture) -> Iterator[asyncio.AbstractEventLoop]:
    """The I/O loop; nothing may be said about it by asyncio."""
    yield loops.io_loop()
    loops.stop_io_loop()
    said = [r.getMessage() for r in caplog.records if r.name in ("asyncio", "concurrent.futures")]
    assert not [text for text in said if logging.getLevelName("DEBUG") not in text and "selector" not in text]


def as_cell(cell: Coroutine[Any, Any, T]) -> T:
    """Run it on a loop of its own. (Re-entrance replaces `asyncio.run` by one that leaves its loop open.)"""
    with asyncio.Runner() as runner:
        return runner.run(cell)


nested = pytest.mark.nested
either_way = pytest.mark.parametrize("inside", [False, pytest.param(True, marks=nested)])


class Thing:
    """Lives on the I/O loop."""

    def __init__(self) -> None:
        self.home = loops.io_loop()
        self.cancelled = threading.Event()
        self.waiting = threading.Event()

    @loops.at_home
    async def thread(self) -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    @loops.at_home
    async def forever(self) -> None:
        self.waiting.set()
        try:
            await asyncio.sleep(300)
        finally:
            self.cancelled.set()

    @loops.at_home
    async def fail(self) -> None:
        raise ValueError("from there")

    async def count(self, to: int) -> AsyncGenerator[tuple[int, str], None]:
        try:
            for i in range(to):
                await asyncio.sleep(0)
                yield i, threading.current_thread().name
            if to == 0:
                self.waiting.set()
                await asyncio.sleep(300)
        finally:
            await asyncio.sleep(0.01)
            self.cancelled.set()


async def test_a_method_runs_at_home_whoever_awaits_it() -> None:
    thing = Thing()
    assert await thing.thread() == "pi_v_jupyter I/O"
    with pytest.raises(ValueError, match="from there"):
        await thing.fail()


async def test_cancelling_carries_over() -> None:
    thing = Thing()
    task = asyncio.create_task(thing.forever())
    await asyncio.to_thread(thing.waiting.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(thing.cancelled.wait, 10)


async def test_a_generator_crosses_item_by_item() -> None:
    thing = Thing()
    items = [item async for item in loops.cross(thing.count(100), thing.home)]
    assert items == [(i, "pi_v_jupyter I/O") for i in range(100)]
    assert thing.cancelled.is_set()


async def test_a_generator_that_is_left_early_is_closed_at_home() -> None:
    thing = Thing()
    crossing = loops.cross(thing.count(100), thing.home)
    assert (await anext(crossing))[0] == 0
    await crossing.aclose()
    assert thing.cancelled.is_set()


async def test_a_generator_whose_reader_is_cancelled_is_closed_at_home() -> None:
    thing = Thing()

    async def read() -> None:
        async for _ in loops.cross(thing.count(0), thing.home):
            pass

    task = asyncio.create_task(read())
    await asyncio.to_thread(thing.waiting.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert thing.cancelled.is_set()


def test_plain_code_waits() -> None:
    async def work() -> int:
        await asyncio.sleep(0.01)
        return 42

    assert loops.wait(work()) == 42

    async def failing() -> None:
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        loops.wait(failing())


@nested
def test_the_running_loop_goes_on_while_a_cell_waits() -> None:
    ticks = []

    async def tick() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    async def cell() -> int:
        ticker = asyncio.create_task(tick())
        answer = loops.wait(ticked())
        ticker.cancel()
        return answer

    async def ticked() -> int:
        async with asyncio.timeout(60):
            while len(ticks) < 5:
                await asyncio.sleep(0.01)
        return 7

    assert as_cell(cell()) == 7


def press_when(event: threading.Event) -> None:
    event.wait(10)
    time.sleep(0.05)  # the main thread waits by now, or is about to
    os.kill(os.getpid(), signal.SIGINT)


@either_way
def test_a_stop_cancels_the_work(inside: bool) -> None:
    thing = Thing()
    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=press_when, args=(thing.waiting,)).start()

    async def cell() -> None:
        with pytest.raises(KeyboardInterrupt):
            loops.wait(thing.forever())

    if inside:
        as_cell(cell())
    else:
        with pytest.raises(KeyboardInterrupt):
            loops.wait(thing.forever())
    assert thing.cancelled.wait(10)
    assert signal.getsignal(signal.SIGINT) is before


@either_way
def test_who_handles_stops_is_told_each_and_may_leave_the_work_under_way(inside: bool) -> None:
    thing, presses = Thing(), []
    again = threading.Event()
    threading.Thread(target=press_when, args=(thing.waiting,)).start()
    threading.Thread(target=press_when, args=(again,)).start()

    def on_interrupt(number: int) -> BaseException | None:
        presses.append(number)
        again.set()
        return KeyboardInterrupt("detached") if number == 2 else None

    def wait() -> None:
        with pytest.raises(KeyboardInterrupt, match="detached"):
            loops.wait(thing.forever(), on_interrupt=on_interrupt)

    async def cell() -> None:
        wait()

    if inside:
        as_cell(cell())
    else:
        wait()
    assert presses == [1, 2]
    assert not thing.cancelled.is_set()


@either_way
def test_what_is_to_be_shown_is_shown_in_order_by_the_waiting_thread(inside: bool) -> None:
    screen, shown = loops.Screen(), []

    async def work() -> str:
        for i in range(1000):
            screen.call(lambda i=i: shown.append((i, threading.current_thread())))  # type: ignore[misc]
            if i % 100 == 0:
                await asyncio.sleep(0)
        return "done"

    async def cell() -> str:
        return loops.wait(work(), screen=screen)

    assert (as_cell(cell()) if inside else loops.wait(work(), screen=screen)) == "done"
    assert shown == [(i, threading.main_thread()) for i in range(1000)]


@either_way
def test_a_screen_that_fails_ends_the_work(inside: bool) -> None:
    thing, screen = Thing(), loops.Screen()

    def broken() -> None:
        raise BrokenPipeError("nobody reads")

    async def work() -> None:
        screen.call(broken)
        await thing.forever()

    async def cell() -> None:
        loops.wait(work(), screen=screen)

    with pytest.raises(BrokenPipeError):
        as_cell(cell()) if inside else loops.wait(work(), screen=screen)
    assert thing.cancelled.wait(10)


def test_stopping_the_loop_ends_what_runs_on_it() -> None:
    thing = Thing()
    future = asyncio.run_coroutine_threadsafe(thing.forever(), thing.home)
    assert thing.waiting.wait(10)
    loops.stop_io_loop()
    assert thing.cancelled.is_set()
    assert future.cancelled()
    assert loops.running_io_loop() is None


def test_what_is_nested_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", "nested", __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout
