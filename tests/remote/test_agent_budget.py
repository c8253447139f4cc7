"""A real pi whose budget is used up is held and asks; it tells the time of what it does."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pi_tools import Agent, Home, Turn, new_home, running, scripted

from pi_v_jupyter.swarm.changes import Dialog
from pi_v_jupyter.swarm.story import Story

ANSWER = 0.0045  # US dollars that each answer of the model costs
BUDGET = 0.004


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with scripted(tmp_path) as model:
        home = new_home(tmp_path, model)
        home.identify(vmId="vm-1", agentId="ann", rootVmId="vm-1", asks=True, budgetUsd=BUDGET)
        yield home


class Told:
    """A pi, and the story that its events tell."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.story = agent, Story()
        self.events: list[dict[str, Any]] = []

    async def task(self, *turns: Turn, task: str = "Go on.") -> None:
        self.agent.model.says(*turns)
        assert (await self.agent.command(type="prompt", message=task))["success"]
        self.story.feed({"type": "response", "command": "prompt", "success": True, "id": task})

    async def until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self.events.append(await self.agent.event())
            self.story.feed(self.events[-1])

    async def asked(self) -> Dialog:
        await self.until(lambda: self.story.state == "waiting")
        return self.story.dialogs[0]

    async def over(self) -> str:
        await self.until(lambda: self.story.state in ("done", "error", "aborted"))
        return self.story.state


@pytest.fixture
async def ann(home: Home) -> AsyncIterator[Told]:
    async with running(home) as agent:
        yield Told(agent)


def note(home: Home) -> Path:
    return home.folder / "workspace" / "note.md"


WRITES: Turn = ("write", {"path": "note.md", "content": "hi"})


async def test_it_is_held_before_its_next_tool_until_it_may_cost_as_much_again(home: Home, ann: Told) -> None:
    await ann.task(WRITES, "Written.")
    asked = await ann.asked()
    assert asked.title == "Budget: ann has cost $0.0045 of $0.0040. Go on?"
    assert not note(home).exists() and ann.story.budget == BUDGET
    await ann.agent.answer(asked.id, confirmed=True)
    await ann.until(lambda: ann.story.budget == pytest.approx(ANSWER + BUDGET))
    assert ann.story.state == "working", "whoever reads it later knows that it is answered"
    assert await ann.over() == "done"
    assert note(home).read_text() == "hi" and ann.story.runs[-1].answer == "Written."


async def test_it_stops_when_it_may_not_and_its_work_is_kept(home: Home, ann: Told) -> None:
    home.identify(vmId="vm-1", agentId="ann", rootVmId="vm-1", asks=True, budgetUsd=2 * ANSWER)
    await ann.task(WRITES, WRITES, "Written.")
    await ann.agent.answer((await ann.asked()).id, confirmed=False)
    assert await ann.over() == "aborted" and note(home).read_text() == "hi"
    assert ann.story.totals.cost == pytest.approx(2 * ANSWER)
    assert home.status("ann")["status"] == "aborted"
    await ann.task("I am here.", task="Are you there?")
    assert "$0.0090 of $0.0090" in (await ann.asked()).title, "nothing is asked of the model before that"
    await ann.agent.answer(ann.story.dialogs[0].id, cancelled=True)
    assert await ann.over() == "aborted" and ann.story.runs[-1].usage.cost == 0


async def test_one_yes_is_enough_however_far_beyond_its_budget_it_is(home: Home, ann: Told) -> None:
    home.identify(vmId="vm-1", agentId="ann", rootVmId="vm-1", asks=True, budgetUsd=ANSWER / 10)
    await ann.task(WRITES, "Written.")
    await ann.agent.answer((await ann.asked()).id, confirmed=True)
    assert await ann.over() == "done"
    assert len([event for event in ann.events if event.get("method") == "confirm"]) == 1


async def test_several_tools_of_one_answer_wait_for_one_answer(home: Home, ann: Told) -> None:
    calls = [{"call": "bash", "with": {"command": f"echo {word}"}} for word in ("one", "two")]
    usage = {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 0}
    await ann.task({"content": calls, "usage": usage}, "Both.")
    await ann.agent.answer((await ann.asked()).id, confirmed=True)
    await ann.over()
    dialogs = [event for event in ann.events if event.get("method") == "confirm"]
    assert ann.story.state == "done" and len(dialogs) == 1


async def test_a_question_ends_with_the_run_that_is_aborted(ann: Told) -> None:
    await ann.task(WRITES)
    await ann.asked()
    assert (await ann.agent.command(type="abort"))["success"]
    assert ann.agent.process.returncode is None


