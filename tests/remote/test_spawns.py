"""Spawns that are cut off, stopped, go wrong or meet: what becomes of their VMs, what is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from farm import Farm
from running import until

from pi_v_jupyter import Vers
from pi_v_jupyter.errors import AgentError, ConflictError, ConnectError, UsageError
from pi_v_jupyter.swarm import identity, provision, swarm
from pi_v_jupyter.swarm.agent import Agent

Start = Callable[[], Awaitable[Vers]]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a VM is logged in to as root")


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm, "PATIENCE", 0.5)  # for a pi that never says a word


@pytest.fixture
def notices(vers: Vers) -> list[str]:
    """What that has told."""
    told = list[str]()
    vers.on_notice = told.append
    return told


def labels(farm: Farm) -> list[str]:
    """The names of the VMs there are."""
    return sorted(vm["labels"].get("name", "") for vm in farm.vms.values())


async def stopped(task: asyncio.Task[Any]) -> None:
    """That it is."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cut_off(vers: Vers, vms: Farm, count: int) -> None:
    """A spawn that is stopped when the platform has made VMs and not told which."""
    vms.withheld.clear()
    vms.telling.clear()
    spawning = asyncio.create_task(vers.swarm.spawn("golden", count))
    await until(vms.withheld.is_set)
    await stopped(spawning)
    vms.telling.set()


async def test_vms_that_a_cut_off_spawn_may_have_left_are_told_of_once_and_not_touched(
    vers: Vers, vms: Farm, notices: list[str], start: Start
) -> None:
    await cut_off(vers, vms, 3)
    vms.answered.clear()  # a platform that keeps no keys would make others
    used, named, left = await vers.list()
    await (await start()).use(used)
    await vers.use(used)
    await named.rename("thesis")
    for _ in range(2):
        assert await vers.swarm.agents() == []
        (told,) = notices
        assert f"`%vers rm {left.id[:8]}`" in told
    assert set(vms.vms) == {used.id, named.id, left.id}


async def test_a_vm_with_a_name_of_ours_or_of_another_notebook_is_not_told_of(
    vers: Vers, vms: Farm, notices: list[str]
) -> None:
    await cut_off(vers, vms, 2)
    one, other = await vers.list()
    platform = vers.settings.base_url
    vers.fleet.state.set(platform, "names", one.id, "thesis")  # the platform keeps no labels
    vers.fleet.state.set(platform, "active", "/another.ipynb", other.id)
    assert await vers.swarm.agents() == [] and notices == []


