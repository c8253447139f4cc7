"""`%vers shell`: a terminal in the cell's output. Thin: parse, wait, show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.magics.parameters import VMName

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.views.terminal import TerminalView


class _Tailed(click.Command):
    """What comes after `--` is a command's, and no argument of ours: `shell -- top` names no VM."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:at])
        ctx.params["command"] = tuple(args[at + 1 :])
        return rest


@click.command(cls=_Tailed, options_metavar="", epilog="`-- COMMAND…` runs that in place of a shell.")
@click.argument("vm", type=VMName(), default=".", metavar="[VM] [-- COMMAND…]")
@click.pass_obj
def shell(extension: Extension, vm: str, command: tuple[str, ...]) -> TerminalView:
    """Open a terminal on VM, or on the active one; its `close()` hangs up."""
    if not hasattr(extension.shell, "kernel"):
        raise UsageError(
            "There is no browser here to show a terminal in.",
            "`%vers ssh-config --write` lets `ssh NAME` do it.",
        )
    from pi_v_jupyter.views.terminal import TerminalView

    machine: Machine = extension.vers.machine if vm == "." else extension.wait(extension.find(vm))
    view = TerminalView(machine, command)
    extension.own(view.terminal)
    try:
        extension.wait(view.terminal.start(), f"connecting to {machine.label}")
    except BaseException:
        view.close()
        raise
    return view


COMMANDS = (shell,)
