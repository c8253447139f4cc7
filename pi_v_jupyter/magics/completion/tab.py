"""What Tab asks of machines and of the platform: answered at once, or not now.

What is not answered in time is asked on for a while, and its answer is there for the next Tab, unless a cell
has run meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

from pi_v_jupyter import loops
from pi_v_jupyter.errors import VersError
from pi_v_jupyter.names import SHORTEST_PREFIX
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.extension import Extension

T = TypeVar("T")
QUICK = 0.15  # seconds a Tab may take
LONGEST = 2.5  # seconds a question goes on; in three, a connection that is broken is worth telling


class Tab:
    """The questions of one notebook."""

    def __init__(self, extension: Extension) -> None:
        self.extension = extension
        self._deadline = 0.0
        self._asked: dict[Hashable, asyncio.Task[None]] = {}
        self._answers: dict[Hashable, Any] = {}
        self._cell = 0  # the number of the one being written, to which the answers belong

    def begin(self) -> None:
        """The key was pressed now."""
        self._deadline = time.monotonic() + QUICK
        if self._cell != self.extension.shell.execution_count:
            self._cell = self.extension.shell.execution_count
            self._answers = {}

    def ask(self, key: Hashable, question: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """The answer, or the one to the same question before; None where it is late, or an error."""
        return loops.wait(self._answered(key, question, LONGEST, self._deadline - time.monotonic()))

    def ask_once(self, key: Hashable, question: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """As `ask`, of what only a cell changes; it may take half of the time, and is never given up."""
        answer: T | None = self._answers.get(key)
        left = self._deadline - time.monotonic()
        return loops.wait(self._answered(key, question, None, left / 2)) if answer is None else answer

    async def _answered(
        self,
        key: Hashable,
        question: Callable[[], Coroutine[Any, Any, T]],
        limit: float | None,
        patience: float,
    ) -> T | None:
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._keep(key, question, limit))
        done, _ = await asyncio.wait([task], timeout=max(0.0, patience))
        for each in done:
            each.result()
        answer: T | None = self._answers.get(key)
        return answer

    async def _keep(
        self, key: Hashable, question: Callable[[], Coroutine[Any, Any, T]], limit: float | None
    ) -> None:
        cell = self._cell
        try:
            async with asyncio.timeout(limit):
                answer = await question()
        except (VersError, TimeoutError):
            self._answers.pop(key, None)
        else:
            if cell == self._cell:
                self._answers[key] = answer
        finally:
            del self._asked[key]

    def vms(self) -> list[VM]:
        """All there are, or those seen so far."""
        fleet = self.extension.vers.fleet
        found = self.ask(("vms", fleet.settings.base_url), fleet.all)
        return fleet.known() if found is None else found

    def machine(self, name: str | None) -> Machine | None:
        """The one of that name, the first of several with commas; None and `.` are the active one."""
        name = (name or ".").split(",")[0]
        found = known(self.extension, name)
        if found is None:
            self.vms()
            found = known(self.extension, name)
        return found

    def held(self, kind: type[T]) -> dict[str, T]:
        """The user's variables that hold such a thing, by name."""
        shell = self.extension.shell
        return {
            name: value
            for name, value in shell.user_ns.items()
            if isinstance(value, kind) and not name.startswith("_") and name not in shell.user_ns_hidden
        }


def known(extension: Extension, name: str) -> Machine | None:
    """A machine that is found without asking anybody; as `Extension.find` would."""
    if name == ".":
        return extension.vers.machine
    vms = extension.vers.fleet.known()
    found = [vm for vm in vms if name in (vm.vm_id, vm.name)] or [
        vm for vm in vms if len(name) >= SHORTEST_PREFIX and vm.vm_id.startswith(name.lower())
    ]
    if len(found) > 1:
        return None
    return found[0] if found else extension.held(name, VM)
