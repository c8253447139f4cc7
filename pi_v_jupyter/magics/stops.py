"""A stop (■) reaches what a cell awaits, also where nothing else happens.

asyncio takes its sleep up again behind a signal (PEP 475): what the signal's handler has cancelled would wait
for the next event, which may be the user's next cell. A loop that handles any signal is woken by all of them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

SPARE = signal.SIGURG  # which nothing sends, and which does nothing


def _nothing() -> None:
    """It has woken the loop."""


def wake() -> Callable[[], object] | None:
    """Have signals wake the loop that runs here; returns what undoes that. None: there is none for us."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(SPARE) != signal.SIG_DFL:
        return None
    try:
        loop.add_signal_handler(SPARE, _nothing)
    except NotImplementedError:  # a loop that has no signals
        return None
    return lambda: loop.remove_signal_handler(SPARE)
