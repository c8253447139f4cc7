"""Work that would hold up the event loop, done in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


async def to_its_end(what: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but whoever is cancelled waits for the thread, as long as that takes.

    No thread can be stopped on its way, and what is undone while it works comes back.
    """
    call = functools.partial(contextvars.copy_context().run, what, *args, **kwargs)
    doing = asyncio.get_running_loop().run_in_executor(None, call)  # no task, which the end of a loop cancels
    stop: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError as error:
            stop = error
    if stop is None:
        return doing.result()
    if (failure := doing.exception()) is not None:
        log.info("failed after it was cancelled: %s", failure)
    raise stop
