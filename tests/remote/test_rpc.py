"""Commands to an agent are answered or fail with a clear error; no event is lost, and none comes twice."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from backgrounds import leave
from loopback import Loopback
from machines import Reached
from running import until

from pi_v_jupyter.errors import (
    AgentEndedError,
    AgentRefusedError,
    AgentTimeoutError,
    ConnectError,
    StdinError,
    UsageError,
)
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.swarm import feeds
from pi_v_jupyter.swarm.rpc import Rpc

Reach = Callable[[], Reached]
AGENT = """
import json, os, subprocess, sys, time
def say(**record):
    print(json.dumps(record, ensure_ascii=False), flush=True)
say(type="hello")
for line in sys.stdin:
    command = json.loads(line)
    kind, name = command["type"], command.get("id")
    if kind == "count":
        for number in range(command["to"]):
            say(type="number", number=number)
    if kind == "slowly":
        for number in range(command["to"]):
            say(type="number", number=number)
            time.sleep(0.001)
    if kind == "noise":
        print("no record\\u2028at all\\n[1]\\n{}\\n" + "[" * 100000, flush=True)
    if kind == "say":
        say(type="said", text=command["text"])
    if kind == "start":
        subprocess.Popen(command["words"], start_new_session=True, stdin=subprocess.DEVNULL)
    if kind == "die":
        sys.exit("cannot go on")
    if kind == "deaf":
        os.close(0)
        say(type="deaf")
        time.sleep(300)
    if kind == "silent":
        continue
    if kind == "refuse":
        say(id=name, type="response", command=kind, success=False, error="Not\\nnow")
    else:
        say(id=name, type="response", command=kind, success=True, data={"text": command.get("text")})
