"""`%vers skills`: the skill documents, listed and shown. Thin: parse, find, show."""

from __future__ import annotations

import click

from pi_v_jupyter import skills as documents
from pi_v_jupyter.magics.parameters import SkillName
from pi_v_jupyter.skills import Skill, Skills


@click.command()
@click.argument("name", required=False, type=SkillName())
def skills(name: str | None) -> Skills | Skill:
    """List the skills that agents have, or show one of them.

    A skill is a document for coding agents: what to know and do for one kind of work. Every agent that
    `%vers swarm spawn` makes has these, as this notebook's package has them.
    """
    return documents.every() if name is None else documents.find(name)


COMMANDS = (skills,)
