"""Work that would hold up the event loop, done in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


async def to_its_end(what: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but whoever is cancelled waits: no thread can be stopped on its way."""
    doing = asyncio.ensure_future(asyncio.to_thread(what, *args, **kwargs))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with contextlib.suppress(asyncio.CancelledError):  # as before
                await asyncio.wait([doing])
        if not doing.cancelled() and (error := doing.exception()) is not None:
            log.info("failed after it was cancelled: %s", error)
        raise
