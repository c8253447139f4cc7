"""Whose a VM is: what labels, records, a registry and a clock may say, and what is never deleted for it.

Agents here are on a platform of this machine, and their pi does what it is told.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import types
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from farm import Farm

from pi_v_jupyter import Vers
from pi_v_jupyter.api import calls
from pi_v_jupyter.errors import UnknownAgentError
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.registry_service import OURS, Entry, Metadata, RegistryService
from pi_v_jupyter.vm import VM

Start = Callable[[], Awaitable[Vers]]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a VM is logged in to as root")


@pytest.fixture
def told(vers: Vers) -> list[str]:
    """What the session gives notice of."""
    notices: list[str] = []
    vers.fleet.on_notice = notices.append
    return notices


def users(vms: Farm, **labels: str) -> str:
    """A VM of the user's with such labels; its id."""
    vm_id = vms.make()
    vms.vms[vm_id]["labels"] = {name.replace("_", "-"): value for name, value in labels.items()}
    return vm_id


async def one(vers: Vers, label: str = "a", **options: Any) -> Agent:
    """An agent that is idle."""
    (agent,) = (await vers.swarm.spawn("golden", 1, labels=[label], **options)).agents
    return agent


def hours_up(vers: Vers, agent: Agent) -> None:
    """The time of that agent has come."""
    vers.swarm.records.keep(agent.vm.id, replace(agent.member, expires=1))


# Labels.


async def test_labels_that_others_give_their_vms_make_them_no_agents(vers: Vers, vms: Farm) -> None:
    mine = users(vms, name="prod-db", agent="browser", swarm="x", commit="y", expires="1700000000")
    assert await vers.swarm.agents() == [] and await vers.swarm.teardown() == []
    assert mine in vms.vms


async def test_the_end_of_a_vm_that_is_named_otherwise_does_not_come_by_a_label(
    vers: Vers, vms: Farm
) -> None:
    mine = users(vms, name="prod-db", pi_v_agent="browser", pi_v_expires="1700000000")
    agents = users(vms, name="old", pi_v_agent="old", pi_v_expires="1700000000")
    assert [agent.label for agent in await vers.swarm.agents()] == ["browser"]
    assert mine in vms.vms and agents not in vms.vms


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_vm_that_calls_itself_as_another_agent_gets_none_of_its_tasks(
    vers: Vers, start: Any, vms: Farm, fresh: bool
) -> None:
    agent = await one(vers)
    rogue = users(vms, pi_v_agent="a")
    labels = {f"a-{rogue[:4]}": rogue, (f"a-{agent.vm.id[:4]}" if fresh else "a"): agent.vm.id}
    session = await start(fresh=fresh)
    assert {label: vm.id for label, vm in (await session.swarm.machines()).items()} == labels
    assert {agent.label: agent.vm.id for agent in await session.swarm.agents()} == labels
    assert await session.swarm.teardown(f"a-{rogue[:4]}") == [(f"a-{rogue[:4]}", None)]
    assert {*vms.vms} == {agent.vm.id}


async def test_what_is_no_name_is_no_label_of_an_agent(vers: Vers, vms: Farm) -> None:
    users(vms, pi_v_agent="../../evil")
    assert await vers.swarm.labels() == []
    agent = await one(vers)
    child = users(vms, name="../../evil")
    vms.vms[child]["made_by"] = [agent.vm.id]
    vms.stubborn.add("../../evil")
    assert [label for label, _ in await vers.swarm.teardown()] == ["a", child[:8]]
    assert [agent.label for agent in await vers.swarm.agents()] == [child[:8]]


# A registry service.


