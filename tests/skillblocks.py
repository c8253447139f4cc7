"""The fenced blocks of skill documents, and where each of them can run.

After its language a block of commands says that in a word, such as ```` ```bash vm ````:

    vm        bash: on an agent's machine, in the skill's folder, one shell for all blocks of a document
    notebook  vers: a cell of a notebook, on the embedded platform
    cloud     it needs the Vers cloud, and is not run by tests
    online    it needs another service of the internet, and is not run either
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pi_v_jupyter import bundled

COMMANDS = {"bash": {"vm", "cloud", "online"}, "python": {"vm", "cloud"}, "vers": {"notebook", "cloud"}}
TEXTS = {"markdown", "json", "text"}  # languages of what nobody runs
SKILLS = sorted(folder.name for folder in bundled.skills().iterdir())


@dataclass(frozen=True)
class Block:
    """One of them. `where`: FILE:LINE in the folder of skills; `place`: what follows its language."""

    where: str
    language: str
    place: str
    text: str


def tokens(document: Path) -> list[Token]:
    """The Markdown of a document, without its front matter."""
    text = document.read_text()
    if document.name == "SKILL.md":
        _, front, below = text.split("---\n", 2)
        text = "\n" * (front.count("\n") + 2) + below  # lines keep their numbers
    return MarkdownIt().enable("table").parse(text)


def documents(skill: str) -> list[Path]:
    """Those of a skill, the main one first."""
    folder = bundled.skills() / skill
    return [folder / "SKILL.md", *sorted(folder.glob("references/*.md"))]


def blocks(document: Path) -> Iterator[Block]:
    """All of a document."""
    for token in tokens(document):
        if token.type in ("fence", "code_block"):
            language, _, place = token.info.partition(" ")
            line = token.map[0] + 1 if token.map else 0
            where = f"{document.relative_to(bundled.skills())}, block at line {line}"
            yield Block(where, language, place, token.content)


def script(document: Path) -> str:
    """What an agent would run of a document on its machine, as one program; it says how far it came."""
    parts = ["set -euo pipefail"]
    for block in blocks(document):
        if (block.language, block.place) == ("bash", "vm"):
            # The last line sees an exit code that `set -e` passes over, such as that of `! command`.
            parts += [f"echo '--- {block.where}'", block.text, "(exit $?)"]
    return "\n".join(parts)
