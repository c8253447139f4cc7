"""Real agents outlive whoever made them, are heard whole through all cuts, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from kernels import Kernel, Outputs, started
from loopback import TLSFront
from platforms import Platform
from swarms import MODEL, follow, ready

from pi_v_jupyter import Vers
from pi_v_jupyter.local.paths import runtime_dir
from pi_v_jupyter.settings import APP, Settings
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.changes import TextDelta

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]
LABELS = ["ann", "bob", "cid", "dee"]
MOST, HALF = 300, 150
PAUSE = 0.08  # seconds after each number
NUMBERS = [f"{number:04}" for number in range(MOST)]
USAGE = {"input_tokens": 1000, "output_tokens": 200, "cache_read_input_tokens": 0}
COST = 2 * (1000 * 3 + 200 * 15) / 1e6  # USD, of two turns
LAST = "/run/last"  # once it is there, they say the last number
CUTS = 10
GATES = [f"/run/gate-{number}" for number in range(CUTS)]  # likewise, the numbers behind each
PART = 25  # numbers before and between them


def counting(label: str, gates: Sequence[str] = ()) -> list[dict[str, Any]]:
    """An answer of so many numbers, a piece each, with a call of a tool in the middle."""
    call = {"call": "bash", "with": {"command": f"echo made by {label} > made.txt"}}
    how = {"size": 5, "pause": PAUSE, "usage": USAGE}
    half = len(gates) // 2
    first, rest = parts(NUMBERS[:HALF], gates[:half]), parts(NUMBERS[HALF:-1], gates[half:])
    return [
        {"content": [*first, call], **how},
        {"content": [*rest, {"hold": LAST}, {"say": NUMBERS[-1]}], **how},
    ]


def parts(numbers: Sequence[str], gates: Sequence[str]) -> list[dict[str, str]]:
    """Those, and behind each PART of them the next gate."""
    said: list[dict[str, str]] = []
    for at, gate in enumerate(gates):
        said += [{"say": f"{' '.join(numbers[at * PART : (at + 1) * PART])} "}, {"hold": gate}]
    return [*said, {"say": f"{' '.join(numbers[len(gates) * PART :])} "}]


def good(kernel: Kernel, code: str, timeout: float = 120) -> Outputs:
    """What a cell that must succeed has shown."""
    shown = kernel.run(code, timeout)
    assert shown.error is None, shown
    return shown


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    async with asyncio.timeout(200):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def key() -> str:
    """A key of a model that nothing else has in it."""
    return f"sk-ant-{uuid4().hex}-made-up"


@pytest.fixture
def env(platform: Platform, golden: None, key: str) -> Iterator[dict[str, str]]:
    """Of kernels on the platform, whose agents are gone after the test."""
    yield {**platform.env, "ANTHROPIC_API_KEY": key}

    async def clear() -> None:
        async with Vers(platform.settings) as session:
            await session.swarm.teardown()
            assert await session.list() == []

    asyncio.run(clear())


def test_a_kernel_that_is_killed_takes_no_agent_along_and_the_next_one_hears_them_whole(
    env: dict[str, str],
) -> None:
    with started(env) as first:
        good(first, "%load_ext pi_v_jupyter")
        good(first, f"team = %vers swarm spawn golden --labels {','.join(LABELS)} --model {MODEL}")
        scripts = {label: json.dumps({"turns": counting(label)}) for label in LABELS}
        good(
            first,
            f"scripts = {scripts!r}\n"
            "for agent in team.agents:\n"
            "    await agent.vm.write('.swarm/script.json', scripts[agent.label])",
        )
        began = time.time()
        good(first, "%%task *\nCount.")
        good(
            first,
            "import asyncio\n"
            "while not all('0020' in agent.story.partial for agent in team.agents):\n"
            "    await asyncio.sleep(0.05)",
        )
        os.kill(first.pid, signal.SIGKILL)
    with started(env) as second:
        good(second, "%load_ext pi_v_jupyter")
        found = good(second, "found = %vers swarm discover\n[(each.label, each.state) for each in found]")
        assert "4 agents found." in found.stdout
        assert second.value("[each.label for each in found]") == LABELS
        states = set(second.value("[each.state for each in found]"))
        assert states <= {"working", "starting"}, "on a busy computer it is not yet heard out"
        good(second, f"%vm --on {','.join(LABELS)} touch {LAST}")
        good(second, "waited = %vers swarm wait")
        took = time.time() - began
        assert second.value("(waited.ending, waited.unfinished)") == ("finished", ())
        for label in LABELS:
            told = f"next(each for each in waited.results if each.label == {label!r})"
            text, cost, seconds = second.value(f"(({told}).text, ({told}).cost, ({told}).seconds)")
            assert text.split() == NUMBERS, label
            assert cost == pytest.approx(COST)
            assert MOST * PAUSE < seconds < took
        assert second.value("[each.run.prompt for each in found]") == ["Count.\n"] * 4
        made = good(second, f"%vm --on {','.join(LABELS)} cat workspace/made.txt").text
        assert all(f"made by {label}" in made for label in LABELS)


@pytest.fixture
def front(platform: Platform) -> Iterator[TLSFront]:
    """The way to the VMs, which can be cut."""
    front = TLSFront(None, None, platform.description.vm_port)
    yield front
    front.close()


@pytest.fixture
async def behind(platform: Platform, golden: None, front: TLSFront) -> AsyncIterator[Vers]:
    """A user of the platform, who reaches its VMs that way."""
    told = platform.description
    way = {
        "VERS_API_KEY": Path(told.key_file).read_text().strip(),
        "VERS_BASE_URL": told.base_url,
        "VERS_VM_DOMAIN": f"vm.{told.domain}",
        "VERS_VM_PORT": str(front.port),
        "VERS_CA_FILE": told.ca_file,
    }
    async with Vers(Settings(environ={**platform.env, **way})) as session:
        yield session
        await session.swarm.teardown()
        assert await session.list() == []


async def test_nothing_that_agents_say_is_lost_or_doubled_while_their_connections_are_cut_ten_times(
    behind: Vers, front: TLSFront
) -> None:
    agents = ready(await behind.swarm.spawn("golden", 4, labels=LABELS, model=MODEL))
    heard: dict[str, str] = dict.fromkeys(LABELS, "")

    async def hear(agent: Agent) -> None:
        async for change in agent.changes():
            if isinstance(change, TextDelta):
                heard[agent.label] += change.text

    hearing = [asyncio.create_task(hear(agent)) for agent in agents]
    try:
        for agent in agents:  # while this is written, all begin to hear
            await follow(agent, *counting(agent.label, GATES))
        began = time.time()
        await asyncio.gather(*(agent.task("Count.") for agent in agents))
        for cut, gate in enumerate(GATES):
            enough = 5 * PART * (cut + 1 + (cut >= CUTS // 2))  # characters
            await until(lambda: all(len(said) >= enough for said in heard.values()))  # noqa: B023
            await asyncio.gather(*(agent.vm.write(gate, "") for agent in agents))
            before = front.accepted  # they speak on from here
            front.cut()
            await until(lambda: front.accepted >= before + len(agents))  # noqa: B023
        await asyncio.gather(*(agent.vm.write(LAST, "") for agent in agents))
        waited = await behind.swarm.wait(timeout=200)
    finally:
        for task in hearing:
            task.cancel()
    assert waited.ending == "finished"
    for result in waited.results:
        assert heard[result.label].split() == NUMBERS
        assert result.text.split() == NUMBERS and result.state == "done"
        assert result.cost == pytest.approx(COST)
        assert MOST * PAUSE < result.seconds < time.time() - began
    assert [len(agent.story.runs) for agent in agents] == [1] * 4


SEARCH = """
import json, os, stat, sys
keys = [key.encode() for key in json.load(sys.stdin)]
since = os.stat('/root/.swarm/identity.json').st_ctime - 60
found = set()
def look(path):
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError:
        return
    if any(key in data for key in keys):
        found.add('%o %s' % (stat.S_IMODE(os.stat(path).st_mode), path))
