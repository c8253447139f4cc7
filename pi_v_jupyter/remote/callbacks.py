"""Functions of the user's, called when something happens on a machine: on their loop, and seen to fail."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")
log = logging.getLogger("pi_v_jupyter")


def _handled_by_loop(error: BaseException) -> None:
    context = {"message": "A callback of a background process failed.", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)


class Callbacks:
    """How they are called in one session.

    `post` has a function called soon where the user's code runs, if no loop runs there; from any thread.
    `on_failure` is given what a callback raised, in the context of the cell that made it; `on_notice` is told
    why nothing will be called any more.
    """

    def __init__(self, home: asyncio.AbstractEventLoop) -> None:
        self.post: Callable[[Callable[[], object]], object] = home.call_soon_threadsafe
        self.on_failure: Callable[[BaseException], object] = _handled_by_loop
        self.on_notice: Callable[[str], object] = log.warning

    def made(self, function: Callable[[T], Any]) -> Callback[T]:
        """One that is called where this is."""
        return Callback(self, function)


class Callback(Generic[T]):
    """One function, called with one thing after the other until it fails or is cancelled."""

    def __init__(self, how: Callbacks, function: Callable[[T], Any]) -> None:
        self._how, self._function = how, function
        self._context = contextvars.copy_context()
        self._running: set[asyncio.Future[Any]] = set()  # which the loop would not keep
        self.over = False
        self.watch: concurrent.futures.Future[None] | None = None  # what calls it
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def __repr__(self) -> str:
        name = getattr(self._function, "__name__", type(self._function).__name__)
        return f"<Callback {name}{', over' * self.over}>"

    def cancel(self) -> None:
        """Call it no more."""
        self.over = True
        if self.watch is not None:
            self.watch.cancel()

    async def call(self, things: Iterable[T]) -> None:
        """Have it called with each, and wait until it was."""
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def now() -> None:
            try:
                for thing in things:
                    if self.over:
                        break
                    self._context.run(self._call, thing)
            finally:
                with suppress(concurrent.futures.InvalidStateError):  # nobody waits any longer
                    done.set_result(None)

        if self._loop is None:
            self._how.post(now)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(now)
        else:
            self.over = True
            return
        await asyncio.wrap_future(done)

    def _call(self, thing: T) -> None:
        try:
            result = self._function(thing)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                self._running.add(task)
                task.add_done_callback(self._ended, context=self._context)
        except Exception as error:  # noqa: BLE001  the user's own, and shown to them
            self._failed(error)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if not self.over:
            self.cancel()
            self._how.on_failure(error)
