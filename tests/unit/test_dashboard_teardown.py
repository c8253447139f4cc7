"""Agents torn down from a board, by the ids of their VMs: those that were meant, and what has gone before."""

from __future__ import annotations

import pytest
from boards import Page
from flaky import Flaky
from test_fleet_branching import URL

from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.errors import UnknownAgentError, UnknownVMError
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.membership import Membership
from pi_v_jupyter.swarm.muster import Members, Muster

A, NAMESAKE, B = "aaaa7777-0007", "cccc8888-0008", "dddd9999-0009"


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No agent is spoken to."""

    async def attach(agent: Agent) -> None:
        pass

    monkeypatch.setattr(Agent, "attach", attach)


@pytest.fixture
async def agents(platform: Flaky, board: Board) -> None:
    """Two that claim one label, the first of which is on record here, and another."""
    for vm_id, label in ((A, "a"), (NAMESAKE, "a"), (B, "b")):
        platform.make(vm_id, labels={"name": label, "pi-v-agent": label, "pi-v-swarm": vm_id})
    board.vers.swarm.records.keep(A, Membership("a", A))
    found = {agent.vm.id: agent.label for agent in await board.vers.swarm.agents()}
    assert found == {A: "a", NAMESAKE: "a-cccc", B: "b"}


def gone_before(
    monkeypatch: pytest.MonkeyPatch, platform: Flaky, board: Board, look: int, vm_id: str = A
) -> None:
    """Another dashboard has torn down that one when this looks for the agents for that time."""
    members, looks = Muster.members, 0

    async def later(muster: Muster) -> Members:
        nonlocal looks
        looks += 1
        if looks == look:
            platform.vms.pop(vm_id, None)
            board.vers.swarm.records.forget(vm_id)
        return await members(muster)

    monkeypatch.setattr(Muster, "members", later)


@pytest.mark.usefixtures("agents")
async def test_the_label_of_one_that_goes_meanwhile_does_not_have_its_namesake_torn_down(
    page: Page, platform: Flaky, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone_before(monkeypatch, platform, board, look=1)
    told = await page.act("teardown", agents=[A, B])
    assert (told["ok"], told["text"]) == (True, "b, a: deleted.")
    assert NAMESAKE in platform.vms and B not in platform.vms


@pytest.mark.usefixtures("agents")
async def test_one_whose_label_is_another_by_now_is_torn_down_all_the_same(
    page: Page, platform: Flaky, board: Board
) -> None:
    board.vers.swarm.records.forget(A)
    del platform.vms[A]
    told = await page.act("teardown", agents=[NAMESAKE, B])
    assert told["ok"] and "deleted" in told["text"]
    assert not {NAMESAKE, B} & {*platform.vms}


@pytest.mark.usefixtures("agents")
async def test_a_vm_that_is_no_agents_any_more_is_not_deleted_with_the_others(
    page: Page, platform: Flaky
) -> None:
    platform.vms[B]["labels"] = {"name": "mine"}
    told = await page.act("teardown", agents=[A, B])
    assert (told["ok"], told["text"]) == (False, "a: deleted. b: It is no agent's VM any more.")
    assert B in platform.vms and A not in platform.vms


@pytest.mark.usefixtures("agents")
async def test_the_active_one_that_has_gone_is_torn_down_for_this_notebook_too(
    page: Page, platform: Flaky, board: Board
) -> None:
    fleet = board.vers.fleet
    fleet._active = await board.vers.vm(B)
    fleet.state.set(URL, "host_keys", B, "key")
    del platform.vms[B]
    told = await page.act("teardown", agents=[B])
    assert (told["ok"], told["text"]) == (True, "b: deleted. Cells run on this computer now.")
    assert fleet.current is None and fleet.state.get(URL, "host_keys", B) is None


@pytest.mark.usefixtures("agents")
async def test_of_one_that_has_gone_goes_what_it_had_made_and_nobody_has_named_and_it_is_known_no_longer(
    page: Page, platform: Flaky, board: Board
) -> None:
    swarm = board.vers.swarm
    made = platform.make("eeee1111-0011", made_by=[B])
    named = platform.make("eeee2222-0022", labels={"name": "precious"}, made_by=[B])
    for vm in platform.vms.values():
        vm.setdefault("made_by", [])
    del platform.vms[B]
    told = await page.act("teardown", agents=[B])
    assert (told["ok"], told["text"]) == (True, "b, eeee1111: deleted.")
    assert made not in platform.vms and named in platform.vms
    assert {agent.label for agent in swarm.known()} == {"a", "a-cccc"}
    with pytest.raises(UnknownAgentError):
        await swarm.agent("b")


@pytest.mark.usefixtures("agents")
async def test_one_that_has_gone_is_told_by_its_own_label_and_not_its_namesakes(
    page: Page, platform: Flaky
) -> None:
    del platform.vms[NAMESAKE]
    assert (await page.act("teardown", agents=[NAMESAKE]))["text"] == "a-cccc: deleted."
    assert A in platform.vms


@pytest.mark.usefixtures("agents")
async def test_agents_are_torn_down_by_label_by_vm_and_as_they_are(platform: Flaky, board: Board) -> None:
    swarm = board.vers.swarm
    platform.make("ffff1111-0011", labels={"name": "x", "pi-v-agent": B})
    assert await swarm.teardown(B) == [(B, None)], "a label may be the id of another's VM"
    agent = await swarm.agent("a")
    vm = await board.vers.vm(B)
    assert await swarm.teardown(agent, vm, "a-cccc") == [("a", None), ("a-cccc", None), ("b", None)]
    assert not {A, B, NAMESAKE} & {*platform.vms}


@pytest.mark.usefixtures("agents")
async def test_of_another_platforms_nothing_is_deleted_and_nothing_forgotten(
    platform: Flaky, board: Board
) -> None:
    vm = await board.vers.vm(B)
    vm.pin(vm.id, "key")
    there, platform.vms = platform.vms, {}
    board.vers.settings.session["base_url"] = "http://127.0.0.1:8/api/v1"
    ((label, error),) = await board.vers.swarm.teardown(vm)
    assert label == "b" and str(error).startswith(f"VM b is of {URL}")
    with pytest.raises(UnknownVMError, match=f"VM b is of {URL}"):
        await board.vers.delete(vm)
    assert vm.pinned(vm.id) == "key" and not vm.background.gone
    platform.vms = there


@pytest.mark.usefixtures("agents")
@pytest.mark.parametrize("there", [True, False])
async def test_of_a_vm_that_was_no_agents_nothing_goes_that_it_had_made(
    platform: Flaky, board: Board, there: bool
) -> None:
    mine = platform.make("eeee1111-0011", labels={"name": "mine"})
    platform.make("eeee2222-0022", made_by=[mine])
    for each in platform.vms.values():
        each.setdefault("made_by", [])
    vm = await board.vers.vm(mine)
    if not there:
        del platform.vms[mine]
    ((label, error),) = await board.vers.swarm.teardown(vm)
    assert label == "mine"
    assert str(error).startswith("It is no agent's VM any more.") if there else error is None
    assert "eeee2222-0022" in platform.vms and (mine in platform.vms) is there
