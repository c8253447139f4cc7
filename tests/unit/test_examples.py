"""Every command shows examples, and every example is one that the command reads."""

from __future__ import annotations

import re

import click
import pytest

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.magics import background, cells, examples, launching, pages, plan, plansteps, tasks, words
from pi_v_jupyter.magics.vers import vers
from pi_v_jupyter.remote import blocks

MAGICS = (cells, background, tasks, plan)
COMMANDS = {
    path: command
    for root, start in (("%vers", vers), *(pair for each in MAGICS for pair in each.COMMANDS.items()))
    for path, command in examples.commands(root, start)
}
GROUPS = {"%vers": vers, "%bg": background.bg, "%plan": plan.plan}
LINE = re.compile(r"(?:[\w, ]+ = )?(%%?\w+)(.*)")


def split(path: str) -> list[tuple[str, str, str]]:
    """Each example of a command: its magic, the rest of its line, its body."""
    found: list[tuple[str, str, str]] = []
    for line in examples.of(path).splitlines():
        magic = LINE.fullmatch(line)
        if magic:
            found.append((magic[1], magic[2], ""))
        else:
            assert found and found[-1][0].startswith("%%"), f"{line!r} is in no cell"
            found[-1] = (*found[-1][:2], found[-1][2] + line + "\n")
    return found


def reached(monkeypatch: pytest.MonkeyPatch, magic: str, line: str) -> click.Command:
    """The command that an example is for, once it has taken all of its words."""
    calls: list[click.Command] = []
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "callback", lambda _command=command, **_: calls.append(_command))
    if magic == "%vm":
        given, rest = words.options_then_rest(cells.LINE, magic, line)
        assert given is not None and rest
        return cells.LINE
    given_words = words.arguments(line)
    if magic == "%bg" and given_words[:1] == ["start"]:
        given, rest = words.options_then_rest(launching.START, magic, line.partition("start")[2])
        assert given is not None and given["id"] and rest
        return launching.START
    if magic in GROUPS:
        words.run(GROUPS[magic], magic, given_words, None)
    elif magic == "%%task":
        words.run(tasks.CELL, magic, given_words, None)
    elif magic == "%%plan":
        words.run(plansteps.CELL, magic, given_words, None)
    elif magic == "%%bg":
        words.run(launching.CELL, magic, given_words, None)
    elif given_words and given_words[0] in cells.FILE_KINDS:
        words.run(cells.FILE_KINDS[given_words[0]], magic, given_words[1:], None)
    else:
        words.run(cells.CELL, magic, given_words, None)
    return calls[-1]


def test_the_table_has_every_command_and_no_other() -> None:
    assert set(examples.EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_example_is_read_by_its_command(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    own = COMMANDS[path]
    found = split(path)
    assert found
    for magic, line, body in found:
        command = reached(monkeypatch, magic, line)
        below = dict(examples.commands(path, own)).values() if path.split()[0] in GROUPS else [own]
        assert command in below, f"{magic}{line} is no example of {path}"
        assert bool(body) == magic.startswith("%%")
        if command is cells.FILE_KINDS["edit"]:
            assert blocks.parse(body)


@pytest.mark.parametrize("path", COMMANDS)
def test_help_shows_examples_before_options(path: str) -> None:
    shown = words.help_of(COMMANDS[path], path)
    before, heading, after = shown.partition("\n  Examples:\n")
    assert before.startswith(f"Usage: {path}") and heading and "\nOptions:\n" in after
    assert all(f"    {line}\n" in after for line in examples.of(path).splitlines())


def test_a_list_of_commands_does_not_show_their_examples() -> None:
    assert words.help_of(vers, "%vers").count("%vers create") == 1


@pytest.mark.parametrize("path", [path for path, each in COMMANDS.items() if isinstance(each, click.Group)])
def test_a_list_of_commands_has_whole_sentences(path: str) -> None:
    listed = words.help_of(COMMANDS[path], path).partition("\nCommands:\n")[2]
    assert listed and "..." not in listed


def test_what_question_marks_show_is_all_the_help() -> None:
    assert pages.vers() == words.help_of(vers, "%vers")
    assert [line for line in pages.vm().splitlines() if line.startswith("Usage: ")] == [
        "Usage: %%vm [OPTIONS] [KIND]",
        "Usage: %%vm write [OPTIONS] PATH",
        "Usage: %%vm edit [OPTIONS] PATH",
        "Usage: %vm [OPTIONS] COMMAND",
    ]
    assert [line for line in pages.bg().splitlines() if line.startswith("Usage: ")] == [
        "Usage: %bg [OPTIONS] [COMMAND] [ARGS]...",
        "Usage: %%bg [OPTIONS] ID",
    ]
    assert pages.task().startswith("Usage: %%task [OPTIONS] LABEL…\n")
    assert [line for line in pages.plan().splitlines() if line.startswith("Usage: ")] == [
        "Usage: %plan [OPTIONS] [COMMAND] [ARGS]...",
        "Usage: %%plan [OPTIONS] LABEL",
    ]


def test_an_id_comes_before_options_and_a_command_behind_them() -> None:
    for line in (
        "web --local --wait 5 -- run --local it",
        "web --local --wait 5 run --local it",
        "--local web --wait 5 -- run --local it",
        "--wait 5 --local web run --local it",
    ):
        given, rest = words.options_then_rest(launching.START, "%bg start", line)
        assert given is not None and rest == "run --local it"
        assert (given["id"], given["local"], given["wait"]) == ("web", True, 5)
    given, rest = words.options_then_rest(launching.START, "%bg start", "web -- --odd  'a b'")
    assert given is not None and (given["local"], rest) == (False, "--odd  'a b'")


def test_an_example_that_is_wrong_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        reached(monkeypatch, "%vers", " create --memory 5")
