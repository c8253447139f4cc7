"""`%%vm` and `%vm`: a cell, or a line, runs on a VM."""

from __future__ import annotations

import asyncio
import collections
import difflib
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pi_v_jupyter import loops
from pi_v_jupyter.errors import RemoteCommandError, UsageError, VersError
from pi_v_jupyter.machine import TAIL, Command, Machine, Result, Results
from pi_v_jupyter.magics import examples, files, output, python, route, words
from pi_v_jupyter.magics.options import CELL, LINE, SESSION, Options
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

KEPT = 1 << 20  # bytes of each stream in a cell's result
PATIENCE = 1.0  # seconds after a stop until the user is told that it was not obeyed
FILE_KINDS = {"write": files.WRITE, "edit": files.EDIT}
COMMANDS = {"%%vm": CELL, **{f"%%vm {kind}": command for kind, command in FILE_KINDS.items()}, "%vm": LINE}
for path, command in COMMANDS.items():
    examples.open_help(path, command)


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


def cell_magic(extension: Extension, line: str, body: str) -> Any:
    """`%%vm [KIND] [options]` with a body."""
    given_words = words.arguments(line)
    if given_words and given_words[0] in FILE_KINDS:
        return files.cell(extension, given_words[0], given_words[1:], body)
    if len(given_words) > 1 and not given_words[1].startswith("-"):
        near = difflib.get_close_matches(given_words[0], list(FILE_KINDS), 1)
        if near:
            raise UsageError(
                f"No such kind of cell: {given_words[0]}. Did you mean {near[0]}?", "`%%vm --help` says more."
            )
    given = words.run(CELL, "%%vm", given_words, None)
    if not isinstance(given, dict):  # help was asked for, and shown
        return None
    kind, kernel = given.pop("kind"), given.pop("kernel")
    if given.pop("routed"):
        return route.run(extension, body)
    if kind == "python":
        return python.cell(extension, body, kernel, Options(**given))
    if kernel is not None:
        raise UsageError("--kernel is for `%%vm python`.", "`%%vm --help` says more.")
    return execute(extension, kind, body, Options(**given))


def request(kind: str, body: str, options: Options, timeout: float) -> Request:
    """What the VM is asked to run."""
    given: dict[str, Any] = {
        "cwd": options.cwd,
        "env": dict(options.env),
        "timeout": timeout,
        "stdin": options.stdin is not None,
    }
    if kind != "bash" and options.stdin is None:
        return Request(argv=(kind, "-"), **{**given, "stdin": True})
    if kind != "bash":
        return Request(argv=(kind,), code=body, **given)
    if options.fresh:
        return Request(command=body, **given)
    return Request(shell=SESSION, code=body, **given)


def fed(extension: Extension, name: str) -> bytes:
    """What a command is to read: the text or the bytes in that variable."""
    if name not in extension.shell.user_ns:
        raise UsageError(f"There is no variable {name} here.", "`%who` lists those there are.")
    value = extension.shell.user_ns[name]
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise UsageError(
        f"{name} is of type {type(value).__name__}, which no command can read.", "Make it a text, or bytes."
    )


def execute(extension: Extension, kind: str, body: str, options: Options) -> Result | Results:
    """Run it where it belongs, show what comes, and raise if it failed."""
    vers = extension.vers
    limit = vers.settings.ssh_timeout if options.timeout is None else options.timeout
    asked = request(kind, body, options, limit)
    program = body.encode("utf-8", "surrogateescape") if asked.stdin else None
    stdin = program if options.stdin is None else fed(extension, options.stdin)
    machines: dict[Machine, str]  # and the variable by which each was named
    if options.on:
        machines = extension.find_all(options.on)
    else:
        machines = {vers.machine: ""}
        if vers.active is None and not options.silent:
            output.to_cell("stdout", "(local)\n")
    batch = Batch(extension, machines, asked, stdin, options)
    batch.wait()
    return conclude(extension, batch)


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
        if how.error:
            self._shown.say("stderr", f"{how.what}: {how.message}\n")

    def raise_unless_ok(self) -> None:
        """Raise what a failed command raises, with the end of what it wrote to stderr."""
        if self.result is not None:
            self.machine.raise_unless_ok(replace(self.result, stderr_bytes=self._errors))


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


def conclude(extension: Extension, batch: Batch) -> Result | Results:
    """Set variables, tell how it ended, raise what must be raised."""
    runs, options = batch.runs, batch.options
    several = len(runs) > 1
    for name, stream in ((options.out, "stdout"), (options.err, "stderr")):
        if name:
            texts = {run.label: run.kept[stream].decode("utf-8", "backslashreplace") for run in runs}
            extension.shell.user_ns[name] = texts if several else texts[runs[0].label]
    for run in runs:
        if run.result is not None and run.result.shell_ended:
            output.to_cell("stderr", f"The shell on {run.label} ended; the next cell gets a fresh one.\n")
    if several and not options.silent:
        output.to_cell("stdout", "".join(summary(run) for run in runs))
    failed = [run for run in runs if run.failure]
    if failed:
        raise failed[0].failure  # type: ignore[misc]
    results = Results((run.label, run.result) for run in runs if run.result is not None)
    if options.no_raise:
        late = ", ".join(run.label for run in runs if run.result is not None and run.result.timed_out)
        if late and not several:
            output.to_cell(
                "stderr", f"Out of time on {late}: it was ended. `--timeout SECONDS` gives it more.\n"
            )
    else:
        wrong = [run for run in runs if run.result and not (run.result.ok and not run.result.timed_out)]
        if len(wrong) == 1 or (wrong and not several):
            wrong[0].raise_unless_ok()
        elif wrong:
            raise RemoteCommandError(f"failed on {', '.join(run.label for run in wrong)}")
    return extension.quietly(results if several else next(iter(results.values())))


def summary(run: Run) -> str:
    """One machine's line at the end of a cell for several."""
    if run.result is None:
        return f"[{run.label}] ✗ {run.failure.message if run.failure else 'no result'}\n"
    result = run.result
    how = "" if result.ok else f" {result.signal or f'exit code {result.exit_code}'}"
    return f"[{run.label}] {'✓' if result.ok else '✗'}{how} {result.duration:.2f} s\n"
