"""Edits as a person writes them, in the form of merge conflicts.

    <<<<<<<
    the lines that are there now
    =======
    the lines to be there instead
    >>>>>>>

Markers may be longer than seven characters, all of a block alike: for texts that hold such lines themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pi_v_jupyter.errors import UsageError

_OPENING = re.compile(r"(<{7,})( .*)?")
FORM = (
    "A block is `<<<<<<<`, the old lines, `=======`, the new lines, `>>>>>>>`, each marker on a line alone."
)

Forms = list[tuple[str, str]]


def parse(text: str) -> list[Forms]:
    """The edits in `text`, each in the forms `Files.edit_first_that_occurs` takes.

    Raises:
        UsageError: it is not made of such blocks.
    """
    lines = iter(enumerate(text.split("\n"), 1))
    edits = []
    for number, line in lines:
        opening = _OPENING.fullmatch(line)
        if opening is None:
            if line.strip():
                raise UsageError(f"Line {number} is outside of any block: {line.strip()[:60]!r}.", FORM)
            continue
        size = len(opening[1])
        old = _until("=" * size, lines, number)
        new = _until(">" * size, lines, number)
        if not old:
            raise UsageError(f"The block in line {number} has no old lines.", FORM)
        edits.append(_forms(old, new))
    if not edits:
        raise UsageError("There is no block to edit by.", FORM)
    return edits


def _until(marker: str, lines: Iterator[tuple[int, str]], opened: int) -> list[str]:
    found: list[str] = []
    for _, line in lines:
        if line == marker or line.startswith(f"{marker} "):
            return found
        found.append(line)
    raise UsageError(f"The block that begins in line {opened} has no `{marker}`.", FORM)


def _forms(old: list[str], new: list[str]) -> Forms:
    """Text replaces text, so that part of a line can be one; lines without a successor go whole."""
    before = "\n".join(old)
    if new:
        return [(before, "\n".join(new))]
    return [(f"\n{before}\n", "\n"), (f"{before}\n", ""), (f"\n{before}", ""), (before, "")]
