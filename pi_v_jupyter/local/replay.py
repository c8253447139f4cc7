"""The same request, sent again because its answer was lost, gets the first one's answer.

A client marks the tries of one call with the same `X-Idempotency-Key`. Whoever comes while the first
is still at work waits for it; failures are not kept, so that a retry can succeed. With or without a key,
work that was begun is done: the client that leaves may have left its VMs half made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_KEPT = 600.0  # seconds
_MOST = 10_000
_HEAVIEST = 64 * 1024**2  # bytes, of all answers that are kept


class MismatchError(Exception):
    """The key was used before, for another request."""


@dataclass
class _Call(Generic[T]):
    request: bytes
    since: float
    work: asyncio.Task[T]
    weight: int | None = None  # once it is answered


class Replay(Generic[T]):
    """Answers by key. `weigh` says how many bytes one takes: the newest are kept as far as there is room."""

    def __init__(self, weigh: Callable[[T], int]) -> None:
        self._weigh = weigh
        self._calls: dict[bytes, _Call[T]] = {}
        self._at_work: set[asyncio.Task[T]] = set()  # the loop alone would let go of them

    async def once(self, key: bytes | None, request: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` returns, done once per `key`; without a key, always. `request` is what it stands for.

        Raises:
            MismatchError: `key` stands for another request.
        """
        if not key:
            return await asyncio.shield(self._begin(work))
        self._drop_old()
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call(request, time.monotonic(), self._begin(work))
            call.work.add_done_callback(partial(self._keep, key, call))
        elif call.request != request:
            raise MismatchError
        return await asyncio.shield(call.work)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        task = asyncio.create_task(work())
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return task

    def _keep(self, key: bytes, call: _Call[T], done: asyncio.Task[T]) -> None:
        if done.cancelled() or done.exception() is not None:
            del self._calls[key]
        else:
            call.weight = self._weigh(done.result())

    def _drop_old(self) -> None:
        horizon = time.monotonic() - _KEPT
        count = weight = 0
        for key, call in reversed(list(self._calls.items())):
            if call.weight is not None:
                count += 1
                weight += call.weight
                if call.since < horizon or count > _MOST or weight > _HEAVIEST:
                    del self._calls[key]
