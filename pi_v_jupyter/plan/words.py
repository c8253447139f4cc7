"""Words of a command line, as bash would make them of the text: what of each is known before it runs.

Not how a text is taken apart (`scanner.py`), and not what a word may do (`arguments.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


class Refused(Exception):
    """A part of a command may not run: `part` exactly as it was typed, and `rule`: why, in a sentence."""

    def __init__(self, part: str, rule: str) -> None:
        super().__init__(rule)
        self.part = part
        self.rule = rule


def names(line: str) -> frozenset[str]:
    """The words of a line, as a set."""
    return frozenset(line.split())


@dataclass(frozen=True)
class Text:
    """Characters that stand for themselves, unless they are a pattern's and not `quoted`."""

    value: str
    quoted: bool


@dataclass(frozen=True)
class Unknown:
    """What only the shell will know: `start` and `end` are the place in the text, in characters.

    Unless `quoted`, bash splits it into any number of words.
    """

    start: int
    end: int
    quoted: bool


@dataclass(frozen=True)
class Word:
    """One word as it was typed (`raw`), from `start` to `end`, in characters."""

    start: int
    end: int
    raw: str
    parts: tuple[Text | Unknown, ...]

    @property
    def known(self) -> str | None:
        """Its value, if bash will make exactly this of it, whatever files and variables there are."""
        if any(isinstance(part, Unknown) or self._pattern(part) for part in self.parts):
            return None
        return "".join(part.value for part in self.parts if isinstance(part, Text))

    @property
    def head(self) -> str:
        """What every word that comes of it begins with. Only meaningful unless it is `wild`."""
        found = ""
        for part in self.parts:
            if isinstance(part, Unknown):
                break
            if signs := self._pattern(part):
                return found + part.value[: min(part.value.index(sign) for sign in signs)]
            found += part.value
        return found

    @property
    def wild(self) -> bool:
        """Whether any words at all may come of it, or none."""
        return any(isinstance(part, Unknown) and not part.quoted for part in self.parts)

    @property
    def several(self) -> bool:
        """Whether something else than one word may come of it."""
        return self.wild or any(isinstance(part, Text) and self._pattern(part) for part in self.parts)

    @property
    def plain(self) -> bool:
        """Whether it was typed without quotes, escapes, patterns and the like."""
        return self.known == self.raw

    def _pattern(self, part: Text) -> set[str]:
        """The signs in `part` that make a pattern of the word."""
        if part.quoted:
            return set()
        return {sign for sign in part.value if sign in "*?" or (sign == "[" and "]" in self.raw)}

    def with_value(self, value: str) -> Word:
        """The same place in the text, for a part of its value that is known."""
        return Word(self.start, self.end, self.raw, (Text(value, True),))

    def after(self, count: int) -> Word:
        """What follows the first `count` characters of its `head`, on the same place in the text."""
        head = self.head[count:]
        rest = Unknown(self.start, self.end, not self.wild)
        if self.known is not None:
            return self.with_value(self.known[count:])
        return Word(self.start, self.end, self.raw, (Text(head, True), rest))
