"""A machine that Jupyter kernels run on, and values travel to and from."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from pi_v_jupyter.loops import at_home
from pi_v_jupyter.remote import values as transfer
from pi_v_jupyter.remote.copying import OnProgress
from pi_v_jupyter.remote.files import Files
from pi_v_jupyter.remote.kernel import DEFAULT, FOLDER, NAME, Kernel, Kernels


class KernelHost(Files):
    """Its kernels by name; `on_notice` is told what takes its time."""

    def __init__(self, on_notice: Callable[[str], None]) -> None:
        self._on_notice = on_notice
        self._kernels: dict[str, Kernel] = {}

    @abstractmethod
    async def connect(self) -> None:
        """Have a connection. Raises ConnectError: there can be none, for now or ever."""

    def kernel(self, name: str = DEFAULT) -> Kernel:
        """The Jupyter kernel of that name: what its cells define lasts there, and comes along in branches.

        It is started, and installed, by the first that needs it.

        Raises:
            UsageError: `name` cannot name a kernel.
        """
        if name not in self._kernels:
            self._kernels[name] = Kernel(self, name, self._on_notice)
        return self._kernels[name]

    @at_home
    async def kernels(self) -> Kernels:
        """Those that run there, whoever started them."""
        found = [self.kernel(name) for name in await self.kernel_names()]
        running = await asyncio.gather(*(kernel.attach() for kernel in found), return_exceptions=True)
        return Kernels(kernel for kernel, runs in zip(found, running, strict=True) if runs)

    @at_home
    async def kernel_names(self) -> list[str]:
        """What those are called that run there, or seem to: none of them is asked."""
        sockets = [entry.name.removesuffix(".sock") for entry in await self.glob(f"{FOLDER}/*.sock")]
        return [name for name in sockets if NAME.fullmatch(name)]

    @at_home
    async def push(
        self,
        values: Mapping[str, Any],
        *,
        kernel: str = DEFAULT,
        pickle: bool = False,
        on_progress: OnProgress = lambda done, total: None,
    ) -> int:
        """Give a kernel's namespace `values` by their names; the bytes it took.

        What travels: None, bools, numbers, texts, bytes; lists, tuples and dicts (with texts as keys) of what
        travels; arrays of numpy; tables of pandas, polars and pyarrow; dataclasses of what travels, if the
        class is known there. Anything else only by `pickle`.

        Raises:
            UsageError: one does not travel; nothing was changed there.
        """
        return await transfer.push(self, self.kernel(kernel), values, pickle=pickle, on_progress=on_progress)

    @at_home
    async def pull(
        self,
        *names: str,
        kernel: str = DEFAULT,
        known: dict[str, Any] | None = None,
        pickle: bool = False,
        on_progress: OnProgress = lambda done, total: None,
    ) -> dict[str, Any]:
        """The values of variables of a kernel, by their names; what travels is as for `push`.

        `known`: where classes of dataclasses of `__main__` are looked for. With `pickle`, what comes may run
        any code here.

        Raises:
            UsageError: one is not there, or does not travel.
        """
        found, _ = await transfer.pull(
            self, self.kernel(kernel), names, known or {}, pickle=pickle, on_progress=on_progress
        )
        return found

    async def _close_kernels(self) -> None:
        """Talk to them no more; they go on."""
        await asyncio.gather(*(kernel.close() for kernel in self._kernels.values()))
