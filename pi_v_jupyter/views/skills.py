"""Skill documents: all of them as a table or as text, one as Markdown."""

from __future__ import annotations

import textwrap

from pi_v_jupyter.skills import Skill, Skills
from pi_v_jupyter.views.tables import html_table, with_code

HEAD = ("skill", "what it is for")
WIDTH = 100  # characters of a line of text


def skills_text(skills: Skills) -> str:
    """The name of each, what it is for below."""
    return "\n".join(f"{skill.name}\n{_indented(skill.description)}" for skill in skills)


def _indented(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def skills_html(skills: Skills) -> str:
    """The same as a table."""
    return html_table(HEAD, [(skill.name, skill.description) for skill in skills], cell_html=with_code)


def skill_markdown(skill: Skill) -> str:
    """One as an agent reads it, with the files that come with it named at the end."""
    files = "".join(f"- `{name}`\n" for name in skill.files)
    below = f"\n---\n\nIn `{skill.folder}`:\n\n{files}" if files else ""
    return f"{skill.text.rstrip()}\n{below}"
