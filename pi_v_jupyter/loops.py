"""The I/O loop, the kernel's loop, and the way between.

SSH, HTTP and event streams live on *the I/O loop*, on a thread of its own, so that a cell that computes for
an hour starves none of them. A magic is a plain function that waits for the I/O loop's answer (`wait`) while
the user's own tasks go on ticking on *the kernel's loop*. A script without a notebook uses the core on its
own loop, and no thread is made.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import queue
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from types import FrameType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

T = TypeVar("T")
V = TypeVar("V")
P = ParamSpec("P")

STOP_TIMEOUT = 5.0  # seconds for what still runs on the I/O loop to end

_lock = threading.Lock()
_io: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def io_loop() -> asyncio.AbstractEventLoop:
    """The I/O loop, its thread started on the first call."""
    global _io, _thread
    with _lock:
        if _io is None or _io.is_closed():
            _io = asyncio.new_event_loop()
            _thread = threading.Thread(target=_io.run_forever, name="pi_v_jupyter I/O", daemon=True)
            _thread.start()
        return _io


def running_io_loop() -> asyncio.AbstractEventLoop | None:
    """The I/O loop if it has been started, as it is where the notebook extension is loaded."""
    return _io


def stop_io_loop() -> None:
    """End the I/O loop and its threads; tasks that still run there are cancelled."""
    global _io, _thread
    with _lock:
        loop, _io = _io, None
        thread, _thread = _thread, None
    if loop is None or thread is None or loop.is_closed():
        return

    async def cancel_all() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    done = asyncio.run_coroutine_threadsafe(cancel_all(), loop)
    try:
        done.result(timeout=2 * STOP_TIMEOUT)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_TIMEOUT)
    if not thread.is_alive():
        loop.close()


class HasHome(Protocol):
    """Lives on one loop, `home`; its methods may be called from any."""

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop."""


H = TypeVar("H", bound=HasHome)


def at_home(
    method: Callable[Concatenate[H, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[H, P], Coroutine[Any, Any, T]]:
    """Run a coroutine method on its object's home loop, whichever loop awaits it; cancelling carries over."""

    @functools.wraps(method)
    async def call(self: H, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if asyncio.get_running_loop() is self.home:
            return await method(self, *args, **kwargs)
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(method(self, *args, **kwargs), self.home)
        )

    return call


async def cross(items: AsyncGenerator[T, None], home: asyncio.AbstractEventLoop) -> AsyncGenerator[T, None]:
    """A generator that lives on `home`, delivered on the loop that asks; one item is under way at a time."""
    if asyncio.get_running_loop() is home:
        async with aclosing(items):
            async for item in items:
                yield item
        return

    turn = asyncio.Lock()  # taken on `home`: a step that was cancelled has cleaning up of its own to do first

    async def step() -> list[T]:
        async with turn:
            try:
                return [await anext(items)]
            except StopAsyncIteration:
                return []

    def there(work: Coroutine[Any, Any, V]) -> asyncio.Future[V]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, home))

    async def close() -> None:
        async with turn:
            await items.aclose()

    try:
        while found := await there(step()):
            yield found[0]
    finally:
        await there(close())


def _nothing() -> None:
    """Nobody waits."""


class Screen:
    """What a waiting cell is to do in its own thread, such as printing: calls from the I/O loop, in order.

    Output belongs to the cell only when the cell's thread makes it, so the I/O loop hands it over.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._wake: Callable[[], object] = _nothing

    def call(self, function: Callable[[], object]) -> None:
        """Have `function` called soon by the waiting thread. May be used from any thread."""
        self._calls.put(function)
        self._wake()

    def run(self) -> None:
        """Make the calls that are due."""
        while True:
            try:
                function = self._calls.get_nowait()
            except queue.Empty:
                return
            function()


def wait(
    work: Awaitable[T] | Coroutine[Any, Any, T],
    *,
    screen: Screen | None = None,
    on_interrupt: Callable[[int], BaseException | None] | None = None,
) -> T:
    """Run `work` on the I/O loop and wait for it here, from plain synchronous code.

    On a thread whose loop is running (a cell in a kernel) that loop goes on meanwhile. `on_interrupt(n)` is
    called at the n-th stop the user asks for; an exception it returns is raised here and leaves the work
    under way, None goes on waiting. Without one, the first stop cancels the work: KeyboardInterrupt.
    """
    screen = screen or Screen()
    future: concurrent.futures.Future[T] | None = None
    stops: queue.SimpleQueue[None] = queue.SimpleQueue()
    try:
        running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    nested = running is not None and _nestable(running)
    waiter = _Reentrant(running, screen) if running is not None and nested else _Blocking()
    screen._wake = waiter.wake

    def stopped() -> None:
        stops.put(None)
        waiter.wake()

    presses = 0
    leave: BaseException | None = None
    try:
        with _interrupts(stopped):  # before anything is under way that a stop would have to end
            future = asyncio.run_coroutine_threadsafe(_run(work), io_loop())
            future.add_done_callback(lambda _: waiter.wake())
            while leave is None and not future.done():
                waiter.pause()
                screen.run()
                while leave is None and not stops.empty():
                    stops.get()
                    presses += 1
                    if on_interrupt is None:
                        raise KeyboardInterrupt  # noqa: TRY301  to end like any other end of the cell
                    leave = on_interrupt(presses)
            screen.run()
    except BaseException:
        if future is not None:
            future.cancel()  # the cell is over: nothing may go on unseen
        raise
    finally:
        screen._wake = _nothing
    if leave is not None:
        raise leave
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise KeyboardInterrupt from None


async def _run(work: Awaitable[T]) -> T:
    return await work


_stoppable: list[Callable[[], None]] = []  # the waits under way on the main thread


def _stop_all(_signal: int, _frame: FrameType | None) -> None:
    for stop in _stoppable:
        stop()


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Take SIGINT for a while. KeyboardInterrupt would strike wherever the loop is, even in a user's task."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    _stoppable.append(stop)
    before = signal.signal(signal.SIGINT, _stop_all)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _stoppable.remove(stop)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within a wait, and between cells: let a stop strike here, in code of the user's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Blocking:
    """Waits with this thread standing still: no loop runs here."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        self._event.set()

    def pause(self) -> None:
        # Bounded: a signal that arrives on this thread runs its handler only between waits on some systems.
        self._event.wait(0.2)
        self._event.clear()


class _Reentrant:
    """Waits while the loop that runs this very cell goes on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, screen: Screen) -> None:
        self._loop, self._screen = loop, screen
        self._context = contextvars.copy_context()  # what is printed belongs to the cell this context names
        self._event = asyncio.Event()
        self._failure: Exception | None = None

    def wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: the cell left, and so did its thread
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        # A wait inside this one may hold up `pause`; what is to be shown need not wait for it.
        try:
            self._context.run(self._screen.run)
        except Exception as error:  # noqa: BLE001  raised where the cell waits
            self._failure = error
        self._event.set()

    def pause(self) -> None:
        self._loop.run_until_complete(self._event.wait())
        self._event.clear()
        if self._failure is not None:
            raise self._failure


def _nestable(loop: asyncio.AbstractEventLoop) -> bool:
    """Make `loop` re-entrant; one that cannot be (uvloop) is waited for with the thread standing still."""
    import nest_asyncio2

    try:
        nest_asyncio2.apply(loop)
    except ValueError:
        return False
    return True
