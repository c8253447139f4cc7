"""`%%vm` and `%vm`: a cell, or a line, runs on a VM."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pi_v_jupyter.errors import PlanModeError, RemoteCommandError, UsageError
from pi_v_jupyter.machine import Machine, Result, Results
from pi_v_jupyter.magics import examples, files, output, planmode, python, words
from pi_v_jupyter.magics.batch import Batch, summary
from pi_v_jupyter.magics.launching import Start, start
from pi_v_jupyter.magics.options import CELL, LINE, SESSION, Options
from pi_v_jupyter.plan.guard import UNJUDGED
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.remote.channel import Request

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

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
    kind, kernel, background = given.pop("kind"), given.pop("kernel"), given.pop("bg")
    if background is not None:
        return _in_background(extension, kind, body, background, kernel, Options(**given))
    if kind == "python":
        return python.cell(extension, body, kernel, Options(**given))
    if kernel is not None:
        raise UsageError("--kernel is for `%%vm python`.", "`%%vm --help` says more.")
    return execute(extension, kind, body, Options(**given))


def _in_background(
    extension: Extension, kind: str, body: str, process_id: str, kernel: str | None, options: Options
) -> BackgroundProcess:
    """`%%vm --bg ID`."""
    extension.vers.plan.check("%%vm --bg", {})
    for name in ("timeout", "fresh", "out", "err", "stdin", "no_raise", "silent"):
        if getattr(options, name) not in (None, False):
            raise UsageError(
                f"--{name.replace('_', '-')} does not go with --bg.",
                "Nobody waits for what runs in the background.",
            )
    if kernel is not None:
        raise UsageError(
            "--kernel does not go with --bg.", "Python in the background is a script of its own."
        )
    if options.on and "," in options.on:
        raise UsageError("--bg needs one VM, not several.", "Give each a cell of its own.")
    how = Start(process_id, options.on, cwd=options.cwd, env=options.env)
    if kind == "bash":
        return start(extension, body, how)
    argv = ["python3", "-u"] if kind == "python" else [kind]
    return start(extension, argv, how, code=body)


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
        return words.encoded(value, name)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise UsageError(
        f"{name} is of type {type(value).__name__}, which no command can read.", "Make it a text, or bytes."
    )


def execute(extension: Extension, kind: str, body: str, options: Options) -> Result | Results:
    """Run it where it belongs, show what comes, and raise if it failed."""
    vers = extension.vers
    limit = vers.settings.ssh_timeout if options.timeout is None else options.timeout
    if vers.plan.is_on:
        if kind != "bash":
            raise PlanModeError(f"%%vm {kind}", UNJUDGED)
        options = replace(options, fresh=True)  # of the session it has the folder alone
    asked = request(kind, body, options, limit)
    program = words.encoded(body, "the cell") if asked.stdin else None
    stdin = program if options.stdin is None else fed(extension, options.stdin)
    machines: dict[Machine, str]  # and the variable by which each was named
    if options.on:
        machines = extension.find_all(options.on)
    else:
        machines = {vers.machine: ""}
        if vers.active is None and not options.silent:
            output.to_cell("stdout", "(local)\n")
    batch = Batch(extension, planmode.planned(extension, machines), asked, stdin, options)
    batch.wait()
    return conclude(extension, batch)


def conclude(extension: Extension, batch: Batch) -> Result | Results:
    """Set variables, tell how it ended, raise what must be raised."""
    runs, options = batch.runs, batch.options
    several = len(runs) > 1
    for name, stream in ((options.out, "stdout"), (options.err, "stderr")):
        if name:
            texts = {run.label: run.kept[stream].decode("utf-8", "backslashreplace") for run in runs}
            extension.shell.user_ns[name] = texts if several else texts[runs[0].label]
    for run in runs:
        if run.result is not None and run.result.shell_ended and not options.silent:
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
