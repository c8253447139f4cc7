"""What is on record of VMs that are asked for: who waits for them, and what was promised."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import psutil
import pytest

from pi_v_jupyter.errors import ApiError, UsageError
from pi_v_jupyter.state import State
from pi_v_jupyter.swarm import intents
from pi_v_jupyter.swarm.intents import Intent, Intents
from pi_v_jupyter.swarm.membership import Membership, Records

URL = "http://platform/api/v1"
COMMIT: Any = SimpleNamespace(id="c-1")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.json")


@pytest.fixture
def ours(state: State) -> Intents:
    fleet: Any = SimpleNamespace(state=state, settings=SimpleNamespace(base_url=URL))
    return Intents(fleet, Records(state, URL))


def called(*labels: str) -> intents.Choose:
    return lambda recorded, coming: labels


def kept(state: State) -> dict[str, str]:
    return state.all(URL, intents.KIND)


def of_process(pid: int, **others: Any) -> Intent:
    return Intent("k", "c-1", ("a",), pid=pid, started=psutil.Process(pid).create_time(), **others)


async def test_one_is_waited_for_while_its_process_runs() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        intent = of_process(process.pid)
        assert intent.waited_for
    assert not intent.waited_for


async def test_another_process_that_got_the_same_pid_does_not_wait_for_it() -> None:
    parent = of_process(os.getppid())
    assert parent.waited_for and not replace(parent, started=parent.started - 3600).waited_for


async def test_one_of_another_host_is_left_alone_until_its_call_must_have_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        elsewhere = of_process(process.pid, host="node-7")  # its pid is soon none of ours
    assert elsewhere.waited_for
    assert not replace(elsewhere, since=time.time() - intents.SETTLED - 1).waited_for
    assert replace(of_process(os.getpid()), host="node-7").waited_for, "though it has the pid of this process"


async def test_the_answer_puts_all_vms_on_record_and_the_intent_off_it(ours: Intents, state: State) -> None:
    async with ours.asking(COMMIT, called("a", "b")) as intent:
        assert intent.labels == ("a", "b") and kept(state) == {intent.key: intent.dump()}
        await ours.answered(intent, {"vm-1": Membership("a"), "vm-2": Membership("b")})
        assert kept(state) == {}
    assert ours.records.all() == {"vm-1": Membership("a"), "vm-2": Membership("b")}


@pytest.mark.parametrize(("status", "stays"), [(404, False), (429, False), (409, True), (503, True)])
async def test_it_is_off_record_when_the_platform_has_surely_made_nothing(
    ours: Intents, state: State, status: int, stays: bool
) -> None:
    with pytest.raises(ApiError):
        async with ours.asking(COMMIT, called("a")):
            raise ApiError("no", status=status)
    assert bool(kept(state)) == stays


async def test_labels_that_cannot_be_leave_nothing_on_record(ours: Intents, state: State) -> None:
    def refuse(recorded: Mapping[str, Membership], coming: Sequence[str]) -> Sequence[str]:
        raise UsageError("a is taken.")

    with pytest.raises(UsageError):
        async with ours.asking(COMMIT, refuse):
            pytest.fail("it was asked for")
    assert kept(state) == {}


async def test_who_chooses_labels_knows_those_that_are_being_made(ours: Intents) -> None:
    seen = list[Sequence[str]]()

    def choose(recorded: Mapping[str, Membership], coming: Sequence[str]) -> Sequence[str]:
        seen.append([*coming])
        return ["b"]

    async with ours.asking(COMMIT, called("a")), ours.asking(COMMIT, choose) as second:
        await ours.answered(second, {"vm-2": Membership("b")})
        async with ours.asking(COMMIT, choose):
            assert seen == [["a"], ["a"]]


async def test_others_on_the_loop_go_on_while_another_program_has_the_state_locked(
    ours: Intents, tmp_path: Path
) -> None:
    async def ask() -> None:
        async with ours.asking(COMMIT, called("a")) as intent:
            await ours.answered(intent, {"vm-1": Membership("a")})

    with filelock.FileLock(tmp_path / "state.lock"):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)  # or this would be over when the lock has not come in time
        assert not asking.done()
    await asking


async def test_a_stop_before_the_call_leaves_nothing_on_record(
    ours: Intents, state: State, tmp_path: Path
) -> None:
    async def ask() -> None:
        async with ours.asking(COMMIT, called("a")):
            pytest.fail("it was asked for")

    with filelock.FileLock(tmp_path / "state.lock"):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.get_running_loop().shutdown_default_executor()  # whatever it has begun is over
    assert kept(state) == {}
