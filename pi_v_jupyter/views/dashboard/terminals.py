"""Terminals that are opened from a dashboard: one for each VM, which waits while nobody looks at it."""

from __future__ import annotations

import asyncio

from pi_v_jupyter.session import Vers
from pi_v_jupyter.views.terminal import TerminalView


class Terminals:
    """Lives on the session's home loop."""

    def __init__(self, vers: Vers) -> None:
        self._vers = vers
        self._opened: dict[str, asyncio.Task[TerminalView]] = {}  # by the VM's id

    async def open(self, vm: str) -> TerminalView:
        """The terminal on the VM of that id; another one when the last has ended.

        Raises:
            UnknownVMError: there is no such VM.
            ConnectError: it cannot be reached.
            PlanModeError: what is typed there would be judged by nobody.
        """
        task = self._opened.get(vm)
        if task is None or _is_over(task):
            if task is not None:
                _close(task)
            task = self._opened[vm] = asyncio.create_task(self._open(vm))
        return await asyncio.shield(task)  # another view may wait for it, too

    async def _open(self, vm: str) -> TerminalView:
        self._vers.plan.check("terminal", {})
        view = TerminalView(await self._vers.vm(vm))
        try:
            await view.terminal.start()
        except BaseException:
            view.close()
            raise
        return view

    async def end(self, vm: str) -> None:
        """Hang up on the terminal on the VM of that id, if there is one, and wait until that is done."""
        task = self._opened.pop(vm, None)
        if task is not None:
            await asyncio.wait([task])  # one that is being opened is answered first
            await _end(task)

    async def close(self) -> None:
        """Hang up on all, and wait until that is done."""
        tasks = list(self._opened.values())
        self._opened.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*map(_end, tasks))


def _has_opened(task: asyncio.Task[TerminalView]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _is_over(task: asyncio.Task[TerminalView]) -> bool:
    return task.done() and (not _has_opened(task) or task.result().terminal.ended)


async def _end(task: asyncio.Task[TerminalView]) -> None:
    if _has_opened(task):
        await task.result().terminal.close()
    _close(task)


def _close(task: asyncio.Task[TerminalView]) -> None:
    if _has_opened(task):
        task.result().close()
