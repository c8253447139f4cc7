"""What the original swarm got wrong, one test each: facts that a user of it has paid for.

Agents here are on a platform of this machine, and their pi does what it is told.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest
from farm import Farm
from running import until

from pi_v_jupyter import Vers, loops
from pi_v_jupyter.errors import AgentEndedError, AgentError, ConflictError, UsageError
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.swarm import provision
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.rpc import Rpc
from pi_v_jupyter.swarm.story import Story

PI = f"{sys.executable} {Path(__file__).parents[1] / 'stand_in_pi.py'}"
QUOTED = """key'with"quotes`and $(touch hacked) \\ in it"""
Start = Callable[[], Awaitable[Vers]]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a VM is logged in to as root")


@pytest.fixture(autouse=True)
def _quoted(vms: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", QUOTED)


async def one(vers: Vers, label: str = "a") -> Agent:
    """An agent that is idle."""
    (agent,) = (await vers.swarm.spawn("golden", 1, labels=[label])).agents
    return agent


async def done(agent: Agent, *lines: str) -> str:
    """The state in which it ends that."""
    await agent.task("\n".join(lines))
    return (await agent.finished()).state


def waiting_for(count: int, folder: Path) -> str:
    """A pi that starts when so many have been started, and not before."""
    words = f"touch {folder}/$$; until [ $(ls {folder} | wc -l) -ge {count} ]; do sleep 0.02; done"
    return f"sh -c {shlex.quote(f'{words}; exec {PI}')}"


# Spawn.


async def test_agents_start_all_at_once(vers: Vers, vms: Farm, tmp_path: Path) -> None:
    vms.pi = waiting_for(4, tmp_path)
    spawned = await vers.swarm.spawn("golden", 4)
    assert [agent.state for agent in spawned.agents] == ["idle"] * 4


async def test_no_more_are_made_ready_at_once_than_the_bound(
    vers: Vers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "AT_ONCE", 2)
    begin, at_work, most, both = Agent.begin, set[str](), 0, asyncio.Event()

    async def counted(agent: Agent, model: Any) -> None:
        nonlocal most
        at_work.add(agent.label)
        most = max(most, len(at_work))
        if most == 2:
            both.set()
        await both.wait()
        await begin(agent, model)
        at_work.discard(agent.label)

    monkeypatch.setattr(Agent, "begin", counted)
    assert len((await vers.swarm.spawn("golden", 5)).agents) == 5
    assert most == 2


async def test_a_pi_that_does_not_start_is_an_error_of_its_own_and_its_vm_is_deleted(
    vers: Vers, vms: Farm, tmp_path: Path
) -> None:
    once = f"mkdir {tmp_path}/first 2>&- && {{ echo no memory >&2; exit 7; }}; exec {PI}"
    vms.pi = f"sh -c {shlex.quote(once)}"
    spawned = await vers.swarm.spawn("golden", 3)
    (failed,) = [each for each in spawned if each.error is not None]
    assert "exit code 7" in str(failed.error) and "was deleted" in failed.cleaned
    ready = {agent.vm.id for agent in spawned.agents}
    assert len(ready) == 2 and set(vms.vms) == ready == set(vers.swarm.records.all())


async def test_a_second_spawn_with_default_labels_overwrites_none_of_the_first(vers: Vers) -> None:
    first = (await vers.swarm.spawn("golden", 2)).agents
    second = (await vers.swarm.spawn("golden", 2)).agents
    labels = [agent.label for agent in [*first, *second]]
    assert len(set(labels)) == 4
    assert sorted(agent.label for agent in await vers.swarm.agents()) == sorted(labels)
    assert await done(first[0], "say I am the first.") == "done"
    assert [agent.state for agent in second] == ["idle", "idle"]


async def test_the_first_agent_knows_its_root_though_it_had_no_swarm_folder(vers: Vers, vms: Farm) -> None:
    make = vms.make

    def bare() -> str:
        vm_id = make()
        shutil.rmtree(vms.home(vm_id) / ".swarm")
        return vm_id

    vms.make = bare  # type: ignore[method-assign]
    try:
        first, second = (await vers.swarm.spawn("golden", 2, labels=["a", "b"])).agents
    finally:
        del vms.make  # type: ignore[method-assign]
    for agent, depth in ((first, 0), (second, 1)):
        told = json.loads((vms.of(agent.label) / ".swarm/identity.json").read_text())
        assert (told["vmId"], told["rootVmId"], told["depth"]) == (agent.vm.id, first.vm.id, depth)
        assert (vms.of(agent.label) / ".swarm/status" / f"{agent.label}.json").exists()
    registry = json.loads((vms.of("a") / ".swarm/registry.json").read_text())
    assert [entry["vmId"] for entry in registry["vms"]] == [first.vm.id, second.vm.id]


async def test_a_key_with_quotes_arrives_as_it_is_and_was_on_no_command_line(vers: Vers, vms: Farm) -> None:
    seen = set[str]()
    spawning = asyncio.create_task(one(vers))
    while not spawning.done():
        seen |= {" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])}
        await asyncio.sleep(0)
    await spawning
    file = vms.of("a") / ".swarm/secrets/ANTHROPIC_API_KEY"
    assert file.read_text() == QUOTED and file.stat().st_mode & 0o777 == 0o600
    assert any("stand_in_pi" in words for words in seen), "it was looked while the agent was made"
    assert not [words for words in seen if "quotes`and" in words]
    assert not list(vms.folder.rglob("hacked"))


# State.


async def test_a_run_that_failed_is_an_error_and_not_done(vers: Vers) -> None:
    agent = await one(vers)
    assert await done(agent, "say All is well.", "fail the model is away") == "error"
    assert "the model is away" in agent.result().error
    assert await done(agent, "say All is well again.") == "done"
    assert agent.result().error == ""


async def test_a_refused_prompt_leaves_state_runs_and_text_as_they_were(vers: Vers) -> None:
    agent = await one(vers)
    await agent.task("say the old answer\nhold")
    await until(lambda: agent.result().text)
    before = agent.result().text, len(agent.story.runs), agent.state
    with pytest.raises(AgentError, match="works already"):
        await agent.task("say the new answer")
    assert (agent.result().text, len(agent.story.runs), agent.state) == before
    await agent.abort()


async def test_an_accepted_prompt_shows_nothing_of_the_answer_before(vers: Vers) -> None:
    agent = await one(vers)
    await done(agent, "say the old answer")
    run = await agent.task("hold")
    assert run is agent.run and agent.state == "working"
    assert agent.result().text == "" and agent.story.partial == ""
    await agent.abort()


# Wait.


async def test_a_wait_ends_finished_timed_out_cancelled_or_waiting_for_you(vers: Vers) -> None:
    agent, idle = (await vers.swarm.spawn("golden", 2, labels=["a", "idle"])).agents
    assert (await vers.swarm.wait()).ending == "finished", "the idle have nothing to finish"
    await agent.task("hold")
    late = await vers.swarm.wait(timeout=0.2)
    assert (late.ending, late.unfinished) == ("timed out", ("a",))
    waiting = asyncio.create_task(vers.swarm.wait(timeout=0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert agent.state == "working", "the wait was cancelled, not the agent"
    await agent.abort()
    over = await vers.swarm.wait()
    assert (over.ending, over.unfinished) == ("finished", ())
    assert [result.state for result in over.results] == ["aborted", "idle"]
    await agent.task("ask confirm Sure?")
    asked = await vers.swarm.wait()
    assert (asked.ending, asked.unfinished) == ("waiting for you", ("a",))
    await agent.answer(agent.story.dialogs[0].id, confirmed=True)
    assert (await vers.swarm.wait()).ending == "finished"
    assert idle.state == "idle"


async def test_a_wait_goes_on_for_the_others_and_names_who_is_not_heard_and_why(
    vers: Vers, vms: Farm
) -> None:
    agent = await one(vers)
    stranger = vms.make()
    vms.vms[stranger]["labels"] = {"name": "w", "pi-v-agent": "w"}
    await agent.task("hold")
    waiting = asyncio.create_task(vers.swarm.wait(timeout=0))
    await until(lambda: any(each.trouble for each in vers.swarm.known()))
    assert await agent.command("get_state") and not waiting.done(), "the other one works"
    await agent.abort()
    over = await waiting
    assert (over.ending, over.unfinished) == ("not heard", ("w",))
    assert over.unheard == (("w", "no pi runs on its VM"),)


async def test_who_waits_for_one_that_is_torn_down_is_told_so(vers: Vers) -> None:
    agent = await one(vers)
    await agent.task("hold")
    waiting = asyncio.create_task(vers.swarm.wait(timeout=0))
    finishing = asyncio.create_task(agent.finished())
    await until(lambda: agent._hearing._listeners)
    assert await vers.swarm.teardown() == [("a", None)]
    async with asyncio.timeout(20):
        over = await waiting
        with pytest.raises(AgentError, match="heard no more: it was deleted"):
            await finishing
    assert (over.ending, over.unfinished) == ("not heard", ("a",))


async def test_agents_have_a_blocking_form_too(settings: Settings) -> None:
    def script() -> None:
        sync = Vers(settings).sync
        try:
            (spawned,) = sync.swarm.spawn("golden", 1, labels=["a"])
            spawned.agent.task("say Done.")
            assert spawned.agent.finished().state == "done"
            assert sync.swarm.wait().ending == "finished"
            assert [agent.vm.run("echo hi").stdout for agent in sync.swarm.known()] == ["hi\n"]
            assert sync.swarm.plans.write(spawned.agent, "1. One.").stage == "planned"
            assert sync.swarm.plans.tick(spawned.agent, 1).stage == "done"
            with pytest.raises(UsageError, match=r"changes has no blocking form.  Use `finished`"):
                _ = spawned.agent.changes
            assert sync.swarm.teardown() == [("a", None)]
        finally:
            sync.close()

    try:
        await asyncio.to_thread(script)
    finally:
        await asyncio.to_thread(loops.stop_io_loop)


# The end of pi, and what is written to it.


async def test_a_dead_pi_is_seen_with_its_exit_code_and_its_words_by_whoever_looks(
    vers: Vers, start: Start
) -> None:
    agent = await one(vers)
    assert await done(agent, "say Goodbye.", "die") == "lost"
    for seen in (agent, await (await start()).swarm.agent("a")):
        assert seen.state == "lost" and seen.run is not None and seen.run.outcome == "error"
        assert seen.result().error == "pi ended with exit code 3: pi: out of memory"
    assert (await vers.swarm.wait()).ending == "finished"


async def test_a_command_to_a_dead_pi_fails_at_once_and_says_how_it_ended(vers: Vers) -> None:
    agent = await one(vers)
    assert agent.process is not None
    psutil.Process(agent.process.pid).kill()
    with pytest.raises(AgentEndedError, match="SIGKILL"):
        await agent.command("get_state", timeout=3600)
    await until(lambda: agent.state == "lost")
    with pytest.raises(AgentError):
        await agent.task("say Are you there?")


async def test_prompts_over_4096_bytes_of_two_notebooks_at_once_do_not_mix(vers: Vers, start: Start) -> None:
    agent = await one(vers)
    other = await (await start()).swarm.agent("a")
    await agent.task("hold")
    texts = [f"say {letter * 9000}" for letter in "abcdefgh"]
    ways = [agent, other] * 4
    await asyncio.gather(*(way.follow_up(text) for way, text in zip(ways, texts, strict=True)))
    queued = await agent.abort()
    assert sorted(queued) == texts


# Sessions.


async def test_closing_a_session_leaves_its_agents_and_their_vms_at_work(
    vms: Farm, settings: Settings, start: Start, tmp_path: Path
) -> None:
    async with Vers(settings) as first:
        agent = await one(first)
        assert agent.process is not None
        pid = agent.process.pid
        await agent.task("say I am at it.\nhold\nwrite note.txt it went on")
    assert set(vms.vms) == {agent.vm.id} and psutil.pid_exists(pid)
    again = await (await start()).swarm.agent("a")
    assert again.state == "working" and again.process is not None and again.process.pid == pid
    await again.steer("")
    assert (await again.finished()).state == "done"
    assert (vms.of("a") / "workspace/note.txt").read_text() == "it went on\n"


async def test_a_reconnect_remembers_history_and_state(vers: Vers, start: Start) -> None:
    agent = await one(vers)
    await done(agent, "say The first answer.", "write note.txt some")
    await done(agent, "say The second.", "fail and that is that")
    for told in ("say I wait.\nhold", None):
        if told:
            await agent.task(told)
            await until(lambda: agent.result().text)  # it is past what it was asked
        else:
            await agent.abort()
            await agent.finished()
        again = await (await start()).swarm.agent("a")
        assert again.state == agent.state == ("working" if told else "aborted")
        assert [(run.prompt, run.answers, run.outcome) for run in again.story.runs] == [
            (run.prompt, run.answers, run.outcome) for run in agent.story.runs
        ]
        assert again.story.totals == agent.story.totals and again.result().cost == agent.result().cost
    assert [run.outcome for run in again.story.runs] == ["done", "error", "aborted"]


TEXT = "Grüße — 日本語 🐍🏳️‍🌈 \u2028 ende"
SLOWLY = """
import json, os, sys
text = json.loads(sys.argv[1])
message = {"role": "assistant", "content": [{"type": "text", "text": text}], "stopReason": "stop"}
delta = {"type": "text_delta", "contentIndex": 0, "delta": text}
for record in (
    {"type": "agent_start"},
    {"type": "message_update", "assistantMessageEvent": delta},
    {"type": "message_end", "message": message},
    {"type": "agent_settled"},
):
    for byte in json.dumps(record, ensure_ascii=False).encode() + b"\\n":
        os.write(1, bytes([byte]))
"""


async def test_characters_of_several_bytes_that_come_one_byte_at_a_time_are_whole(place: Machine) -> None:
    process = await place.start([sys.executable, "-c", SLOWLY, json.dumps(TEXT)], id="pi")
    story, streamed = Story(), list[str]()
    async with aclosing(Rpc(process).events()) as events:
        async for _, record in events:
            story.feed(record)
            streamed.append(story.partial)
    assert TEXT in streamed and story.runs[-1].answers == [TEXT]


# Teardown.


async def test_an_agent_that_could_not_be_deleted_is_on_show_in_every_session_until_it_is_gone(
    vers: Vers, start: Start, vms: Farm
) -> None:
    await vers.swarm.spawn("golden", 2, labels=["a", "b"])
    vms.stubborn.add("a")
    outcomes = dict(await vers.swarm.teardown())
    assert outcomes["b"] is None and isinstance(outcomes["a"], ConflictError)
    for session in (vers, await start()):
        assert [(agent.label, agent.state) for agent in await session.swarm.agents()] == [("a", "leaving")]
    vms.stubborn.clear()
    assert await vers.swarm.teardown() == [("a", None)]
    for session in (vers, await start()):
        assert await session.swarm.agents() == [] and session.swarm.records.all() == {}
    assert vms.vms == {}
