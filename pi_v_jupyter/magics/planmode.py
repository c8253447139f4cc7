"""`%plan on`, `off` and `status`: cells of ours look only. And what becomes of a cell meanwhile."""

from __future__ import annotations

import ast
import asyncio
import concurrent.futures
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from IPython.core.inputtransformer2 import TransformerManager
from IPython.display import display

from pi_v_jupyter import loops
from pi_v_jupyter.errors import PlanModeError
from pi_v_jupyter.magics.options import SESSION
from pi_v_jupyter.plan.grounds import INSIDES, Inside
from pi_v_jupyter.plan.guard import UNJUDGED
from pi_v_jupyter.plan.mode import Status
from pi_v_jupyter.views import planmode as views

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.extension import Extension

# What routed cells may call, as the shell has it: IPython's own for lines, and cells for shells.
LINES = ("cd", "pwd", "ls", "cat")
SHELLS = ("bash", "sh")
PATIENCE = 3.0  # seconds, for Jupyter kills a kernel that takes longer than five


@click.command()
@click.option(
    "--in",
    "inside",
    type=click.Choice(INSIDES),
    help="Commands run in a branch of the VM that is deleted, or on the VM itself, which they see read-only.",
)
@click.pass_obj
def on(extension: Extension, inside: Inside | None) -> Status:
    """Look only, until `%plan off`: commands that may do more are refused, as is all else of ours that may.

    A command that passes runs where it can touch nothing all the same: in a branch of the active VM, where
    one is made in under 2 seconds, else on the VM, read-only. It has 120 seconds unless `--timeout` says
    otherwise, and what it starts ends with it.
    """
    extension.settle()
    return _told(extension, extension.wait(extension.vers.plan.on(inside), "going into plan mode"))


@click.command()
@click.pass_obj
def off(extension: Extension) -> Status:
    """Act again. Branches that commands ran in are deleted."""
    return _told(extension, extension.wait(extension.vers.plan.off(), "deleting the branch"))


@click.command()
@click.pass_obj
def status(extension: Extension) -> Status:
    """Tell whether plan mode is on, and where commands run then."""
    extension.settle()
    return extension.vers.plan.status


@click.pass_obj
def tell(extension: Extension) -> None:
    """Show that plan mode is on, if it is."""
    if extension.vers.plan.is_on:
        _told(extension, extension.vers.plan.status)


def _told(extension: Extension, found: Status) -> Status:
    display({"text/plain": views.status_text(found), "text/html": views.status_html(found)}, raw=True)
    return extension.quietly(found)


COMMANDS: list[click.Command] = [on, off, status]


def attend(extension: Extension) -> Callable[[], None]:
    """Have a kernel that is told to end delete the branch before; call what is returned to undo it.

    What is killed leaves it to the next session of this user, here or in another notebook.
    """
    kernel = getattr(extension.shell, "kernel", None)
    if kernel is None:
        return lambda: None
    own = kernel.do_shutdown

    def shutdown(restart: bool) -> Any:
        closing = asyncio.run_coroutine_threadsafe(extension.vers.plan.close(), loops.io_loop())
        concurrent.futures.wait([closing], PATIENCE)
        return own(restart)

    kernel.do_shutdown = shutdown
    return lambda: delattr(kernel, "do_shutdown")  # the class has its own


def planned(extension: Extension, machines: dict[Machine, str]) -> dict[Machine, str]:
    """The machines as a cell's command is to have them now; that it looks only is shown."""
    plan = extension.vers.plan
    if not plan.is_on:
        return machines
    marks = [views.mark(machine.label, plan.way(machine)) for machine in machines]
    display({"text/plain": views.mark_text(marks), "text/html": views.mark_html(marks)}, raw=True)
    return {plan.machine(machine, SESSION): name for machine, name in machines.items()}


def shell_of(cell: str) -> str:
    """A routed cell as a script for a shell.

    Raises:
        PlanModeError: it is, or has, Python.
    """
    lines: Sequence[ast.stmt] = []
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        lines = ast.parse(TransformerManager().transform_cell(cell)).body
    scripts = [_script(line) for line in lines]
    found = [script for script in scripts if script is not None]
    if not found or len(found) != len(scripts):
        first = next(iter(cell.strip().splitlines()), "")
        raise PlanModeError(first, UNJUDGED)
    return "\n".join(found)


def _script(statement: ast.stmt) -> str | None:
    """What a shell is to run for it; None for Python, and for magics that are no shell's."""
    call = getattr(statement, "value", None) if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    if ast.unparse(call.func.value) != "get_ipython()":  # a method of somebody's that is called the same
        return None
    words = [each.value for each in call.args if isinstance(each, ast.Constant)]
    match call.func.attr, words:
        case "system" | "getoutput", [str(command)]:
            return command
        case "run_line_magic", [str(name), str(line)] if name in LINES:
            return f"{name} {line}"
        case "run_cell_magic", [str(name), "", str(body)] if name in SHELLS:
            return body
    return None
