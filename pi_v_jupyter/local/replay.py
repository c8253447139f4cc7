"""The same request, sent again because its answer was lost, gets the first one's answer.

A client marks the tries of one call with the same `X-Idempotency-Key`. Whoever comes while the first
is still at work waits for it; failures are not kept, so that a retry can succeed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

_KEPT = 600.0  # seconds
_MOST = 10_000


class MismatchError(Exception):
    """The key was used before, for another request."""


class Replay:
    """Answers by key."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[float, str, asyncio.Task[Any]]] = {}

    async def once(self, key: str | None, request: str, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, done once per `key`; without a key, always. `request` is what it stands for.

        The work goes on when the client that asked for it leaves: it may come back for the answer.

        Raises:
            MismatchError: `key` stands for another request.
        """
        if not key:
            return await work()
        self._drop_old()
        known = self._calls.get(key)
        if known is None:
            task: asyncio.Task[T] = asyncio.create_task(self._remember(key, work))
            self._calls[key] = (time.monotonic(), request, task)
        elif known[1] != request:
            raise MismatchError
        else:
            task = known[2]
        return await asyncio.shield(task)

    async def _remember(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except BaseException:
            self._calls.pop(key, None)
            raise

    def _drop_old(self) -> None:
        horizon = time.monotonic() - _KEPT
        for key, (since, _, task) in list(self._calls.items()):
            if task.done() and (since < horizon or len(self._calls) > _MOST):
                del self._calls[key]
