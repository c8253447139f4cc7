"""One thread's loop: descriptors, clocks, and children that end."""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import selectors
import signal
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CROWD = 256  # timers before the cancelled among them are cleared away


class Timer:
    """Something to be done at a time of the monotonic clock."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None  # and whatever it holds is let go of now, not at its time

    def fire(self) -> None:
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class Loop:
    """The loop of a whole process: it takes the signals."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.timers: list[tuple[float, int, Timer]] = []
        self.calls: collections.deque[Callable[[], object]] = collections.deque()  # from other threads
        self.order, self.crowd = itertools.count(), CROWD
        self.wake, self.wake_writer = socket.socketpair()
        self.wake.setblocking(False)
        self.wake_writer.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, or the wake-up descriptor stays silent
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):  # a kernel, or nohup, had them ignored
            signal.signal(number, lambda *_: None)  # not SIG_IGN, which commands would inherit
        signal.set_wakeup_fd(self.wake_writer.fileno(), warn_on_full_buffer=False)
        self.watch(self.wake.fileno(), selectors.EVENT_READ, self.woken)

    def watch(self, fd: int, events: int, callback: Callable[[int], object]) -> None:
        try:
            self.selector.modify(fd, events, callback)
        except KeyError:
            self.selector.register(fd, events, callback)

    def unwatch(self, fd: int) -> None:
        try:
            self.selector.unregister(fd)
        except KeyError:
            return

    def later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        if len(self.timers) > self.crowd:  # of cancelled ones, mostly: commands rarely use up their time
            self.timers = [entry for entry in self.timers if entry[2].callback is not None]
            heapq.heapify(self.timers)
            self.crowd = max(CROWD, 2 * len(self.timers))
        timer = Timer(callback)
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.order), timer))
        return timer

    def call(self, function: Callable[[], object]) -> None:
        """Have the loop call `function` soon; the one method for other threads."""
        self.calls.append(function)
        with contextlib.suppress(BlockingIOError):  # full of wake-ups already
            self.wake_writer.send(b"\0")

    def hear(self) -> None:
        """Do what other threads asked for."""
        while self.calls:
            self.calls.popleft()()

    def woken(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self.wake.recv(4096)
        self.hear()
        self.reap()

    def reap(self) -> None:
        """A child may have ended."""

    def fire(self) -> None:
        now = time.monotonic()
        while self.timers and (self.timers[0][0] <= now or self.timers[0][2].callback is None):
            heapq.heappop(self.timers)[2].fire()

    def serve(self) -> None:
        timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
        for key, events in self.selector.select(timeout):
            current: Any = self.selector.get_map().get(key.fd)
            if current is not None and current.data == key.data:  # not closed, or reused, a moment ago
                key.data(events)
