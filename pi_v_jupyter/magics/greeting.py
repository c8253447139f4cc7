"""The status line of `%load_ext`: which platform there is, and the VM this notebook used before.

It is there when the platform has answered; the notebook does not wait for it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from IPython.display import DisplayHandle, display

from pi_v_jupyter import loops
from pi_v_jupyter.errors import VersError, VMGoneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.session import Vers

GREETING = "vers: asking the platform …"
TIMEOUT = 1.0  # seconds a terminal, which cannot change a line later, waits for it


class Greeting:
    """The line under way. `imported` is called first, on a thread: it imports much, while the user reads."""

    def __init__(self, extension: Extension, imported: Callable[[], object]) -> None:
        self._extension = extension
        self._imported = threading.Event()
        self._handle: DisplayHandle | None = None  # of the line, in a notebook
        self._stands = True  # is it the latest that was said of the platform?

        def prepare() -> None:
            try:
                imported()
            finally:
                self._imported.set()

        async def greet() -> str:
            await asyncio.to_thread(prepare)
            return await status_line(extension.vers)

        self._line = asyncio.run_coroutine_threadsafe(greet(), loops.io_loop())

    def show(self) -> None:
        """Have it appear."""
        if hasattr(self._extension.shell, "kernel"):
            self._handle = display({"text/plain": GREETING}, raw=True, display_id=True)
            self._line.add_done_callback(
                lambda done: None if done.cancelled() else self._become(done.result())
            )
            return
        with suppress(TimeoutError):
            print(self._line.result(TIMEOUT))
            return
        print(GREETING)
        self._line.add_done_callback(
            lambda done: None if done.cancelled() else self._extension.notice(done.result())
        )

    def tell(self, line: str) -> None:
        """Have `line` be said of the platform, unless it says that already; it need not be asked any more."""
        asked, self._stands = self._stands, False
        unsaid = self._line.cancel()
        if asked and self._handle is not None and (unsaid or self._line.result() == line):
            # Even where it reads so already: what runs a notebook unseen heeds the cell under way alone.
            self._become(line)
        elif not asked or unsaid or self._line.result() != line:
            print(line)

    def _become(self, line: str) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": line}, raw=True)

    def prepared(self) -> None:
        """Wait for what is imported: a value shown before would not look as it should."""
        self._imported.wait()

    def settle(self) -> None:
        """Before a cell runs somewhere, know where: a restarted kernel may have a VM to find."""
        if not self._line.done() and self._extension.vers.fleet.missing:
            self._extension.wait(_result(self._line), "looking for the VM this notebook used")

    def cancel(self) -> None:
        """It is no longer wanted."""
        self._line.cancel()


async def status_line(vers: Vers) -> str:
    """Such as "vers: 3 VMs · https://api.vers.sh/api/v1"; never raises for what is away.

    In a line of its own, that the notebook is in plan mode since before its kernel was restarted.
    """
    from pi_v_jupyter.views import planmode

    told = await _platform_line(vers)
    return f"{told}\n{planmode.status_text(vers.plan.status)}" if vers.plan.is_on else told


async def _platform_line(vers: Vers) -> str:
    try:
        await vers.fleet.recall()
        await vers.plan.sweep()
        vms = await vers.fleet.all()
        platform = vers.settings.embedded
        where = f"embedded platform (QEMU, {platform.accelerator})" if platform else vers.settings.base_url
        counted = f"vers: {len(vms)} VM{'' if len(vms) == 1 else 's'} · {where}"
    except VersError as error:
        return " — ".join(filter(None, ("vers: offline", error.message.rstrip("."), error.hint)))
    try:
        active = vers.active
    except VMGoneError as error:
        return f"{counted}\n{error}"
    return f"{counted} · ★ {active.label}" if active else counted


async def _result(future: concurrent.futures.Future[str]) -> str:
    return await asyncio.wrap_future(future)
