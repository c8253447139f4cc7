"""Bash code completed: commands and variables as the session knows them, paths from where it is.

A shell is given nothing of what the user has typed: it is asked for all the names it knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from pi_v_jupyter.machine import Command
from pi_v_jupyter.magics.completion import paths
from pi_v_jupyter.magics.completion.cursor import quoted
from pi_v_jupyter.magics.completion.scan import NAME, word_at_end
from pi_v_jupyter.magics.options import SESSION
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.files import work

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.completion.tab import Tab

FOLDERS = ("cd", "pushd", "rmdir")  # take no files
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # where no session says another
# What a session knows by heart. It touches no disk, so that it does not hang; its traps run as ever.
STATE = (
    "\\builtin compgen -A alias -A function -A builtin -A keyword || \\builtin :; \\builtin printf '\\0'; "
    "\\builtin compgen -A variable || \\builtin :; \\builtin printf '\\0%s' \"${PATH-}\""
)
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
        found = paths.on_machine(tab, machine, word.text, beside=beside, cwd=cwd, folders=folders)
        return word.typed, [CompletionItem(quoted(item.value), type=item.type) for item in found]
    state = tab.ask_once(("session", machine), lambda: _state(machine)) if session else None
    if word.kind == "variable":
        opening = "${" if word.typed.startswith("${") else "$"
        closing = "}" if opening == "${" else ""
        return word.typed, [
            CompletionItem(opening + name + closing, type="variable")
            for name in (state.variables if state else ())
            if NAME.fullmatch(name) and name.startswith(word.text) and not name.startswith(OURS)
        ]
    if not word.text:
        return "", []  # all there are would help nobody
    path = state.path if state else PATH
    programs = tab.ask(("programs", machine, path, word.text), lambda: _programs(machine, path, word.text))
    names = {*(state.commands if state else ()), *(programs or ())}
    fitting = sorted(name for name in names if _fits(name, word.text))
    return word.typed, [CompletionItem(quoted(name), type="command") for name in fitting[: paths.MOST]]


def _fits(name: str, begun: str) -> bool:
    return name.startswith(begun) and name.isprintable() and not name.startswith(OURS)


async def _state(machine: Machine) -> State:
    """Of the session that cells share; one that is busy tells it once it no longer is."""
    told = await _told(machine, Request(shell=SESSION, code=STATE))
    commands, variables, path = [*told.split("\0"), "", "", ""][:3]
    return State(commands.split(), variables.split(), path)


async def _programs(machine: Machine, path: str, begun: str) -> list[str]:
    """Those in the folders of `path` that begin so."""
    folders = [folder for folder in path.split(":") if folder.startswith("/")]
    return (await _told(machine, work("programs", folders=folders, begun=begun))).split("\n")


async def _told(machine: Machine, asked: Request) -> str:
    said = bytearray()
    await Command(machine, asked, None, lambda stream, data: said.extend(data * (stream == "stdout"))).run()
    return said.decode(errors="surrogateescape")
