"""What it takes until agents of one commit are idle."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator

from bench.figures import Figure
from bench.local_rows import embedded
from pi_v_jupyter import Vers

AGENTS, RUNS = 4, 5


@contextlib.asynccontextmanager
async def golden(*, hot: bool) -> AsyncIterator[Vers]:
    """A session whose platform has a golden commit."""
    os.environ["ANTHROPIC_API_KEY"] = "not-a-key"  # none is used before the first task
    async with embedded() as (vers, _):
        await vers.golden.build(hot=hot)
        yield vers


async def spawned(vers: Vers, *, at_once: bool) -> float:
    """Seconds until all agents are idle."""
    began = time.perf_counter()
    for count in [AGENTS] if at_once else [1] * AGENTS:
        for each in await vers.swarm.spawn("golden", count):
            assert each.agent is not None, each.error
            assert each.agent.state == "idle"
    elapsed = time.perf_counter() - began
    await vers.swarm.teardown()
    return elapsed


async def spawn4_s() -> Figure:
    """Beside it the original's way: one after the other, pi started in each."""
    async with golden(hot=True) as vers:
        runs = [await spawned(vers, at_once=True) for _ in range(RUNS)]
    async with golden(hot=False) as vers:
        serial = [await spawned(vers, at_once=False)]
    return Figure("spawn4_s", "4 hot agents, all idle", "s", runs, "cold, one by one", serial, most=8)


async def spawn4_cold_s() -> Figure:
    async with golden(hot=False) as vers:
        runs = [await spawned(vers, at_once=True) for _ in range(2)]
    return Figure("spawn4_cold_s", "4 agents whose pi is started after the restore", "s", runs)