async def test_spawns_at_once_have_labels_and_places_of_their_own(
    vers: Vers, vms: Farm, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore_copies, answered = vers.fleet.client.restore_copies, asyncio.Event()

    async def late(*asked: Any) -> list[str]:
        ids = await restore_copies(*asked)
        await answered.wait()
        return ids

    monkeypatch.setattr(vers.fleet.client, "restore_copies", late)
    first, other = asyncio.create_task(vers.swarm.spawn("golden", 2)), await start()
    await until(lambda: len(vms.vms) == 2)
    with pytest.raises(UsageError, match="0 agents and 2 being made, and 2 more would be more than 3"):
        await other.swarm.spawn("golden", 2, max_vms=3)
    with pytest.raises(UsageError, match="'agent-2' is being made"):
        await other.swarm.spawn("golden", 1, labels=["agent-2"])
    second = await other.swarm.spawn("golden", 2, max_vms=4)
    answered.set()
    made = [*await first, *second]
    assert [each.error for each in made] == [None] * 4
    assert [each.label for each in made] == labels(vms) == [f"agent-{number}" for number in range(1, 5)]


async def test_until_a_spawn_is_over_every_session_says_that_its_agent_starts_and_gives_it_no_task(
    vers: Vers, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, begun, go_on = Agent.begin, asyncio.Event(), asyncio.Event()

    async def late(agent: Agent, model: Any) -> None:
        await begin(agent, model)
        begun.set()
        await go_on.wait()

    monkeypatch.setattr(Agent, "begin", late)
    spawning = asyncio.create_task(vers.swarm.spawn("golden", 1, labels=["a"]))
    await begun.wait()
    sessions = (vers, await start())
    for session in sessions:
        (agent,) = await session.swarm.agents()
        assert (agent.state, agent.story.state, agent.busy) == ("starting", "idle", False)
        for tell in (agent.task, agent.steer, agent.follow_up):
            with pytest.raises(AgentError, match="a is being made ready, and takes no task yet"):
                await tell("say something")
    go_on.set()
    assert [each.error for each in await spawning] == [None]
    for session in sessions:
        agent = await session.swarm.agent("a")
        assert agent.state == "idle"
        assert vers.swarm.records.all()[agent.vm.id].ready_by == 0


async def test_whatever_goes_wrong_with_one_agent_is_its_own_and_its_vm_is_deleted(
    vers: Vers, vms: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    introduce = identity.introduce

    async def full(vm: Any, member: Any, *args: Any) -> None:
        if member.agent == "b":
            raise OSError(28, "No space left on device")
        await introduce(vm, member, *args)

    monkeypatch.setattr(identity, "introduce", full)
    spawned = await vers.swarm.spawn("golden", 3, labels=["a", "b", "c"])
    assert [(each.label, each.error is None) for each in spawned] == [("a", True), ("b", False), ("c", True)]
    assert "No space left" in str(spawned[1].error) and "was deleted" in spawned[1].cleaned
    assert labels(vms) == ["a", "c"] and len(vers.swarm.records.all()) == 2
    assert (vms.of("a") / ".swarm/registry.json").exists()


async def test_agents_are_there_though_their_registry_cannot_be_written(
    vers: Vers, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut(*_: Any, **__: Any) -> None:
        raise ConnectError("The connection to a was cut.", "Try again.")

    with monkeypatch.context() as patched:
        patched.setattr(identity, "register", cut)
        spawned = await vers.swarm.spawn("golden", 2, labels=["a", "b"])
    assert [agent.state for agent in spawned.agents] == ["idle", "idle"]
    (told,) = notices
    assert "registry" in told and "was cut" in told


async def test_a_stop_deletes_also_what_waited_for_its_turn(
    vers: Vers, vms: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(provision, "AT_ONCE", 1)
    vms.pi = f"sh -c 'touch {tmp_path}/begun; exec sleep 3600'"
    spawning = asyncio.create_task(vers.swarm.spawn("golden", 3))
    await until((tmp_path / "begun").exists)
    await stopped(spawning)
    assert vms.vms == {} and vers.swarm.records.all() == {}


@pytest.mark.usefixtures("_impatient")
async def test_what_a_second_stop_leaves_is_shown_as_leaving_and_goes_at_a_later_look(
    vers: Vers, vms: Farm, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deleting = asyncio.Event()

    async def never(_: str) -> None:
        deleting.set()
        await asyncio.Event().wait()

    vms.pi = f"sh -c 'touch {tmp_path}/$$; exec sleep 3600'"
    spawning = asyncio.create_task(vers.swarm.spawn("golden", 2))
    await until(lambda: len(list(tmp_path.iterdir())) == 2)
    with monkeypatch.context() as patched:
        patched.setattr(vers.fleet.client, "delete_vm", never)
        spawning.cancel()
        await deleting.wait()
        await stopped(spawning)
    assert [member.leaving for member in vers.swarm.records.all().values()] == [True, True]
    vms.stubborn = {"agent-1"}
    later = await start()
    assert [(agent.label, agent.state) for agent in await later.swarm.agents()] == [("agent-1", "leaving")]
    assert labels(vms) == ["agent-1"]
    vms.stubborn = set()
    assert await later.swarm.agents() == [] and vms.vms == {} == later.swarm.records.all()


@pytest.mark.usefixtures("_impatient")
async def test_what_a_stopped_spawn_left_is_not_deleted_once_it_is_used_or_has_another_name(
    vers: Vers, vms: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: str) -> None:
        raise ConflictError("It is needed.", status=409)

    vms.pi = f"sh -c 'touch {tmp_path}/$$; exec sleep 3600'"
    spawning = asyncio.create_task(vers.swarm.spawn("golden", 2))
    await until(lambda: len(list(tmp_path.iterdir())) == 2)
    with monkeypatch.context() as patched:
        patched.setattr(vers.fleet.client, "delete_vm", refuse)
        await stopped(spawning)
    used, named = await vers.list()
    await vers.use(used)
    await named.rename("thesis")
    await vers.swarm.agents()
    assert set(vms.vms) == {used.id, named.id}
