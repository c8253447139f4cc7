"""Terminals that a viewer of a dashboard has opened: one for each VM, which waits while nobody looks at it.

What shows one to pages is the viewer's: here it is begun, hung up on, and made again when it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.terminal import Terminal
from pi_v_jupyter.vm import VM


class Screen(Protocol):
    """What shows a terminal to pages; `id` is what they know it by."""

    terminal: Terminal

    @property
    def id(self) -> str: ...

    def close(self) -> object:
        """Hang up on what runs in it, and show it no more."""


class Terminals:
    """Lives on the session's home loop. `make` makes what shows one on a VM."""

    def __init__(self, make: Callable[[VM], Screen]) -> None:
        self._make = make
        self._closed = False
        self._opened: dict[str, asyncio.Task[Screen]] = {}  # by the VM's id

    async def open(self, vm: VM) -> Screen:
        """The terminal on a VM; another one when the last has ended.

        Raises:
            ConnectError: the VM cannot be reached.
            UsageError: who wants it is there no more.
        """
        if self._closed:
            raise UsageError("The dashboard that was to show it was closed.", "`%vers` opens another.")
        task = self._opened.get(vm.id)
        if task is None or _is_over(task):
            if task is not None:
                _close(task)
            task = self._opened[vm.id] = asyncio.create_task(self._open(vm))
        return await asyncio.shield(task)  # another view may wait for it, too

    async def _open(self, vm: VM) -> Screen:
        screen = self._make(vm)
        try:
            await screen.terminal.start()
        except BaseException:
            screen.close()
            raise
        return screen

    async def end(self, vm: str) -> None:
        """Hang up on the terminal on the VM of that id, if there is one, and wait until that is done."""
        task = self._opened.pop(vm, None)
        if task is not None:
            await asyncio.wait([task])  # one that is being opened is answered first
            await _end(task)

    async def close(self) -> None:
        """Hang up on all, and wait until that is done."""
        self._closed = True
        tasks = list(self._opened.values())
        self._opened.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*map(_end, tasks))


def _has_opened(task: asyncio.Task[Screen]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _is_over(task: asyncio.Task[Screen]) -> bool:
    return task.done() and (not _has_opened(task) or task.result().terminal.ended)


async def _end(task: asyncio.Task[Screen]) -> None:
    if _has_opened(task):
        await task.result().terminal.close()
    _close(task)


def _close(task: asyncio.Task[Screen]) -> None:
    if _has_opened(task):
        task.result().close()
