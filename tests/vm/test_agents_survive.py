"""Real agents outlive whoever made them, are heard whole through all cuts, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kernels import Kernel, Outputs, started
from loopback import TLSFront
from platforms import Platform
from swarms import MODEL, follow, ready

from pi_v_jupyter import Vers
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.changes import TextDelta

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]
LABELS = ["ann", "bob", "cid", "dee"]
MOST, HALF = 300, 150
PAUSE = 0.08  # seconds after each number
NUMBERS = [f"{number:04}" for number in range(MOST)]
USAGE = {"input_tokens": 1000, "output_tokens": 200, "cache_read_input_tokens": 0}
COST = 2 * (1000 * 3 + 200 * 15) / 1e6  # USD, of two turns
LAST = "/run/last"  # once it is there, they say the last number


def counting(label: str) -> list[dict[str, Any]]:
    """An answer of so many numbers, a piece each, with a call of a tool in the middle."""
    call = {"call": "bash", "with": {"command": f"echo made by {label} > made.txt"}}
    how = {"size": 5, "pause": PAUSE, "usage": USAGE}
    first, rest, last = (" ".join(part) for part in (NUMBERS[:HALF], NUMBERS[HALF:-1], NUMBERS[-1:]))
    return [
        {"content": [{"say": f"{first} "}, call], **how},
        {"content": [{"say": f"{rest} "}, {"hold": LAST}, {"say": last}], **how},
    ]


def good(kernel: Kernel, code: str, timeout: float = 120) -> Outputs:
    """What a cell that must succeed has shown."""
    shown = kernel.run(code, timeout)
    assert shown.error is None, shown
    return shown


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    async with asyncio.timeout(200):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def key() -> str:
    """A key of a model that nothing else has in it."""
    return f"sk-ant-{uuid4().hex}-made-up"


@pytest.fixture
def env(platform: Platform, golden: None, key: str) -> Iterator[dict[str, str]]:
    """Of kernels on the platform, whose agents are gone after the test."""
    yield {**platform.env, "ANTHROPIC_API_KEY": key}

    async def clear() -> None:
        async with Vers(platform.settings) as session:
            await session.swarm.teardown()
            assert await session.list() == []

    asyncio.run(clear())


def test_a_kernel_that_is_killed_takes_no_agent_along_and_the_next_one_hears_them_whole(
    env: dict[str, str],
) -> None:
    with started(env) as first:
        good(first, "%load_ext pi_v_jupyter")
        good(first, f"team = %vers swarm spawn golden --labels {','.join(LABELS)} --model {MODEL}")
        scripts = {label: json.dumps({"turns": counting(label)}) for label in LABELS}
        good(
            first,
            f"scripts = {scripts!r}\n"
            "for agent in team.agents:\n"
            "    await agent.vm.write('.swarm/script.json', scripts[agent.label])",
        )
        began = time.time()
        good(first, "%%task *\nCount.")
        good(
            first,
            "import asyncio\n"
            "while not all('0020' in agent.story.partial for agent in team.agents):\n"
            "    await asyncio.sleep(0.05)",
        )
        os.kill(first.pid, signal.SIGKILL)
    with started(env) as second:
        good(second, "%load_ext pi_v_jupyter")
        found = good(second, "found = %vers swarm discover\n[(each.label, each.state) for each in found]")
        assert "4 agents found." in found.stdout
        assert second.value("[(each.label, each.state) for each in found]") == [
            (label, "working") for label in LABELS
        ]
        good(second, f"%vm --on {','.join(LABELS)} touch {LAST}")
        good(second, "waited = %vers swarm wait")
        took = time.time() - began
        assert second.value("(waited.ending, waited.unfinished)") == ("finished", ())
        for label in LABELS:
            told = f"next(each for each in waited.results if each.label == {label!r})"
            text, cost, seconds = second.value(f"(({told}).text, ({told}).cost, ({told}).seconds)")
            assert text.split() == NUMBERS, label
            assert cost == pytest.approx(COST)
            assert HALF * PAUSE < seconds < took
        assert second.value("[each.run.prompt for each in found]") == ["Count."] * 4
        made = good(second, f"%vm --on {','.join(LABELS)} cat workspace/made.txt").text
        assert all(f"made by {label}" in made for label in LABELS)


@pytest.fixture
def front(platform: Platform) -> Iterator[TLSFront]:
    """The way to the VMs, which can be cut."""
    front = TLSFront(None, None, platform.description.vm_port)
    yield front
    front.close()


@pytest.fixture
async def behind(platform: Platform, golden: None, front: TLSFront) -> AsyncIterator[Vers]:
    """A user of the platform, who reaches its VMs that way."""
    told = platform.description
    way = {
        "VERS_API_KEY": Path(told.key_file).read_text().strip(),
        "VERS_BASE_URL": told.base_url,
        "VERS_VM_DOMAIN": f"vm.{told.domain}",
        "VERS_VM_PORT": str(front.port),
        "VERS_CA_FILE": told.ca_file,
    }
    async with Vers(Settings(environ={**platform.env, **way})) as session:
        yield session
        await session.swarm.teardown()
        assert await session.list() == []


async def test_nothing_that_agents_say_is_lost_or_doubled_while_their_connections_are_cut_ten_times(
    behind: Vers, front: TLSFront
) -> None:
    agents = ready(await behind.swarm.spawn("golden", 4, labels=LABELS, model=MODEL))
    heard: dict[str, str] = dict.fromkeys(LABELS, "")

    async def hear(agent: Agent) -> None:
        async for change in agent.changes():
            if isinstance(change, TextDelta):
                heard[agent.label] += change.text

    hearing = [asyncio.create_task(hear(agent)) for agent in agents]
    try:
        await until(lambda: all(agent._followers for agent in agents))
        for agent in agents:
            await follow(agent, *counting(agent.label))
        began = time.time()
        await asyncio.gather(*(agent.task("Count.") for agent in agents))
        for cut in range(10):
            enough = 5 * 25 * (cut + 1)  # characters
            await until(lambda: all(len(said) >= enough for said in heard.values()))  # noqa: B023
            assert all(len(said) < 5 * (MOST - 1) for said in heard.values())
            before = front.accepted
            front.cut()
            await until(lambda: front.accepted >= before + len(agents))  # noqa: B023
        await asyncio.gather(*(agent.vm.write(LAST, "") for agent in agents))
        waited = await behind.swarm.wait(timeout=200)
    finally:
        for task in hearing:
            task.cancel()
    assert waited.ending == "finished"
    for result in waited.results:
        assert heard[result.label].split() == NUMBERS
        assert result.text.split() == NUMBERS and result.state == "done"
        assert result.cost == pytest.approx(COST)
        assert HALF * PAUSE < result.seconds < time.time() - began
    assert [len(agent.story.runs) for agent in agents] == [1] * 4
