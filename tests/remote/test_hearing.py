"""An agent is heard whole by all who attach to it; it is told when it has died or is out of reach."""

from __future__ import annotations

import asyncio
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

from pi_v_jupyter.remote import login
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.swarm import feeds
from pi_v_jupyter.swarm.agent import Agent
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


async def test_a_dead_pi_is_dead_though_what_it_has_started_lives(reach: Reach) -> None:
    machine = reach()
    await started(machine)
    ann = agent(machine)
    await ann.attach()
    await ann.task("strand")
    async with asyncio.timeout(10):
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
    monkeypatch.setattr(login, "KEEPALIVE", 0.2)
    machine = Reached(Connection(backing, MemoryPins()))
    try:
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