async def test_a_vm_that_a_registry_names_is_none_of_an_agent_unless_it_says_so_itself(
    vers: Vers, vms: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await one(vers)
    vers.swarm.records.forget(agent.vm.id)  # as in another notebook, on a platform that keeps no labels
    mine, copied = users(vms, name="prod-db"), users(vms, name="copy")
    vms.vms[agent.vm.id]["labels"] = {"name": "a"}
    (vms.home(copied) / ".swarm").mkdir(exist_ok=True)
    identity = vms.home(agent.vm.id) / ".swarm" / "identity.json"
    (vms.home(copied) / ".swarm" / "identity.json").write_text(identity.read_text())
    looked = []

    async def entries(_: RegistryService) -> dict[str, Entry]:
        looked.append(1)
        return {
            vm_id: Entry(id=vm_id, by=OURS, metadata=Metadata(agent="agent-1"))
            for vm_id in (mine, copied, agent.vm.id)
        }

    monkeypatch.setattr(RegistryService, "entries", entries)
    assert {label: vm.id for label, vm in (await vers.swarm.machines()).items()} == {"a": agent.vm.id}
    assert vms.vms[mine]["labels"] == {"name": "prod-db"}
    (vms.home(mine) / ".swarm").mkdir(exist_ok=True)
    (vms.home(mine) / ".swarm" / "identity.json").write_text(json.dumps({"vmId": mine, "agentId": "b"}))
    assert await vers.swarm.labels() == ["a"], "a VM is looked into once"
    assert await vers.swarm.teardown() == [("a", None)]
    assert {*vms.vms} == {mine, copied} and len(looked) > 2


# Records.


async def test_a_look_that_is_slow_forgets_no_record_that_is_made_meanwhile(
    start: Start, vers: Vers, vms: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await start()
    listed, go_on = asyncio.Event(), asyncio.Event()
    list_vms = other.fleet.client.list_vms

    async def slow() -> Any:
        told = await list_vms()
        listed.set()
        await go_on.wait()
        return told

    monkeypatch.setattr(other.fleet.client, "list_vms", slow)
    look = asyncio.create_task(other.swarm.labels())
    await listed.wait()
    agent = await one(vers)
    go_on.set()
    assert await look == []
    assert {*vers.swarm.records.all()} == {agent.vm.id}


async def test_a_vm_that_no_list_has_is_forgotten_only_when_the_platform_says_it_is_gone(
    vers: Vers, vms: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await one(vers)
    with monkeypatch.context() as patched:

        async def none() -> list[Any]:
            return []

        patched.setattr(vers.fleet.client, "list_vms", none)
        assert await vers.swarm.labels() == []
    assert await vers.swarm.labels() == ["a"]
    vms.delete(agent.vm.id)
    assert await vers.swarm.labels() == [] and vers.swarm.records.all() == {}


# The end of their time.


async def test_an_agents_time_is_up_by_the_clock_of_the_platform(
    vers: Vers, start: Start, vms: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await one(vers, ttl=timedelta(hours=4))
    ahead = types.SimpleNamespace(time=lambda: time.time() + 5 * 3600)
    monkeypatch.setattr(calls, "time", ahead)
    other = await start()
    assert [each.label for each in await other.swarm.agents()] == ["a"]
    later = await one(other, "b", ttl=timedelta(hours=4))
    assert abs(later.member.expires - agent.member.expires) < 600


async def test_what_is_deleted_as_its_time_is_up_is_told_and_the_users_vms_are_left(
    vers: Vers, vms: Farm, told: list[str]
) -> None:
    agent = await one(vers)
    made = {name: users(vms) for name in ("child", "used", "named", "below", "listed")}
    for name, vm_id in made.items():
        vms.vms[vm_id]["made_by"] = [agent.vm.id]
        if name == "below":
            vms.vms[vm_id]["made_by"] = [made["named"], agent.vm.id]
    found = {vm.id: vm for vm in await vers.list()}
    await found[made["named"]].rename("staging")
    await vers.use(found[made["used"]])
    hours_up(vers, agent)
    assert await vers.swarm.agents() == []
    assert {*vms.vms} == {made[name] for name in ("used", "named", "below")}
    (notice,) = told
    assert "Their time was up: a, " in notice and made["child"][:8] in notice
    assert "Made by agents, these stay: " in notice and "staging" in notice and made["used"][:8] in notice
    assert vers.active is found[made["used"]] and vers.swarm.records.all() == {}


async def test_one_that_could_not_be_deleted_when_its_time_was_up_is_told_and_shown(
    vers: Vers, vms: Farm, told: list[str]
) -> None:
    hours_up(vers, await one(vers))
    vms.stubborn.add("a")
    assert [(agent.label, agent.state) for agent in await vers.swarm.agents()] == [("a", "leaving")]
    (notice,) = told
    assert notice.startswith("The time of a is up, and it could not be deleted: ")


# Teardown.


async def test_an_agent_whose_teardown_is_stopped_works_on(
    vers: Vers, vms: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await one(vers)
    reached = asyncio.Event()

    async def never(_: VM) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(vers.fleet, "delete", never)
        teardown = asyncio.create_task(vers.swarm.teardown())
        await reached.wait()
        teardown.cancel()
        with pytest.raises(asyncio.CancelledError):
            await teardown
    (agent,) = await vers.swarm.agents()
    assert agent.state == "idle"
    await agent.task("say I work on.")
    assert (await agent.finished()).text.strip() == "I work on."


async def test_vms_that_only_an_agents_registry_names_are_told_and_stay(
    vers: Vers, vms: Farm, told: list[str]
) -> None:
    root, other = (await vers.swarm.spawn("golden", 2, labels=["root", "other"])).agents
    made = {name: vms.make() for name in ("child", "grandchild", "of-other")}
    parents = {"child": root.vm.id, "grandchild": made["child"], "of-other": other.vm.id}
    file = vms.home(root.vm.id) / ".swarm" / "registry.json"
    registry = json.loads(file.read_text())
    registry["vms"] += [{"vmId": made[name], "parentVmId": parent} for name, parent in parents.items()]
    file.write_text(json.dumps(registry))
    going, stays = await vers.swarm.made("other")
    assert (going, [vm.id for vm in stays]) == ([], [made["of-other"]])
    await vers.swarm.teardown("other")
    assert told == [f"Made by agents, these stay: {made['of-other'][:8]}. `%vers rm` deletes them."]
    await vers.swarm.teardown()
    assert all(made[name][:8] in told[1] for name in made)
    assert {*vms.vms} == {*made.values()}


async def test_a_teardown_of_an_agent_that_is_not_there_deletes_none(vers: Vers, vms: Farm) -> None:
    await one(vers)
    with pytest.raises(UnknownAgentError, match="There is no agent 'b'"):
        await vers.swarm.teardown("a", "b")
    assert len(vms.vms) == 1
