"""Steps from text, ticks from `[DONE:n]`. Pure: whose plan it is and how far, `swarm.planning` knows.

A plan is the numbered list under a line that says `Plan:`, a Markdown heading or words of their own, bold or
not. It ends at the next heading or with the list; one that only goes on counting after something in between
is the same list. Of several plans in a text the last counts. Steps have the numbers they are written with, or
are counted from the first where these do not go up. What is nested in a step is part of it and no step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

LONGEST = 50_000  # characters of a text that are looked at, from its end
MOST = 100  # steps of a plan
WORDS = 500  # characters of a step
MARK = "[DONE:"
TICK = re.compile(r"\[DONE:\s*(\d{1,6})\s*\]", re.IGNORECASE)  # a mark of our own, within parsed text

_markdown = MarkdownIt("commonmark", {"html": False})


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its number, its words in one line, and whether it is done."""

    number: int
    text: str
    done: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order; `source` is the Markdown they were read from, with what is nested in them."""

    steps: tuple[Step, ...]
    source: str = ""

    @property
    def done(self) -> int:
        """How many steps are done."""
        return sum(step.done for step in self.steps)

    @property
    def finished(self) -> bool:
        """Are all of them?"""
        return self.done == len(self.steps)

    @property
    def next(self) -> Step | None:
        """The first that is not done."""
        return next((step for step in self.steps if not step.done), None)

    def ticked(self, numbers: Iterable[int]) -> Plan:
        """The same with these steps done too; a number that no step has changes nothing."""
        done = {*numbers}
        return replace(
            self, steps=tuple(replace(step, done=step.done or step.number in done) for step in self.steps)
        )


@lru_cache(maxsize=64)
def plan_in(text: str) -> Plan | None:
    """The last plan in a text; None when it has none."""
    lines = _lines(text)
    found = None
    for line in _headings(_markdown.parse("\n".join(lines)), lines):
        found = _listed(lines[line:]) or found
    return found


def plan_of(text: str) -> Plan | None:
    """The steps in a text that is a plan: those under its `Plan:`, or else its first numbered list."""
    return plan_in(text) or _listed(_lines(text), under_heading=False)


@lru_cache(maxsize=64)
def ticks(text: str) -> frozenset[int]:
    """The numbers that a text ticks, by `[DONE:n]`; also within `code` in a line, for models write it so.

    Not in blocks of code: these show what somebody else wrote.
    """
    if MARK.casefold() not in text.casefold():
        return frozenset()
    return frozenset(
        int(found[1])
        for token in _markdown.parse(text[-LONGEST:])
        if token.type == "inline"
        for found in TICK.finditer(token.content)
    )


def _lines(text: str) -> list[str]:
    """As Markdown has them: a parsed block tells its lines by their numbers."""
    return text[-LONGEST:].replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _headings(tokens: Sequence[Token], lines: Sequence[str]) -> Iterator[int]:
    """The lines behind those that say `Plan:`."""
    for before, token in pairwise(tokens):
        if token.type != "inline" or token.map is None or before.level:
            continue
        if before.type == "heading_open" and _says_plan(_words(token)):
            yield token.map[1] + (before.markup in ("=", "-"))  # one that is underlined
        elif before.type == "paragraph_open":
            for number, line in enumerate(lines[slice(*token.map)], token.map[0]):
                if "plan" not in line.casefold():
                    continue
                (inline,) = _markdown.parseInline(line.strip())
                said = _words(inline)
                if _says_plan(said) and (":" in said or _bold(inline)):
                    yield number + 1


def _says_plan(said: str) -> bool:
    return said.casefold() == "plan" or said.casefold().startswith("plan:")


def _bold(inline: Token) -> bool:
    """Is all of it bold?"""
    parts = [each for each in inline.children or [] if each.content or each.nesting]
    kinds = [each.type for each in parts]
    return kinds[:1] == ["strong_open"] and kinds.index("strong_close") == len(kinds) - 1


def _listed(lines: Sequence[str], *, under_heading: bool = True) -> Plan | None:
    """The first numbered list, with those that go on counting where it ends."""
    items: list[tuple[int, str]] = []
    begin = end = 0
    tokens = _markdown.parse("\n".join(lines))
    for at, token in enumerate(tokens):
        if token.level == 0 and (items or under_heading) and _is_heading(tokens, at):
            break
        if token.type != "ordered_list_open" or token.level or token.map is None:
            continue
        read = _items(tokens, at)
        if items and read[0][0] != items[-1][0] + 1:
            break
        begin, end = begin if items else token.map[0], token.map[1]
        items += read
    if not items:
        return None
    steps = tuple(Step(number, words) for number, words in _numbered(items)[:MOST])
    return Plan(steps, "\n".join(lines[begin:end]).strip("\n"))


def _is_heading(tokens: Sequence[Token], at: int) -> bool:
    if tokens[at].type == "heading_open":
        return True
    return tokens[at].type == "paragraph_open" and _bold(tokens[at + 1])


def _items(tokens: Sequence[Token], at: int) -> list[tuple[int, str]]:
    """Those of the list that is opened there: the number of each as it is written, and its first words."""
    items: list[tuple[int, str]] = []
    fresh = False  # has the item no words yet?
    for token in tokens[at + 1 :]:
        if token.type == "ordered_list_close" and token.level == 0:
            break
        if token.type == "list_item_open" and token.level == 1:
            items.append((int(token.info), ""))
            fresh = True
        elif token.type == "inline" and fresh:
            items[-1] = items[-1][0], _words(token)[:WORDS]
            fresh = False
    return items


def _numbered(items: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    numbers = [number for number, _ in items]
    if any(after <= before for before, after in pairwise(numbers)):
        numbers = list(range(numbers[0], numbers[0] + len(items)))
    return [(number, words) for number, (_, words) in zip(numbers, items, strict=True)]


def _words(inline: Token) -> str:
    """What it says, in one line; code stays between backquotes."""
    said = []
    for part in inline.children or []:
        if part.type == "code_inline":
            said.append(f"`{part.content}`")
        elif part.type in ("softbreak", "hardbreak"):
            said.append(" ")
        else:
            said.append(part.content)
    return " ".join("".join(said).split())
