"""The skill documents: what a coding agent should know before it works on VMs, in the Agent Skills format.

Found, listed and read here. How agents get them is in `swarm/agentskills.py`, how they look in
`views/skills.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pi_v_jupyter import bundled, names
from pi_v_jupyter.errors import UnknownSkillError

DOCUMENT = "SKILL.md"
FENCE = "---"  # above and below the front matter


@dataclass(frozen=True)
class Skill:
    """One of them. `text` is its document without the front matter, as Markdown; `folder` is where it is."""

    name: str
    description: str
    text: str = field(repr=False)
    folder: Path

    @property
    def files(self) -> tuple[str, ...]:
        """What comes with the document, by paths in the folder: references and scripts."""
        return tuple(name for name in files(self.folder) if name != DOCUMENT)


class Skills(list[Skill]):
    """All of them, by name; shows as a table in a notebook."""


def every() -> Skills:
    """All there are.

    Raises:
        PlatformError: they are not installed.
    """
    return Skills(_read(document.parent) for document in sorted(bundled.skills().glob(f"*/{DOCUMENT}")))


def find(name: str) -> Skill:
    """The one of that name.

    Raises:
        UnknownSkillError: there is none.
        PlatformError: they are not installed.
    """
    known = {skill.name: skill for skill in every()}
    if name not in known:
        raise UnknownSkillError(
            f"No skill named {name!r}.{names.nearest(name, known)}", "`%vers skills` lists them."
        )
    return known[name]


def files(folder: Path) -> list[str]:
    """The paths of all files in a folder, relative to it and with slashes, in an order that stays."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if "__pycache__" not in path.parts)


def _read(folder: Path) -> Skill:
    _, front, text = (folder / DOCUMENT).read_text(encoding="utf-8").split(f"{FENCE}\n", 2)
    about = yaml.safe_load(front)
    return Skill(about["name"], about["description"], text.lstrip("\n"), folder)
