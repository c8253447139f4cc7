"""A stopped process is gone with all that came from it, whatever that does about it."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from backgrounds import gone, marked
from machines import Reached
from running import alive, links, until

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.background import signal_number

CHILDREN = {
    "that ignore signals": "for n in 1 2 3; do (trap '' TERM HUP INT; while :; do sleep 0.05; done) & done",
    "in sessions of their own, their pipes closed": (
        "setsid sh -c 'trap \"\" TERM; exec >/dev/null 2>&1; while :; do sleep 0.05; done' & sleep 0.1"
    ),
    "that stand still": "sleep 300 & kill -STOP $!",
    "in job control": "set -m; sleep 300 & sleep 301 & set +m",
    "in pipes": "yes | cat >/dev/null &",
}
# However a test fails, they end by themselves: nobody else could catch them.
FORKS = """\
import os, signal, time
end = time.monotonic() + 45
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
"""
LOOPS = {
    "a chain": "while time.monotonic() < end:\n    if os.fork(): os._exit(0)",
    "a chain of sessions": "while time.monotonic() < end:\n    if os.fork(): os._exit(0)\n    os.setsid()",
    "a few that replace each other": (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(5): os.fork()\n"
        "while time.monotonic() < end:\n    if os.fork(): os._exit(0)"
    ),
    "a daemon": (
        "if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
        "os.closerange(0, 100)\nsignal.pause()\nwhile True: signal.pause()"
    ),
}


@pytest.fixture
def word() -> str:
    """On the command line of all that a test runs in the background."""
    return f"of-{secrets.token_hex(6)}"


@pytest.mark.parametrize("children", CHILDREN.values(), ids=CHILDREN)
async def test_children_are_gone_too(place: Machine, word: str, children: str) -> None:
    process = await place.start(["bash", "-c", f"{children}\necho up; wait; exec sleep 300", word], id="web")
    await process.ready("up")
    pids = list(
        map(
            int,
            (await place.run(f"ps -eo pid,sid,ppid | awk '$2 == {process.pid} {{print $1}}'")).stdout.split(),
        )
    )
    assert process.pid in pids
    await process.stop(grace=0.5)
    assert process.state == "ended"
    await gone([*marked(word), *pids, process.status.minder])


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
async def test_forks_that_run_away_are_caught(place: Machine, word: str, loop: str) -> None:
    process = await place.start([sys.executable, "-c", FORKS + loop, word], id="web")
    await process.ready("up")
    async with asyncio.timeout(30):
        await process.stop(grace=0.3)
    assert (process.state, process.stopped_by) == ("ended", "SIGKILL")
    await gone([process.status.minder])
    assert not marked(word)


async def test_one_that_obeys_is_stopped_by_the_signal(place: Machine) -> None:
    process = await place.start(
        "trap 'echo bye; exit 4' INT; echo up; while :; do sleep 0.01; done", id="web"
    )
    await process.ready("up")
    await process.stop("int")
    assert (process.stopped_by, process.exit_code, process.signal) == ("SIGINT", 4, None)
    assert "bye" in await process.logs()
    assert (await process.stop()).stopped_by == "SIGINT", "nothing to do"


async def test_one_that_ignores_it_is_killed_when_its_grace_is_over(place: Machine) -> None:
    process = await place.start("trap '' TERM; echo up; while :; do sleep 0.01; done", id="web")
    await process.ready("up")
    stopping = asyncio.create_task(process.stop(grace=300))
    other = await place.process("web")
    await asyncio.sleep(0)
    assert alive(process.pid) and not stopping.done()
    await other.stop("KILL")
    await stopping
    assert (process.signal, process.stopped_by) == ("SIGKILL", "SIGKILL")
    assert (other.signal, other.stopped_by) == ("SIGKILL", "SIGKILL")


async def test_one_that_stands_still_obeys(place: Machine) -> None:
    process = await place.start("trap 'exit 5' TERM; echo up; kill -STOP $$; exec sleep 300", id="web")
    await process.ready("up")
    await until(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T")
    await process.stop()
    assert (process.exit_code, process.stopped_by) == (5, "SIGTERM")


async def test_many_who_stop_it_at_once(reach: Callable[[], Reached]) -> None:
    machines = [reach() for _ in range(3)]
    await machines[0].start("exec sleep 300", id="web")
    processes = [await machine.process("web") for machine in machines * 3]
    await asyncio.gather(*(process.stop() for process in processes))
    assert {process.outcome for process in processes} == {"ended by SIGTERM"}


async def test_a_stop_reaches_this_run_only(place: Machine) -> None:
    first = await place.start("exec sleep 300", id="web")
    stale = await place.process("web")
    await first.stop()
    second = await place.start("exec sleep 300", id="web")
    await stale.stop()
    assert stale.state == "lost" and (await second.refresh()).state == "running"


@pytest.mark.parametrize("wrong", ["SIGNONE", "", "99", "-9", "0", "SIG9", "²", 1000])
async def test_signals_that_are_none(place: Machine, wrong: str | int) -> None:
    process = await place.start("exec sleep 300", id="web")
    with pytest.raises(UsageError, match="There is no signal"):
        await process.stop(wrong)
    assert (await process.refresh()).state == "running"


@pytest.mark.parametrize("name", ["SIGTERM", "TERM", "term", "15", 15, signal.SIGTERM])
def test_a_signal_by_any_of_its_names(name: str | int) -> None:
    assert signal_number(name) == 15


async def test_what_a_killed_minder_leaves_is_lost_and_can_be_stopped(place: Machine, word: str) -> None:
    stubborn = "(trap '' TERM; while :; do sleep 0.05; done) & echo one; exec sleep 300"
    process = await place.start(["bash", "-c", stubborn, word], id="web")
    await process.ready("one")
    waiting = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    os.kill(process.status.minder, signal.SIGKILL)
    await waiting
    assert process.state == "lost" and re.fullmatch("lost, and [23] of its processes run on", process.outcome)
    assert [(each.id, each.state, each.alive) for each in await place.processes()] == [("web", "lost", True)]
    assert await (await place.process("web")).logs() == ["one"]
    for refused in (place.start("true", id="web"), process.remove()):
        with pytest.raises(UsageError, match="web runs"):
            await refused
    await (await place.process("web")).stop(grace=0.2)
    assert not marked(word)
    await process.refresh()
    assert (process.outcome, process.alive) == ("lost", False)


async def test_one_that_is_lost_is_replaced_by_a_restart_and_its_name_is_free_then(place: Machine) -> None:
    process = await place.start("echo one; exec sleep 300", id="web")
    await process.ready("one")
    os.kill(process.status.minder, signal.SIGKILL)
    await process.wait()
    again = await place.start("echo two; exec sleep 300", id="web", restart=True)
    await again.ready("two")
    assert not alive(process.pid) and (await again.refresh()).state == "running"
    assert [line for line in await again.logs() if "again" not in line] == ["one", "two"]


async def test_a_minder_has_nothing_of_the_program_it_was_forked_from(place: Machine) -> None:
    process = await place.start("echo up; kill -STOP $$", id="web")
    await until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    assert await process.logs() == ["up"]
    files = {link for link in links(process.status.minder) if link.startswith("/") and link != "/dev/null"}
    assert {Path(file).suffix or Path(file).name for file in files} == {".log", "lock"}
    mine = links(process.pid)
    assert len(mine) == 3 and "/dev/null" in mine
