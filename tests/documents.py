"""The project's documents, and what tests make of their blocks.

A block of `bash` or `python` is executed by the tests: `python` is a cell of a notebook, magics included.
A word behind the language says otherwise:

    fails      a cell whose error is the point
    cloud      needs an account of the Vers cloud; not executed
    online     installs something, or needs another service of the internet; not executed
    elsewhere  belongs to a program or a computer of the reader's; not executed
"""

from __future__ import annotations

from pathlib import Path

from fenced import Block, blocks

ROOT = Path(__file__).parent.parent
NOT_HERE = {"cloud", "online", "elsewhere"}
COMMANDS = {"bash": {"", *NOT_HERE}, "python": {"", "fails", *NOT_HERE}}
TEXTS = {"text", "json", "ini", "html"}  # languages of what nobody runs
WRITTEN = [
    "README.md",
    "CONTRIBUTING.md",
    *(
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "docs").rglob("*.md"))
        if file.parent.name != "reference"
    ),
]


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page, which is named by its path in the repository."""
    return list(blocks((ROOT / page).read_text(), page))


def executed(page: str) -> list[Block]:
    """What the tests run of a page, in its order."""
    return [block for block in blocks_of(page) if block.language in COMMANDS and block.place not in NOT_HERE]
