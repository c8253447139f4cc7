"""The page of `pi-v-jupyter`, the command."""

from __future__ import annotations

from pi_v_jupyter.cli import main
from pi_v_jupyter.magics.examples import commands
from tools.reference.clicks import section
from tools.reference.markdown import begin, finished

ABOUT = """\
What a terminal has. The embedded platform outlives whatever started it, `%vers up` in a notebook
included: `down` saves its VMs, and `up` brings them back."""


def page() -> str:
    """All of it."""
    lines = begin("Command line", ABOUT)
    for path, command in commands("pi-v-jupyter", main):
        if not command.hidden:
            lines += section(path, command)
    return finished(lines)