for process in filter(str.isdigit, os.listdir('/proc')):
    look('/proc/%s/cmdline' % process)
    look('/proc/%s/environ' % process)
for top in ('/', '/run', '/tmp', '/dev/shm'):
    device = os.stat(top).st_dev
    for folder, folders, files in os.walk(top):
        paths = [os.path.join(folder, name) for name in folders]
        folders[:] = [os.path.basename(path) for path in paths if os.lstat(path).st_dev == device]
        for path in [os.path.join(folder, name) for name in files]:
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_ctime >= since:
                look(path)
print(json.dumps(sorted(found)))
"""


async def keys_there(platform: Platform, key: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The platform's key of each VM, and where on each any key of all of them is."""
    async with Vers(platform.settings) as session:
        vms = await session.list()
        own = {vm.id: (await vm.read(".swarm/secrets/VERS_API_KEY")).text for vm in vms}
        told = json.dumps([key, *own.values()])
        searched = [await vm.run(["python3", "-c", SEARCH], stdin=told, timeout=100) for vm in vms]
        return own, {vm.id: json.loads(each.stdout) for vm, each in zip(vms, searched, strict=True)}


def changed(since: float, *where: str | Path) -> list[str]:
    """What `find` finds there that was written since then; what goes meanwhile is not told."""
    search = ["find", "-H", *map(str, where), "-newermt", f"@{since}"]
    return subprocess.run(search, capture_output=True, text=True, check=False).stdout.splitlines()


