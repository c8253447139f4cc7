"""How far agents are with their plans, in the output of the cell that had them plan or work.

It changes as steps are ticked, and stays as it was last where there is no kernel any more. A terminal shows
it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from IPython.display import display

from pi_v_jupyter.views import plans as views

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.remote.callbacks import Callback
    from pi_v_jupyter.swarm.agent import Agent
    from pi_v_jupyter.swarm.planning import Plans, Progress

GOES_ON = ("planning", "working")
PAUSE = 0.2  # seconds between two changes: an agent that speaks has many to tell


def show(extension: Extension, agents: Iterable[Agent]) -> None:
    """Show it of each in this cell, and what comes of that."""
    plans = extension.vers.swarm.plans
    for agent in agents:
        progress = plans.of(agent)
        if progress is not None:
            _show(extension, plans, agent, progress)


def _show(extension: Extension, plans: Plans, agent: Agent, progress: Progress) -> None:
    handle = display(views.bundle(progress), raw=True, display_id=True)
    if progress.stage not in GOES_ON or not hasattr(extension.shell, "kernel"):
        return

    def change(progress: Progress) -> None:
        handle.update(views.bundle(progress), raw=True)

    told = extension.vers.callbacks.made(change)
    agent.vm.background.attend(partial(_follow, plans, agent, progress, told))


async def _follow(plans: Plans, agent: Agent, shown: Progress, told: Callback[Progress]) -> None:
    """Tell of it until it goes on no longer, or is not heard any more."""
    changed = asyncio.Event()
    end = agent.listen(lambda _: changed.set())
    try:
        while True:
            now = plans.of(agent)
            if now is not None and now != shown:
                shown = now
                await told.call([now])
            if now is None or now.stage not in GOES_ON or not agent.heard:
                return
            await asyncio.sleep(PAUSE)
            await changed.wait()
            changed.clear()
    finally:
        end()
