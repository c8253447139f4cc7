"""`%%vm python`: a cell in a Jupyter kernel on a VM, shown as a cell of one's own would be."""

from __future__ import annotations

import asyncio
import getpass
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError

from pi_v_jupyter import loops
from pi_v_jupyter.errors import (
    RemoteCellError,
    RemoteCommandError,
    RemoteTimeoutError,
    UnknownVMError,
    UsageError,
    VersError,
)
from pi_v_jupyter.magics import output, values
from pi_v_jupyter.remote.kernel import DEFAULT, Execution, Message, Shown
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.magics.options import Options
    from pi_v_jupyter.remote.kernel import Kernel

SLOW = 2.0  # seconds in a queue after which that is said
PAYLOADS = ("page", "set_next_input")  # not `ask_exit`, which would end this kernel
GRACE = 3.0  # seconds between the interrupt at a time-out and the end of waiting for what it does
PATIENCE = 1.0  # seconds after a stop until the user is told that it was not obeyed
SHELLS = ("cwd", "env", "fresh", "err", "stdin")  # options that a kernel has no use for


class Values(dict[str, Shown | None]):
    """What the last expression of a cell was on several VMs, by their labels; None where it had none."""


def cell(extension: Extension, body: str, name: str | None, options: Options) -> Shown | Values | None:
    """Run it, show what comes, and raise what it raised."""
    for option in SHELLS:
        if getattr(options, option):
            raise UsageError(f"--{option} is for shells, not for Python.", "`%%vm --help` says more.")
    machines = extension.find_all(options.on) if options.on else {active(extension): ""}
    vms = {vm: called for vm, called in machines.items() if isinstance(vm, VM)}
    limit = extension.vers.settings.ssh_timeout if options.timeout is None else options.timeout
    screen = loops.Screen()
    runs = [
        Run(extension, screen, vm.kernel(name or DEFAULT), called or vm.label, body, limit, len(vms))
        for vm, called in vms.items()
    ]
    for run in runs:
        run.hidden = options.silent
    _wait(extension, screen, runs)
    unkept: VersError | None = None
    try:
        if options.out:  # of those that did not fail too
            _keep(extension, dict(zip(vms, runs, strict=True)), options.out)
    except VersError as error:
        unkept = error
    result = _conclude(extension, runs, options)
    if unkept is not None:
        raise unkept
    return result


def alone(extension: Extension, vm: VM, body: str) -> Shown | None:
    """A cell without a magic's options: it has the time it wants, as one of the notebook's own kernel has."""
    screen = loops.Screen()
    run = Run(extension, screen, vm.kernel(DEFAULT), vm.label, body, 0, 1)
    _wait(extension, screen, [run])
    if run.error is not None:
        raise run.error
    return extension.quietly(run.value)


def active(extension: Extension) -> VM:
    """The VM that cells run on.

    Raises:
        UnknownVMError, VMGoneError: there is none, or it is not there.
    """
    vm = extension.vers.active
    if vm is None:
        raise UnknownVMError(
            "No VM is active, and a Python kernel is on one.",
            "`%vers use VM` makes one so; a cell without magic is Python on this machine.",
        )
    return vm


