"""The command of a cell, on one machine or several at once: what it writes is shown, and stops reach it."""

from __future__ import annotations

import asyncio
import collections
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pi_v_jupyter import loops
from pi_v_jupyter.errors import VersError
from pi_v_jupyter.machine import TAIL, Command, Machine, Result
from pi_v_jupyter.magics import output
from pi_v_jupyter.magics.options import Options
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

KEPT = 1 << 20  # bytes of each stream in a cell's result
PATIENCE = 1.0  # seconds after a stop until the user is told that it was not obeyed


class Run:
    """One machine's part in a cell, under `label` where there are several. `share`: how many there are."""

    def __init__(
        self,
        screen: loops.Screen,
        machine: Machine,
        label: str,
        asked: Request,
        stdin: bytes | None,
        options: Options,
        share: int,
    ) -> None:
        self.machine, self.label, self._screen, self._share = machine, label, screen, share
        self._shown = self._new_output()
        self.kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._silent = {stream for stream, name in (("stdout", options.out), ("stderr", options.err)) if name}
        self._hidden = options.silent
        self._truncated = False
        self._errors = b""
        self.command = Command(machine, asked, stdin, self._feed)
        self._task: asyncio.Task[Any] | None = None
        self._unstarted = False
        self.result: Result | None = None
        self.failure: VersError | None = None

    def _new_output(self) -> output.CellOutput:
        label = self.label if self._share > 1 else None
        return output.CellOutput(self._screen, label=label, share=self._share)

    def show_again(self) -> None:
        """A new cell is there for the rest of the output. On the I/O loop, as what follows."""
        self._shown.finish()
        self._shown = self._new_output()
        self.command.attach(self._feed)

    def _feed(self, stream: Any, data: bytes) -> None:
        if stream == "stderr":
            self._errors = (self._errors + data)[-TAIL:]
        kept = self.kept[stream]
        if stream in self._silent:
            kept += data
            return
        room = KEPT - len(kept)
        self._truncated = self._truncated or len(data) > room
        kept += data[:room]
        if not self._hidden:
            self._shown.feed(stream, data)

    def stop(self, number: int) -> None:
        """Send it a signal; a machine that is still being connected to is let be."""
        if self.command.started:
            self.command.signal(number)
        elif self._task is not None:
            self._unstarted = True
            self._task.cancel()

    async def run(self) -> None:
        """To the end; what goes wrong is kept, for the others go on."""
        self._task = asyncio.current_task()
        try:
            how = await self.command.run()
        except VersError as error:
            self.failure = error
            return
        except asyncio.CancelledError:
            if not self._unstarted:
                raise
            return
        finally:
            self._shown.finish()
        out, err = bytes(self.kept["stdout"]), bytes(self.kept["stderr"])
        result = self.machine.result(how, out, err, self.command.seconds)
        self.result = replace(result, truncated=self._truncated)
        if how.error and not self._hidden:
            self._shown.say("stderr", f"{how.what}: {how.message}\n")

    def raise_unless_ok(self) -> None:
        """Raise what a failed command raises, with the end of what it wrote to stderr."""
        if self.result is not None:
            result = replace(self.result, stderr_bytes=self._errors or self.result.stderr_bytes)
            self.machine.raise_unless_ok(result, quoting=self._hidden)


def labels(machines: Mapping[Machine, str]) -> list[str]:
    """What to call each, as the user did; nothing keeps people from giving two VMs the same name."""
    called = {machine: name or machine.label for machine, name in machines.items()}
    count = collections.Counter(called.values())
    return [
        f"{label} {machine.vm_id[:8]}" if count[label] > 1 and isinstance(machine, VM) else label
        for machine, label in called.items()
    ]


class Batch:
    """The runs of one cell. They go on when nobody waits for them any longer."""

    def __init__(
        self,
        extension: Extension,
        machines: Mapping[Machine, str],
        asked: Request,
        stdin: bytes | None,
        options: Options,
    ) -> None:
        self._extension, self.options = extension, options
        self._screen = loops.Screen()
        named = list(zip(labels(machines), machines, strict=True))
        self.runs = [
            Run(self._screen, machine, label, asked, stdin, options, len(named)) for label, machine in named
        ]
        self._task: asyncio.Future[Any] | None = None

    async def _join(self) -> None:
        if self._task is None:
            self._task = asyncio.gather(*(run.run() for run in self.runs))
        await self._task

    def wait(self) -> None:
        """Show what comes until all have ended. The first stop interrupts, the second kills and detaches."""
        stops = 0

        def on_interrupt(presses: int) -> BaseException | None:
            nonlocal stops
            stops = presses
            number = signal.SIGINT if presses == 1 else signal.SIGKILL
            for run in self.runs:
                loops.io_loop().call_soon_threadsafe(run.stop, number)
            if presses == 1:
                loops.io_loop().call_soon_threadsafe(self._remind_later)
                return None
            return self._leave()

        with self._extension.showing(self._screen):
            loops.wait(self._join(), screen=self._screen, on_interrupt=on_interrupt)
        if stops:
            took = max((run.result.duration for run in self.runs if run.result), default=0.0)
            failures = "; ".join(run.failure.message for run in self.runs if run.failure)
            raise self._extension.stopped(
                f"interrupted (SIGINT) on {self._where()} after {took:.2f} s."
                if any(run.result for run in self.runs)
                else failures or f"nothing was started on {self._where()}."
            )

    def _where(self) -> str:
        return ", ".join(run.label for run in self.runs)

    def _remind_later(self) -> None:
        asyncio.get_running_loop().call_later(PATIENCE, self._remind)

    def _remind(self) -> None:
        if self._task is not None and not self._task.done():
            text = "Interrupted (SIGINT), and still running. Stop again to kill it and free the notebook.\n"
            self._screen.call(lambda: output.to_cell("stderr", text))

    def _leave(self) -> BaseException:
        for run in self.runs:
            run.command.detach()
        number = self._extension.detach(self)
        groups = ", ".join(str(run.command.pid) for run in self.runs if run.command.pid)
        session = " Its shell session ends with it." if self.runs[0].command.request.shell else ""
        return self._extension.stopped(
            f"SIGKILL sent on {self._where()}{f' (process group {groups})' if groups else ''}; "
            f"detached from it.{session}",
            f"`%vm --attach {number}` comes back to it: the rest of its output, and how it ended.",
        )

    def resume(self) -> None:
        """Come back: what was not shown is shown now."""
        for run in self.runs:
            loops.io_loop().call_soon_threadsafe(run.show_again)
        self.wait()


def summary(run: Run) -> str:
    """One machine's line at the end of a cell for several."""
    if run.result is None:
        return f"[{run.label}] ✗ {run.failure.message if run.failure else 'no result'}\n"
    result = run.result
    how = "" if result.ok else f" {result.signal or f'exit code {result.exit_code}'}"
    return f"[{run.label}] {'✓' if result.ok else '✗'}{how} {result.duration:.2f} s\n"
