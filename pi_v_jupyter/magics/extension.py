"""What `%load_ext` makes and `%unload_ext` undoes: one session, its magics, its way of showing things."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import DisplayHandle, display

from pi_v_jupyter import loops
from pi_v_jupyter.errors import CellInterrupted, UnknownVMError, UsageError, VersError, VMGoneError
from pi_v_jupyter.magics import configurable, exact, pages
from pi_v_jupyter.magics.route import Route
from pi_v_jupyter.magics.waiting import WaitingLine

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.cells import Batch
    from pi_v_jupyter.session import Vers
    from pi_v_jupyter.vm import VM

T = TypeVar("T")
WAITING = "waiting for the platform"
GREETING = "vers: asking the platform …"
GREETING_TIMEOUT = 1.0  # seconds a terminal, which cannot change a line later, waits for it


class Closes(Protocol):
    """What is open until it ends by itself, or is closed."""

    ended: bool

    async def close(self) -> None:
        """End it."""


@magics_class
class Extension(Magics):
    """The magics, and what they share."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._screens: list[loops.Screen] = []  # of the waits under way, the latest last
        self._lines: list[WaitingLine] = []  # that say so
        self._untold = loops.Screen()  # what came up while nobody waited
        self._vers: Vers | None = None
        self._configured = configurable.Vers(parent=shell)
        self._quiet: tuple[int, object] | None = None
        self._formats: list[tuple[Any, type]] = []
        self._matchers: list[Callable[..., Any]] = []
        self._speak: Callable[[], None] | None = None
        self._plain: Callable[[], None] | None = None
        self._numbers = itertools.count(1)
        self._batches: dict[int, Batch] = {}
        self._owned: list[Closes] = []
        self._lock = threading.Lock()
        self._cell: asyncio.Task[Any] | None = None  # the task that runs the user's cell
        self._greeting: concurrent.futures.Future[str] | None = None
        self.route = Route(self)

    # The magics.

    @pages.explained(pages.vers)
    @no_var_expand
    @line_magic("vers")  # type: ignore[arg-type]  # IPython types its decorator for no function at all
    def vers_magic(self, line: str) -> Any:
        """Virtual machines: `%vers --help`."""
        from pi_v_jupyter.magics import vers, words

        return words.run(vers.vers, "%vers", words.arguments(line), self)

    @pages.explained(pages.vm)
    @no_var_expand
    @line_cell_magic("vm")  # type: ignore[arg-type]  # likewise
    def vm_magic(self, line: str, cell: str | None = None) -> Any:
        """A command, or a cell, on the active VM: `%%vm --help`."""
        from pi_v_jupyter.magics import cells

        self._settle()
        return cells.line_magic(self, line) if cell is None else cells.cell_magic(self, line, cell)

    @no_var_expand
    @cell_magic("local")  # type: ignore[arg-type]  # likewise
    def local_magic(self, line: str, cell: str) -> None:
        """Run the cell here, also while `%vers route` sends cells to a VM."""
        # Without words in its line it was taken off by `Route.transform`, and the cell is an ordinary one.
        raise UsageError("%%local takes no options.", "It stands alone in the first line of a cell.")

    # What they share.

    @property
    def vers(self) -> Vers:
        """The session, made with the first use."""
        with self._lock:
            if self._vers is None:
                from pi_v_jupyter.session import Vers
                from pi_v_jupyter.settings import Settings

                settings = Settings(traits=configurable.Traits(self._configured))
                self._vers = Vers(settings, home=loops.io_loop(), on_notice=self.notice)
                Vers.notebook = self._vers
        return self._vers

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

    def wait(
        self, work: Coroutine[Any, Any, T], doing: str = "", stopped: str = "", *, speaks: bool = False
    ) -> T:
        """The answer of the I/O loop. `stopped` is said at a stop, `doing` also while it takes long.

        `speaks`: the work says itself what it does.

        Raises:
            CellInterrupted: the user stopped it; `work` was cancelled.
        """
        screen = loops.Screen()
        line = WaitingLine(self.shell, doing or WAITING)

        async def told() -> T:
            with line.ticking(screen.call):
                return await work

        try:
            with self.showing(screen, None if speaks else line):
                return loops.wait(work if speaks else told(), screen=screen)
        except KeyboardInterrupt:
            raise self.stopped(f"{doing or WAITING}.", stopped) from None

    def stopped(self, message: str, hint: str = "") -> BaseException:
        """What to raise when the user has stopped something.

        A KeyboardInterrupt that leaves a task of the user's own would end the kernel's loop: that task is
        cancelled instead, and the cell that started it is told.
        """
        error = CellInterrupted(message, hint)
        if self._cell is None or self._cell is _current_task():
            return error
        print("\n".join(error._render_traceback_()))
        return asyncio.CancelledError(message)

    @contextmanager
    def showing(self, screen: loops.Screen, line: WaitingLine | None = None) -> Iterator[None]:
        """A wait that shows on `screen`, and as `line`; notices appear there too."""
        self._untold.run()
        self._screens.append(screen)
        if line is not None:
            self._lines.append(line)
        try:
            yield
        finally:
            self._screens.remove(screen)
            if line is not None:
                self._lines.remove(line)
                line.end()

    def notice(self, text: str) -> None:
        """Tell the user something no answer says, in the cell that waits now or next. From any thread."""
        self.show(lambda: self._say(text))

    def _say(self, text: str) -> None:
        for line in self._lines:
            line.hide()
        print(text)

    def show(self, function: Callable[[], object]) -> None:
        """Have the cell that waits, now or next, call `function`. From any thread."""
        (self._screens[-1] if self._screens else self._untold).call(function)

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
        self.shell.register_magics(self)
        self.shell.configurables.append(self._configured)  # type: ignore[arg-type]  # typed too narrowly
        self.shell.events.register("pre_execute", self._cell_begins)
        self.shell.events.register("post_execute", self.route.cell_ends)
        self.shell.input_transformers_cleanup[:0] = [self.route.transform, exact.transform]
        self._greeting = asyncio.run_coroutine_threadsafe(self._greet(), loops.io_loop())
        if hasattr(self.shell, "kernel"):
            handle = display({"text/plain": GREETING}, raw=True, display_id=True)
            self._greeting.add_done_callback(lambda done: _replace(handle, done))
            return
        with suppress(TimeoutError):
            print(self._greeting.result(GREETING_TIMEOUT))
            return
        print(GREETING)
        self._greeting.add_done_callback(
            lambda done: None if done.cancelled() else self.notice(done.result())
        )

    async def _greet(self) -> str:
        await asyncio.to_thread(self._import)
        return await self.status_line()

    def _import(self) -> None:
        """The heavy imports, while the user reads; formats for our types come with them."""
        from pi_v_jupyter.magics import formats, inspection
        from pi_v_jupyter.magics.completion import matcher

        self._formats = formats.register(self)
        if self.shell.Completer is not None:
            self._matchers = [matcher.made(self)]
            self.shell.Completer.custom_matchers.extend(self._matchers)
            self._plain = inspection.teach(self)
        self._speak = formats.keep_quiet(self)

    async def status_line(self) -> str:
        """Such as "vers: 3 VMs · https://api.vers.sh/api/v1"; never raises for what is away."""
        try:
            vers = self.vers
            await vers.fleet.recall()
            vms = await vers.fleet.all()
            platform = vers.settings.embedded
            where = (
                f"embedded platform (QEMU, {platform.accelerator})" if platform else vers.settings.base_url
            )
            counted = f"vers: {len(vms)} VM{'' if len(vms) == 1 else 's'} · {where}"
        except VersError as error:
            return " — ".join(filter(None, ("vers: offline", error.message.rstrip("."), error.hint)))
        try:
            active = vers.active
        except VMGoneError as error:
            return f"{counted}\n{error}"
        return f"{counted} · ★ {active.label}" if active else counted

    def _cell_begins(self) -> None:
        self._cell = _current_task()
        self.route.cell_begins()

    def _settle(self) -> None:
        """Before a cell runs somewhere, know where: a restarted kernel may have a VM to find."""
        if self._greeting is not None and not self._greeting.done() and self.vers.fleet.missing:
            self.wait(_result(self._greeting), "looking for the VM this notebook used")

    def unload(self) -> None:
        """Undo all of it: connections closed, loop ended, magics and formats gone."""
        if self._greeting is not None:
            self._greeting.cancel()
        try:
            if self._vers is not None:
                type(self._vers).notebook = None
                self.wait(_close_all(self._owned), "closing what is open")
                self.wait(self._vers.close(), "closing connections")
        finally:
            loops.stop_io_loop()
            self.route.end()
            self.shell.events.unregister("pre_execute", self._cell_begins)
            self.shell.events.unregister("post_execute", self.route.cell_ends)
            for transform in (self.route.transform, exact.transform):
                self.shell.input_transformers_cleanup.remove(transform)
            if self._speak is not None:
                self._speak()
            if self._plain is not None:
                self._plain()
            for matcher in self._matchers:
                self.shell.Completer.custom_matchers.remove(matcher)
            for formatter, kind in self._formats:
                formatter.pop(kind, None)
            for magics in self.shell.magics_manager.magics.values():
                for name in ("vers", "vm", "local"):
                    magics.pop(name, None)
            self.shell.configurables.remove(self._configured)  # type: ignore[arg-type]  # likewise
            self.shell.magics_manager.registry.pop(type(self).__name__, None)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs on this thread
        return None


async def _close_all(things: Iterable[Closes]) -> None:
    await asyncio.gather(*(thing.close() for thing in things))


async def _result(future: concurrent.futures.Future[T]) -> T:
    return await asyncio.wrap_future(future)


def _replace(handle: DisplayHandle, greeting: concurrent.futures.Future[str]) -> None:
    if not greeting.cancelled():
        handle.update({"text/plain": greeting.result()}, raw=True)
