"""`%%vm python`: a cell in a Jupyter kernel on a VM, shown as a cell of one's own would be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pi_v_jupyter import loops
from pi_v_jupyter.errors import (
    RemoteCellError,
    RemoteCommandError,
    UnknownVMError,
    UsageError,
    VersError,
)
from pi_v_jupyter.magics import output, values
from pi_v_jupyter.magics.execution import Run, summary
from pi_v_jupyter.magics.waiting import WaitingLine
from pi_v_jupyter.remote.kernel import DEFAULT, Shown
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.magics.options import Options

PATIENCE = 1.0  # seconds after a stop until the user is told that it was not obeyed
SHELLS = ("cwd", "env", "fresh", "err", "stdin")  # options that a kernel has no use for


class Values(dict[str, Shown | None]):
    """What the last expression of a cell was on several VMs, by their labels; None where it had none."""


def cell(extension: Extension, body: str, name: str | None, options: Options) -> Shown | Values | None:
    """Run it, show what comes, and raise what it raised."""
    extension.vers.plan.check("%%vm python", {})
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


def alone(
    extension: Extension, vm: VM, body: str, expressions: dict[str, str]
) -> tuple[Shown | None, dict[str, Any]]:
    """A cell without a magic's options: it has the time it wants, as one of the notebook's own kernel has.

    What it showed last, and what came of its request's `expressions`.
    """
    screen = loops.Screen()
    run = Run(extension, screen, vm.kernel(DEFAULT), vm.label, body, 0, 1)
    run.expressions = expressions
    _wait(extension, screen, [run])
    if run.error is not None:
        raise run.error
    return extension.quietly(run.value), run.answers


def active(extension: Extension) -> VM:
    """The VM that cells run on.

    Raises:
        UnknownVMError, VMGoneError: there is none, or it is not there.
    """
    vm = extension.vers.active
    if vm is None:
        raise UnknownVMError(
            "No VM is active, and a Python kernel is on one.",
            "`%vers use VM` makes one so; a cell without magic is Python on this computer.",
        )
    return vm


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
        begun = any(run.begun for run in runs)
        for run in runs:
            loops.io_loop().call_soon_threadsafe(run.drop)
        return extension.stopped(
            f"left running on {where}: it does not obey."
            if begun
            else f"it will not run on {where}, where another cell has not come to its end.",
            "`%vers kernels restart` ends what the kernel does.",
        )

    line = WaitingLine(extension.shell, f"waiting for Python on {where}")

    def starting() -> bool:
        return not all(run.asked for run in runs)

    def on_asked() -> None:
        if not starting():
            screen.call(line.end)

    async def all_of_them() -> None:
        with line.ticking(lambda show: screen.call(show) if starting() else None):
            await asyncio.gather(*(run.run(on_asked) for run in runs))

    with extension.showing(screen, line):
        loops.wait(all_of_them(), screen=screen, on_interrupt=on_interrupt)
    if stops and not any(run.error for run in runs):  # else that tells more
        raise extension.stopped(f"interrupted on {where}.")


def _conclude(extension: Extension, runs: list[Run], options: Options) -> Shown | Values | None:
    if len(runs) == 1:
        (run,) = runs
        if isinstance(run.error, RemoteCellError) and options.no_raise:
            run.show_error()
        elif run.error is not None:
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
        print("".join(summary(run) for run in runs), end="")
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
