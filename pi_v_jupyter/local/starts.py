"""Starts of VMs: some at a time, each seen to its end, one that fails buried with its reason."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import disks
from pi_v_jupyter.local.problems import UnknownError

log = logging.getLogger(__name__)

_AT_ONCE = 4  # starts under way at a time; more would only slow each other down


class Starts:
    """Those under way. `bury(vm_id, why)` is told of a VM that does not come up."""

    def __init__(self, bury: Callable[[str, str], None]) -> None:
        self._bury = bury
        self._starts: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def under_way(self) -> list[str]:
        """Ids of the VMs that are being started."""
        return list(self._starts)

    async def wait(self, vm_id: str) -> None:
        """Until the VM runs.

        Raises:
            PlatformError: it does not come up.
            UnknownError: it was ended while it was being made.
        """
        start = self._starts.get(vm_id)
        if start is not None:
            await asyncio.wait([start])
            if start.cancelled():
                raise UnknownError(f"VM {vm_id} was ended while it was being made.")
            start.result()

    async def stop(self, vm_id: str) -> None:
        """End the start of the VM, if one is under way."""
        start = self._starts.get(vm_id)
        if start is not None:
            start.cancel()
            await asyncio.wait([start])

    def begin(self, vm_id: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Begin `work`, which makes the VM or brings it back."""
        start = asyncio.get_running_loop().create_task(self._guarded(vm_id, work))
        self._starts[vm_id] = start
        # Not in the task itself: one that is cancelled before its first step never runs.
        start.add_done_callback(lambda _: self._over(vm_id))

    def _over(self, vm_id: str) -> None:
        start = self._starts.pop(vm_id)
        if not start.cancelled():
            start.exception()  # the record says why, though nobody may have waited

    async def _guarded(self, vm_id: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with self._slots:
                await work()
        except BaseException as error:
            if disks.is_full(error):
                self._bury(vm_id, "The disk of this computer was full.")
                raise disks.no_room("a VM") from None
            self._bury(vm_id, str(error) or "It was stopped while it was being made.")
            if isinstance(error, OSError):
                raise PlatformError(f"The VM cannot be started: {error.strerror}.") from error
            raise
        log.info("%s runs after %.2f s", vm_id, loop.time() - begun)
