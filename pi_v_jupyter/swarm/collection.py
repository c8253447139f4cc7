"""Files of agents, brought here: from each at once, each into a folder of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from pi_v_jupyter.errors import UsageError, VersError
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.copying import Copied, OnProgress, copy
from pi_v_jupyter.swarm.agent import WORKSPACE, Agent


async def collect(
    agents: Sequence[Agent],
    path: str,
    here: Machine,
    target: str | Path,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> Mapping[str, Copied | VersError]:
    """Copy `path` of each agent, from its workspace on, to `target` here; by label, what came of it.

    Several agents have a folder each in there, named by their labels. `on_progress` is told the bytes of all.

    Raises:
        UsageError: there is no room for their folders.
    """
    folder = Path.cwd() / Path(target).expanduser()
    ends = "/" * str(target).endswith("/")
    done = dict.fromkeys(agents, 0)
    totals: dict[Agent, int | None] = dict.fromkeys(agents)

    def progress(agent: Agent, now: int, total: int | None) -> None:
        done[agent], totals[agent] = now, total
        known = [each for each in totals.values() if each is not None]
        on_progress(sum(done.values()), sum(known) if len(known) == len(agents) else None)

    async def bring(agent: Agent) -> Copied | VersError:
        own = folder / agent.label if len(agents) > 1 else folder
        try:
            return await copy(
                agent.vm,
                [str(Path(WORKSPACE) / path)],
                here,
                f"{own}{ends}",
                on_progress=lambda now, total: progress(agent, now, total),
            )
        except VersError as error:
            return error

    if len(agents) > 1:
        try:
            for agent in agents:
                (folder / agent.label).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{error.filename} cannot be a folder: {error.strerror}.", "Name another."
            ) from None
    outcomes = await asyncio.gather(*map(bring, agents))
    return {agent.label: outcome for agent, outcome in zip(agents, outcomes, strict=True)}
