"""Calls cross to the user's thread together, and none is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from pi_v_jupyter.remote.callbacks import Crossing

Call = Callable[[], object]


class There:
    """A thread of the user's, as far as a crossing knows it: calls that were posted, to be run by hand."""

    def __init__(self) -> None:
        self.posted: list[Call] = []
        self.crossing = Crossing(asyncio.get_running_loop(), self.posted.append)

    async def run(self) -> None:
        """Run what is posted, once something is."""
        while not self.posted:
            await asyncio.sleep(0)
        self.posted.pop(0)()


async def test_what_comes_at_once_crosses_together_and_each_is_waited_for() -> None:
    there, called = There(), list[int]()

    def function(number: int) -> Callable[[Call], None]:
        return lambda done: (called.append(number), done())[0]

    calls = asyncio.gather(*(there.crossing.call(function(number)) for number in range(100)))
    await there.run()
    await calls
    assert called == list(range(100)) and not there.posted


async def test_what_comes_while_they_are_called_is_sent_anew_and_keeps_nobody() -> None:
    there, waiting = There(), list[Coroutine[object, None, None]]()

    def comes_again(done: Call) -> None:
        if len(waiting) < 9:
            waiting.append(there.crossing.call(comes_again))
            waiting[-1].send(None)  # as from the home loop, at this very moment
        done()

    calls = asyncio.gather(*(there.crossing.call(comes_again) for _ in range(3)))
    await there.run()
    await calls
    assert len(waiting) == 3
    await there.run()
    assert len(waiting) == 6
    for each in waiting:
        each.close()


async def test_a_stop_that_strikes_in_between_costs_only_the_call_it_strikes() -> None:
    there, called = There(), list[str]()

    def stopped(done: Call) -> None:
        raise KeyboardInterrupt

    struck = asyncio.create_task(there.crossing.call(stopped))
    rest = asyncio.create_task(there.crossing.call(lambda done: (called.append("rest"), done())))
    with pytest.raises(KeyboardInterrupt):
        await there.run()
    await there.run()
    await rest
    assert called == ["rest"] and not struck.done()
    struck.cancel()


async def test_a_loop_that_was_closed_cancels_what_was_to_be_called_there() -> None:
    gone = asyncio.new_event_loop()
    gone.close()
    crossing = Crossing(asyncio.get_running_loop(), gone.call_soon_threadsafe)
    with pytest.raises(asyncio.CancelledError):
        await crossing.call(lambda done: done())
