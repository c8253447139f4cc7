"""A request to a Jupyter kernel under way, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

Message = dict[str, Any]
OnMessage = Callable[[Message], object]


class Interruptible(Protocol):
    """The kernel that is asked, as a request needs it."""

    async def interrupt(self) -> None:
        """KeyboardInterrupt, in whatever runs."""


class Execution:
    """It is over once the kernel has answered and said that it is idle again.

    `sent` tells that the kernel has been asked; before, it waits for other cells of this client. `begun` is
    set when the kernel, which may have cells of others to run first, runs this one. `unwanted`: nobody waits
    for it any more.
    """

    def __init__(self, kernel: Interruptible, on_message: OnMessage) -> None:
        self._kernel, self.on_message = kernel, on_message
        self.sent = self.unwanted = False
        self.begun = asyncio.Event()
        self.idle = asyncio.Event()
        self.reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.reply.add_done_callback(
            lambda reply: reply.cancelled() or reply.exception()
        )  # seen, at any rate

    @property
    def over(self) -> bool:
        """Is it?"""
        return self.reply.done() and self.idle.is_set()

    def fail(self, error: Exception) -> None:
        """No answer will come."""
        if not self.reply.done():
            self.reply.set_exception(error)
        self.begun.set()
        self.idle.set()

    async def interrupt(self) -> None:
        """KeyboardInterrupt in this cell, as soon as it runs; whatever ran before it is let be."""
        await self.begun.wait()
        if not self.over:
            await self._kernel.interrupt()


@dataclass(frozen=True)
class Shown:
    """What a cell's last expression looked like there: a bundle of MIME types, as in `display_data`."""

    data: dict[str, Any] = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)

    def __repr__(self) -> str:
        return str(self.data.get("text/plain", "<no text>"))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.data, self.metadata
