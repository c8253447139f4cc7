"""A click command as a section of a page: how it is called, what it does, examples, options."""

from __future__ import annotations

import inspect
from typing import Any

import click

from tools.reference.markdown import block, code, plain, table


def section(path: str, command: click.Command, examples: str = "", level: int = 2) -> list[str]:
    """Its heading and all below it but its sub-commands."""
    context = command.context_class(command, info_name=path, **command.context_settings)
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = ["", f"{'#' * level} {code(path)}", *block(" ".join(usage.split()))]
    about = _about(command)
    lines += ["", plain(about)] if about else []
    lines += block(examples, "text") if examples else []
    return lines + table(["option", "what it does", "default"], map(_row, _options(command)))


def _about(command: click.Command) -> str:
    """Its help without the examples in it, which begin with click's mark for lines that stay as they are."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    told: list[str] = []
    example = False
    for paragraph in paragraphs:
        example = paragraph.startswith("\b") or (example and paragraph.startswith("  "))
        if not example:
            told.append(" ".join(paragraph.split()))
    return "\n\n".join(told).strip()


def _options(command: click.Command) -> list[click.Option]:
    return [each for each in command.params if isinstance(each, click.Option) and not each.hidden]


def _row(option: click.Option) -> tuple[str, str, str]:
    names = ", ".join([*option.opts, *option.secondary_opts])
    told = option.to_info_dict()
    takes = "" if option.is_flag or option.count else f" {option.metavar or _kind(told)}"
    default = told["default"]
    shown = "" if default in (None, False, (), []) or callable(default) else code(str(default))
    return code(names + takes), (option.help or ""), shown


def _kind(told: dict[str, Any]) -> str:
    """What an option takes that says no more of it."""
    kind = told["type"]
    if "choices" in kind:
        return "|".join(map(str, kind["choices"]))
    if kind["param_type"] in ("Int", "IntRange", "Float", "FloatRange"):
        return "N"
    return str(kind["name"] if kind["name"] != "text" else told["name"]).upper()
