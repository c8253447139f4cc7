"""Real agents on real machines plan with no tool that changes anything, and then do what they planned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from platforms import Platform
from swarms import MODEL, follow, ready

from pi_v_jupyter import Vers
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.planning import Progress
from pi_v_jupyter.swarm.story import ASIDE

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]
LOOKING = ["find", "grep", "ls", "read"]
UNUSUAL = ["bash", "find", "vers_vms", "write"]
PLAN = "I have looked.\n\n## Plan\n\n1. Write `one.txt`.\n2. Write two.txt.\n3. Say so.\n"
# The user's own extension: notes the tools that each request offers, and has a command that sets them.
SPY = """
import { appendFileSync } from "node:fs";
export default function (pi) {
  pi.on("before_provider_request", ({ payload }) => {
    const tools = (payload.tools ?? []).map((tool) => tool.name).sort();
    appendFileSync("/root/offered.jsonl", JSON.stringify(tools) + "\\n");
  });
  pi.registerCommand("only", { handler: async (names) => pi.setActiveTools(names.split(" ")) });
}
"""


def write(name: str) -> dict[str, Any]:
    """A turn that writes a file."""
    return {"content": [{"call": "write", "with": {"path": name, "content": f"{name}\n"}}]}


async def offered(agent: Agent) -> list[list[str]]:
    """The tools of each request since this was asked last."""
    text = (await agent.vm.run("cat /root/offered.jsonl && rm /root/offered.jsonl")).stdout
    return [json.loads(line) for line in text.splitlines()]


async def told(agent: Agent, *turns: Any, looking: bool = False) -> None:
    """A task, done to its end."""
    await follow(agent, *turns)
    await agent.task("Make two files.", looking=looking)
    assert (await agent.finished()).state == "done", agent.result()


def there(progress: Progress | None) -> Progress:
    assert progress is not None
    return progress


def ticked(progress: Progress | None) -> list[bool]:
    plan = there(progress).plan
    assert plan is not None
    return [step.done for step in plan.steps]


@pytest.fixture
def spying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents that are spawned have the spy."""
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / "spy.ts").write_text(SPY)
    monkeypatch.setenv("PI_CODING_AGENT_DIR", str(tmp_path))


async def test_an_agent_plans_and_does_it_with_the_tools_it_had_before(vers: Vers, spying: None) -> None:
    (ann,) = ready(await vers.swarm.spawn("golden", 1, labels=["ann"], model=MODEL))
    plans = vers.swarm.plans
    assert ann.story.planning is False and plans.of(ann) is None
    for tools in (None, UNUSUAL):
        if tools is not None:
            await ann.command("prompt", message=f"/only {' '.join(tools)}", prefix=ASIDE)
        await told(ann, "So it is.")
        (before,) = await offered(ann)
        assert tools in (None, before) and {"bash", "write"} <= {*before}

        await told(ann, write("one.txt"), PLAN, looking=True)
        assert await offered(ann) == [LOOKING, LOOKING]
        assert ann.run is not None
        (call,) = ann.run.calls
        assert call.failed and "not found" in call.result, call
        assert (await ann.vm.run("ls workspace", cwd="/root")).stdout == ""
        progress = there(plans.of(ann))
        assert (progress.stage, progress.trouble) == ("planned", "")
        assert ticked(progress) == [False, False, False]

        second = {"content": [{"say": "It is there. [DONE:1]"}, *write("two.txt")["content"]]}
        await follow(ann, write("one.txt"), second, "[DONE:2]\n\n[DONE:2]\n\n[DONE:3] [DONE:7]")
        run = await plans.run(ann)
        assert run is not None and (await ann.finished()).state == "done"
        assert await offered(ann) == [before] * 3
        progress = there(plans.of(ann))
        assert (progress.stage, ticked(progress)) == ("done", [True, True, True])
        assert progress.files == ("one.txt", "two.txt") and progress.cost > 0 and progress.seconds > 0
        await ann.vm.run("rm workspace/*", cwd="/root")


async def test_a_plan_outlives_the_session_and_the_pi_that_made_it(
    vers: Vers, spying: None, platform: Platform
) -> None:
    (ann,) = ready(await vers.swarm.spawn("golden", 1, labels=["ann"], model=MODEL))
    await ann.command("prompt", message=f"/only {' '.join(UNUSUAL)}", prefix=ASIDE)
    await told(ann, "I would look first.", looking=True)
    assert "no numbered steps" in there(vers.swarm.plans.of(ann)).trouble
    assert ann.process is not None
    await ann.vm.run(f"kill -9 {ann.process.pid}")
    await ann.process
    await ann.restart()
    assert ann.story.planning is True, "it may still look only"
    await offered(ann)
    await told(ann, write("one.txt"), PLAN, looking=True)
    assert await offered(ann) == [LOOKING, LOOKING]
    await vers.swarm.plans.tick(ann, 2)

    # In the middle of the work, another session takes over.
    gate = "/run/go"
    await follow(ann, {"content": [{"say": "[DONE:1]\n\n"}, {"hold": gate}, {"say": "[DONE:3]"}]})
    await vers.swarm.plans.run(ann)
    async with Vers(platform.settings) as other:
        (found,) = await other.swarm.agents()
        progress = there(other.swarm.plans.of(found))
        assert progress.stage == "working" and ticked(progress) in ([True, True, False], [False, True, False])
        await found.vm.run(f"touch {gate}")
        await found.finished()
        progress = there(other.swarm.plans.of(found))
        assert (progress.stage, ticked(progress)) == ("done", [True, True, True])
    assert await offered(ann) == [UNUSUAL]
