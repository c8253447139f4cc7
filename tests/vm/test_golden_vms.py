"""Agents' machines: the golden image is built on a real VM, kept hot, and restored as often as one likes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from platforms import Platform, build_golden_image

from pi_v_jupyter import VM, Vers, golden
from pi_v_jupyter.errors import RemoteCommandError, UnknownCommitError, UnknownProcessError

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def _image() -> None:
    build_golden_image()


@pytest.fixture
async def vers(platform: Platform) -> AsyncIterator[Vers]:
    """A user of the platform."""
    async with Vers(platform.settings) as session:
        yield session


async def pi_is_told(vm: VM, **command: str) -> None:
    """Write a command to the pi of a VM and wait until it has obeyed."""
    process = await vm.process(golden.PI)
    await process.write(json.dumps({"id": command["type"], **command}) + "\n")
    await process.ready(f'"id":"{command["type"]}","type":"response".*"success":true')


async def test_what_is_restored_from_a_hot_image_has_a_pi_of_its_own_that_answers(vers: Vers) -> None:
    told: list[str] = []
    image = await vers.golden.build(on_progress=told.append)
    assert image.hot, "commits of this platform keep memory, which was found out by trying"
    assert image.commit.tags == ("golden",) and image == await vers.golden.status()
    ran = {line.split()[1] for line in told if line.startswith("✓ ")}
    assert ran == set(image.tools) >= {"pi", "node", "git", "rg", "fd", "jq", "tree", "python3", "tmux", "cc"}
    assert await vers.list() == [], "the machine it was built on is gone, and the one it was tried on"

    first, second = await asyncio.gather(vers.restore(image.commit), vers.restore(image.commit))
    agents = await asyncio.gather(first.process(golden.PI), second.process(golden.PI))
    await asyncio.gather(*map(golden.answered, agents))
    await pi_is_told(first, type="set_session_name", name="the first")
    await pi_is_told(second, type="set_model", provider="scripted", modelId="rehearsal")
    said = [await agent.logs(3) for agent in agents]
    assert ["rehearsal" in str(lines) for lines in said] == [False, True], "each was told one thing"
    await agents[0].stop()
    await golden.answered(agents[1])

    # Late keys, and where an agent finds what.
    layout = (
        "stat -c '%a %n' .swarm .swarm/* .pi/agent && jq -r .maxVms .swarm/identity.json"
        " && git config core.editor && echo $PAGER $PI_TELEMETRY && ls -A .swarm/secrets workspace"
    )
    shown = (await second.run(layout, cwd="/root")).stdout.split("\n")
    assert "700 .swarm" in shown and "700 .swarm/secrets" in shown and "600 .swarm/registry.json" in shown
    assert shown[-7:] == ["20", "true", "cat 0", ".swarm/secrets:", "", "workspace:", ""]
    committed = (
        "git init -q && git commit -qm x --allow-empty && git commit -q --amend --allow-empty && git log"
    )
    assert "Author: agent" in (await second.run(committed, cwd="/root/workspace", timeout=60)).stdout


async def test_a_build_that_fails_leaves_nothing_and_the_tag_where_it_was(vers: Vers) -> None:
    with pytest.raises(UnknownCommitError, match="`%vers golden build`"):
        await vers.golden.status()
    vm = await vers.fleet.create(image="golden")
    await vm.run("echo 'exit 3' > /usr/local/bin/rg && chmod +x /usr/local/bin/rg")
    broken = await vm.commit(tag="golden")
    with pytest.raises(RemoteCommandError, match="could not be made ready: rg does not run") as failed:
        await vers.golden.build(broken)
    assert "✓ git" in failed.value.stderr, "what went well before is told too"
    assert [each.id for each in await vers.list()] == [vm.id]
    assert [(each.id, each.tags) for each in await vers.commits()] == [(broken.id, ("golden",))]


async def test_a_cold_image_of_an_agents_machine_has_nothing_of_that_agent(vers: Vers) -> None:
    agent = await vers.fleet.create(image="golden")
    process = await golden.start(agent)
    await golden.answered(process)
    await agent.write("/root/.swarm/secrets/ANTHROPIC_API_KEY", "sk-of-the-agent")
    await agent.write("/root/.swarm/identity.json", '{"agentId": "worker"}')
    await agent.write("/root/.pi/agent/auth.json", '{"anthropic": {"type": "api_key", "key": "sk-stored"}}')
    await agent.write("/root/.pi/agent/models.json", '{"providers": {"own": {"baseUrl": "http://own"}}}')
    image = await vers.golden.build(agent, hot=False, tag="of-an-agent")
    assert not image.hot and image.commit.tags == ("of-an-agent",)

    restored = await vers.restore(image.commit)
    with pytest.raises(UnknownProcessError):
        await restored.process(golden.PI)
    left = await restored.run(
        "grep -rls -e sk-of-the-agent -e sk-stored / --exclude-dir={proc,sys,lib}; pgrep -x pi", check=False
    )
    assert left.stdout == ""
    assert json.loads(await restored.read_bytes("/root/.swarm/identity.json"))["agentId"] == ""
    providers = json.loads(await restored.read_bytes("/root/.pi/agent/models.json"))["providers"]
    assert {"own", "anthropic", "scripted"} <= set(providers), "what its user had set stays beside ours"
    await golden.answered(process)  # the agent itself was not touched
    assert await agent.read_bytes("/root/.swarm/secrets/ANTHROPIC_API_KEY") == b"sk-of-the-agent"
