"""A board, and agents and processes on machines of a platform on this one: seen live, and told what to do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest
from boards import Page
from farm import COMMIT, Farm
from running import until

from pi_v_jupyter import Vers
from pi_v_jupyter.dashboard import board as boards
from pi_v_jupyter.dashboard import looks
from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.dashboard.snapshot import OPTION
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.texts import short

Start = Callable[..., Awaitable[Vers]]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a VM is logged in to as root")


@pytest.fixture
def open_page(start: Start) -> Callable[[], Awaitable[Page]]:
    """Opens dashboards, each of a session of its own."""

    async def new() -> Page:
        page = Page(Board(await start()))
        page.open()
        await page.sees(lambda seen: {"machines", "agents", "commits"} <= page.board._known)
        return page

    return new


@pytest.fixture
async def page(open_page: Callable[[], Awaitable[Page]]) -> Page:
    return await open_page()


async def spawned(page: Page, *labels: str) -> list[str]:
    """The ids of new agents that are idle, as the page sees them."""
    told = await page.act("spawn", labels=[*labels])
    assert told["ok"] and told["text"] == f"{', '.join(labels)}: ready.", told
    await page.sees(lambda seen: _states(seen) == dict.fromkeys(labels, "idle"))
    return [page.named(label, "agents")[0] for label in labels]


def _states(seen: dict[str, Any]) -> dict[str, str]:
    return {agent["label"]: agent["state"] for agent in seen["agents"].values()}


async def test_agents_are_spawned_told_what_to_do_and_seen_at_work(page: Page) -> None:
    a, b = await spawned(page, "a", "b")
    assert page.state["machines"][a]["agent"] == "a"
    told = await page.act("task", agents=[a, b], text="say I look at it.\nhold\nsay All is well.")
    assert told["text"] == "a, b: works on it."
    seen = await page.sees(lambda seen: all("look" in each["words"] for each in seen["agents"].values()))
    assert seen["agents"][a]["task"].startswith("say I look at it.") and seen["sums"]["working"] == 2
    assert (await page.act("steer", agents=[a], text="say And more."))["text"] == "a: told."
    assert (await page.act("abort", agents=[b]))["text"] == "b: stopped."
    seen = await page.sees(lambda seen: _states(seen) == {"a": "done", "b": "aborted"})
    assert "And more." in seen["agents"][a]["words"]
    assert seen["agents"][a]["tokens"] > 0 and seen["sums"]["cost"] > 0
    events = page.events("agent")
    assert {"a: working", "a: done", "b: aborted"} <= {*events}
    assert not [event for event in page.events("machine") if "connect" in event], "none was lost"
    assert (await page.act("teardown", agents=[a, b]))["text"] == "a, b: deleted."
    await page.sees(lambda seen: not seen["agents"] and not seen["machines"])


async def test_what_an_agent_does_is_told_when_it_does_it(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a,) = await spawned(page, "a")
    monkeypatch.setattr(boards, "BEAT", 3600.0)
    for look in ("VMS", "COMMITS", "AGENTS", "PROCESSES"):
        monkeypatch.setattr(looks, look, 3600.0)
    page.board._looks.wake()  # each waits for that long now
    agent = page.board.vers.swarm.known()[0]
    await agent.task("ask input Name?")
    await page.sees(lambda seen: _states(seen) == {"a": "waiting"})
    await agent.answer(page.state["agents"][a]["asks"][0]["id"], value="x")
    await page.sees(lambda seen: _states(seen) == {"a": "done"})
    await agent.task("\n".join(f"say {letter * 8000}" for letter in "abcdefghijklmnopqrst"))
    await agent.finished()
    page.read(a)
    await page.until(lambda: len(page.transcript.get("runs", {}).get("1", {}).get("steps", {})) == 21)
    assert page.transcript_seq > 0, "it came in pieces"


async def test_one_that_was_looked_for_while_it_was_made_is_heard_once(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, swarm = Agent.begin, page.board.vers.swarm

    async def looked_for(agent: Agent, model: Any) -> None:
        await begin(agent, model)
        await swarm.agents()

    monkeypatch.setattr(Agent, "begin", looked_for)
    await spawned(page, "a")
    (agent,) = swarm.known()
    await until(lambda: len(agent.vm.background._watching) == 1)


async def test_a_question_is_shown_and_answered_once(
    page: Page, open_page: Callable[[], Awaitable[Page]]
) -> None:
    (a,) = await spawned(page, "a")
    other = await open_page()
    long = f"that, {'and on ' * 70}"
    alike = short(long, OPTION)
    text = f"ask select Which?|this|{long}to another end|{long}to its end"
    assert (await page.act("task", agents=[a], text=text))["ok"]
    for each in (page, other):
        seen = await each.sees(lambda seen: _states(seen) == {"a": "waiting"})
        (asked,) = seen["agents"][a]["asks"]
        assert (asked["title"], asked["options"]) == ("Which?", ["this", alike, alike])
    wrong = await other.act("answer", agent=a, dialog=asked["id"], option=3)
    assert (wrong["ok"], wrong["text"]) == (False, "a offers 3 answers.")
    assert (await other.act("answer", agent=a, dialog=asked["id"], option=2))["ok"]
    for each in (page, other):
        seen = await each.sees(lambda seen: _states(seen) == {"a": "done"})
        assert 'to its end"' in seen["agents"][a]["words"]
    again = await page.act("answer", agent=a, dialog=asked["id"], option=0)
    assert again["text"] == "a does not ask that any more."


async def test_who_reads_is_told_all_that_is_said_as_it_is_said(page: Page) -> None:
    (a,) = await spawned(page, "a")
    page.read(a)
    await page.until(lambda: page.transcript_seq == 0)
    assert page.transcript == {"runs": {}, "cut": 0}
    await page.act("task", agents=[a], text="write note.txt some\nrun It failed.\nsay All done.\nhold")
    await page.until(lambda: "All done." in str(page.transcript))
    steps = page.transcript["runs"]["0"]["steps"].values()
    assert [(step["kind"], step["name"], step["state"]) for step in steps] == [
        *(("prompt", "", ""), ("call", "write", "ok"), ("call", "bash", "failed"), ("text", "", "")),
    ]
    assert "+some" in [*steps][1]["diff"]
    page.say("reading", vm="", number=2)
    await page.act("abort", agents=[a])
    await page.sees(lambda seen: _states(seen) == {"a": "aborted"})
    assert page.transcript["runs"]["0"]["outcome"] == "", "it was told no more"


async def test_another_kernels_agents_are_found_and_what_they_did_before_is_no_news(
    page: Page, open_page: Callable[[], Awaitable[Page]]
) -> None:
    (a,) = await spawned(page, "a")
    await page.act("task", agents=[a], text="say It is done.")
    await page.sees(lambda seen: _states(seen) == {"a": "done"})
    other = await open_page()
    seen = await other.sees(lambda seen: _states(seen) == {"a": "done"})
    assert "It is done." in seen["agents"][a]["words"] and other.events("agent") == []
    (b,) = [each for each in await spawned_beside(page, other, "b") if each != a]
    assert (await other.act("task", agents=[b], text="say Me too."))["ok"]
    await page.sees(lambda seen: _states(seen) == {"a": "done", "b": "done"})


async def spawned_beside(page: Page, other: Page, label: str) -> list[str]:
    """The ids of all agents, once one that a page has spawned is seen by another."""
    assert (await page.act("spawn", labels=[label]))["ok"]
    seen = await other.sees(lambda seen: _states(seen).get(label) == "idle")
    return [*seen["agents"]]


async def test_a_machine_that_somebody_else_deletes_is_gone_with_its_agent(page: Page, vms: Farm) -> None:
    a, b = await spawned(page, "a", "b")
    vms.delete(a)
    seen = await page.sees(lambda seen: [*seen["machines"]] == [b])
    assert [*seen["agents"]] == [b] and "a: is gone" in page.events("machine")
    told = await page.act("task", agents=[a], text="say Hello.")
    assert not told["ok"] and told["text"] == f"VM {a[:8]} is not there any more."


async def test_an_agent_that_died_is_started_again(page: Page) -> None:
    (a,) = await spawned(page, "a")
    await page.act("task", agents=[a], text="die")
    seen = await page.sees(lambda seen: _states(seen) == {"a": "lost"})
    assert "out of memory" in seen["agents"][a]["detail"]
    assert (await page.act("restart", agents=[a]))["text"] == "a: started again."
    await page.sees(lambda seen: _states(seen) == {"a": "idle"})


async def test_a_machine_that_cannot_be_reached_holds_nothing_up(page: Page, vms: Farm) -> None:
    vms.unready = 1
    shut = vms.make()
    vms.vms[shut]["labels"] = {"name": "shut", "pi-v-agent": "shut"}
    await page.sees(lambda seen: shut in seen["machines"] and seen["machines"][shut]["agent"] == "shut")
    open_ = vms.make()
    await page.sees(lambda seen: open_ in seen["machines"])
    assert (await page.act("exec", vms=[open_], command="echo hello"))["text"] == "hello"
    seen = await page.sees(lambda seen: seen["agents"][shut]["trouble"])
    assert "refused the login key" in seen["agents"][shut]["trouble"]
    assert seen["machines"][shut]["link"] == "", "there was no connection that could be lost"


async def test_a_command_runs_on_several_and_its_output_is_bounded(page: Page, vms: Farm) -> None:
    a, b = vms.make(), vms.make()
    vms.vms[a]["labels"], vms.vms[b]["labels"] = {"name": "a"}, {"name": "b"}
    told = await page.act("exec", vms=[a, b], command="echo one; basename $HOME")
    assert told == {"ok": True, "text": f"[a]\none\n{a}\n[b]\none\n{b}", "hint": ""}
    told = await page.act("exec", vms=[a], command="printf '\\033[31mred\\033[0m\\n' >&2; exit 3")
    assert not told["ok"] and told["text"].startswith("red\nexit code 3 on a after ")
    told = await page.act("exec", vms=[a], command="echo first; yes | head -c 10000000; echo last")
    assert told["ok"] and len(told["text"]) < 66_000
    assert told["text"].startswith("first\n") and told["text"].endswith("\nlast")
    assert " characters left out " in told["text"]
    await page.sees(lambda seen: a in seen["machines"] and seen["machines"][a]["link"] == "connected")


async def test_background_processes_are_seen_stopped_read_and_forgotten(page: Page, vms: Farm) -> None:
    a = vms.make()
    vms.vms[a]["labels"] = {"name": "a"}
    vm = await page.board.vers.vm(a)
    await vm.start("echo ready; exec sleep 1000", id="web")
    await page.board.vers.here.start("echo here; exit 2", id="short")
    web, short = f"{a} web", "here short"
    seen = await page.sees(
        lambda seen: (
            seen["processes"].get(web, {}).get("line") == "ready"
            and seen["processes"].get(short, {}).get("state") == "ended"
        )
    )
    shown = seen["processes"][web]
    assert (shown["id"], shown["machine"], shown["vm"], shown["state"]) == ("web", "a", a, "running")
    assert seen["processes"][short]["outcome"] == "exit code 2"
    assert (await page.act("logs", process=short))["text"] == "here\n"
    assert (await page.act("stop", process=web))["text"] == "web on a: ended by SIGTERM."
    await page.sees(lambda seen: seen["processes"][web]["state"] == "ended")
    assert page.events("process")[-1] == "web on a: has ended: ended by SIGTERM"
    assert (await page.act("forget", process=web))["text"] == "web on a is forgotten, log and all."
    assert (await page.act("forget", process=short))["ok"]
    await page.sees(lambda seen: not seen["processes"])


async def test_what_a_command_writes_is_told_as_it_comes_by_machine_and_it_can_be_stopped(
    page: Page, vms: Farm
) -> None:
    a, b = vms.make(), vms.make()
    await page.act("rename", vm=a, name="one")
    await page.act("rename", vm=b, name="two")
    ticks = "echo $$ > pid; while :; do echo tick; sleep 0.05; done"
    for machines, line in (([a], "tick\ntick\n"), ([a, b], "[two] tick\n")):
        id = 70 + len(machines)
        page.say("intent", id=id, name="exec", args={"vms": machines, "command": ticks})
        await page.until(lambda id=id, line=line: line in page.output(id))
    assert 71 not in page.answers and 72 not in page.answers
    pids = [int((vms.home(each) / "pid").read_text()) for each in (a, b)]
    for id in (71, 72):
        assert (await page.act("cancel", intent=id))["ok"]
        await page.until(lambda id=id: id in page.answers)
        assert (page.answers[id]["ok"], page.answers[id]["text"]) == (False, "It was stopped.")
    for pid in pids:
        await until(lambda pid=pid: not psutil.pid_exists(pid))
    assert (await page.act("cancel", intent=71))["text"] == "There is nothing to stop any more."


async def test_what_a_flood_writes_meanwhile_is_bounded(page: Page, vms: Farm) -> None:
    a = vms.make()
    page.say("intent", id=80, name="exec", args={"vms": [a], "command": "yes | head -c 30000000; echo over"})
    await page.until(lambda: 80 in page.answers)
    pieces = [message["text"] for message in page.messages if message["kind"] == "output"]
    assert all(len(piece) < 17_000 for piece in pieces) and pieces[-1].endswith("over\n")


async def test_tunnels_are_shown_with_their_machine(page: Page, vms: Farm) -> None:
    a = vms.make()
    told = await page.act("tunnel", vm=a, port=80)
    local = told["text"].partition(" ")[0].rpartition(":")[2]
    await page.sees(lambda seen: seen["machines"].get(a, {}).get("tunnels") == [f"{local} → 80"])
    assert (await page.act("close_tunnel", vm=a, port=80))["ok"]
    await page.sees(lambda seen: seen["machines"][a]["tunnels"] == [])


async def test_cells_run_on_what_is_used(page: Page, vms: Farm) -> None:
    a = vms.make()
    assert (await page.act("use", vm=a))["text"] == f"Cells run on {a[:8]}."
    await page.sees(lambda seen: seen["machines"].get(a, {}).get("active"))
    assert (await page.act("local"))["ok"] and page.board.vers.active is None
    await page.sees(lambda seen: not seen["machines"][a]["active"])
    await page.act("use", vm=a)
    assert (await page.act("delete", vms=[a]))["text"] == f"{a[:8]}: deleted. Cells run on this computer now."


async def test_the_processes_of_the_machine_that_cells_run_on_are_shown_before_any_cell_ran(
    page: Page, vms: Farm, open_page: Callable[[], Awaitable[Page]]
) -> None:
    a = vms.make()
    vm = await page.board.vers.vm(a)
    await vm.start("exec sleep 1000", id="web")
    other = await open_page()
    assert (await other.act("connect", vms=[a]))["text"] == f"{a[:8]}: connected."
    await other.sees(lambda seen: f"{a} web" in seen["processes"])
    third = await open_page()
    await third.board.vers.fleet.use(await third.board.vers.vm(a))
    await third.sees(lambda seen: f"{a} web" in seen["processes"])


async def test_what_an_agent_consists_of_is_shown_as_the_agent_alone(page: Page) -> None:
    (a,) = await spawned(page, "a")
    vm = await page.board.vers.vm(a)
    await vm.start("exec sleep 1000", id="web")
    await page.sees(lambda seen: {*seen["processes"]} == {f"{a} web"})


async def test_the_image_that_agents_start_from_is_shown_as_such(page: Page) -> None:
    assert page.state["commits"][COMMIT]["golden"]


async def test_a_connection_that_is_lost_and_comes_back_is_told(page: Page, vms: Farm) -> None:
    a = vms.make()
    assert (await page.act("exec", vms=[a], command="true"))["ok"]
    await page.sees(lambda seen: seen["machines"].get(a, {}).get("link") == "connected")
    vm = await page.board.vers.vm(a)
    vm._open._ssh.abort()
    await page.sees(lambda seen: seen["machines"][a]["link"] == "away")
    assert (await page.act("exec", vms=[a], command="true"))["ok"]
    await page.sees(lambda seen: seen["machines"][a]["link"] == "connected")
    lost, again = page.events("machine")[-2:]
    assert (lost, again) == (f"{a[:8]}: its connection is lost", f"{a[:8]}: is connected again")


async def test_connections_are_made_by_intents_alone(
    page: Page, vms: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "PROCESSES", 0.01)
    a = vms.make()
    await page.sees(lambda seen: a in seen["machines"])
    await asyncio.sleep(0.2)
    assert page.state["machines"][a]["link"] == "" and page.board.vers.fleet.connected() == []
