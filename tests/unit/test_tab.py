"""A question that Tab asks: answered in time, or for the next Tab, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pi_v_jupyter import loops
from pi_v_jupyter.errors import ConnectError
from pi_v_jupyter.magics.completion import tab as tabs
from pi_v_jupyter.magics.completion.tab import Tab


class Slow:
    """A question whose answer comes when `answer` is called."""

    def __init__(self) -> None:
        self.asked = 0
        self._answers: list[asyncio.Future[str]] = []

    async def __call__(self) -> str:
        self.asked += 1
        self._answers.append(asyncio.get_running_loop().create_future())
        return await self._answers[-1]

    def answer(self, value: str | Exception) -> None:
        """To the latest."""

        async def told() -> None:
            future = self._answers[-1]
            if isinstance(value, Exception):
                future.set_exception(value)
            else:
                future.set_result(value)

        loops.wait(told())


@pytest.fixture
def tab() -> Iterator[Tab]:
    """Of a notebook whose first cell is being written."""
    extension: Any = SimpleNamespace(shell=SimpleNamespace(execution_count=1))
    yield Tab(extension)
    loops.stop_io_loop()


def pressed(tab: Tab, question: Callable[[], Awaitable[Any]], *, once: bool = False) -> Any:
    """What a Tab gets."""
    tab.begin()
    how: Any = tab.ask_once if once else tab.ask
    return how("key", question)


async def now() -> str:
    """A quick answer."""
    return "now"


async def fails() -> str:
    """No answer."""
    raise ConnectError("It is away.")


def test_an_answer_in_time_is_given(tab: Tab) -> None:
    assert pressed(tab, now) == "now"


def test_one_that_is_late_is_there_for_the_next_tab(tab: Tab) -> None:
    slow = Slow()
    assert pressed(tab, slow) is None
    assert pressed(tab, slow) is None
    assert slow.asked == 1, "it is still being asked"
    slow.answer("late")
    assert pressed(tab, slow) == "late"
    assert slow.asked == 2, "and asked anew, for what may have changed"


def test_after_a_cell_has_run_it_is_old(tab: Tab) -> None:
    slow = Slow()
    pressed(tab, slow)
    slow.answer("old")
    tab.extension.shell.execution_count += 1
    assert pressed(tab, slow) is None


def test_one_that_comes_after_a_cell_has_run_is_old_too(tab: Tab) -> None:
    slow = Slow()
    pressed(tab, slow)
    tab.extension.shell.execution_count += 1
    pressed(tab, slow)
    slow.answer("old")
    assert pressed(tab, slow) is None


def test_an_error_is_no_answer_and_takes_the_one_before_away(tab: Tab) -> None:
    assert pressed(tab, now) == "now"
    assert pressed(tab, fails) is None
    slow = Slow()
    pressed(tab, slow)
    slow.answer(ConnectError("It is away."))
    assert pressed(tab, now) == "now"


def test_what_only_a_cell_changes_is_asked_once_a_cell(tab: Tab) -> None:
    slow = Slow()
    pressed(tab, slow, once=True)
    slow.answer("known")
    assert pressed(tab, slow, once=True) == "known"
    assert slow.asked == 1
    tab.extension.shell.execution_count += 1
    assert pressed(tab, slow, once=True) is None
    assert slow.asked == 2
    slow.answer("done")


def test_it_is_given_up_after_a_while_unless_that_would_disturb(
    tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tabs, "LONGEST", 0.001)
    slow, session = Slow(), Slow()
    for _ in range(2):
        assert pressed(tab, slow) is None
    assert slow.asked == 2
    for _ in range(2):
        tab.begin()
        assert tab.ask_once("session", session) is None
    assert session.asked == 1
    session.answer("at rest again")
    assert tab.ask_once("session", session) == "at rest again"
