"""What `%%vm` and `%vm` may be told, and what of it is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from pi_v_jupyter.magics.parameters import Command, KernelName, Kind, ProcessId, RemotePath, Variable, VMNames

SESSION = "cells"  # the shell session that cells of one notebook share on a VM
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
            self.fail(f"{key!r} does not begin K=V.", param, ctx)  # what comes after "=" may be a secret
        return key, text


class Seconds(click.FloatRange):
    """0 or more, and a number: a clock cannot wait for NaN or infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse what `float` lets through."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds; 0 means no limit.", param, ctx)
        return seconds


OPTIONS = [
    click.Option(["--on"], type=VMNames(), metavar="VM[,VM…]", help="Run there; on several in parallel."),
    click.Option(
        ["--timeout"],
        type=Seconds(min=0),
        metavar="S",
        help="Seconds it may take; 0: any; else the setting ssh_timeout, 120.",
    ),
    click.Option(["--cwd"], type=RemotePath(SESSION, folders=True), metavar="DIR", help="Run it in DIR."),
    click.Option(["-e", "--env"], type=Pair(), multiple=True, help="Set a variable for it."),
    click.Option(["--fresh"], is_flag=True, help="Run in a shell of its own, not in the session."),
    click.Option(
        ["--out"],
        type=Variable(),
        metavar="VAR",
        help="Keep standard output in VAR, as text; of Python, the last value.",
    ),
    click.Option(["--err"], type=Variable(), metavar="VAR", help="Keep standard error in VAR, as text."),
    click.Option(
        ["--stdin"],
        type=Variable(),
        metavar="VAR",
        help="Have it read the text or the bytes in VAR; without it, nothing.",
    ),
    click.Option(["--no-raise"], is_flag=True, help="An exit code other than 0 is no error."),
    click.Option(["--silent"], is_flag=True, help="Show no output; an error is raised all the same."),
]
CELL = click.Command(
    "vm",
    params=[
        click.Argument(["kind"], type=Kind(), default="bash"),
        *OPTIONS,
        click.Option(
            ["--kernel"], type=KernelName(), metavar="NAME", help="With python: in the kernel of that name."
        ),
        click.Option(
            ["--bg"], type=ProcessId("ended"), metavar="ID", help="Run in the background, as `%%bg ID` does."
        ),
    ],
    callback=lambda **given: given,
    context_settings=HELP,
    help="Run this cell on the active VM. KIND is bash (the default, in a session that lasts), python (in a "
    "Jupyter kernel there, whose variables last and come along in branches), write, edit, or an "
    "interpreter there that reads its program from standard input.",
)
LINE = click.Command(
    "vm",
    params=[
        *OPTIONS,
        click.Option(
            ["--attach"], type=int, metavar="N", help="Come back to a command left by a second stop."
        ),
        click.Argument(["rest"], nargs=-1, type=Command(), metavar="COMMAND"),
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
    stdin: str | None
    no_raise: bool
    silent: bool


UNSAID = Options(
    None, None, None, (), fresh=False, out=None, err=None, stdin=None, no_raise=False, silent=False
)
