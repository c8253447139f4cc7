"""An agent is heard whole by all who attach to it; it is told when it has died or is out of reach."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import stand_in_pi
from backgrounds import leave
from loopback import Loopback, MemoryPins
from machines import Reached
from running import until

from pi_v_jupyter.errors import AgentError, AgentTimeoutError
from pi_v_jupyter.remote import login
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.swarm import feeds
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.changes import Change, RunEnded
from pi_v_jupyter.swarm.hearing import NO_ANSWER, PI
from pi_v_jupyter.swarm.membership import Membership

Reach = Callable[[], Reached]
MUCH = "say " + "word " * 3000


def agent(machine: Reached) -> Agent:
    """The agent of a machine, as a kernel that comes anew has it."""
    member = Membership(agent="ann", swarm="swarm")
    return Agent(cast(Any, machine), member)


async def started(machine: Reached) -> BackgroundProcess:
    """A pi that only seems to be one."""
    return await machine.start([sys.executable, str(Path(stand_in_pi.__file__))], id=PI, stdin=True)


async def worked(machine: Reached) -> Agent:
    """One that has said a lot."""
    await started(machine)
    first = agent(machine)
    await first.attach()
    await first.task(MUCH)
    assert (await first.finished()).state == "done"
    await first.close()
    return agent(machine)


@pytest.mark.parametrize("queued", [feeds.QUEUED, 10], ids=["in one go", "in pieces"])
async def test_all_who_attach_at_once_hear_all_that_was_before(
    reach: Reach, monkeypatch: pytest.MonkeyPatch, queued: int
) -> None:
    found = await worked(reach())
    monkeypatch.setattr(feeds, "QUEUED", queued)

    async def heard() -> str:
        await found.attach()
        return found.state

    assert await asyncio.gather(*(heard() for _ in range(3))) == ["done"] * 3
    await found.close()


async def test_one_who_gives_up_attaching_spoils_it_for_nobody(reach: Reach) -> None:
    found = await worked(reach())
    first = asyncio.create_task(found.attach())
    await until(lambda: found.process is not None)
    second = asyncio.create_task(found.attach())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    await second
    assert (found.state, found.trouble) == ("done", "")
    assert (await found.task("say again")) is not None
    assert (await found.finished()).state == "done"
    await found.close()


async def test_one_that_is_left_while_it_is_heard_out_keeps_nobody_waiting(reach: Reach) -> None:
    found = await worked(reach())
    attaching = asyncio.create_task(found.attach())
    await until(lambda: found.process is not None)
    await found.close()
    async with asyncio.timeout(20):
        await attaching
        await found.attach()
    assert found.state == "done"
    await found.close()


HOSTILE = [
    {"type": "process_end"},
    {"type": "process_end", "state": "ended", "exit_code": 0, "signal": None, "stderr": ""},
    {"type": "process_again"},
    {"type": "process_missed", "bytes": "many"},
    {"type": "response", "id": "someone-else", "command": ["prompt"], "success": True, "data": 5},
    {"type": "response", "id": {"a": []}, "command": {}, "success": False, "error": {}},
    {"type": "response", "id": None, "command": "get_state", "success": True, "data": {"model": [1]}},
    {"type": "message_end", "message": {"role": ["user"], "content": {}, "timestamp": 1e308}},
    {"type": "message_end", "message": {"role": "assistant", "content": [[]], "responseId": {}, "usage": 1}},
    {"type": "message_update", "assistantMessageEvent": [{}]},
    {"type": "tool_execution_start", "toolCallId": {}, "toolName": [], "args": 10**300},
    {"type": "tool_execution_end", "toolCallId": [], "result": {"details": {"patch": 9}, "content": 7}},
    {"type": "auto_retry_end", "finalError": {}},
    {"type": "queue_update", "steering": 3, "followUp": {"a": 10**400}},
    {"type": "extension_ui_request", "id": [], "method": {}, "options": 9},
    {
        "type": "extension_ui_request",
        "method": "setStatus",
        "statusKey": "pi-v-clock",
        "statusText": "9" * 19,
    },
    {"type": "extension_error", "error": "\ud800"},
]
UNREAD = '{"type":"a","n":' + "9" * 5000 + "}\n" + '{"type":' + "[" * 5000 + "\n\x00\xff\n"


async def test_whatever_is_written_among_pis_records_its_agent_ends_as_it_does(
    reach: Reach, tmp_path: Path
) -> None:
    machine = reach()
    spout = tmp_path / "hostile"
    deep = '{"type":"response","id":' + "[" * 900 + "]" * 900 + "}\n"
    spout.write_text("".join(json.dumps(line) + "\n" for line in HOSTILE) + deep + UNREAD)
    await started(machine)
    ann = agent(machine)
    await ann.attach()
    told = list[Change]()
    ann.listen(told.extend)
    await ann.task(f"spout {spout}\nsay still here\nhold")
    await until(lambda: "still here" in ann.result().text)
    assert (ann.state, ann.trouble) == ("working", "")
    assert ann.story.noise >= 4
    await ann.abort()
    assert (await ann.finished()).state == "aborted"
    another = agent(machine)
    await another.attach()
    assert another.story.runs == ann.story.runs and another.story.noise == ann.story.noise
    await ann.close()
    await another.close()


async def test_a_listener_that_fails_keeps_nothing_from_the_others(
    reach: Reach, caplog: pytest.LogCaptureFixture
) -> None:
    await started(machine := reach())
    ann = agent(machine)
    await ann.attach()

    def fail(_: object) -> None:
        raise ValueError("no such text")

    ann.listen(fail)
    await ann.task("say Done.")
    assert (await ann.finished()).state == "done"
    assert "no such text" in caplog.text
    await ann.close()


async def test_who_waits_for_one_that_is_closed_is_told_so(reach: Reach) -> None:
    await started(machine := reach())
    ann = agent(machine)
    await ann.attach()
    await ann.task("hold")
    waiting = asyncio.create_task(ann.finished())
    await asyncio.sleep(0)
    await ann.close()
    async with asyncio.timeout(10):
        with pytest.raises(AgentError, match="ann was working, and is heard no more: it was deleted"):
            await waiting


async def test_one_that_is_restarted_while_others_attach_is_heard_once(reach: Reach) -> None:
    await started(machine := reach())
    ann = agent(machine)
    await ann.attach()
    async with ann._hearing._catching_up:  # somebody attaches now, and another waits for that
        ann._hearing.leave()
        second = asyncio.create_task(ann.attach())
        await asyncio.sleep(0)
        assert ann.process is not None
        again = asyncio.create_task(ann._hearing.begin(ann.process, 30))
        await asyncio.sleep(0)
    await asyncio.gather(second, again)
    told = list[Change]()
    ann.listen(told.extend)
    await ann.task("say Done.")
    await ann.finished()
    assert [type(change) for change in told].count(RunEnded) == 1
    await ann.close()


async def test_an_answer_whose_story_does_not_come_is_an_error_in_time(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    await started(machine := reach())
    ann = agent(machine)
    await ann.attach()

    async def answered(*_: object, **__: object) -> tuple[int, dict[str, object]]:
        return 1 << 60, {}

    monkeypatch.setattr(ann._hearing.rpc, "ask", answered)
    async with asyncio.timeout(20):
        with pytest.raises(AgentTimeoutError, match=r"What ann has written does not come: nothing for 0.2 s"):
            await ann.command("get_state", timeout=0.2)
    monkeypatch.undo()
    assert await ann.command("get_state")
    await ann.close()


async def test_a_dead_pi_is_dead_though_what_it_has_started_lives(reach: Reach) -> None:
    machine = reach()
    await started(machine)
    ann = agent(machine)
    await ann.attach()
    await ann.task("strand")
    async with asyncio.timeout(60):
        assert (await ann.finished()).state == "lost"
    assert ann.process is not None and ann.process.alive, "it holds its pipes"
    assert ann.story.death is not None
    assert (ann.story.death.code, ann.story.death.stderr) == (3, "pi: out of memory")
    another = agent(machine)
    await another.attach()
    assert (another.state, another.story.death) == ("lost", ann.story.death)
    assert await another._running() is None


async def test_one_that_is_out_of_reach_says_so_until_it_is_back(
    backing: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Reached(Connection(backing, MemoryPins()))
    try:
        with monkeypatch.context() as patched:  # for this way only: the other may be a slow one
            patched.setattr(login, "KEEPALIVE", 0.5)
            await machine.connect()
        await started(machine)
        ann = agent(machine)
        await ann.attach()
        await ann.task("hold")
        told = list[str]()
        ann.listen(lambda changes: None if changes else told.append(ann.trouble))
        waiting = asyncio.create_task(ann.finished())
        assert backing.front is not None
        backing.front.stall()  # as it is with a VM that stands still
        await until(lambda: told, 30)
        await until(lambda: not ann.trouble, 30)
        assert told == [NO_ANSWER, ""]
        assert not waiting.done() and ann.state == "working"
        await ann.abort()
        assert (await waiting).state == "aborted"
        await ann.close()
    finally:
        await leave(machine)
