"""Bash code completed: commands and variables as the session knows them, paths from where it is.

Of what the user has typed, a shell is given the beginning of a plain name at the most, and that as a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from pi_v_jupyter.machine import Command
from pi_v_jupyter.magics.completion import paths
from pi_v_jupyter.magics.completion.scan import word_at_end
from pi_v_jupyter.magics.options import SESSION
from pi_v_jupyter.remote.channel import Request

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.completion.tab import Tab

MOST = 500  # names offered at once
FOLDERS = ("cd", "pushd", "rmdir")  # take no files
TIMEOUT = 5  # seconds bash may look for programs
# What a session knows by heart: this touches no disk, so that it cannot hang, and changes nothing there.
STATE = (
    "\\builtin compgen -A alias -A function -A builtin -A keyword || \\builtin :; \\builtin printf '\\0'; "
    "\\builtin compgen -A variable || \\builtin :; \\builtin printf '\\0%s' \"${PATH-}\""
)
PLAIN = re.compile(r"[A-Za-z0-9_.+-]+")
OURS = "__pi_v_"  # variables and functions with which the session is kept


@dataclass(frozen=True)
class State:
    """What a session knows: the names of its commands and of its variables, and where programs are."""

    commands: list[str]
    variables: list[str]
    path: str


def complete(
    tab: Tab, machine: Machine | None, code: str, *, session: bool, cwd: str | None
) -> tuple[str, list[CompletionItem[str]]]:
    """What stands at the end of `code` and may go on, and how. `session`: is it for the one of the cells?"""
    word = word_at_end(code)
    if machine is None or word is None:
        return "", []
    if word.kind == "path":
        beside = SESSION if session else None
        folders = word.of in FOLDERS
        return word.typed, paths.on_machine(tab, machine, word.text, beside=beside, cwd=cwd, folders=folders)
    state = tab.ask_once(("session", machine), lambda: _state(machine)) if session else None
    if word.kind == "variable":
        opening = "${" if word.typed.startswith("${") else "$"
        closing = "}" if opening == "${" else ""
        return word.typed, [
            CompletionItem(opening + name + closing, type="variable")
            for name in (state.variables if state else ())
            if name.startswith(word.text) and not name.startswith(OURS)
        ]
    if not word.text:
        return "", []  # all there are would help nobody
    path = state.path if state else ""
    names = set(state.commands if state else ())
    if PLAIN.fullmatch(word.text):
        question = partial(_programs, machine, path, word.text)
        names.update(tab.ask(("programs", machine, path, word.text), question) or ())
    found = sorted(name for name in names if _fits(name, word.text))
    return word.typed, [CompletionItem(name, type="command") for name in found[:MOST]]


def _fits(name: str, begun: str) -> bool:
    return name.startswith(begun) and name.isprintable() and not name.startswith(OURS)


async def _state(machine: Machine) -> State:
    """Of the session that cells share; one that is busy tells it once it no longer is."""
    told = bytearray()
    asked = Request(shell=SESSION, code=STATE)
    await Command(machine, asked, None, lambda stream, data: told.extend(data * (stream == "stdout"))).run()
    commands, variables, path = [*told.decode(errors="surrogateescape").split("\0"), "", "", ""][:3]
    return State(commands.split(), variables.split(), path)


async def _programs(machine: Machine, path: str, begun: str) -> list[str]:
    """What bash finds there that begins so; without a `path`, where a login has it."""
    env = {"begun": begun, **({"PATH": path} if path else {})}
    told = await machine.run('compgen -c -- "$begun"', env=env, timeout=TIMEOUT, check=False)
    return told.stdout.split("\n")
