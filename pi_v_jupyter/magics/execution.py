"""A Python cell in one kernel on a VM: what comes is shown as a kernel here would show it."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError

from pi_v_jupyter import loops
from pi_v_jupyter.errors import RemoteCellError, RemoteTimeoutError, VersError
from pi_v_jupyter.magics import output
from pi_v_jupyter.remote.execution import Execution, Message, Shown

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.remote.kernel import Kernel

SLOW = 2.0  # seconds in a queue after which that is said
PAYLOADS = ("page", "set_next_input")  # not `ask_exit`, which would end this kernel
GRACE = 3.0  # seconds between the interrupt at a time-out and the end of waiting for what it does


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
        self.expressions: dict[str, str] = {}  # to be evaluated behind it, and what they were
        self.answers: dict[str, Any] = {}
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

    async def run(self, on_asked: Callable[[], object]) -> None:
        """To the end; what goes wrong is kept, for the others go on. `on_asked`: there is a kernel to ask."""
        self._task = asyncio.current_task()
        watch: list[asyncio.Task[None]] = []

        def asked(execution: Execution) -> None:
            self._execution = execution
            on_asked()
            watch.append(asyncio.create_task(self._watch(execution)))

        try:
            reply = await self.kernel.execute(
                self._body, self._take, asks=True, expressions=self.expressions, on_asked=asked
            )
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
            self._say(f"{self.label} is busy; the cell waits for its turn …\n")
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

    @property
    def asked(self) -> bool:
        """Is there a kernel that was asked, or is it still to be started?"""
        return self._execution is not None

    @property
    def begun(self) -> bool:
        """Has the kernel come to it?"""
        return self._execution is not None and self._execution.begun.is_set()

    def drop(self) -> None:
        """Wait for it no longer."""
        self._dropped = True
        if self._task is not None:
            self._task.cancel()

    def _answered(self, reply: Message) -> None:
        self.answers = reply.get("user_expressions") or {}
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
        if self._execution is None or not self._execution.sent:
            self.drop()
        elif not self.over:
            self._interrupting = asyncio.ensure_future(self._execution.interrupt())

    def _show(self, call: Callable[[], object]) -> None:
        if not self.hidden:
            self._shown.flush()
            self._screen.call(call)

    def _say(self, text: str) -> None:
        if not self.hidden:
            self._shown.say("stderr", text)

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
            self._say(lost)
        elif kind == "clear_output":
            self._show(lambda: self._extension.shell.display_pub.clear_output(wait=bool(content["wait"])))

    def _show_error(self, content: dict[str, Any]) -> None:
        """One that did not end the cell."""
        error = _error(content)
        self._show(lambda: self._print_error(error))

    def show_error(self) -> None:
        """The one that ended the cell, where it is not raised. On the cell's own thread, once it is over."""
        if isinstance(self.error, RemoteCellError) and not self.hidden:
            self._print_error(self.error)

    def _print_error(self, error: RemoteCellError) -> None:
        self._extension.shell._showtraceback(type(error), error, error.traceback)

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
        try:
            with loops.interruptible():
                text = getpass.getpass(prompt) if content["password"] else input(prompt)
        except KeyboardInterrupt:
            self._at_home(self.kernel.interrupt())
        except (EOFError, StdinNotImplementedError):
            print(f"{self.label} asks for input, and nobody can be asked here: it was interrupted.")
            self._at_home(self.kernel.interrupt())
        else:
            self._at_home(self.kernel.answer(message, text))

    def _at_home(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self.kernel.home)


def _error(content: dict[str, Any]) -> RemoteCellError:
    ename, evalue = str(content.get("ename", "Error")), str(content.get("evalue", ""))
    return RemoteCellError.named(ename, evalue, [str(line) for line in content.get("traceback", ())])


def summary(run: Run) -> str:
    """Its line at the end of a cell for several."""
    how = ""
    if isinstance(run.error, RemoteCellError):
        how = f" {run.error.ename}: {run.error.evalue}".rstrip(": ")
    elif run.error is not None:
        how = f" {run.error.message}"
    return f"[{run.label}] {'✗' if run.error else '✓'}{how} {run.seconds:.2f} s\n"
