"""What the cursor is at: a line of ours, the body of a cell of ours, or nothing that concerns us."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from pi_v_jupyter.magics import words

_LINE = re.compile(r"\s*(?:[^%'\"#]*=\s*)?%(vers|vm|bg|plan)(\s.*)", re.DOTALL)
_CELL = re.compile(r"%%(vm|bg|task|plan)(\s.*)?", re.DOTALL)
_SPECIAL = re.compile(r"([^\w@%+=:,./~-])")


@dataclass(frozen=True)
class Line:
    """A line of `magic`, such as "%vers" or "%%vm"; `text` is what follows it, up to the cursor."""

    magic: str
    text: str


@dataclass(frozen=True)
class Body:
    """The body of a cell of `magic`, up to the cursor; `line` is what follows that in its first line."""

    magic: str
    line: str
    code: str


def place(cell: str, number: int, column: int) -> Line | Body | None:
    """Where in `cell` the cursor is: in which line (the first is 0), after how many characters of it."""
    lines = cell.split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    before = lines[number][:column]
    cell_magic = _CELL.fullmatch(lines[first])
    if cell_magic is not None and number > first:
        magic, line = f"%%{cell_magic[1]}", cell_magic[2] or ""
        return Body(magic, line.strip(), "\n".join([*lines[first + 1 : number], before]))
    if cell_magic is not None:
        found = _CELL.fullmatch(before)
        return Line(f"%%{found[1]}", found[2]) if found is not None and found[2] else None
    found = _LINE.fullmatch(before)
    return Line(f"%{found[1]}", found[2]) if found is not None else None


def last_word(text: str) -> tuple[list[str], str, str]:
    """The words of a line before the one at its end; that one as it was typed; and what it means so far."""
    found, starts = words.split(text + "_")  # so that there always is one, empty but for that
    typed = text[starts[-1] :]
    return found[:-1], typed, meaning(typed)


def meaning(typed: str) -> str:
    """What a shell takes an unfinished word to be: its quote may be open, its last backslash alone."""
    lexer = shlex.shlex(typed, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return lexer.get_token() or ""
    except ValueError:
        return str(lexer.token)


def quoted(text: str) -> str:
    """As it must be typed to be one word."""
    return _SPECIAL.sub(r"\\\1", text)
