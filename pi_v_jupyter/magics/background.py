"""`%bg` and `%%bg`: processes in the background, of a VM or of this computer. Thin: parse, wait, show."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pi_v_jupyter import loops
from pi_v_jupyter.errors import ConnectError, UnknownProcessError, UsageError, VersError
from pi_v_jupyter.magics import examples, guarding, words
from pi_v_jupyter.magics.following import Follower, show
from pi_v_jupyter.magics.launching import CELL, LOCAL, ON, START, Start, chosen, start
from pi_v_jupyter.magics.options import HELP
from pi_v_jupyter.magics.parameters import ProcessId, SignalName
from pi_v_jupyter.remote.background import LAST, BackgroundProcess, BackgroundProcesses, signal_number
from pi_v_jupyter.remote.journals import Line, Wanted
from pi_v_jupyter.views import background as views

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.extension import Extension

PATIENCE = 10.0  # seconds that a list of several machines waits for each
F = TypeVar("F", bound=Callable[..., Any])


def on_a_machine(function: F) -> F:
    """Have a command take --on and --local."""
    function.__click_params__ = [LOCAL, ON, *getattr(function, "__click_params__", ())]  # type: ignore[attr-defined]
    return function


def line_magic(extension: Extension, line: str) -> Any:
    """`%bg …`."""
    found, starts = words.split(line)
    if found[:1] != [START.name]:
        return words.run(bg, "%bg", words.arguments(line), extension)
    rest = line[starts[1] :] if len(found) > 1 else ""
    given, command = words.options_then_rest(START, "%bg start", rest)
    if given is None:
        return None
    extension.vers.plan.check("%bg start", given)
    if not command.strip():
        raise UsageError(
            "There is no command to run.", "`%bg start ID -- COMMAND`, or `%%bg ID` with a cell."
        )
    return start(extension, command, Start(**given))


def cell_magic(extension: Extension, line: str, body: str) -> BackgroundProcess | None:
    """`%%bg ID …` with a body."""
    given = words.run(CELL, "%%bg", words.arguments(line), None)
    if not isinstance(given, dict):  # help was asked for, and shown
        return None
    extension.vers.plan.check("%%bg", given)
    return start(extension, body, Start(**given))


@click.group(context_settings=HELP, invoke_without_command=True)
@click.pass_context
def bg(context: click.Context) -> BackgroundProcesses | None:
    """Processes in the background, of the active VM or of this computer: a server, a watcher, a long build.

    They go on when the notebook ends, come along when their VM is branched or committed, and are found again
    by their ids.
    """
    if context.invoked_subcommand is None:
        found: BackgroundProcesses = context.invoke(list_, on=None, local=False)
        return found
    return None


@bg.command("list")
@on_a_machine
@click.pass_obj
def list_(extension: Extension, on: str | None, local: bool) -> BackgroundProcesses:
    """List them: those of the active VM, of the VMs this notebook is connected to, and of this computer."""
    if on is not None or local:
        machine = chosen(extension, on, local)
        return extension.wait(machine.processes(), f"looking at {machine.label}")
    vers = extension.vers
    machines: list[Machine] = list(vers.fleet.connected())
    try:
        machines += [vers.machine, vers.here]
    except ConnectError as error:
        extension.notice(str(error))
        machines.append(vers.here)
    return extension.wait(_listed(extension, dict.fromkeys(machines)), "looking for background processes")


async def _listed(extension: Extension, machines: Iterable[Machine]) -> BackgroundProcesses:
    async def look(machine: Machine) -> BackgroundProcesses:
        try:
            async with asyncio.timeout(PATIENCE):
                return await machine.processes()
        except TimeoutError:
            extension.notice(f"{machine.label} is left out: it did not answer within {PATIENCE:g} s.")
        except VersError as error:
            extension.notice(f"{machine.label} is left out: {error}")
        return BackgroundProcesses()

    found = await asyncio.gather(*map(look, machines))
    return BackgroundProcesses(process for some in found for process in some)


@bg.command(short_help="End some, and all that came from them.")
@click.argument("ids", nargs=-1, type=ProcessId("running"), metavar="ID…")
@click.option(
    "--signal", "asked", type=SignalName(), default="SIGTERM", show_default=True, help="What to send them."
)
@click.option("--all", "everything", is_flag=True, help="All that run there.")
@on_a_machine
@click.pass_obj
def stop(
    extension: Extension, ids: tuple[str, ...], asked: str, everything: bool, on: str | None, local: bool
) -> BackgroundProcesses:
    """End background processes, each with all that came from it: by a signal and, where that is not obeyed
    within 5 seconds, by SIGKILL.
    """
    name = signal.Signals(signal_number(asked)).name
    if bool(ids) == everything:
        raise UsageError(
            "--all takes no IDs." if everything else "Which of them?",
            "`%bg stop ID`, or `%bg stop --all`; `%bg list` shows them.",
        )
    machine = chosen(extension, on, local)
    found = _found(extension, machine, ids) if ids else _those(extension, machine, alive=True)
    called = ", ".join(process.id for process in found)
    over = {process for process in found if not process.alive}

    async def end() -> list[BackgroundProcess | BaseException]:
        ends = (process.stop(name) for process in found)
        return await asyncio.gather(*ends, return_exceptions=True)

    ended = extension.wait(
        end(),
        f"stopping {called} on {machine.label}",
        "It goes on over there: `%bg list` shows what came of it.",
    )
    for process in ended:
        if isinstance(process, BackgroundProcess):
            text = views.ended_text(process) if process in over else views.stopped_text(process, name)
            print(text)
    failures = [error for error in ended if isinstance(error, BaseException)]
    for error in failures[1:]:
        print(error)
    if failures:
        raise failures[0]
    if not found:
        print(f"No background process runs on {machine.label}.")
    return extension.quietly(found)


@bg.command()
@click.argument("id", type=ProcessId(), metavar="ID")
@click.option(
    "-n", "--last", type=click.IntRange(min=0), default=LAST, show_default=True, metavar="N", help="Lines."
)
@click.option(
    "--stream",
    type=click.Choice(["stdout", "stderr", "both"]),
    default="both",
    show_default=True,
    help="Which.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until it ends, or stop (■).")
@on_a_machine
@click.pass_obj
def logs(
    extension: Extension, id: str, last: int, stream: Wanted, follow: bool, on: str | None, local: bool
) -> list[Line] | BackgroundProcess:
    """Show the last lines that one has written."""
    (process,) = _found(extension, chosen(extension, on, local), (id,))
    screen = loops.Screen()
    if follow:
        return _follow(extension, process, last, stream)

    async def read() -> list[Line]:
        lines = await process.logs(last, stream)
        show(lines, screen)
        return lines

    lines = extension.wait(read(), f"reading the log of {id}", screen=screen)
    if not lines and last:
        where = "" if stream == "both" else f" to {stream}"
        print(f"{id} on {process.machine.label} has written nothing{where}.")
    return extension.quietly(lines)


def _follow(extension: Extension, process: BackgroundProcess, last: int, stream: Wanted) -> BackgroundProcess:
    screen = loops.Screen()

    async def to_its_end() -> None:
        async with Follower(process, screen, stream, last=last) as follower:
            await follower.ended()

    extension.wait(
        to_its_end(),
        f"following {process.id} on {process.machine.label}",
        f"It goes on: `%bg stop {process.id}{process.machine.option}` ends it.",
        screen=screen,
        speaks=True,
    )
    print(views.ended_text(process))
    return extension.quietly(process)


@bg.command()
@click.argument("ids", nargs=-1, type=ProcessId("ended"), metavar="ID…")
@click.option("--all", "everything", is_flag=True, help="All that have ended there.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@on_a_machine
@click.pass_obj
def rm(
    extension: Extension, ids: tuple[str, ...], everything: bool, force: bool, on: str | None, local: bool
) -> None:
    """Forget processes that have ended, and what they wrote."""
    if bool(ids) == everything:
        raise UsageError(
            "--all takes no IDs." if everything else "Which of them?",
            "`%bg rm ID`, or `%bg rm --all`; `%bg list` shows them.",
        )
    machine = chosen(extension, on, local)
    found = _found(extension, machine, ids) if ids else _those(extension, machine, alive=False)
    if not found:
        print(f"No background process of {machine.label} has ended.")
        return
    for process in found:
        if process.alive:
            raise UsageError(
                f"{process.id} runs on {machine.label}.",
                f"`%bg stop {process.id}{machine.option}` ends it first.",
            )
    called = ", ".join(process.id for process in found)
    if not force:
        extension.ask(f"Forget {called} on {machine.label}, and the logs?", "%bg rm -f")

    async def forget() -> None:
        await asyncio.gather(*(process.remove() for process in found))

    extension.wait(forget(), f"removing {called}")
    print(f"Forgot {called} on {machine.label}.")


def _those(extension: Extension, machine: Machine, *, alive: bool) -> BackgroundProcesses:
    found = extension.wait(machine.processes(), f"looking at {machine.label}")
    return BackgroundProcesses(process for process in found if process.alive == alive)


def _found(extension: Extension, machine: Machine, ids: Sequence[str]) -> BackgroundProcesses:
    """Those of these ids, or none of them.

    Raises:
        UnknownProcessError: one is not there; where it is instead, if that is known.
    """

    async def find() -> BackgroundProcesses:
        found = BackgroundProcesses()
        for each in dict.fromkeys(ids):
            try:
                found.append(await machine.process(each))
            except UnknownProcessError as error:
                elsewhere = await _elsewhere(extension, machine, each)
                raise UnknownProcessError(error.message, elsewhere or error.hint) from None
        return found

    return extension.wait(find(), f"looking for {', '.join(ids)} on {machine.label}")


async def _elsewhere(extension: Extension, machine: Machine, process_id: str) -> str:
    """What to type for a process that another machine has: between a VM and this computer one errs easily."""
    vm = extension.vers.fleet.current
    others: dict[Machine, str] = {extension.vers.here: "--local"}
    if vm is not None:
        others[vm] = f"--on {vm.label}"
    others.pop(machine, None)
    for other, option in others.items():
        with contextlib.suppress(VersError):  # the worse news is told already
            if any(process.id == process_id for process in await other.processes()):
                return f"There is one on {other.label}: `{option}` means it."
    return ""


guarding.guard("%bg", bg)
bg.add_command(START)
COMMANDS = {"%bg": bg, "%%bg": CELL}
for path, command in COMMANDS.items():
    examples.open_help(path, command)
