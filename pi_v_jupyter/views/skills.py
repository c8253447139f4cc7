"""Skill documents, as a table of all and as the Markdown of one; text everywhere."""

from __future__ import annotations

from pi_v_jupyter.skills import Skill, Skills
from pi_v_jupyter.views.tables import html_table, text_table

HEAD = ("skill", "what it is for")


def _rows(skills: Skills) -> list[tuple[str, str]]:
    return [(skill.name, skill.description) for skill in skills]


def skills_text(skills: Skills) -> str:
    """All of them, a line each."""
    return text_table(HEAD, _rows(skills))


def skills_html(skills: Skills) -> str:
    """The same as a table."""
    return html_table(HEAD, _rows(skills))


def skill_markdown(skill: Skill) -> str:
    """One as an agent reads it, with the files that come with it named at the end."""
    files = "".join(f"- `{name}`\n" for name in skill.files)
    below = f"\n---\n\nIn `{skill.folder}`:\n\n{files}" if files else ""
    return f"{skill.text.rstrip()}\n{below}"
