"""A magic's line taken apart with click: options, words, and the rest exactly as it was typed."""

from __future__ import annotations

import difflib
import io
import re
import shlex
from typing import Any

import click

from pi_v_jupyter.errors import UsageError

NO_NUMBER = re.compile(r"is not a valid (integer|float)(?: range)?")  # as click says it


def split(line: str) -> tuple[list[str], list[int]]:
    """The words of `line`, as a shell reads them, and where each begins."""
    words: list[str] = []
    starts: list[int] = []
    position = 0
    while True:
        position += len(line[position:]) - len(line[position:].lstrip())
        if position >= len(line):
            return words, starts
        text = io.StringIO(line[position:])
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters = True, ""
        starts.append(position)
        try:
            word = lexer.get_token()
        except ValueError:  # a quote that does not end: part of a command, and its shell's to judge
            words.append(line[position:])
            return words, starts
        words.append(word or "")
        position += text.tell()


def arguments(line: str) -> list[str]:
    """The words of a line that is nobody else's to judge.

    Raises:
        UsageError: a quote does not end.
    """
    try:
        return shlex.split(line)
    except ValueError:
        raise UsageError(
            "A quote in the line does not end.", "Close it, or put a backslash before it."
        ) from None


def run(command: click.Command, name: str, words: list[str], obj: Any) -> Any:
    """Run a click command and return what it returns; None when it showed its help.

    Raises:
        UsageError: it was used wrongly; says how, and the nearest right word.
    """
    try:
        with command.make_context(name, list(words), obj=obj) as context:
            return command.invoke(context)
    except click.exceptions.Exit:  # after `--help`
        return None
    except click.ClickException as error:
        raise usage_error(error, name) from None


def help_of(command: click.Command, name: str) -> str:
    """What `--help` shows."""
    return command.get_help(command.context_class(command, info_name=name, **command.context_settings))


def usage_error(error: click.ClickException, name: str) -> UsageError:
    """A click error as one of ours."""
    message = error.format_message().strip().replace("\n", " ")
    context = getattr(error, "ctx", None)
    if isinstance(error, click.BadParameter):
        message = NO_NUMBER.sub(
            lambda found: "is no whole number" if found[1] == "integer" else "is no number", message
        )
    if isinstance(error, click.NoSuchOption):
        options = [word for param in context.command.params for word in param.opts] if context else []
        near = difflib.get_close_matches(error.option_name, options, 1)
        message = f"No such option: {error.option_name}." + (f" Did you mean {near[0]}?" if near else "")
    elif isinstance(error, click.UsageError) and message.startswith("No such command"):
        word = message.split("'")[1]
        commands = context.command.commands if context and isinstance(context.command, click.Group) else {}
        near = difflib.get_close_matches(word, list(commands), 1)
        path = context.command_path if context else name
        message = f"No such command: {path} {word}." + (f" Did you mean {near[0]}?" if near else "")
    where = context.command_path if context is not None else name
    return UsageError(
        message if message.endswith((".", "?")) else message + ".", f"`{where} --help` says more."
    )


def encoded(text: str, what: str) -> bytes:
    """As UTF-8; what came from bytes that are none, as those."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        char = text[error.start]
        raise UsageError(
            f"Character {error.start} of {what} is half of one (U+{ord(char):04X}).", "Take it out."
        ) from None


def options_then_rest(
    command: click.Command, name: str, line: str, *, unfinished: bool = False
) -> tuple[dict[str, Any] | None, str]:
    """The options at the front of `line`, and the rest of it untouched; None when help was asked for.

    An `unfinished` line shows no help and is never wrong. `command` takes no interspersed options and gathers
    the rest in a parameter named `rest`.
    """
    words, starts = split(line)
    try:
        with command.make_context(name, list(words), resilient_parsing=unfinished) as context:
            params = dict(context.params)
    except click.exceptions.Exit:
        return None, ""
    except click.ClickException as error:
        raise usage_error(error, name) from None
    rest = params.pop("rest") or ()
    return params, line[starts[len(words) - len(rest)] :] if rest else ""