def found_here(keys: list[str], since: float, *folders: Path) -> list[str]:
    """The files here with a key in them, of those that were written since then."""
    files = changed(since, *folders, "-type", "f")
    assert files, "nothing was looked at"
    found = list[str]()
    for name in files:
        with contextlib.suppress(FileNotFoundError):  # another program's, gone meanwhile
            data = Path(name).read_bytes()
            found += [name for key in keys if key.encode() in data]
    return found


def processes_with(keys: list[str], *, but: int) -> list[str]:
    """The processes here with a key on their command line, or in an environment that was not given it."""
    found = list[str]()
    for process in psutil.process_iter(["pid", "cmdline", "environ"]):
        words = " ".join(process.info["cmdline"] or [])
        told = "" if process.info["pid"] == but else "\n".join((process.info["environ"] or {}).values())
        found += [f"{process.info['pid']} {words}" for key in keys if key in words or key in told]
    return found


def test_keys_are_in_files_of_mode_600_on_the_vms_alone_and_a_teardown_leaves_nothing(
    env: dict[str, str], platform: Platform, key: str
) -> None:
    began, before = time.time() - 1, {process.pid for process in platform.qemus()}
    temporary = Path(tempfile.gettempdir())
    shown = list[Outputs]()
    with started(env) as kernel:

        def run(code: str) -> Outputs:
            shown.append(good(kernel, code))
            return shown[-1]

        run("%load_ext pi_v_jupyter")
        run("team = %vers swarm spawn golden --labels ann,bob\nteam")
        command = "env; ps -ef ww; tmux new -d; true"
        calls = [{"call": "bash", "with": {"command": command}}]
        scripts = {  # the first one uses its key, too
            label: json.dumps({"turns": [{"content": more + calls}, "I have looked around."]})
            for label, more in (("ann", [{"call": "vers_vms", "with": {}}]), ("bob", []))
        }
        run(
            f"scripts = {scripts!r}\n"
            "for agent in team.agents:\n"
            "    await agent.vm.write('.swarm/script.json', scripts[agent.label])\n"
            "    await agent.rehearse()\n"
            "    await agent.command('set_model', provider='scripted', modelId='rehearsal')"
        )
        run("%%task * --wait\nLook around.")
        failed = "[call.result for agent in team.agents for call in agent.run.calls if call.failed]"
        assert kernel.value(failed) == []
        own, there = asyncio.run(keys_there(platform, key))
        keys = [key, *own.values()]
        assert len(set(keys)) == 3 and all(len(each) > 20 for each in keys)
        secrets = [f"600 /root/.swarm/secrets/{name}" for name in ("ANTHROPIC_API_KEY", "VERS_API_KEY")]
        assert there == dict.fromkeys(own, secrets)
        assert processes_with(keys, but=kernel.pid) == []
        for code in ("%vers swarm", "%vers swarm stats", "%vers swarm log ann", "%vers swarm read bob"):
            run(code)
        run("%vers swarm teardown -f bob")
        registry = run("print((await team.agents[0].vm.read('.swarm/registry.json')).text)").stdout
        assert "ann" in registry and "bob" not in registry
        run("%vers swarm teardown -f")
        assert run("agents = %vers swarm\nagents").data[-1].startswith("No agents")
        asyncio.run(until(lambda: {process.pid for process in platform.qemus()} <= before))
        assert processes_with(keys, but=kernel.pid) == []
        made = changed(began, temporary, "-mindepth", "1", "-maxdepth", "1")
        places = (platform.folder, platform.folder / "cache" / APP, runtime_dir(), *map(Path, made))
        assert found_here(keys, began, *places) == []
    assert not [outputs for outputs in shown if any(each in outputs.text for each in keys)]
    assert list(platform.state.glob("vms/*")) == []
    kept = (platform.folder / "state" / APP / "state.json").read_text()
    assert not [vm_id for vm_id in own if vm_id in kept]
