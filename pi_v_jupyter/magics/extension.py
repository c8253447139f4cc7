"""What `%load_ext` makes and `%unload_ext` undoes: one session, its magics, its way of showing things."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from pi_v_jupyter import loops
from pi_v_jupyter.errors import UsageError, VersError

if TYPE_CHECKING:
    from pi_v_jupyter.magics.cells import Batch
    from pi_v_jupyter.session import Vers
    from pi_v_jupyter.vm import VM

T = TypeVar("T")
SLOW = 2.0  # seconds after which a wait is worth a line
GREETING = "vers: asking the platform …"
GREETING_TIMEOUT = 1.0  # seconds a terminal, which cannot change a line later, waits for it


@magics_class
class Extension(Magics):
    """The magics, and what they share."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.screen = loops.Screen()
        self._vers: Vers | None = None
        self._quiet: tuple[int, object] | None = None
        self._formats: list[tuple[Any, type]] = []
        self._numbers = itertools.count(1)
        self._batches: dict[int, Batch] = {}
        self._lock = threading.Lock()
        self._greeting: concurrent.futures.Future[str] | None = None

    # The magics.

    @no_var_expand
    @line_magic("vers")
    def vers_magic(self, line: str) -> Any:
        """Virtual machines: `%vers --help`."""
        from pi_v_jupyter.magics import vers, words

        return words.run(vers.vers, "%vers", words.split(line)[0], self)

    @no_var_expand
    @line_cell_magic("vm")
    def vm_magic(self, line: str, cell: str | None = None) -> Any:
        """A command, or a cell, on the active VM: `%%vm --help`."""
        from pi_v_jupyter.magics import cells

        self._settle()
        return cells.line_magic(self, line) if cell is None else cells.cell_magic(self, line, cell)

    # What they share.

    @property
    def vers(self) -> Vers:
        """The session, made with the first use."""
        with self._lock:
            if self._vers is None:
                from pi_v_jupyter.session import Vers

                self._vers = Vers(home=loops.io_loop(), on_notice=self.notice)
        return self._vers

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The answer of the I/O loop."""
        return loops.wait(work, screen=self.screen)

    def notice(self, text: str) -> None:
        """Tell the user something no answer says. Called on the I/O loop."""
        self.screen.call(lambda: print(text))

    def ask(self, question: str, forced: str) -> None:
        """Go on only if the user says yes.

        Raises:
            UsageError: they did not, or nobody can be asked here.
        """
        try:
            answer = input(f"{question} [y/N] ")
        except (StdinNotImplementedError, EOFError):
            raise UsageError("Nobody can be asked here.", f"`{forced}` does not ask.") from None
        if answer.strip().lower() not in ("y", "yes"):
            raise UsageError("Nothing was done.", "")

    @contextmanager
    def progress(self, what: str) -> Iterator[None]:
        """Say what is being waited for, if it takes long."""
        timer = threading.Timer(SLOW, self.screen.call, [lambda: print(f"{what} …")])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def announce(self, vm: VM, seconds: float | None = None) -> VM:
        """Print the line that tells of `vm`, and spare the cell its repetition."""
        from pi_v_jupyter.views import tables

        active = self.vers.active
        print(tables.vm_line(vm, active.vm_id if active else None, seconds))
        return self.quietly(vm)

    def quietly(self, value: T) -> T:
        """Return what the cell has shown already: as the cell's own value it is not shown again."""
        self._quiet = self.shell.execution_count, value
        return value

    def shown_already(self, value: object) -> bool:
        """Has this very cell shown it?"""
        return (
            self._quiet is not None
            and self._quiet[0] == self.shell.execution_count
            and self._quiet[1] is value
        )

    def detach(self, batch: Batch) -> int:
        """Keep a command that nobody waits for; the number to come back by."""
        number = next(self._numbers)
        self._batches[number] = batch
        return number

    def detached(self, number: int) -> Batch:
        """A command that was left, taken out of the list."""
        try:
            return self._batches.pop(number)
        except KeyError:
            left = ", ".join(map(str, self._batches)) or "none"
            raise UsageError(f"No command {number} was left running.", f"There are: {left}.") from None

    # Loading and unloading.

    def load(self) -> None:
        """Register everything; the status line follows when the platform has answered."""
        self.shell.register_magics(self)
        self._greeting = asyncio.run_coroutine_threadsafe(self._greet(), loops.io_loop())
        if hasattr(self.shell, "kernel"):
            handle = display({"text/plain": GREETING}, raw=True, display_id=True)
            self._greeting.add_done_callback(
                lambda done: (
                    handle.update({"text/plain": done.result()}, raw=True) if not done.cancelled() else None
                )
            )
            return
        try:
            print(self._greeting.result(GREETING_TIMEOUT))
        except TimeoutError:
            print(GREETING)

    async def _greet(self) -> str:
        await asyncio.to_thread(self._import)
        return await self.status_line()

    def _import(self) -> None:
        """The heavy imports, while the user reads; formats for our types come with them."""
        from pi_v_jupyter.magics import formats

        self._formats = formats.register(self)

    async def status_line(self) -> str:
        """Such as "vers: 3 VMs · https://api.vers.sh/api/v1"; never raises for what is away."""
        vers = self.vers
        try:
            await vers.fleet.recall()
            vms = await vers.list()
            platform = vers.settings.embedded
            where = (
                f"embedded platform (QEMU, {platform.accelerator})" if platform else vers.settings.base_url
            )
            active = vers.active
        except VersError as error:
            return f"vers: offline — {error.message.rstrip('.')} — {error.hint}"
        return f"vers: {len(vms)} VM{'' if len(vms) == 1 else 's'} · {where}" + (
            f" · ★ {active.label}" if active else ""
        )

    def _settle(self) -> None:
        """Before a cell runs somewhere: know where. A notebook whose kernel was restarted may have a VM to find."""
        if self._greeting is not None and not self._greeting.done() and os.environ.get("JPY_SESSION_NAME"):
            self.wait(_result(self._greeting))

    def unload(self) -> None:
        """Undo all of it: connections closed, loop ended, magics and formats gone."""
        if self._greeting is not None:
            self._greeting.cancel()
        if self._vers is not None:
            loops.wait(self._vers.close())
        loops.stop_io_loop()
        for formatter, kind in self._formats:
            formatter.pop(kind, None)
        for magics in self.shell.magics_manager.magics.values():
            for name in ("vers", "vm"):
                magics.pop(name, None)
        self.shell.magics_manager.registry.pop(type(self).__name__, None)


async def _result(future: concurrent.futures.Future[T]) -> T:
    return await asyncio.wrap_future(future)