"""


async def started(machine: Machine, **how: Any) -> Rpc:
    words = [sys.executable, "-c", AGENT]
    return Rpc(await machine.start(words, id="pi", stdin=True, env={"PYTHONUTF8": "1"}, **how))


@pytest.fixture
async def rpc(place: Machine) -> Rpc:
    """One agent."""
    return await started(place)


async def numbers(rpc: Rpc, count: int, cursor: int | None = None) -> tuple[int, list[int]]:
    """So many of the numbers it counts, from a cursor on; and the cursor behind them."""
    got = list[int]()
    async with aclosing(rpc.events(cursor)) as found:
        async for at, event in found:
            if event["type"] == "number":
                got.append(event["number"])
                if len(got) == count:
                    return at, got
    raise AssertionError(f"it ended behind {len(got)}")


async def test_a_command_is_answered_with_its_data(rpc: Rpc) -> None:
    text = "a\u2028b\nc 日🙂" + "x" * 200_000
    assert await rpc.command("echo", text=text) == {"text": text}
    assert await asyncio.gather(*(rpc.command("echo", text=number) for number in range(20))) == [
        {"text": number} for number in range(20)
    ]
    assert not rpc._answers and rpc._reader is None, "nothing is read when nobody waits"


async def test_a_refusal_is_told_in_its_own_words(rpc: Rpc) -> None:
    with pytest.raises(AgentRefusedError, match=r"pi on .* refused refuse: Not now"):
        await rpc.command("refuse")
    assert await rpc.command("echo", text="on") == {"text": "on"}


async def test_an_answer_that_does_not_come_in_time_is_an_error_and_the_next_one_is_not(rpc: Rpc) -> None:
    await rpc.command("echo")
    with pytest.raises(AgentTimeoutError, match=r"pi on .* has not answered silent in 0\.2 s"):
        await rpc.command("silent", timeout=0.2)
    assert await rpc.command("echo", text=1) == {"text": 1}


async def test_what_is_told_without_an_answer(rpc: Rpc) -> None:
    await rpc.send("say", text="hello", id="of a dialog")
    async with aclosing(rpc.events()) as found:
        async for _, event in found:
            if event["type"] == "said":
                assert event["text"] == "hello"
                break


async def test_one_that_dies_is_told_at_once_with_its_exit_code_and_stderr(rpc: Rpc) -> None:
    waiting = asyncio.create_task(rpc.command("silent", timeout=300))
    await until(lambda: rpc._reader is not None)
    with pytest.raises(AgentEndedError, match=r"pi on .* runs no more: exit code 1") as caught:
        await rpc.command("die", timeout=300)
    assert (caught.value.exit_code, caught.value.stderr) == (1, "cannot go on")
    with pytest.raises(AgentEndedError, match="exit code 1"):
        await waiting
    with pytest.raises(AgentEndedError, match="exit code 1") as caught:
        await rpc.command("echo", timeout=300)
    assert caught.value.stderr == "cannot go on"
    with pytest.raises(StdinError, match="runs no more"):
        await rpc.send("echo")


async def test_one_that_is_killed_is_told_with_its_signal(rpc: Rpc) -> None:
    waiting = asyncio.create_task(rpc.command("silent", timeout=300))
    await rpc.command("echo")
    os.kill(rpc.process.pid, signal.SIGKILL)
    with pytest.raises(AgentEndedError, match="ended by SIGKILL") as caught:
        await waiting
    assert (caught.value.exit_code, caught.value.signal) == (None, "SIGKILL")


async def test_one_that_dies_is_told_though_what_it_started_goes_on(rpc: Rpc) -> None:
    await rpc.command("start", words=["sleep", "300"])
    with pytest.raises(AgentEndedError, match="exit code 1") as caught:
        await rpc.command("die", timeout=300)
    assert caught.value.stderr == "cannot go on"
    assert (rpc.process.state, rpc.process.exited, rpc.process.exit_code) == ("running", True, 1)
    later = await rpc.process.refresh()
    assert (later.outcome, later.exit) == ("running", "exit code 1")
    types = [event["type"] async for _, event in Rpc(later).events()]
    assert types == ["hello", "response", "process_end"]


async def test_one_whose_minder_is_killed_is_lost(rpc: Rpc) -> None:
    waiting = asyncio.create_task(rpc.command("silent", timeout=300))
    await rpc.command("echo")
    os.kill(rpc.process.status.minder, signal.SIGKILL)
    with pytest.raises(AgentEndedError, match="lost"):
        await waiting


async def test_one_that_listens_no_more_but_runs_is_told_as_it_is(rpc: Rpc) -> None:
    with pytest.raises(AgentTimeoutError):
        await rpc.command("deaf", timeout=1)
    async with aclosing(rpc.events()) as found:
        async for _, event in found:
            if event["type"] == "deaf":
                break
    with pytest.raises(StdinError, match="has closed its stdin"):
        await rpc.command("echo")


async def test_events_come_with_cursors_and_the_end(rpc: Rpc) -> None:
    await rpc.command("count", to=3)
    with pytest.raises(AgentEndedError):
        await rpc.command("die")
    found = [event async for event in rpc.events()]
    types = [event["type"] for _, event in found]
    assert types == ["hello", "number", "number", "number", "response", "process_end"]
    end = found[-1][1]
    assert end == {
        **{"type": "process_end", "state": "ended", "exit_code": 1, "signal": None, "stderr": "cannot go on"}
    }
    for number, (cursor, _) in enumerate(found[:-1]):
        assert [event async for event in rpc.events(cursor)] == found[number + 1 :]


async def test_what_is_no_record_is_noise(rpc: Rpc) -> None:
    await rpc.command("noise")
    with pytest.raises(AgentEndedError):
        await rpc.command("die")
    noise = [event["text"] async for _, event in rpc.events() if event["type"] == "process_noise"]
    assert noise == ["no record\u2028at all", "[1]", "{}", "[" * 100_000]


async def test_an_agent_that_was_started_again_is_one_stream(place: Machine, rpc: Rpc) -> None:
    await rpc.command("count", to=1)
    again = await started(place, restart=True)
    await again.command("count", to=1)
    with pytest.raises(AgentEndedError):
        await again.command("die")
    types = [event["type"] async for _, event in again.events(0)]
    run = ["hello", "number", "response"]
    assert types == [*run, "process_again", *run, "process_end"]
    assert [event["type"] async for _, event in again.events()] == [*run, "process_end"]


async def test_two_notebooks_at_once_each_get_their_answers_and_all_events(reach: Reach) -> None:
    first = await started(reach())
    others = [Rpc(await reach().process("pi")) for _ in range(2)]
    clients = [first, *others]

    async def ask(client: Rpc, letter: str) -> None:
        for size in (10, 100_000, 1):
            assert await client.command("echo", text=letter * size) == {"text": letter * size}

    reading = [asyncio.create_task(numbers(client, 200)) for client in clients]
    await asyncio.gather(*(ask(client, letter) for client, letter in zip(clients, "abc", strict=True)))
    await first.command("count", to=200)
    assert [got for _, got in await asyncio.gather(*reading)] == [list(range(200))] * 3


async def test_no_event_is_lost_or_doubled_through_cuts_and_new_kernels(
    backing: Loopback, reach: Reach
) -> None:
    assert backing.front is not None
    machine = reach()
    rpc, cursor, got = await started(machine), None, list[int]()
    await rpc.send("slowly", to=3000)
    for part in range(3):
        task = asyncio.create_task(numbers(rpc, 1000, cursor))
        for _ in range(3):
            await asyncio.sleep(0.1)
            backing.front.cut()
        cursor, more = await task
        got += more
        if part < 2:
            await leave(machine)
            machine = reach()
            rpc = Rpc(await machine.process("pi"))
    assert got == list(range(3000))


async def test_a_command_is_obeyed_once_through_cuts(backing: Loopback, reach: Reach) -> None:
    assert backing.front is not None
    rpc = await started(reach())
    for number in range(6):
        asking = asyncio.create_task(rpc.command("say", text=number))
        for _ in range(number):
            await asyncio.sleep(0)
        backing.front.cut()
        await asking
    await rpc.process.write_eof()
    assert [event["text"] async for _, event in rpc.events() if event["type"] == "said"] == list(range(6))


async def test_who_comes_later_joins_and_who_is_slow_loses_nothing(
    rpc: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "QUEUED", 50)
    first = asyncio.create_task(numbers(rpc, 6000))
    await rpc.command("count", to=2000)

    async def slow() -> list[int]:
        got = list[int]()
        async with aclosing(rpc.batches()) as batches:
            async for batch in batches:
                got += [event["number"] for _, event in batch if event["type"] == "number"]
                await asyncio.sleep(0.05)
                if len(got) == 6000:
                    return got
        raise AssertionError(f"it ended behind {len(got)}")

    later = asyncio.create_task(slow())
    await rpc.command("count", to=2000)
    third = asyncio.create_task(numbers(rpc, 6000))
    await rpc.command("count", to=2000)
    wanted = list(range(2000)) * 3
    assert (await first)[1] == await later == (await third)[1] == wanted
    assert rpc._reader is None and not rpc._feeds


async def test_all_who_read_at_the_same_place_are_fed_by_one_reader(rpc: Rpc) -> None:
    readers = [asyncio.create_task(numbers(rpc, 1)) for _ in range(5)]
    await until(lambda: len(rpc._feeds) == 5)
    tasks = [task for task in asyncio.all_tasks() if "Rpc._read" in repr(task)]
    assert len(tasks) == 1
    await rpc.command("count", to=1)
    assert [got for _, got in await asyncio.gather(*readers)] == [[0]] * 5


async def test_a_session_that_ends_ends_who_waits(reach: Reach) -> None:
    machine = reach()
    rpc = await started(machine)
    waiting = asyncio.create_task(rpc.command("silent", timeout=300))
    reading = asyncio.create_task(numbers(rpc, 1))
    await rpc.command("echo")
    await leave(machine)
    for task in (waiting, reading):
        with pytest.raises(ConnectError):
            await task


async def test_what_cannot_be_said(rpc: Rpc) -> None:
    for fields in ({"text": object()}, {"text": float("nan")}, {"text": {1: set()}}):
        with pytest.raises(UsageError, match="echo cannot be said to pi"):
            await rpc.command("echo", **fields)
    for timeout in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="no time to wait"):
            await rpc.command("echo", timeout=timeout)
    with pytest.raises(UsageError, match="no cursor"):
        await anext(rpc.events(-1))
    assert await rpc.command("echo", text=1) == {"text": 1}


# The real one.


@pytest.fixture
async def pi(place: Machine, pi_folder: str, tmp_path: Path) -> AsyncIterator[BackgroundProcess]:
    """pi, without a key, a model or a configuration of the user's."""
    process = await place.start(
        ["pi", "--mode", "rpc", "--offline"],
        id="pi",
        stdin=True,
        cwd=str(tmp_path),
        env={
            "PATH": f"{pi_folder}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "PI_CODING_AGENT_DIR": str(tmp_path / "agent"),
        },
    )
    yield process
    await process.stop("SIGKILL")