async def test_a_grant_is_kept_when_pi_is_started_again(home: Home) -> None:
    async with running(home) as agent:
        ann = Told(agent)
        await ann.task(WRITES, "Written.")
        await agent.answer((await ann.asked()).id, confirmed=True)
        assert await ann.over() == "done"
    async with running(home, "--continue") as agent:
        ann = Told(agent)
        await ann.task("Once more.")
        assert "$0.0090 of $0.0085" in (await ann.asked()).title
        await agent.answer(ann.story.dialogs[0].id, confirmed=True)
        assert await ann.over() == "done" and ann.story.budget == pytest.approx(2 * ANSWER + BUDGET)


async def test_an_agent_without_a_budget_is_never_held(home: Home, ann: Told) -> None:
    home.identify(vmId="vm-1", agentId="ann", rootVmId="vm-1")
    await ann.task(WRITES, "Written.")
    assert await ann.over() == "done" and ann.story.budget is None


async def test_one_that_an_agent_made_asks_nobody_but_stops_and_tells_its_maker_why(
    home: Home, ann: Told
) -> None:
    home.identify(vmId="vm-1", agentId="ann", rootVmId="vm-0", parentVmId="vm-0", budgetUsd=BUDGET)
    await ann.task(WRITES, "Written.")
    assert await ann.over() == "aborted" and not note(home).exists()
    told = home.status("ann")
    assert told["status"] == "aborted" and told["why"] == "budget used up: $0.0045 of $0.0040"
    home.identify(vmId="vm-1", agentId="ann", rootVmId="vm-0", parentVmId="vm-0", budgetUsd=3 * ANSWER)
    await ann.task(WRITES, "Written.", task="Go on: you may cost more.")
    assert await ann.over() == "done" and note(home).exists()
    assert "why" not in home.status("ann")


def answered(home: Home, *options: str) -> str:
    """What a pi beside the agent's says, as a tool of its may have one."""
    home.model.says("Hello.")
    return subprocess.run(
        ["pi", *options, "-p", "Hi."],
        cwd=home.folder / "workspace",
        env=home.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()


async def test_another_pi_of_its_machine_spends_of_the_same_budget(home: Home, ann: Told) -> None:
    home.identify(vmId="vm-1", agentId="ann", rootVmId="vm-1", asks=True, budgetUsd=3 * ANSWER)
    await ann.task("Hello.")
    assert await ann.over() == "done"
    for _ in range(2):
        assert await asyncio.to_thread(answered, home) == "Hello."
    assert await asyncio.to_thread(answered, home) == "", "it is held as well, and asks nobody"
    await ann.task("I am here.", task="Are you there?")
    assert "$0.0135 of $0.0135" in (await ann.asked()).title


async def test_what_was_spent_on_its_machine_before_it_was_there_is_none_of_its_own(home: Home) -> None:
    (home.swarm / "identity.json").unlink()
    for _ in range(2):  # by whoever lived on the VM that its commit was made of
        assert await asyncio.to_thread(answered, home) == "Hello."
    home.identify(vmId="vm-2", agentId="bob", rootVmId="vm-2", asks=True, budgetUsd=BUDGET)
    async with running(home) as agent:
        bob = Told(agent)
        await bob.task(WRITES, "Written.")
        assert "bob has cost $0.0045 of $0.0040" in (await bob.asked()).title
    forked = str(max((home.folder / ".pi/agent/sessions").rglob("*.jsonl"), key=os.path.getmtime))
    home.identify(vmId="vm-2", agentId="bob", rootVmId="vm-2", asks=True, budgetUsd=2 * ANSWER)
    assert await asyncio.to_thread(answered, home, "--fork", forked) == "Hello.", "no copy is paid for twice"


async def test_what_happens_without_a_time_of_its_own_is_told_with_one(home: Home, ann: Told) -> None:
    (home.swarm / "identity.json").unlink()  # as in a hot image
    await ann.task(("bash", {"command": "sleep 1"}), "Slept.")
    assert await ann.over() == "done"
    run = ann.story.runs[-1]
    clocks = [
        int(event["statusText"]) / 1000 for event in ann.events if event.get("statusKey") == "pi-v-clock"
    ]
    assert len(clocks) == 2 and run.calls[0].began == clocks[0] and run.ended == clocks[1]
    assert run.calls[0].seconds is not None and run.calls[0].seconds >= 1
