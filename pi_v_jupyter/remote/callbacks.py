"""Functions of the user's, called when something happens on a machine: on their loop, and seen to fail."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.loops import interruptible

TOGETHER = 0.02  # seconds between two crossings to the user's thread
T = TypeVar("T")
Done = Callable[[], object]
log = logging.getLogger("pi_v_jupyter")


def _handled_by_loop(error: BaseException) -> None:
    context = {"message": "A callback of a background process failed.", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)


class Crossing:
    """The way from the home loop to a thread of the user's, and back.

    What comes soon after something crosses together: waking a thread costs more than most calls.
    """

    def __init__(self, home: asyncio.AbstractEventLoop, post: Callable[[Done], object]) -> None:
        self._home, self._post = home, post
        self._due: deque[tuple[Callable[[Done], object], asyncio.Future[None]]] = deque()
        self._sent, self._last = False, -TOGETHER
        self._done: deque[asyncio.Future[None]] = deque()
        self._returned = False

    async def call(self, function: Callable[[Done], object]) -> None:
        """Have it called there, and wait until it calls what it is given."""
        done = self._home.create_future()
        self._due.append((function, done))
        if not self._sent:
            self._sent = True
            self._home.call_later(self._last + TOGETHER - self._home.time(), self._send)
        await done

    def _send(self) -> None:
        self._last = self._home.time()
        try:
            self._post(self._land)
        except RuntimeError:  # the loop there was closed
            self._sent = False
            while self._due:
                self._due.popleft()[1].cancel()

    def _land(self) -> None:
        self._sent = False  # before the look: what comes after it is sent anew
        try:
            for _ in range(len(self._due)):  # no more than that: the loop there has other work
                if not self._due:
                    break
                function, done = self._due.popleft()
                function(partial(self._return, done))
        except BaseException:  # a stop struck in between
            self._post(self._land)
            raise

    def _return(self, done: asyncio.Future[None]) -> None:
        self._done.append(done)
        if not self._returned and not self._home.is_closed():
            self._returned = True
            self._home.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._returned = False
        while self._done:
            done = self._done.popleft()
            if not done.done():  # nobody waits any longer
                done.set_result(None)


class Callbacks:
    """How they are called in one session.

    `post` has a function called soon where the user's code runs, if no loop runs there; from any thread.
    `on_failure` is given what a callback raised, in the context of the cell that made it; `on_notice` is told
    why nothing will be called any more.
    """

    def __init__(self, home: asyncio.AbstractEventLoop) -> None:
        self._home = home
        self._nowhere = Crossing(home, lambda call: self.post(call))
        self._crossings: dict[asyncio.AbstractEventLoop, Crossing] = {}
        self.post: Callable[[Done], object] = home.call_soon_threadsafe
        self.on_failure: Callable[[BaseException], object] = _handled_by_loop
        self.on_notice: Callable[[str], object] = log.warning

    def crossing(self, loop: asyncio.AbstractEventLoop | None) -> Crossing:
        """The one to where `loop` runs; None: to where the user's code does, if no loop runs there."""
        if loop is None:
            return self._nowhere
        if loop not in self._crossings:
            self._crossings = {each: its for each, its in self._crossings.items() if not each.is_closed()}
            self._crossings[loop] = Crossing(self._home, loop.call_soon_threadsafe)
        return self._crossings[loop]

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
            done()

        await self._there(told)

    async def _there(self, function: Callable[[Done], object]) -> None:
        """Have a function called on its loop and in its context, and wait until that is done."""
        if self._loop is not None and self._loop.is_closed():
            self.over = True
            return
        context = self._context.copy()
        await self._how.crossing(self._loop).call(lambda done: context.run(function, done))

    def _step(self, rest: Iterator[T], done: Done) -> None:
        """Call it until there is something to await, or no more."""
        result = None
        try:
            with interruptible():
                result = self._called(rest)
        except BaseException as error:  # noqa: BLE001  the user's own, and nobody else's to end for
            self._failed(error)
        if result is None:
            done()
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