class Run:
    """One kernel's part in a cell. All but what it shows happens on the I/O loop."""

    def __init__(
        self,
        extension: Extension,
        screen: loops.Screen,
        kernel: Kernel,
        label: str,
        body: str,
        limit: float,
        share: int,
    ) -> None:
        self._extension, self._screen, self.kernel, self.label = extension, screen, kernel, label
        self._body, self._limit, self._several = body, limit, share > 1
        self._shown = output.CellOutput(screen, label=label if share > 1 else None, share=share)
        self.hidden = False  # nothing is shown of it; what it asks and raises is
        self.value: Shown | None = None
        self.error: VersError | None = None
        # The latest error that was shown: as a rule, but not always, the one that ends the cell.
        self._raised: dict[str, Any] | None = None
        self.seconds = 0.0
        self._task: asyncio.Task[Any] | None = None
        self._interrupting: asyncio.Task[None] | None = None
        self._execution: Execution | None = None
        self._dropped = self._is_late = self.over = False
        self._began = time.monotonic()

    async def run(self) -> None:
        """To the end; what goes wrong is kept, for the others go on."""
        self._task = asyncio.current_task()
        watch: list[asyncio.Task[None]] = []

        def asked(execution: Execution) -> None:
            self._execution = execution
            watch.append(asyncio.create_task(self._watch(execution)))

        try:
            reply = await self.kernel.execute(self._body, self._take, asks=True, on_asked=asked)
            self._answered(reply)
        except VersError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  a VM may say anything, and the other VMs go on
            self.error = self.kernel.error(f"sent what no kernel would ({type(error).__name__})")
        except asyncio.CancelledError:
            if not self._dropped:
                raise
        finally:
            for task in watch:
                task.cancel()
            self.seconds = time.monotonic() - self._began
            self.over = True
            self._shown.finish()

    async def _watch(self, execution: Execution) -> None:
        """The time it may take runs from when the kernel has come to it."""
        try:
            async with asyncio.timeout(SLOW):
                await execution.begun.wait()
        except TimeoutError:
            self._shown.say("stderr", f"{self.label} runs another cell first …\n")
            await execution.begun.wait()
        self._began = time.monotonic()
        if not self._limit:
            return
        await asyncio.sleep(self._limit)
        self._is_late = True
        await execution.interrupt()
        await asyncio.sleep(GRACE)
        self.error = self._late(" It did not obey, and goes on")
        self.drop()

    def drop(self) -> None:
        """Wait for it no longer."""
        self._dropped = True
        if self._task is not None:
            self._task.cancel()

    def _answered(self, reply: Message) -> None:
        for payload in reply.get("payload", ()):
            if payload.get("source") in PAYLOADS:
                self._show(lambda payload=payload: self._page(payload))  # type: ignore[misc]
        if self._is_late:
            self.error = self._late("")
        elif reply["status"] != "ok":
            self.error = _error(self._raised or reply)
        elif self._raised is not None:
            self._show_error(self._raised)

    def _late(self, more: str) -> RemoteTimeoutError:
        return RemoteTimeoutError(
            f"out of time on {self.label} after {self._limit:g} s: it was interrupted.{more}".rstrip("."),
            "`--timeout SECONDS` gives it more, `--timeout 0` all it wants.",
            signal="SIGINT",
        )

    def interrupt(self) -> None:
        """As the stop button of the kernel's own notebook would; or, before it runs, have it not run."""
        if self._execution is None:
            self.drop()
        elif not self.over:
            self._interrupting = asyncio.ensure_future(self._execution.interrupt())

    def _show(self, call: Callable[[], object]) -> None:
        if not self.hidden:
            self._shown.flush()
            self._screen.call(call)

    def _take(self, message: Message) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "input_request":
            self._shown.flush()
            self._screen.call(lambda: self._ask(message))
        elif kind == "stream" and not self.hidden:
            name = "stderr" if content["name"] == "stderr" else "stdout"
            self._shown.feed(name, content["text"].encode("utf-8", "backslashreplace"))  # type: ignore[arg-type]
        elif kind == "execute_result":
            self.value = value = Shown(content["data"], content["metadata"])
            if not self._several:  # now: figures come behind it
                self._show(lambda: self._extension.shell.displayhook(value))
        elif kind in ("display_data", "update_display_data"):
            self._show(lambda: self._display(kind, content))
        elif kind == "error":
            if self._raised is not None:
                self._show_error(self._raised)
            self._raised = content
        elif kind == "lost":
            lost = (
                f"… {content['bytes'] / 1e6:.0f} MB came faster than they could be fetched, and are lost.\n"
            )
            self._shown.say("stderr", lost)
        elif kind == "clear_output":
            self._show(lambda: self._extension.shell.display_pub.clear_output(wait=bool(content["wait"])))

    def _show_error(self, content: dict[str, Any]) -> None:
        """One that did not end the cell."""
        error = _error(content)
        self._show(lambda: self._extension.shell._showtraceback(type(error), error, error.traceback))

    def _display(self, kind: str, content: dict[str, Any]) -> None:
        if self._several and kind == "display_data":
            print(f"[{self.label}]")
        self._extension.shell.display_pub.publish(
            content["data"],
            content["metadata"],
            transient=content.get("transient") or {},
            update=kind == "update_display_data",
        )

    def _page(self, payload: dict[str, Any]) -> None:
        """What `?` shows, and what `%load` puts into the next cell."""
        manager = getattr(self._extension.shell, "payload_manager", None)
        if manager is not None and hasattr(self._extension.shell, "kernel"):
            manager.write_payload(payload)
        else:
            print(payload.get("data", {}).get("text/plain", payload.get("text", "")))

    def _ask(self, message: Message) -> None:
        """On the cell's thread, with the stop button as it is for any `input()`."""
        content = message["content"]
        prompt = f"[{self.label}] {content['prompt']}" if self._several else content["prompt"]
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.default_int_handler) if main else None
        try:
            text = getpass.getpass(prompt) if content["password"] else input(prompt)
        except KeyboardInterrupt:
            self._at_home(self.kernel.interrupt())
        except (EOFError, StdinNotImplementedError):
            print(f"{self.label} asks for input, and nobody can be asked here: it was interrupted.")
            self._at_home(self.kernel.interrupt())
        else:
            self._at_home(self.kernel.answer(message, text))
        finally:
            if main:
                signal.signal(signal.SIGINT, before)

    def _at_home(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self.kernel.home)


