"""The fenced blocks of Markdown documents: what a reader would type.

After its language a block may say, in a word, what becomes of it: ```` ```bash cloud ````. Which words there
are, and what runs what, is up to whoever collects them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token


@dataclass(frozen=True)
class Block:
    """One of them. `where`: DOCUMENT:LINE; `place`: the word behind its language, or ""."""

    where: str
    language: str
    place: str
    text: str


def tokens(text: str) -> list[Token]:
    """A document without front matter, taken apart."""
    return MarkdownIt().enable("table").parse(text)


def blocks(text: str, name: str) -> Iterator[Block]:
    """All of a document that `name` names, indented ones and those in lists included."""
    for token in tokens(text):
        if token.type in ("fence", "code_block"):
            language, _, place = token.info.partition(" ")
            line = token.map[0] + 1 if token.map else 0
            yield Block(f"{name}:{line}", language, place, token.content)


def links(text: str) -> Iterator[str]:
    """What a document links to, pictures included."""
    for token in tokens(text):
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if target:
                yield str(target)
