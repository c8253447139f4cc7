"""The program on an agent's VM that talks to its pi, with a real pi on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pi_tools import Home, Model, new_home, scripted
from running import sockets, until


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    with scripted(tmp_path) as model:
        yield model


@pytest.fixture
async def home(tmp_path: Path, model: Model) -> AsyncIterator[Home]:
    """A home without a pi that runs; what is started in it is ended."""
    home = new_home(tmp_path, model)
    home.identify(vmId="vm-1", agentId="one", rootVmId="vm-1")
    yield home
    call(home, "stop")
    await until(lambda: not any(lives_in(each, home) for each in psutil.process_iter(["environ"])))


def lives_in(process: psutil.Process, home: Home) -> bool:
    return (process.info["environ"] or {}).get("HOME") == home.env["HOME"]


def called(home: Home, *words: str, given: object = None) -> subprocess.CompletedProcess[str]:
    text = given if isinstance(given, str) else json.dumps(given)
    return subprocess.run(
        ["swarm-agent", *words], env=home.env, input=text, capture_output=True, text=True, timeout=100
    )


def call(home: Home, *words: str, given: object = None) -> Any:
    """What it answers."""
    done = called(home, *words, given=given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(home: Home, *words: str, given: object = None) -> str:
    """Why it does not."""
    done = called(home, *words, given=given)
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1, done
    return done.stderr


async def state(home: Home, wanted: str) -> dict[str, Any]:
    await until(lambda: call(home, "status")["state"] == wanted)
    return dict(call(home, "status"))


async def test_a_task_is_sent_followed_and_read(home: Home, model: Model) -> None:
    assert "it was never started" in refusal(home, "send", given={"type": "get_state"})
    started = call(home, "start", "--model", "scripted/rehearsal")
    assert (started["state"], started["model"]) == ("idle", "scripted/rehearsal")
    note = str(home.folder / "workspace" / "note.md")
    words = "Two lines.\u2028\u2029 And \x1b[1mmore." + "x" * 100_000
    model.says(("write", {"path": note, "content": "hi"}), words)
    task = "Write a note, then say what you did. " + "é" * 100_000
    assert call(home, "send", given={"type": "prompt", "message": task})["success"]
    status = await state(home, "done")
    assert Path(note).read_text() == "hi"
    assert status["text"] == words[-2000:] and status["cost"] == pytest.approx(2 * 0.0045)
    assert status["task"] == task[:2000] and status["artifacts"] == [note]
    assert called(home, "read").stdout == words + "\n"
    assert called(home, "read", "--tail", "5").stdout == "xxxxx\n"

    everything = json.dumps(call(home, "send", given={"type": "get_messages"}), ensure_ascii=False)
    assert task in everything and "x" * 100_000 in everything

    call(home, "start")  # what runs goes on
    assert call(home, "status")["state"] == "done"
    call(home, "stop")
    ended = call(home, "status")
    assert ended["state"] == "dead" and ended["text"] == words[-2000:] and ended["cost"] > 0
    call(home, "start")
    assert call(home, "status")["state"] == "done", "it goes on with its session"


async def test_how_a_run_ended_is_told(home: Home, model: Model) -> None:
    settings = home.folder / ".pi" / "agent" / "settings.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "retry": {"enabled": False}}))
    call(home, "start", "--model", "scripted/rehearsal")
    model.says(("bash", {"command": "sleep 300"}))
    call(home, "send", given={"type": "prompt", "message": "Wait."})
    assert call(home, "status")["state"] == "working"
    busy = call(home, "send", given={"type": "prompt", "message": "Again."})
    assert not busy["success"] and "already" in busy["error"]
    call(home, "send", given={"type": "abort"})
    stopped = await state(home, "aborted")
    assert stopped["task"] == "Wait." and "why" not in stopped
    assert home.status("one")["status"] == "aborted"
    model.says(500)
    call(home, "send", given={"type": "prompt", "message": "Fail."})
    failed = await state(home, "error")
    assert "500" in failed["why"]
    assert home.status("one")["status"] == "error" and "500" in home.status("one")["summary"]


async def test_why_a_run_was_stopped_for_its_budget_is_told(home: Home, model: Model) -> None:
    home.identify(vmId="vm-1", agentId="one", rootVmId="vm-0", budgetUsd=0.004)
    call(home, "start", "--model", "scripted/rehearsal")
    model.says(("bash", {"command": "true"}), "Done.")
    call(home, "send", given={"type": "prompt", "message": "Go on."})
    assert (await state(home, "aborted"))["why"] == "budget used up: $0.0045 of $0.0040"


async def test_a_pi_that_is_gone_is_known_at_once(home: Home) -> None:
    call(home, "start")
    (pi,) = [each for each in psutil.process_iter(["cmdline", "environ"]) if named_pi(each, home)]
    pi.send_signal(signal.SIGSTOP)
    silent = await asyncio.to_thread(refusal, home, "send", "--timeout", "0.5", given={"type": "get_state"})
    assert "pi gave no answer to 'get_state' within 0.5 s" in silent
    minder = pi.ppid()
    before = sockets(minder)
    waiting = asyncio.create_task(asyncio.to_thread(refusal, home, "send", given={"type": "get_state"}))
    await until(lambda: sockets(minder) - before)  # it has another client
    os.kill(pi.pid, signal.SIGKILL)
    assert "pi ended before it answered (it ended: SIGKILL" in await waiting
    assert "No pi runs on this machine (it ended: SIGKILL" in refusal(home, "send", given={})
    assert call(home, "status")["state"] == "dead"


def named_pi(process: psutil.Process, home: Home) -> bool:
    words = process.info["cmdline"] or []
    return lives_in(process, home) and words[:1] == ["pi"]


async def test_what_makes_no_sense_is_refused_in_a_sentence(home: Home) -> None:
    assert "no JSON" in refusal(home, "send", given="{")
    assert "no JSON object" in refusal(home, "send", given="[1]")
    call(home, "start")
    assert "not with that model" in refusal(home, "start", "--model", "no/such")
    assert call(home, "status")["state"] == "idle"


async def reserved(home: Home, *labels: str | None, most: int = 20) -> list[dict[str, Any]]:
    order = {"do": "reserve", "labels": labels, "like": {"role": "agent"}, "prefix": "a", "most": most}
    return list(await asyncio.to_thread(call, home, "registry", given=order))


async def test_changes_of_the_registry_do_not_undo_each_other(home: Home) -> None:
    made = await asyncio.gather(*(reserved(home, None) for _ in range(12)))
    entries = home.registry()
    assert sorted(entry["agentId"] for entry in entries) == sorted(f"a{n}" for n in range(1, 13))
    assert {one["ticket"] for (one,) in made} == {entry["ticket"] for entry in entries}
    assert (home.swarm / "registry.json").stat().st_mode & 0o777 == 0o600


async def test_the_registry_keeps_places_and_forgets_what_is_gone(home: Home) -> None:
    (home.swarm / "registry.json").write_text('{"vms": [{"vmId": "old", "agentId": "theirs"}], "more": 1}')
    (one,) = await reserved(home, "x")
    call(home, "registry", given={"do": "fill", "ticket": one["ticket"], "vmId": "vm-2", "status": "ready"})
    again = {"do": "reserve", "labels": ["x"], "like": {}, "prefix": "a", "most": 20}
    assert "'x' in this swarm already" in refusal(home, "registry", given=again)
    assert "maxVms: this swarm may have 2 VMs and has 2" in refusal(
        home, "registry", given=again | {"most": 2}
    )
    pruned = call(home, "registry", given={"do": "prune", "alive": []})
    assert [entry["agentId"] for entry in pruned] == ["theirs"], "the other may be newer than the list"
    dropped = call(home, "registry", given={"do": "drop", "vmId": "vm-2"})
    assert [entry["agentId"] for entry in dropped] == ["x"] and home.registry() == []
    (late,) = await reserved(home, "late")
    book = json.loads((home.swarm / "registry.json").read_text())
    assert book["more"] == 1
    book["vms"][0]["reservedAt"] = 0
    (home.swarm / "registry.json").write_text(json.dumps(book))
    given_up = refusal(home, "registry", given={"do": "fill", "ticket": late["ticket"], "vmId": "vm-3"})
    assert "given up" in given_up
