"""`%%vm` and `%vm`: a cell, or a line, runs on a VM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from pi_v_jupyter import loops
from pi_v_jupyter.errors import CellInterrupted, RemoteCommandError, UsageError, VersError
from pi_v_jupyter.magics import output, words
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.vm import Command, Machine, OnOutput, Result, Results

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

SESSION = "cells"  # the shell session that cells of one notebook share on a VM
KEPT = 1 << 20  # bytes of each stream in a cell's result
PATIENCE = 1.0  # seconds after a stop until the user is told that it was not obeyed
RESERVED = ("python", "write", "edit")
HELP = {"help_option_names": ["-h", "--help"]}


class Pair(click.ParamType[tuple[str, str]]):
    """K=V."""

    name = "K=V"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the first equals sign."""
        key, equals, text = str(value).partition("=")
        if not equals or not key.isidentifier():
            self.fail(f"{value!r} is not K=V.", param, ctx)
        return key, text


OPTIONS = [
    click.Option(["--on"], metavar="VM[,VM…]", help="Run there; on several in parallel."),
    click.Option(
        ["--timeout"], type=click.FloatRange(min=0), metavar="S", help="Seconds it may take; 0: any."
    ),
    click.Option(["--cwd"], metavar="DIR", help="Run it in DIR."),
    click.Option(["-e", "--env"], type=Pair(), multiple=True, help="Set a variable for it."),
    click.Option(["--fresh"], is_flag=True, help="Run in a shell of its own, not in the session."),
    click.Option(["--out"], metavar="VAR", help="Keep standard output in VAR, as text."),
    click.Option(["--err"], metavar="VAR", help="Keep standard error in VAR, as text."),
    click.Option(["--no-raise"], is_flag=True, help="An exit code other than 0 is no error."),
]
CELL = click.Command(
    "vm",
    params=[click.Argument(["kind"], default="bash"), *OPTIONS],
    callback=lambda **given: given,
    context_settings=HELP,
    help="Run this cell on the active VM. KIND is bash (the default, in a session that lasts), or an interpreter "
    "there that reads its program from standard input.",
)
LINE = click.Command(
    "vm",
    params=[
        *OPTIONS,
        click.Option(
            ["--attach"], type=int, metavar="N", help="Come back to a command left by a second stop."
        ),
        click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED),
    ],
    context_settings={**HELP, "allow_interspersed_args": False},
    help="Run one command on the active VM: the line after the options, as it stands.",
)


@dataclass(frozen=True)
class Options:
    """What `%%vm` was told."""

    on: str | None
    timeout: float | None
    cwd: str | None
    env: Sequence[tuple[str, str]]
    fresh: bool
    out: str | None
    err: str | None
    no_raise: bool


def line_magic(extension: Extension, line: str) -> Result | Results | None:
    """`%vm [options] COMMAND`."""
    given, command = words.options_then_rest(LINE, "%vm", line)
    if given is None:
        return None
    attach = given.pop("attach")
    if attach is not None:
        batch = extension.detached(attach)
        batch.resume()
        return conclude(extension, batch)
    if not command.strip():
        raise UsageError("There is no command to run.", "`%vm COMMAND`, or `%%vm` with a cell.")
    return execute(extension, "bash", command, Options(**given))


def cell_magic(extension: Extension, line: str, body: str) -> Result | Results | None:
    """`%%vm [KIND] [options]` with a body."""
    given = words.run(CELL, "%%vm", words.split(line)[0], None)
    if not isinstance(given, dict):  # help was asked for, and shown
        return None
    kind = given.pop("kind")
    if kind in RESERVED:
        raise UsageError(
            f"`%%vm {kind}` is not in this release.",
            "`%%vm python3` runs a cell with Python's interpreter."
            if kind == "python"
            else "`%%vm` runs bash.",
        )
    return execute(extension, kind, body, Options(**given))


def request(kind: str, body: str, options: Options, timeout: float) -> Request:
    """What the VM is asked to run."""
    given: dict[str, Any] = {"cwd": options.cwd, "env": dict(options.env), "timeout": timeout}
    if kind != "bash":
        return Request(argv=(kind, "-"), stdin=True, **given)
    if options.fresh:
        return Request(command=body, **given)
    return Request(shell=SESSION, code=body, **given)


def execute(extension: Extension, kind: str, body: str, options: Options) -> Result | Results:
    """Run it where it belongs, show what comes, and raise if it failed."""
    vers = extension.vers
    limit = vers.settings.ssh_timeout if options.timeout is None else options.timeout
    asked = request(kind, body, options, limit)
    stdin = body.encode("utf-8", "surrogateescape") if asked.stdin else None
    machines: list[Machine]
    if options.on:
        names = list(dict.fromkeys(name.strip() for name in options.on.split(",") if name.strip()))

        if not names:
            raise UsageError("--on names no VM.", "`%vers ls` shows them all.")

        async def find() -> list[Machine]:
            return list(dict.fromkeys([await vers.vm(name) for name in names]))

        machines = extension.wait(find())
    else:
        machines = [vers.machine]
        if vers.active is None:
            output.to_cell("stdout", "(local)\n")
    runs = [Run(extension, machine, asked, stdin, options, len(machines) > 1) for machine in machines]
    batch = Batch(extension, runs, options)
    batch.wait()
    return conclude(extension, batch)


