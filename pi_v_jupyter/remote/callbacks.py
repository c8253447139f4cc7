"""Functions of the user's, called when something happens on a machine: on their loop, and seen to fail."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.loops import interruptible

T = TypeVar("T")
Done = concurrent.futures.Future[None]
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
        """One that is called where this is.

        Raises:
            UsageError: it cannot be called.
        """
        if not callable(function):
            raise UsageError(f"{function!r} cannot be called back.", "Give a function of one argument.")
        return Callback(self, function)


class Callback(Generic[T]):
    """One function, called with one thing after the other until it fails or is cancelled.

    What a coroutine function gives is awaited before the next call.
    """

    def __init__(self, how: Callbacks, function: Callable[[T], Any]) -> None:
        self._how, self._function = how, function
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None  # of what is awaited
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
        """Have it called with each, and wait until it was; cancelling this cancels what is awaited."""
        rest = iter(things)
        try:
            await self._there(lambda done: self._step(rest, done))
        except asyncio.CancelledError:
            # Not where it was cancelled, perhaps by itself.
            if not self.over and self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._drop)
            raise

    async def warn(self, message: str) -> None:
        """Tell the user something, in the cell that made it."""

        def told(done: Done) -> None:
            warnings.warn(message, stacklevel=2)
            _set(done)

        await self._there(told)

    async def _there(self, function: Callable[[Done], object]) -> None:
        """Have a function called on its loop and in its context, and wait until that is done."""
        done: Done = concurrent.futures.Future()

        def now() -> None:
            self._context.copy().run(function, done)

        if self._loop is None:
            self._how.post(now)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(now)
        else:
            self.over = True
            return
        await asyncio.wrap_future(done)

    def _step(self, rest: Iterator[T], done: Done) -> None:
        """Call it until there is something to await, or no more."""
        result = None
        try:
            with interruptible():
                result = self._called(rest)
        except BaseException as error:  # noqa: BLE001  the user's own, and nobody else's to end for
            self._failed(error)
        if result is None:
            _set(done)
            return
        self._task = asyncio.get_running_loop().create_task(self._awaited(result))
        context = self._context.copy()
        self._task.add_done_callback(lambda _: self._step(rest, done), context=context)

    def _called(self, rest: Iterator[T]) -> Awaitable[Any] | None:
        for thing in rest:
            if self.over:
                break
            result = self._function(thing)
            if result is not None and inspect.isawaitable(result):
                return result
        return None

    async def _awaited(self, result: Awaitable[Any]) -> None:
        try:
            await result
        except BaseException as error:  # noqa: BLE001  likewise
            if not self.over:
                self._failed(error)

    def _drop(self) -> None:
        self.over = True
        if self._task is not None:
            self._task.cancel()

    def _failed(self, error: BaseException) -> None:
        if not self.over:
            self.over = True
            self._how.on_failure(error)


def _set(done: Done) -> None:
    with suppress(concurrent.futures.InvalidStateError):  # nobody waits any longer
        done.set_result(None)
