"""A cell of ours waits for the I/O loop: what it shows meanwhile, and what becomes of it at a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from IPython.core.interactiveshell import InteractiveShell

from pi_v_jupyter import loops
from pi_v_jupyter.errors import CellInterrupted
from pi_v_jupyter.magics.waiting import WaitingLine

T = TypeVar("T")
WAITING = "waiting for the platform"


class Waits:
    """The waits of one notebook."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._looks = shell  # at what is shown
        self._screens: list[loops.Screen] = []  # of the waits under way, the latest last
        self._lines: list[WaitingLine] = []  # that say so
        self._untold = loops.Screen()  # what came up while nobody waited
        self._cell: asyncio.Task[Any] | None = None  # the task that runs the user's cell

    def cell_begins(self) -> None:
        """For `pre_execute`."""
        self._cell = _current_task()

    def wait(
        self,
        work: Coroutine[Any, Any, T],
        doing: str = "",
        stopped: str = "",
        *,
        speaks: bool = False,
        screen: loops.Screen | None = None,
    ) -> T:
        """The answer of the I/O loop. `stopped` is said at a stop, `doing` also while it takes long.

        `speaks`: the work says itself what it does. `screen`: where it shows what it shows.

        Raises:
            CellInterrupted: the user stopped it; `work` was cancelled.
        """
        screen = screen or loops.Screen()
        line = WaitingLine(self._looks, doing or WAITING)

        async def told() -> T:
            with line.ticking(screen.call):
                return await work

        try:
            with self.showing(screen, None if speaks else line):
                return loops.wait(work if speaks else told(), screen=screen)
        except KeyboardInterrupt:
            raise self.stopped(f"{doing or WAITING}.", stopped) from None

    def stopped(self, message: str, hint: str = "") -> BaseException:
        """What to raise when the user has stopped something.

        A KeyboardInterrupt that leaves a task of the user's own would end the kernel's loop: that task is
        cancelled instead, and the cell that started it is told.
        """
        error = CellInterrupted(message, hint)
        if self._cell is None or self._cell is _current_task():
            return error
        print("\n".join(error._render_traceback_()))
        return asyncio.CancelledError(message)

    @contextmanager
    def showing(self, screen: loops.Screen, line: WaitingLine | None = None) -> Iterator[None]:
        """A wait that shows on `screen`, and as `line`; notices appear there too."""
        self._untold.run()
        self._screens.append(screen)
        if line is not None:
            self._lines.append(line)
        try:
            yield
        finally:
            self._screens.remove(screen)
            if line is not None:
                self._lines.remove(line)
                line.end()

    def notice(self, text: str) -> None:
        """Tell the user something no answer says, in the cell that waits now or next. From any thread."""
        self.show(lambda: self._say(text))

    def _say(self, text: str) -> None:
        for line in self._lines:
            line.hide()
        print(text)

    def show(self, function: Callable[[], object]) -> None:
        """Have the cell that waits, now or next, call `function`. From any thread."""
        (self._screens[-1] if self._screens else self._untold).call(function)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs on this thread
        return None
