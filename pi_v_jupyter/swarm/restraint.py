"""An agent that may look and not touch: its pi is told so, by a command of the extension in golden images.

What it has then, and gets back, that extension knows (`golden/extensions/vers/plan.ts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pi_v_jupyter.errors import AgentError
from pi_v_jupyter.names import shown
from pi_v_jupyter.swarm.story import ASIDE

if TYPE_CHECKING:
    from pi_v_jupyter.swarm.agent import Agent

COMMAND = "/vers-plan"


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
