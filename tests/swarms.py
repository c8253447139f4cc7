"""Agents that a test has made, and what their model is to answer."""

from __future__ import annotations

import json
from typing import Any

from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.swarm import Spawns

MODEL = "scripted/rehearsal"


async def follow(agent: Agent, *turns: Any) -> None:
    """Have the model of an agent answer so, from the next request on."""
    await agent.vm.write(".swarm/script.json", json.dumps({"turns": list(turns)}))


def ready(spawned: Spawns) -> list[Agent]:
    """Those that were spawned, all of them."""
    assert [each.error for each in spawned] == [None] * len(spawned)
    return list(spawned.agents)
