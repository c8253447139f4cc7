"""Real agents on real machines, made of one hot commit: they work, end as they ended, and are found again.

Only the model is scripted.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest
from platforms import Platform
from swarms import MODEL, follow, ready

from pi_v_jupyter import VM, Vers
from pi_v_jupyter.errors import AgentRefusedError, UnknownAgentError, UsageError
from pi_v_jupyter.remote.copying import Copied
from pi_v_jupyter.swarm import workspace
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.collection import collect

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]
KEY = "sk-ant-not-a-key-0123456789"


async def speaks(agent: Agent) -> None:
    """Until some of an answer has come."""
    async with asyncio.timeout(60), aclosing(agent.changes()) as changes:
        if "at it" not in agent.story.partial:
            async for _ in changes:
                if "at it" in agent.story.partial:
                    return


async def test_agents_of_one_commit_each_do_their_task_and_leave_nothing(
    vers: Vers, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    labels = ["ann", "bob", "cid", "dee"]
    agents = ready(await vers.swarm.spawn("golden", 4, labels=labels, key_env="MY_KEY"))
    assert [agent.state for agent in agents] == ["idle"] * 4
    assert len({agent.vm.id for agent in agents}) == 4
    for agent in agents:
        await agent.rehearse()
        await agent.command("set_model", provider="scripted", modelId="rehearsal")
        call = {"call": "bash", "with": {"command": f"echo made by {agent.label} > made.txt"}}
        held = {"content": [{"say": "I make it."}, {"hold": "/run/go"}, call]}
        await follow(agent, held, f"{agent.label} has made it.")
    runs = await asyncio.gather(*(agent.task(f"Make it, {agent.label}.") for agent in agents))
    assert [agent.state for agent in agents] == ["working"] * 4
    await asyncio.gather(*(agent.vm.write("/run/go", "") for agent in agents))
    waited = await vers.swarm.wait(timeout=200)
    assert (waited.ending, waited.unfinished) == ("finished", ())
    assert [result.state for result in waited.results] == ["done"] * 4
    assert [result.text for result in waited.results] == [
        f"I make it.\n\n{label} has made it." for label in labels
    ]
    assert all(result.cost > 0 and result.tokens > 0 for result in waited.results)
    assert [run.prompt for run in runs if run] == [f"Make it, {label}." for label in labels]
    collected = await collect(agents, "made.txt", vers.here, tmp_path)
    assert [type(each) for each in collected.values()] == [Copied] * 4
    assert [(tmp_path / label / "made.txt").read_text() for label in labels] == [
        f"made by {label}\n" for label in labels
    ]
    patch = await workspace.changes(agents[0].vm, "ann")
    assert patch.files == ["made.txt"] and "+made by ann" in patch.text

    # Who they are, and their keys.
    identities = [json.loads((await agent.vm.read(".swarm/identity.json")).text) for agent in agents]
    assert {told["rootVmId"] for told in identities} == {agents[0].vm.id}
    assert [told["depth"] for told in identities] == [0, 1, 1, 1]
    registry = json.loads((await agents[0].vm.read(".swarm/registry.json")).text)
    assert [entry["agentId"] for entry in registry["vms"]] == labels
    modes = (await agents[1].vm.run("stat -c '%a %n' .swarm/secrets/*", cwd="/root")).stdout
    assert "600 .swarm/secrets/ANTHROPIC_API_KEY" in modes and " .swarm/secrets/VERS_API_KEY" in modes
    seen = "cat /proc/*/cmdline | tr '\\0' ' '; cat /root/.local/share/pi-v/background/*/* 2>/dev/null; true"
    assert KEY not in (await agents[1].vm.run(seen)).stdout
    state = "".join(file.read_text() for file in Path(platform.env["XDG_STATE_HOME"]).rglob("*.json"))
    assert KEY not in state

    # Another session finds them, with all that they did.
    async with Vers(platform.settings) as other:
        found = await other.swarm.agents()
        assert [(agent.label, agent.state) for agent in found] == [(label, "done") for label in labels]
        assert [agent.result().text for agent in found] == [result.text for result in waited.results]
        with pytest.raises(UnknownAgentError, match="Did you mean 'ann'"):
            await other.swarm.agent("anne")
    with pytest.raises(UsageError, match="already"):
        await vers.swarm.spawn("golden", 1, labels=["ann"], model=MODEL)
    with pytest.raises(UsageError, match="more than 4"):
        await vers.swarm.spawn("golden", 1, model=MODEL, max_vms=4)
    assert await vers.swarm.teardown() == [(label, None) for label in labels]
    assert await vers.swarm.agents() == [] and await vers.list() == []
    assert vers.swarm.records.all() == {}


async def test_an_agent_ends_as_its_last_message_ended(vers: Vers) -> None:
    (agent,) = ready(await vers.swarm.spawn("golden", 1, model=MODEL))
    held = {"content": [{"say": "I am at it. "}, {"hold": "/run/go"}, {"say": "Done."}]}
    await follow(agent, held)
    await agent.task("Take your time.")
    await speaks(agent)
    before = agent.result(), agent.story.partial, len(agent.story.runs)
    with pytest.raises(AgentRefusedError):
        await agent.command("prompt", message="Something else.")
    assert (agent.result(), agent.story.partial, len(agent.story.runs)) == before
    assert agent.state == "working"
    waited = await vers.swarm.wait(timeout=0.5)
    assert (waited.ending, waited.unfinished) == ("timed out", (agent.label,))
    await agent.abort()
    assert (await agent.finished()).state == "aborted"

    await follow(agent, {"status": 529, "times": 4})
    states = list[tuple[str, int]]()
    end = agent.listen(lambda _: states.append((agent.state, agent.story.runs[-1].retries)))
    await agent.task("Try this.")
    result = await agent.finished()
    end()
    assert result.state == "error" and "Overloaded" in result.error
    assert {retries for state, retries in states if state == "error"} == {3}
    assert {retries for state, retries in states if state == "retrying"} == {1, 2, 3}

    await follow(agent, held)
    await agent.task("Go on.")
    await speaks(agent)
    assert agent.process is not None
    pid = agent.process.pid
    await agent.vm.run(f"echo 'pi: out of memory' > /proc/{pid}/fd/2; kill -9 {pid}")
    result = await agent.finished()
    assert result.state == "lost" and agent.run is not None and agent.run.outcome == "error"
    assert result.error == "pi was ended by SIGKILL: pi: out of memory"

    await agent.restart()
    assert agent.state == "idle" and [run.prompt for run in agent.story.runs][-1] == "Go on."
    told = await agent.command("get_state")
    assert told["messageCount"] > 0, "it goes on in the session in which it was"
    await follow(agent, "Here I am again.")
    await agent.task("Are you there?")
    assert (await agent.finished()).text == "Here I am again."


async def test_a_vm_that_becomes_no_agent_is_deleted_and_its_label_says_why(vers: Vers) -> None:
    vm: VM = await vers.create(name="bare")
    commit = await vm.commit()
    await vers.delete(vm)
    (outcome,) = await vers.swarm.spawn(commit, 1, model=MODEL)
    assert outcome.agent is None and outcome.error is not None
    assert "cannot be made of this commit" in outcome.error.message
    assert "golden build" in outcome.error.hint and "was deleted" in outcome.cleaned
    assert await vers.list() == [] and vers.swarm.records.all() == {}


async def test_agents_use_their_tools_within_limits_and_have_the_users_configuration(
    vers: Vers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skill = tmp_path / "skills" / "tidy" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("---\nname: tidy\ndescription: Tidies a folder.\n---\nTidy it.\n")
    (tmp_path / "settings.json").write_text('{"steeringMode": "all", "defaultModel": "nosuch"}')
    monkeypatch.setenv("PI_CODING_AGENT_DIR", str(tmp_path))
    spawned = await vers.swarm.spawn("golden", 2, labels=["ann", "bob"], model=MODEL, max_vms=2)
    ann, bob = ready(spawned)
    assert spawned.brought == ("settings.json", "skills/")
    for agent in (ann, bob):
        commands = (await agent.command("get_commands"))["commands"]
        assert "skill:tidy" in {command["name"] for command in commands}
        state = await agent.command("get_state")
        assert (state["steeringMode"], state["model"]["id"]) == ("all", "rehearsal")

    calls = ({"call": "vers_swarm_status", "with": {}}, {"call": "vers_vm_create", "with": {}})
    await follow(bob, *({"content": [call]} for call in calls), "So it is.")
    run = await bob.task("Look around.")
    assert run is not None
    assert (await bob.finished()).state == "done"
    looked, refused = run.calls
    assert "ann: idle" in looked.result and not looked.failed, looked  # the registry is on ann's VM
    assert "maxVms: this swarm may have 2 VMs and has 2" in refused.result and refused.failed, refused
    assert {vm.id for vm in await vers.list()} == {ann.vm.id, bob.vm.id}