def _error(content: dict[str, Any]) -> RemoteCellError:
    ename, evalue = str(content.get("ename", "Error")), str(content.get("evalue", ""))
    return RemoteCellError.named(ename, evalue, [str(line) for line in content.get("traceback", ())])


def _wait(extension: Extension, screen: loops.Screen, runs: list[Run]) -> None:
    """Show what comes until all have ended. The first stop interrupts, the second frees the notebook."""
    stops = 0
    where = ", ".join(run.label for run in runs)

    def remind() -> None:
        if any(not run.over for run in runs):
            text = "Interrupted, and still running. Stop again to leave it and free the notebook.\n"
            screen.call(lambda: output.to_cell("stderr", text))

    def interrupt() -> None:
        asyncio.get_running_loop().call_later(PATIENCE, remind)
        for run in runs:
            run.interrupt()

    def on_interrupt(presses: int) -> BaseException | None:
        nonlocal stops
        stops = presses
        if presses == 1:
            loops.io_loop().call_soon_threadsafe(interrupt)
            return None
        for run in runs:
            loops.io_loop().call_soon_threadsafe(run.drop)
        return extension.stopped(
            f"left running on {where}: it does not obey.",
            "`%vers kernels restart` ends what the kernel does.",
        )

    async def all_of_them() -> None:
        await asyncio.gather(*(run.run() for run in runs))

    with extension.showing(screen):
        loops.wait(all_of_them(), screen=screen, on_interrupt=on_interrupt)
    if stops and not any(run.error for run in runs):  # else that tells more
        raise extension.stopped(f"interrupted on {where}.")


def _conclude(extension: Extension, runs: list[Run], options: Options) -> Shown | Values | None:
    if len(runs) == 1:
        (run,) = runs
        if run.error is not None and not (options.no_raise and isinstance(run.error, RemoteCellError)):
            raise run.error
        return extension.quietly(run.value)
    for run in () if options.silent else runs:
        if run.value is not None:
            print(f"[{run.label}]")
            extension.shell.display_pub.publish(run.value.data, run.value.metadata)
        if isinstance(run.error, RemoteCellError):
            print(
                "".join(
                    f"[{run.label}] {line}\n" for text in run.error.traceback for line in text.split("\n")
                )
            )
    if not options.silent:
        print("".join(_summary(run) for run in runs), end="")
    failed = [run for run in runs if run.error is not None]
    if failed and not options.no_raise:
        if (
            len(failed) == 1
            and failed[0].error is not None
            and not isinstance(failed[0].error, RemoteCellError)
        ):
            raise failed[0].error
        raise RemoteCommandError(f"failed on {', '.join(run.label for run in failed)}")
    return extension.quietly(Values({run.label: run.value for run in runs}))


def _keep(extension: Extension, runs: dict[VM, Run], name: str) -> None:
    """The last value in a variable here; of several VMs in a dict by VM, None where there was none."""
    having = {vm: run.label for vm, run in runs.items() if run.value is not None}
    kernel = next(iter(runs.values())).kernel.name
    found = extension.wait(values.fetched(extension, having, ("_",), kernel), "fetching the value")
    kept = {run.label: found[run.label]["_"] if run.label in found else None for run in runs.values()}
    extension.shell.user_ns[name] = kept if len(kept) > 1 else next(iter(kept.values()))


def _summary(run: Run) -> str:
    how = ""
    if isinstance(run.error, RemoteCellError):
        how = f" {run.error.ename}: {run.error.evalue}".rstrip(": ")
    elif run.error is not None:
        how = f" {run.error.message}"
    return f"[{run.label}] {'✗' if run.error else '✓'}{how} {run.seconds:.2f} s\n"
