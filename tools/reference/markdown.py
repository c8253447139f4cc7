"""Pieces of Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence

NOTE = "<!-- `make docs` writes this page from the code. -->"


def begin(title: str, about: str) -> list[str]:
    """The first lines of a page."""
    return [NOTE, "", f"# {title}", "", about]


def code(text: str) -> str:
    """As code within a line."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def plain(text: str) -> str:
    """A text in which only backticks mean anything: `<id>` outside of them would be taken for HTML."""
    return "`".join(part if at % 2 else part.replace("<", "&lt;") for at, part in enumerate(text.split("`")))


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table, with an empty line before it; nothing where it has no rows.

    A bar would end a cell, in code too.
    """
    lines = [f"| {' | '.join(plain(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    rule = "|" + "---|" * len(heading)
    return ["", f"| {' | '.join(heading)} |", rule, *lines] if lines else []


def block(text: str, info: str = "text") -> list[str]:
    """Lines as they are, with an empty line before them."""
    return ["", f"```{info}", *text.splitlines(), "```"]


def prose(docstring: str | None) -> str:
    """A docstring as paragraphs; a heading such as "Raises:" with its indented lines becomes a list."""
    lines: list[str] = []
    listed = False
    for line in inspect.cleandoc(docstring or "").splitlines():
        heading = line in ("Raises:", "Returns:", "Yields:")
        if heading:
            listed = True
            lines += [line, ""]
        elif listed and line.startswith("    ") and not line.startswith("     "):
            lines.append(f"* {line.strip()}")
        else:
            listed = listed and line.startswith(" ")
            lines.append(line)
    return plain("\n".join(lines))


def finished(lines: Iterable[str]) -> str:
    """A page of those lines."""
    return "\n".join(lines).rstrip() + "\n"
