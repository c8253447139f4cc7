"""What `%load_ext` makes and `%unload_ext` undoes: one session, its magics, its way of showing things."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class, no_var_expand

from pi_v_jupyter import loops
from pi_v_jupyter.errors import UnknownVMError, UsageError
from pi_v_jupyter.magics import configurable, exact, pages, stops
from pi_v_jupyter.magics.greeting import Greeting
from pi_v_jupyter.magics.route import Route
from pi_v_jupyter.magics.waits import Waits

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.batch import Batch
    from pi_v_jupyter.magics.dashboard import Dashboards
    from pi_v_jupyter.magics.notices import Notices
    from pi_v_jupyter.session import Vers
    from pi_v_jupyter.vm import VM

T = TypeVar("T")


class Closes(Protocol):
    """What is open until it ends by itself, or is closed."""

    ended: bool

    async def close(self) -> None:
        """End it."""


@magics_class
class Extension(Waits, Magics):
    """The magics, and what they share."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        self._configured = configurable.Vers(parent=shell)  # which may refuse what it is given
        Waits.__init__(self, shell)
        Magics.__init__(self, shell)
        self._vers: Vers | None = None
        self._quiet: tuple[int, object] | None = None
        self._numbers = itertools.count(1)
        self._batches: dict[int, Batch] = {}
        self._owned: list[Closes] = []
        self._lock = threading.Lock()
        self._greeting: Greeting
        self._wakes = False  # do signals wake the kernel's loop?
        self._undo = ExitStack()  # what loading has done to the shell
        self.route = Route(self)

    # The magics.

    @pages.explained(pages.vers)
    @no_var_expand
    @line_magic("vers")  # type: ignore[arg-type]  # IPython types its decorator for no function at all
    def vers_magic(self, line: str) -> Any:
        """Virtual machines: `%vers --help`."""
        from pi_v_jupyter.magics import vers, words

        self._greeting.prepared()
        return words.run(vers.vers, "%vers", words.arguments(line), self)

    @pages.explained(pages.vm)
    @no_var_expand
    @line_cell_magic("vm")  # type: ignore[arg-type]  # likewise
    def vm_magic(self, line: str, cell: str | None = None) -> Any:
        """A command, or a cell, on the active VM: `%%vm --help`."""
        from pi_v_jupyter.magics import cells, route

        self._greeting.prepared()
        self.settle()
        if cell is None:
            return cells.line_magic(self, line)
        if self.route.takes(cell):
            return route.run(self, cell)
        return cells.cell_magic(self, line, cell)

    @pages.explained(pages.bg)
    @no_var_expand
    @line_cell_magic("bg")  # type: ignore[arg-type]  # likewise
    def bg_magic(self, line: str, cell: str | None = None) -> Any:
        """Processes in the background, of a VM or of this computer: `%bg --help`."""
        from pi_v_jupyter.magics import background

        self._greeting.prepared()
        self.settle()
        if cell is None:
            return background.line_magic(self, line)
        return background.cell_magic(self, line, cell)

    @pages.explained(pages.task)
    @no_var_expand
    @cell_magic("task")  # type: ignore[arg-type]  # likewise
    def task_magic(self, line: str, cell: str) -> Any:
        """The cell is a task for agents: `%%task --help`."""
        from pi_v_jupyter.magics import tasks

        self._greeting.prepared()
        return tasks.cell_magic(self, line, cell)

    @pages.explained(pages.plan)
    @no_var_expand
    @line_cell_magic("plan")  # type: ignore[arg-type]  # likewise
    def plan_magic(self, line: str, cell: str | None = None) -> Any:
        """What agents have planned, and how far they are: `%plan --help`."""
        from pi_v_jupyter.magics import plan

        self._greeting.prepared()
        return plan.line_magic(self, line) if cell is None else plan.cell_magic(self, line, cell)

    @no_var_expand
    @cell_magic("local")  # type: ignore[arg-type]  # likewise
    def local_magic(self, line: str, cell: str) -> None:
        """Run the cell here, also while `%vers route` sends cells to a VM."""
        # Without words in its line it was taken off by `Route.transform`, and the cell is an ordinary one.
        raise UsageError("%%local takes no options.", "It stands alone in the first line of a cell.")

    # What they share.

    def cell_begins(self) -> None:
        """For `pre_execute`."""
        super().cell_begins()
        if not self._wakes:
            undo = stops.wake()
            if undo is not None:
                self._wakes = True
                self._undo.callback(undo)

    def settle(self) -> None:
        """Before a cell runs somewhere, know where: a restarted kernel may have a VM to find."""
        self._greeting.settle()

    def tell_status(self, line: str) -> None:
        """Have `line` be said of the platform, once."""
        self._greeting.tell(line)

    @property
    def vers(self) -> Vers:
        """The session, made with the first use."""
        with self._lock:
            if self._vers is None:
                from pi_v_jupyter.magics import callbacks
                from pi_v_jupyter.session import Vers
                from pi_v_jupyter.settings import Settings

                settings = Settings(traits=configurable.Traits(self._configured))
                self._vers = Vers(settings, home=loops.io_loop(), on_notice=self.notice)
                callbacks.attach(self._vers.callbacks, self)
                Vers.notebook, Vers.shows = self._vers, lambda vers: self.dashboards.show(vers)
        return self._vers

    @cached_property
    def dashboards(self) -> Dashboards:
        """What shows sessions live."""
        from pi_v_jupyter.magics.dashboard import Dashboards

        made = Dashboards(self)
        self.own(made)
        self._undo.callback(made.put_away)
        return made

    @cached_property
    def notices(self) -> Notices:
        """What is told of agents for whom nobody waits."""
        from pi_v_jupyter.magics.notices import Notices

        return Notices()

    async def find(self, name: str) -> VM:
        """The VM of that name or, where none has it, the one that a variable of that name holds.

        Raises:
            UnknownVMError, AmbiguousVMError: none, or several.
        """
        from pi_v_jupyter.vm import VM

        try:
            return await self.vers.vm(name)
        except UnknownVMError:
            held = self.held(name, VM)
            if held is None:
                raise
            return held

    def find_all(self, listed: str) -> dict[Machine, str]:
        """The VMs named in a list with commas; and the variable by which each was named, if by one."""
        from pi_v_jupyter.vm import VM

        names = list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
        if not names:
            raise UsageError("--on names no VM.", "`%vers ls` shows them all.")

        async def find() -> dict[Machine, str]:
            found = [(await self.find(name), name) for name in names]
            return {vm: name if self.held(name, VM) is vm else "" for vm, name in found}

        return self.wait(find(), f"looking for {listed}")

    def held(self, name: str, kind: type[T]) -> T | None:
        """What a variable of the user's holds, if it is of that kind."""
        value = self.shell.user_ns.get(name)
        return value if isinstance(value, kind) else None

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

    def own(self, thing: Closes) -> None:
        """Close it when the extension is unloaded, unless it has ended by then."""
        self._owned = [*(one for one in self._owned if not one.ended), thing]

    # Loading and unloading.

    def load(self) -> None:
        """Register everything; the status line follows when the platform has answered."""
        shell, undo = self.shell, self._undo.callback
        shell.register_magics(self)
        undo(self._unregister)
        undo(shell.configurables.remove, self)  # type: ignore[arg-type]  # IPython puts all magics there
        shell.configurables.append(self._configured)  # type: ignore[arg-type]  # typed too narrowly
        undo(shell.configurables.remove, self._configured)  # type: ignore[arg-type]  # likewise
        shell.events.register("pre_execute", self.cell_begins)
        undo(shell.events.unregister, "pre_execute", self.cell_begins)
        for transform in (exact.transform, self.route.transform):
            shell.input_transformers_cleanup.insert(0, transform)
            undo(shell.input_transformers_cleanup.remove, transform)
        undo(self.route.attend())
        undo(self.route.end)
        undo(loops.stop_io_loop)
        self._greeting = Greeting(self, self._import)
        self._greeting.show()

    def _import(self) -> None:
        """The heavy imports; what is registered with them comes with them."""
        from pi_v_jupyter.magics import formats, inspection, planmode
        from pi_v_jupyter.magics.completion import matcher

        self._undo.callback(formats.register(self))
        self._undo.callback(formats.keep_quiet(self))
        self._undo.callback(planmode.attend(self))
        if self.shell.Completer is not None:
            matchers, ours = self.shell.Completer.custom_matchers, matcher.made(self)
            matchers.append(ours)
            self._undo.callback(matchers.remove, ours)
            self._undo.callback(inspection.teach(self))

    def unload(self) -> None:
        """Undo all of it: connections closed, loop ended, magics and formats gone."""
        with self._undo:
            if self.route.on:
                print("Cells run here: `%vers route` ends with the extension.")
            self._greeting.cancel()
            if self._vers is not None:
                type(self._vers).notebook = type(self._vers).shows = None
                self.wait(_close_all(self._owned), "closing what is open")
                self.wait(self._vers.close(), "closing connections")

    def _unregister(self) -> None:
        for magics in self.shell.magics_manager.magics.values():
            for name in ("vers", "vm", "bg", "task", "plan", "local"):
                magics.pop(name, None)
        self.shell.magics_manager.registry.pop(type(self).__name__, None)


async def _close_all(things: Iterable[Closes]) -> None:
    await asyncio.gather(*(thing.close() for thing in things))
