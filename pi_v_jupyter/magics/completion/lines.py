"""The words of a magic's line, completed by click from what its parameters say they may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, ShellComplete

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.magics import background, files, plan, tasks, words
from pi_v_jupyter.magics.completion import shell
from pi_v_jupyter.magics.completion.cursor import Body, Line, last_word, quoted
from pi_v_jupyter.magics.launching import START
from pi_v_jupyter.magics.options import CELL, LINE
from pi_v_jupyter.magics.parameters import COMMAND
from pi_v_jupyter.magics.vers import vers

if TYPE_CHECKING:
    from pi_v_jupyter.magics.completion.tab import Tab

MAGICS: dict[str, click.Command] = {
    "%vers": vers,
    "%vm": LINE,
    "%%vm": CELL,
    **background.COMMANDS,
    **tasks.COMMANDS,
    **plan.COMMANDS,
}
WORDS = ("%%task", "%%plan")  # cells for agents, no shell's
FILES = {"write": files.WRITE, "edit": files.EDIT}
SHELLS = ("bash", "sh", "dash", "zsh")  # that are completed as bash is


def line(tab: Tab, found: Line) -> tuple[str, list[CompletionItem[str]]]:
    """What stands before the cursor and may go on, and how."""
    args, typed, word = last_word(found.text)
    command = MAGICS[found.magic]
    if found.magic == "%%vm" and args and args[0] in FILES:
        command, args = FILES[args.pop(0)], args
    items = _items(tab, command, found.magic, args, word)
    if [item.type for item in items] == [COMMAND]:
        return _command(tab, found)
    if not items and not word and not (args and args[-1].startswith("-")):
        items = [item for item in _items(tab, command, found.magic, args, "--") if item.value != "--help"]
    if word.startswith("-") and "=" in word:
        option = word.partition("=")[0] + "="
        items = [CompletionItem(option + item.value, type=item.type) for item in items]
    return typed, [CompletionItem(quoted(item.value), type=item.type) for item in items]


def _items(
    tab: Tab, command: click.Command, name: str, args: list[str], word: str
) -> list[CompletionItem[str]]:
    """What click says of the word after `args`."""
    found = ShellComplete(command, {"obj": tab}, name, "").get_completions(list(args), word)
    return [
        CompletionItem(each.value, type=each.type if each.type != "plain" else _kind(each.value))
        for each in found
    ]


def _kind(value: str) -> str:
    """Of what click offers by itself."""
    return "option" if value.startswith("-") else "command"


def _command(tab: Tab, found: Line) -> tuple[str, list[CompletionItem[str]]]:
    """The command of a `%vm` or `%bg start` line, as it was typed."""
    text = found.text + "_"  # there is a command, whatever is begun
    if found.magic == "%bg":
        _, rest = words.split(text)
        given, code = words.options_then_rest(START, "%bg start", text[rest[1] :], unfinished=True)
    else:
        given, code = words.options_then_rest(LINE, "%vm", text, unfinished=True)
    return ("", []) if given is None else _shell(tab, given, code[:-1])


def _shell(tab: Tab, given: dict[str, Any], code: str) -> tuple[str, list[CompletionItem[str]]]:
    """What a shell would offer where such a command runs."""
    if given.get("local"):
        here = str(Path(given["cwd"] or "").expanduser().absolute())
        return shell.complete(tab, tab.extension.vers.here, code, session=False, cwd=here)
    machine = tab.machine(given["on"])
    return shell.complete(tab, machine, code, session=not given.get("fresh"), cwd=given["cwd"])


def body(tab: Tab, found: Body) -> tuple[str, list[CompletionItem[str]]]:
    """What may go on in a cell for a shell; in any other, nothing is known."""
    try:
        args = words.arguments(found.line)
    except UsageError:
        return "", []
    given = dict(MAGICS[found.magic].make_context(found.magic, args, resilient_parsing=True).params)
    kind = given.get("kind", "" if found.magic in WORDS else "bash")
    if kind not in SHELLS:
        return "", []
    given["fresh"] = given.get("fresh") or kind != "bash"
    return _shell(tab, given, found.code)
