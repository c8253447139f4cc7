"""Commands of magics ask plan mode before they act; what it says to each is in `plan.guard`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from pi_v_jupyter.magics import examples

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension


def guard(path: str, command: click.Command) -> None:
    """Have a command, and all below it, ask before it runs: help is shown, and what is wrong told, anyhow."""
    for name, each in examples.commands(path, command):
        own = each.callback
        if own is not None:
            each.callback = _asking(name, own)


def _asking(name: str, own: Any) -> Any:
    @functools.wraps(own)
    def ask(*args: Any, **kwargs: Any) -> Any:
        context = click.get_current_context()
        extension: Extension = context.obj
        extension.vers.plan.check(name, context.params)
        return own(*args, **kwargs)

    return ask
