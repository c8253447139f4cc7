"""What it takes until agents of one commit are idle, and to hear many that work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
from farm import Farm, farm

from bench.background_rows import Execute, a_kernel
from bench.figures import Figure
from bench.local_rows import embedded
from pi_v_jupyter import Vers

AGENTS, RUNS = 4, 5
HEARD, RATE = 100, 50  # agents, and records that each writes in a second
WARM, WINDOW, WINDOWS = 10, 12, 5  # seconds before the first window, and of one; how many
SPAWN = (
    "(await get_ipython().magics_manager.registry['Extension'].vers.swarm"
    f".spawn('golden', 10, max_vms={2 * HEARD}))"
)
FOLLOW = """
vers = get_ipython().magics_manager.registry["Extension"].vers
agents, seen = [each.agent for each in team if each.agent], [0]
def heard(changes):
    seen[0] += len(changes)
for agent in agents:
    agent.listen(heard)
    await agent.task("Work.")
"""

LOOK = """
import json
from pi_v_jupyter.dashboard.board import Board
class Counting:
    patches = bytes = 0
    screen = None  # it opens no terminal
    def send(self, message):
        self.patches += message["kind"] == "patch"
        self.bytes += len(json.dumps(message, separators=(",", ":")))
viewer, board = Counting(), Board(vers)
board.attach(viewer)
board.receive(viewer, {"kind": "opened", "view": "one"})
board.receive(viewer, {"kind": "visible", "view": "one", "visible": True})
"""
MOST_PATCHES, MOST_BYTES = 10, 1_000_000  # a second, to a viewer


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


@contextlib.contextmanager
def many() -> Iterator[tuple[Farm, dict[str, str]]]:
    """Their machines, and what a kernel needs in its environment to spawn such agents."""
    replayed = Path(__file__).with_name("replayed_pi.py")
    with (
        tempfile.TemporaryDirectory() as folder,
        farm(Path(folder), f"{sys.executable} -I -S {replayed} {RATE}") as (machines, env),
    ):
        env["ANTHROPIC_API_KEY"] = "not-a-key"
        yield machines, env


@contextlib.asynccontextmanager
async def heard() -> AsyncIterator[tuple[Execute, psutil.Process]]:
    """A kernel that hears many agents, all of which work; they are in its `agents`, its session in `vers`."""
    with many() as (machines, env):
        async with a_kernel(env) as (execute, process):
            await execute("team = []")
            for _ in range(HEARD // 10):
                await execute(f"team += {SPAWN}")
            machines.put_last()
            await execute(FOLLOW)
            assert await execute("", "len(agents)") == str(HEARD)
            yield execute, process


async def used(execute: Execute, process: psutil.Process) -> list[float]:
    """Percent of a processor, window by window.

    Where this machine is too slow for all they write, what it took for those that came is scaled up.
    """
    await asyncio.sleep(WARM)
    runs = []
    for _ in range(WINDOWS):
        began, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
        records = int(await execute("", "seen[0]"))
        await asyncio.sleep(WINDOW)
        records = int(await execute("", "seen[0]")) - records
        seconds, cpu = time.perf_counter() - began, sum(process.cpu_times()[:2]) - cpu
        print(f"  {records / seconds:.0f} records/s, {100 * cpu / seconds:.1f} %", file=sys.stderr)
        runs.append(100 * cpu / seconds * max(1.0, HEARD * RATE * seconds / records))
    return runs


async def agents100_cpu() -> Figure:
    async with heard() as (execute, process):
        runs = await used(execute, process)
    what = f"a kernel that hears {HEARD} agents, each on a machine of its own, {RATE} records/s each"
    return Figure("agents100_cpu", what, "%", runs, most=25)


async def dash100_cpu() -> Figure:
    """The same, with a dashboard that somebody looks at."""
    async with heard() as (execute, process):
        await execute(LOOK)
        began = time.perf_counter()
        runs = await used(execute, process)
        patches, sent = int(await execute("", "viewer.patches")), int(await execute("", "viewer.bytes"))
        seconds = time.perf_counter() - began
        assert await execute("", "len(board._last['agents'])") == str(HEARD)
    told = f"{patches / seconds:.1f} patches/s, {sent / seconds / 1e6:.2f} MB/s"
    assert patches / seconds <= MOST_PATCHES and sent / seconds <= MOST_BYTES, told
    what = f"a kernel that shows {HEARD} agents, {RATE} records/s each, on a dashboard: {told}"
    return Figure("dash100_cpu", what, "%", runs, most=30)
