"""`%plan` and `%%plan`: what is planned before it is done. Thin: parse, wait, show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pi_v_jupyter.magics import examples, guarding, planmode, plansteps, words
from pi_v_jupyter.magics.options import HELP

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension


def line_magic(extension: Extension, line: str) -> Any:
    """`%plan …`."""
    return words.run(plan, "%plan", words.arguments(line), extension)


def cell_magic(extension: Extension, line: str, body: str) -> Any:
    """`%%plan LABEL` with a body."""
    return plansteps.cell_magic(extension, line, body)


@click.group(context_settings=HELP, invoke_without_command=True)
@click.pass_context
def plan(context: click.Context) -> Any:
    """Look before anything is changed; and what agents have planned, and how far they are with it.

    `%plan on` has cells look only. `%%task LABEL --plan` has an agent look, without tools that change
    anything, and say in steps what it would do.
    """
    if context.invoked_subcommand is None:
        context.invoke(planmode.tell)
        return context.invoke(plansteps.show, label=None)
    return None


for command in (*planmode.COMMANDS, *plansteps.COMMANDS):
    plan.add_command(command)
guarding.guard("%plan", plan)
COMMANDS: dict[str, click.Command] = {"%plan": plan, "%%plan": plansteps.CELL}
for path, command in COMMANDS.items():
    examples.open_help(path, command)
