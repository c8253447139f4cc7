"""A board, and agents on machines of a platform on this one: seen live, and told what to do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from boards import Page, spawned, states
from farm import Farm
from running import until

from pi_v_jupyter.dashboard import board as boards
from pi_v_jupyter.dashboard import looks
from pi_v_jupyter.dashboard.snapshot import OPTION
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.texts import short

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a VM is logged in to as root")


async def test_agents_are_spawned_told_what_to_do_and_seen_at_work(page: Page) -> None:
    a, b = await spawned(page, "a", "b")
    assert page.state["machines"][a]["agent"] == "a"
    told = await page.act("task", agents=[a, b], text="say I look at it.\nhold\nsay All is well.")
    assert told["text"] == "a, b: works on it."
    seen = await page.sees(lambda seen: all("look" in each["words"] for each in seen["agents"].values()))
    assert seen["agents"][a]["task"].startswith("say I look at it.") and seen["sums"]["working"] == 2
    assert (await page.act("steer", agents=[a], text="say And more."))["text"] == "a: told."
    assert (await page.act("abort", agents=[b]))["text"] == "b: stopped."
    seen = await page.sees(lambda seen: states(seen) == {"a": "done", "b": "aborted"})
    assert "And more." in seen["agents"][a]["words"]
    assert seen["agents"][a]["tokens"] > 0 and seen["sums"]["cost"] > 0
    events = page.events("agent")
    assert {"a: working", "a: done", "b: aborted"} <= {*events}
    assert not [event for event in page.events("machine") if "connect" in event], "none was lost"
    told = await page.act("steer", agents=["ffff", a], text="say More.")
    assert (told["ok"], told["text"]) == (False, "a: told. VM ffff is not there any more.")
    told = await page.act("teardown", agents=["ffff"])
    assert (told["ok"], told["text"]) == (True, "ffff: deleted before.")
    assert states(page.state).keys() == {"a", "b"}, "that was of none, not of all"
    assert (await page.act("teardown", agents=[a, "ffff", b]))[
        "text"
    ] == "a, b: deleted. ffff: deleted before."
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
    await page.sees(lambda seen: states(seen) == {"a": "waiting"})
    await agent.answer(page.state["agents"][a]["asks"][0]["id"], value="x")
    await page.sees(lambda seen: states(seen) == {"a": "done"})
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


async def test_every_kernel_shows_an_agent_as_starting_and_tells_it_nothing_until_its_spawn_is_over(
    page: Page, open_page: Callable[[], Awaitable[Page]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, go_on = Agent.begin, asyncio.Event()

    async def late(agent: Agent, model: Any) -> None:
        await begin(agent, model)
        await go_on.wait()

    monkeypatch.setattr(Agent, "begin", late)
    monkeypatch.setattr(looks, "SOON", 0.05)
    other = await open_page()
    page.say("intent", id=90, name="spawn", args={"labels": ["a"]})
    for each in (page, other):
        seen = await each.sees(lambda seen: seen["agents"])
        ((a, _),) = seen["agents"].items()
        await until(lambda each=each: each.board.vers.swarm.known()[0].story.state == "idle")
        for told in ("task", "steer", "follow_up"):
            refused = await each.act(told, agents=[a], text="say Too early.")
            assert refused["text"] == "a is being made ready, and takes no task yet."
        assert states(each.state) == {"a": "starting"}
    go_on.set()
    for each in (page, other):
        await each.sees(lambda seen: states(seen) == {"a": "idle"})
    assert (await other.act("task", agents=[a], text="say In time."))["text"] == "a: works on it."


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
        seen = await each.sees(lambda seen: states(seen) == {"a": "waiting"})
        (asked,) = seen["agents"][a]["asks"]
        assert (asked["title"], asked["options"]) == ("Which?", ["this", alike, alike])
    wrong = await other.act("answer", agent=a, dialog=asked["id"], option=3)
    assert (wrong["ok"], wrong["text"]) == (False, "a offers 3 answers.")
    assert (await other.act("answer", agent=a, dialog=asked["id"], option=2))["ok"]
    for each in (page, other):
        seen = await each.sees(lambda seen: states(seen) == {"a": "done"})
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
    await page.sees(lambda seen: states(seen) == {"a": "aborted"})
    assert page.transcript["runs"]["0"]["outcome"] == "", "it was told no more"


async def test_another_kernels_agents_are_found_and_what_they_did_before_is_no_news(
    page: Page, open_page: Callable[[], Awaitable[Page]]
) -> None:
    (a,) = await spawned(page, "a")
    await page.act("task", agents=[a], text="say It is done.")
    await page.sees(lambda seen: states(seen) == {"a": "done"})
    other = await open_page()
    seen = await other.sees(lambda seen: states(seen) == {"a": "done"})
    assert "It is done." in seen["agents"][a]["words"] and other.events("agent") == []
    (b,) = [each for each in await spawned_beside(page, other, "b") if each != a]
    assert (await other.act("task", agents=[b], text="say Me too."))["ok"]
    await page.sees(lambda seen: states(seen) == {"a": "done", "b": "done"})


async def spawned_beside(page: Page, other: Page, label: str) -> list[str]:
    """The ids of all agents, once one that a page has spawned is seen by another."""
    assert (await page.act("spawn", labels=[label]))["ok"]
    seen = await other.sees(lambda seen: states(seen).get(label) == "idle")
    return [*seen["agents"]]


async def test_a_machine_that_somebody_else_deletes_is_gone_with_its_agent(page: Page, vms: Farm) -> None:
    a, b = await spawned(page, "a", "b")
    vms.delete(a)
    seen = await page.sees(lambda seen: [*seen["machines"]] == [b])
    assert [*seen["agents"]] == [b] and "a: is gone" in page.events("machine")
    told = await page.act("task", agents=[a], text="say Hello.")
    assert not told["ok"] and told["text"] == "VM a is not there any more."


async def test_an_agent_that_died_is_started_again(page: Page) -> None:
    (a,) = await spawned(page, "a")
    await page.act("task", agents=[a], text="die")
    seen = await page.sees(lambda seen: states(seen) == {"a": "lost"})
    assert "out of memory" in seen["agents"][a]["detail"]
    assert (await page.act("restart", agents=[a]))["text"] == "a: started again."
    await page.sees(lambda seen: states(seen) == {"a": "idle"})


async def test_what_an_agent_consists_of_is_shown_as_the_agent_alone(page: Page) -> None:
    (a,) = await spawned(page, "a")
    vm = await page.board.vers.vm(a)
    await vm.start("exec sleep 1000", id="web")
    await page.sees(lambda seen: {*seen["processes"]} == {f"{a} web"})
