"""A real pi that plans has tools to look with and no others; afterwards it has exactly those it had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pi_tools import Agent, Home, new_home, running, scripted

LOOKING = ["find", "grep", "ls", "read"]
UNUSUAL = ["bash", "ls", "vers_vms"]
# Writes down what the model is offered and told; a command, or a file, has it give the agent other tools.
SPY = """
import { existsSync, writeFileSync } from "node:fs";
export default function (pi) {
  pi.on("before_provider_request", ({ payload }) => {
    const tools = (payload.tools ?? []).map((tool) => tool.name);
    writeFileSync("../offered.json", JSON.stringify({ tools, system: JSON.stringify(payload.system) }));
  });
  pi.on("agent_start", () => {
    if (existsSync("../generous")) pi.setActiveTools(["write"]);
  });
  pi.registerCommand("only", { handler: async (names) => pi.setActiveTools(names.split(" ")) });
}
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with scripted(tmp_path) as model:
        home = new_home(tmp_path, model)
        (tmp_path / "spy.ts").write_text(SPY)
        yield home


def spied(home: Home, *options: str) -> Any:
    """A pi with the spy."""
    return running(home, "--extension", str(home.folder / "spy.ts"), *options)


async def say(agent: Agent, command: str) -> list[dict[str, Any]]:
    """The events of a command of an extension, up to its answer."""
    assert agent.process.stdin is not None
    agent.process.stdin.write(
        json.dumps({"type": "prompt", "message": command, "id": command}).encode() + b"\n"
    )
    events = []
    while not events or events[-1]["type"] != "response":
        events.append(await agent.event())
    return events


def statuses(events: list[dict[str, Any]]) -> list[str]:
    """What is told of planning."""
    return [event["statusText"] for event in events if event.get("statusKey") == "pi-v-plan"]


async def offered(home: Home, agent: Agent) -> list[str]:
    """The tools that its model is offered, in the order of their names: pi has none."""
    await agent.run("So it is.")
    return sorted(json.loads((home.folder / "offered.json").read_text())["tools"])


def instructions(home: Home) -> str:
    """The system prompt of the last request."""
    return str(json.loads((home.folder / "offered.json").read_text())["system"])


async def test_it_has_the_four_tools_while_it_plans_and_all_it_had_afterwards(home: Home) -> None:
    async with spied(home) as agent:
        before = await offered(home, agent)
        assert {"bash", "write", "edit", "vers_vm_create"} <= {*before}
        assert "# You are planning" not in instructions(home)
        assert statuses(await say(agent, "/vers-plan on")) == ["on"]
        assert await offered(home, agent) == LOOKING
        assert "# You are planning" in instructions(home) and "Plan:" in instructions(home)
        assert statuses(await say(agent, "/vers-plan on")) == ["on"], "once more changes nothing"
        assert statuses(await say(agent, "/vers-plan off")) == ["off"]
        assert await offered(home, agent) == before
        assert "# You are planning" not in instructions(home)


async def test_an_unusual_set_of_tools_is_the_same_afterwards(home: Home) -> None:
    async with spied(home) as agent:
        await say(agent, f"/only {' '.join(UNUSUAL)}")
        before = await offered(home, agent)
        assert before == UNUSUAL
        await say(agent, "/vers-plan on")
        assert await offered(home, agent) == LOOKING
        await say(agent, "/only bash write")
        assert await offered(home, agent) == LOOKING, "whatever another extension does between its tasks"
        await say(agent, "/vers-plan off")
        assert await offered(home, agent) == before


async def test_a_tool_that_it_does_not_have_is_refused_even_if_something_gives_it_back(home: Home) -> None:
    note = home.folder / "workspace" / "note.md"
    async with spied(home) as agent:
        await say(agent, "/vers-plan on")
        refused = await agent.use("write", path="note.md", content="hi")
        assert refused.failed and "not found" in refused.text
        (home.folder / "generous").touch()
        refused = await agent.use("write", path="note.md", content="hi")
        assert refused.failed and refused.text.startswith("While you plan you have read, grep, find, ls")
        assert not note.exists()
        await say(agent, "/vers-plan off")
        assert not (await agent.use("write", path="note.md", content="hi")).failed
        assert note.read_text() == "hi"


async def test_it_plans_on_when_it_is_started_again_and_has_what_it_had_afterwards(home: Home) -> None:
    async with spied(home) as agent:
        await say(agent, f"/only {' '.join(UNUSUAL)}")
        await say(agent, "/vers-plan on")
        await agent.run("Plan:\n1. Look.")
    async with spied(home, "--continue") as agent:
        assert await offered(home, agent) == LOOKING
        await say(agent, "/vers-plan off")
        assert await offered(home, agent) == UNUSUAL


async def test_a_new_session_does_not_plan(home: Home) -> None:
    async with spied(home) as agent:
        before = await offered(home, agent)
        await say(agent, "/vers-plan on")
        await agent.command(type="new_session")
        assert await offered(home, agent) == before


async def test_it_is_not_turned_on_while_it_works(home: Home) -> None:
    async with spied(home) as agent:
        gate = home.folder / "gate"
        agent.model.says({"content": [{"say": "I begin."}, {"hold": str(gate)}]})
        await agent.command(type="prompt", message="Begin.")
        while (await agent.event())["type"] != "message_update":
            pass
        events = await say(agent, "/vers-plan on")
        assert statuses(events) == []
        assert "It works" in next(event["error"] for event in events if event["type"] == "extension_error")
        gate.touch()
