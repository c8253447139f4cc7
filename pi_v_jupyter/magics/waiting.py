"""The line that says what a cell waits for, and for how long: `creating build … 5 s`.

`%load_ext` imports this: nothing heavy.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import DisplayHandle, display

SLOW = 2.0  # seconds after which a wait is worth a line
TICK = 1.0  # seconds between its changes


class WaitingLine:
    """One line, changed in place. All but `ticking` is for the cell's own thread, to which output belongs.

    A notebook keeps it as it was last; a terminal has it no longer when the wait ends. Where output is
    captured it never is: it is for people who look on.
    """

    def __init__(self, shell: InteractiveShell, doing: str) -> None:
        self._shell, self._doing = shell, doing
        self._began = time.monotonic()
        self._handle: DisplayHandle | None = None
        self._drawn = 0  # columns of a terminal that it fills now
        self._printed = False

    @contextmanager
    def ticking(self, call: Callable[[Callable[[], None]], None]) -> Iterator[None]:
        """On the I/O loop: have `call` show the line once the wait is long, and change it from then on."""
        loop = asyncio.get_running_loop()

        timer: asyncio.TimerHandle

        def tick() -> None:
            nonlocal timer
            call(self.show)
            timer = loop.call_later(TICK, tick)

        timer = loop.call_later(SLOW, tick)
        try:
            yield
        finally:
            timer.cancel()

    def show(self) -> None:
        """As it is now."""
        seconds = f" … {time.monotonic() - self._began:.0f} s"
        if isinstance(self._shell.display_pub, CapturingDisplayPublisher):
            return
        if hasattr(self._shell, "kernel"):
            self._display(self._doing + seconds)
        elif sys.stdout.isatty():
            room = max(shutil.get_terminal_size().columns - len(seconds) - 1, 0)
            self.hide()
            self._drawn = len(self._doing[:room] + seconds)
            print(self._doing[:room] + seconds, end="", flush=True)
        elif not self._printed and sys.stdout is sys.__stdout__:
            self._printed = True
            print(f"{self._doing} …")

    def hide(self) -> None:
        """Make way on a terminal for something else."""
        if self._drawn:
            print(f"\r{' ' * self._drawn}\r", end="", flush=True)
            self._drawn = 0

    def end(self) -> None:
        """The wait is over."""
        self.hide()
        if self._handle is not None:
            self._display(f"{self._doing}: {time.monotonic() - self._began:.1f} s")
            self._handle = None

    def _display(self, text: str) -> None:
        if self._handle is None:
            self._handle = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self._handle.update({"text/plain": text}, raw=True)