class Run:
    """One machine's part in a cell."""

    def __init__(
        self,
        extension: Extension,
        machine: Machine,
        asked: Request,
        stdin: bytes | None,
        options: Options,
        labelled: bool,
    ) -> None:
        self.machine, self._screen = machine, extension.screen
        self._label = output.Labelled(machine.label) if labelled else None
        self._shown = self._new_output()
        self.kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._silent = {stream for stream, name in (("stdout", options.out), ("stderr", options.err)) if name}
        self._truncated = False
        self.command = Command(machine, asked, stdin, self._feed)
        self.result: Result | None = None
        self.failure: VersError | None = None

    def _new_output(self) -> output.CellOutput:
        return output.CellOutput(self._screen, self._label.write if self._label else output.to_cell)

    def show_again(self) -> OnOutput:
        """A new cell is there for the rest of the output."""
        self._shown = self._new_output()
        return self._feed

    def _feed(self, stream: Any, data: bytes) -> None:
        kept = self.kept[stream]
        if stream in self._silent:
            kept += data
            return
        room = KEPT - len(kept)
        self._truncated = self._truncated or len(data) > room
        kept += data[:room]
        self._shown.feed(stream, data)

    async def run(self) -> None:
        """To the end; what goes wrong is kept, for the others go on."""
        try:
            how = await self.command.run()
        except VersError as error:
            self.failure = error
            return
        out, err = bytes(self.kept["stdout"]), bytes(self.kept["stderr"])
        result = self.machine.result(how, out, err, self.command.seconds)
        self.result = replace(result, truncated=self._truncated)
        if how.error:
            self._shown.feed("stderr", f"{how.what}: {how.message}\n".encode())

    def finish(self) -> None:
        """Show the rest."""
        self._shown.finish()
        if self._label is not None:
            self._label.finish()


class Batch:
    """The runs of one cell. They go on when nobody waits for them any longer."""

    def __init__(self, extension: Extension, runs: list[Run], options: Options) -> None:
        self._extension, self.runs, self.options = extension, runs, options
        self._task: asyncio.Future[Any] | None = None

    async def _join(self) -> None:
        if self._task is None:
            self._task = asyncio.gather(*(run.run() for run in self.runs))
        await asyncio.shield(self._task)

    def wait(self) -> None:
        """Show what comes until all have ended. The first stop interrupts, the second kills and frees the notebook."""
        stops = 0

        def on_interrupt(presses: int) -> BaseException | None:
            nonlocal stops
            stops = presses
            for run in self.runs:
                run.command.signal(signal.SIGINT if presses == 1 else signal.SIGKILL)
            if presses == 1:
                loops.io_loop().call_soon_threadsafe(self._remind_later)
                return None
            return self._leave()

        loops.wait(self._join(), screen=self._extension.screen, on_interrupt=on_interrupt)
        for run in self.runs:
            run.finish()
        if stops:
            took = max((run.result.duration for run in self.runs if run.result), default=0.0)
            raise CellInterrupted(f"interrupted (SIGINT) on {self._where()} after {took:.2f} s.")

    def _where(self) -> str:
        return ", ".join(run.machine.label for run in self.runs)

    def _remind_later(self) -> None:
        asyncio.get_running_loop().call_later(PATIENCE, self._remind)

    def _remind(self) -> None:
        if self._task is not None and not self._task.done():
            text = "Interrupted (SIGINT), and still running. Stop again to kill it and free the notebook.\n"
            self._extension.screen.call(lambda: output.to_cell("stderr", text))

    def _leave(self) -> CellInterrupted:
        for run in self.runs:
            run.command.detach()
        number = self._extension.detach(self)
        groups = ", ".join(str(run.command.pid) for run in self.runs if run.command.pid)
        return CellInterrupted(
            f"SIGKILL sent on {self._where()}{f' (process group {groups})' if groups else ''}; detached from it.",
            f"`%vm --attach {number}` comes back to it: the rest of its output, and how it ended.",
        )

    def resume(self) -> None:
        """Come back: what was not shown is shown now."""
        for run in self.runs:
            loops.io_loop().call_soon_threadsafe(run.command.attach, run.show_again())
        self.wait()


def conclude(extension: Extension, batch: Batch) -> Result | Results:
    """Set variables, tell how it ended, raise what must be raised."""
    runs, options = batch.runs, batch.options
    several = len(runs) > 1
    for name, stream in ((options.out, "stdout"), (options.err, "stderr")):
        if name:
            texts = {run.machine.label: run.kept[stream].decode("utf-8", "backslashreplace") for run in runs}
            extension.shell.user_ns[name] = texts if several else texts[runs[0].machine.label]
    for run in runs:
        if run.result is not None and run.result.shell_ended:
            output.to_cell(
                "stderr", f"The shell on {run.machine.label} ended; the next cell gets a fresh one.\n"
            )
    if several:
        output.to_cell("stdout", "".join(summary(run) for run in runs))
    failed = [run for run in runs if run.failure]
    if failed:
        raise failed[0].failure  # type: ignore[misc]
    results = Results((run.machine.label, run.result) for run in runs if run.result is not None)
    if not options.no_raise:
        wrong = [run for run in runs if run.result and not (run.result.ok and not run.result.timed_out)]
        if len(wrong) == 1 or (wrong and not several):
            wrong[0].machine.raise_unless_ok(wrong[0].result)  # type: ignore[arg-type]
        elif wrong:
            raise RemoteCommandError(f"failed on {', '.join(run.machine.label for run in wrong)}")
    return extension.quietly(results if several else next(iter(results.values())))


def summary(run: Run) -> str:
    """One machine's line at the end of a cell for several."""
    if run.result is None:
        return f"[{run.machine.label}] ✗ {run.failure.message if run.failure else 'no result'}\n"
    result = run.result
    how = "" if result.ok else f" {result.signal or f'exit code {result.exit_code}'}"
    return f"[{run.machine.label}] {'✓' if result.ok else '✗'}{how} {result.duration:.2f} s\n"
