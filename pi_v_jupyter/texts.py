"""Text from machines and agents, made harmless and short: nothing of it steers a terminal or a page."""

from __future__ import annotations

import re

LONGEST = 100  # characters of a line that tells of something in short
STEERING = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-_])")  # colours, titles
JOINERS = "\u200c\u200d"  # parts of letters and pictures, though nobody sees them
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def harmless(text: str) -> str:
    """`text` without what steers a terminal; its lines stay."""
    if text.replace("\n", "").replace("\t", "").isprintable():  # most is, and it is told ten times a second
        return text
    plain = STEERING.sub("", text).replace("\r\n", "\n").replace("\r", "")
    return "".join(
        char if char.isprintable() or char in "\n\t" or char in JOINERS else UNKNOWN for char in plain
    )


def short(text: str, limit: int = LONGEST) -> str:
    """`text` as one line, cut."""
    line = " ".join(harmless(text[: 4 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def tail(text: str, limit: int = LONGEST) -> str:
    """The last line of `text` that says something, cut at its front."""
    lines = [line.strip() for line in harmless(text[-4 * limit :]).splitlines()]
    line = next((line for line in reversed(lines) if line), "")
    return line if len(line) <= limit else f"…{line[1 - limit :]}"


def end_begins(length: int, most: int) -> int:
    """Where the end of a text begins that is shown of so many characters, `most` of them at most.

    It stays there while the text grows by half of that, so that what is shown grows too, and can be told by
    what was added.
    """
    half = most // 2
    return max(0, (length - 1) // half * half - half)


def last_line(text: str, limit: int) -> str:
    """A line as a terminal would show it in the end: what `\\r` has overwritten is gone."""
    line = STEERING.sub("", text).rstrip("\r").rpartition("\r")[2].expandtabs(4)
    shown = "".join(char if char.isprintable() else UNKNOWN for char in line).strip()
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
