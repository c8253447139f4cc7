"""A thread is seen to its end, whatever becomes of who began it."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from pi_v_jupyter.threads import to_its_end


async def test_what_a_thread_does_is_handed_on() -> None:
    assert await to_its_end(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await to_its_end(divmod, 1, 0)


async def test_who_is_cancelled_again_and_again_waits_for_the_thread() -> None:
    begun, over, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        done.append(over.wait(20))

    task = asyncio.create_task(to_its_end(work))
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        for _ in range(5):  # rounds of the loop, in which it would end
            await asyncio.sleep(0)
        assert not task.done()
    over.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


def test_the_end_of_a_loop_waits_for_the_thread_before_anything_is_undone() -> None:
    begun, stopping = threading.Event(), threading.Event()
    done: list[str] = []
    users: list[asyncio.Task[None]] = []

    def work() -> None:
        begun.set()
        stopping.wait(20)
        done.append("worked")

    async def main() -> None:
        async def user() -> None:
            try:
                await to_its_end(work)
            finally:
                done.append("undone")

        users.append(asyncio.create_task(user()))
        await asyncio.to_thread(begun.wait)
        asyncio.get_running_loop().call_later(0.1, stopping.set)

    asyncio.run(main())
    assert done == ["worked", "undone"]


async def test_a_thread_that_fails_when_nobody_is_left_to_be_told_is_no_surprise_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        over.wait(20)
        raise OSError("no room")

    task = asyncio.create_task(to_its_end(work))
    await asyncio.to_thread(begun.wait)
    with caplog.at_level("INFO"):
        task.cancel()
        over.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()
    assert [record.getMessage() for record in caplog.records] == ["failed after it was cancelled: no room"]
