"""The fenced blocks of skill documents, and where each of them can run.

After its language a block of commands says that in a word, such as ```` ```bash vm ````:

    vm        bash: on an agent's machine, in the skill's folder, one shell for all blocks of a document
    notebook  vers: a cell of a notebook, on the embedded platform
    cloud     it needs the Vers cloud, and is not run by tests
    online    it needs another service of the internet, and is not run either
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fenced
from fenced import Block
from markdown_it.token import Token

from pi_v_jupyter import bundled

COMMANDS = {"bash": {"vm", "cloud", "online"}, "python": {"vm", "cloud"}, "vers": {"notebook", "cloud"}}
TEXTS = {"markdown", "json", "text"}  # languages of what nobody runs
SKILLS = sorted(folder.name for folder in bundled.skills().iterdir())


def markdown(document: Path) -> str:
    """A document without its front matter; its lines keep their numbers."""
    text = document.read_text()
    if document.name == "SKILL.md":
        _, front, below = text.split("---\n", 2)
        return "\n" * (front.count("\n") + 2) + below
    return text


def tokens(document: Path) -> list[Token]:
    """It, taken apart."""
    return fenced.tokens(markdown(document))


def documents(skill: str) -> list[Path]:
    """Those of a skill, the main one first."""
    folder = bundled.skills() / skill
    return [folder / "SKILL.md", *sorted(folder.glob("references/*.md"))]


def blocks(document: Path) -> Iterator[Block]:
    """All of a document; each is where it is in the folder of skills."""
    return fenced.blocks(markdown(document), str(document.relative_to(bundled.skills())))


def script(document: Path) -> str:
    """What an agent would run of a document on its machine, as one program; it says how far it came."""
    parts = ["set -euo pipefail"]
    for block in blocks(document):
        if (block.language, block.place) == ("bash", "vm"):
            # The last line sees an exit code that `set -e` passes over, such as that of `! command`.
            parts += [f"echo '--- {block.where}'", block.text, "(exit $?)"]
    return "\n".join(parts)