async def test_pi_answers_refuses_and_is_seen_to_be_killed(pi: BackgroundProcess) -> None:
    rpc = Rpc(pi)
    state, commands = await asyncio.gather(rpc.command("get_state"), rpc.command("get_commands"))
    assert (state["isStreaming"], state["pendingMessageCount"]) == (False, 0)
    assert isinstance(commands["commands"], list)
    with pytest.raises(AgentRefusedError, match=r"pi on .* refused set_model: Model not found"):
        await rpc.command("set_model", provider="no", modelId="such")
    with pytest.raises(AgentRefusedError, match="refused nonsense: Unknown command"):
        await rpc.command("nonsense")
    waiting = asyncio.create_task(rpc.command("bash", command="sleep 300", timeout=300))
    await rpc.command("get_state")
    os.kill(pi.pid, signal.SIGKILL)
    with pytest.raises(AgentEndedError, match="ended by SIGKILL"):
        await waiting
    types = [event["type"] async for _, event in rpc.events(0)]
    assert types.count("response") == 5 and types[-1] == "process_end"


async def test_pi_obeys_two_clients_and_ends_with_its_stdin(place: Machine, pi: BackgroundProcess) -> None:
    clients = [Rpc(pi), Rpc(await place.process("pi"))]
    for name, client in zip(itertools.cycle(["a", "b" * 200_000]), clients * 3, strict=False):
        await client.command("set_session_name", name=name)
        assert (await client.command("get_state"))["sessionName"] == name
    await pi.write_eof()
    assert (await pi).exit_code == 0
