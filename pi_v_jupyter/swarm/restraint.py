"""An agent that may look and not touch: its pi is told so, by a command of the extension in golden images.

What it has then, and gets back, that extension knows (`golden/extensions/vers/plan.ts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pi_v_jupyter.errors import AgentError, UsageError
from pi_v_jupyter.names import shown
from pi_v_jupyter.swarm.story import ASIDE

if TYPE_CHECKING:
    from pi_v_jupyter.swarm.agent import Agent

COMMAND = "/vers-plan"
SKILL = "/skill:"  # what pi makes a text of


async def turn(agent: Agent, *, on: bool) -> None:
    """Have one that has nothing to do look only, or have back the tools it had before.

    Raises:
        AgentError: its pi cannot, or did not; it has the tools it had.
    """
    label = shown(agent.label)
    if agent.story.planning is None:
        raise AgentError(
            f"{label} cannot plan: it was made of a golden image that is older than this.",
            "`%vers golden build` makes a new one; agents spawned of that can.",
        )
    if agent.story.planning == on:
        return
    await agent.command("prompt", message=f"{COMMAND} {'on' if on else 'off'}", prefix=ASIDE)
    if agent.story.planning != on:
        how = "held to looking" if on else "given its tools back"
        raise AgentError(f"{label} could not be {how}.", f"`%vers swarm log {label}` shows what it does.")


def check(prompt: str) -> None:
    """Pass what an agent that only looks may be told: extensions do their commands themselves, without tools.

    Raises:
        UsageError: it reads as such a command.
    """
    first = next(iter(prompt.split(maxsplit=1)), "")
    if first.startswith("/") and "/" not in first[1:] and not first.startswith(SKILL):
        raise UsageError(
            f"{shown(first)} reads as a command of the agent's pi, which may do more than look.",
            "Begin the task with another word; without `--plan` commands are done.",
        )
