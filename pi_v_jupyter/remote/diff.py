"""A unified diff from the parts of a file that an edit changed: the rest of it stays where it is."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from pi_v_jupyter.remote.channel import checked

AROUND = 3  # lines shown around a change
COMPARED = 2000  # lines of a part; of longer ones all is shown as changed, for comparing takes their square


@dataclass(frozen=True)
class Region:
    """Some lines before and after, and the numbers of the first (the first of a file is 1)."""

    first: int
    old: str
    first_new: int
    new: str

    @classmethod
    def load(cls, line: bytes) -> Self:
        """From JSON."""
        return checked(cls, json.loads(line))


def unified(path: str, regions: Iterable[Region]) -> str:
    """The diff as text, a newline at the end of each line; empty where nothing changed."""
    hunks = [line for region in regions for line in _hunks(region)]
    return "".join([f"--- {path}\n", f"+++ {path}\n", *hunks]) if hunks else ""


def _hunks(region: Region) -> Iterator[str]:
    old, new = _lines(region.old), _lines(region.new)
    if max(len(old), len(new)) > COMPARED:
        groups = [[("replace", 0, len(old), 0, len(new))]] if old != new else []
    else:
        groups = list(difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(AROUND))
    for group in groups:
        begin, begin_new, end, end_new = group[0][1], group[0][3], group[-1][2], group[-1][4]
        yield f"@@ -{_span(region.first, begin, end)} +{_span(region.first_new, begin_new, end_new)} @@\n"
        for what, i, j, k, m in group:
            if what == "equal":
                yield from _marked(" ", old[i:j])
            else:
                yield from _marked("-", old[i:j])
                yield from _marked("+", new[k:m])


def _span(first: int, begin: int, end: int) -> str:
    """As diff writes it: of no lines, the number is that of the line before."""
    start = first + begin - (end == begin)
    return str(start) if end - begin == 1 else f"{start},{end - begin}"


def _lines(text: str) -> Sequence[str]:
    """Split at newlines alone: other separators are part of a line."""
    *lines, last = text.split("\n")
    return [line + "\n" for line in lines] + ([last] if last else [])


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield mark + (line if line.endswith("\n") else line + "\n\\ No newline at end of file\n")
