"""Real pi on this machine, with the golden image's tools and a model that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pis import programs, scripted_model

from pi_v_jupyter.swarm.scripted import MODEL, PROVIDER, provider

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "golden"
PATIENCE = 60  # seconds for an answer


Turn = str | int | tuple[str, dict[str, Any]] | dict[str, Any]


@dataclass
class Model:
    """Answers requests by its script."""

    url: str
    script: Path
    number: int = 0

    def says(self, *turns: Turn) -> None:
        """Have it answer so, from the next request on: a text, a tool's name and arguments, a status, or
        a turn as scripts have them.
        """
        self.number += 1  # what was written before begins anew all the same
        told = {"turns": [*map(_told, turns)], "number": self.number}
        self.script.write_text(json.dumps(told))


def _told(turn: Turn) -> dict[str, Any]:
    usage = {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 0}
    if isinstance(turn, int):
        return {"status": turn}
    if isinstance(turn, str):
        return {"content": [{"say": turn}], "usage": usage}
    if isinstance(turn, dict):
        return turn
    return {"content": [{"call": turn[0], "with": turn[1]}], "usage": usage}


@contextlib.contextmanager
def scripted(folder: Path) -> Iterator[Model]:
    """A model that follows a script, which is in that folder."""
    script = folder / "script.json"
    with scripted_model(folder, script) as url:
        yield Model(url, script)


@dataclass
class Home:
    """A home for one pi, and a swarm's folder in it."""

    folder: Path
    env: dict[str, str] = field(repr=False)
    model: Model

    @property
    def swarm(self) -> Path:
        """What is /root/.swarm on an agent's VM."""
        return self.folder / "swarm"

    def secret(self, name: str, value: str) -> None:
        """Give it one, as whoever spawns does."""
        (self.swarm / "secrets").mkdir(parents=True, exist_ok=True)
        (self.swarm / "secrets" / name).write_text(value)

    def identify(self, **identity: Any) -> None:
        """Say who it is."""
        self.swarm.mkdir(parents=True, exist_ok=True)
        whole = {"depth": 0, "maxDepth": 50, "maxVms": 20, "parentVmId": "", **identity}
        (self.swarm / "identity.json").write_text(json.dumps(whole))

    def status(self, agent: str) -> dict[str, Any]:
        """Its status file."""
        return dict(json.loads((self.swarm / "status" / f"{agent}.json").read_text()))

    def registry(self) -> list[dict[str, Any]]:
        """The entries of its registry."""
        return list(json.loads((self.swarm / "registry.json").read_text())["vms"])


def new_home(folder: Path, model: Model) -> Home:
    """A home whose pi has that model, and the programs and extension of the golden image."""
    agent = folder / ".pi" / "agent"
    agent.mkdir(parents=True)
    (folder / "workspace").mkdir()
    library = folder / "library"
    library.mkdir()
    (library / "_resident").symlink_to(ROOT / "pi_v_jupyter" / "remote" / "_resident")
    (library / "swarm_agent").symlink_to(GOLDEN / "lib" / "swarm_agent")
    (agent / "extensions").symlink_to(GOLDEN / "extensions")
    (agent / "models.json").write_text(json.dumps({"providers": {PROVIDER: provider(model.url)}}))
    settings = {"defaultProvider": PROVIDER, "defaultModel": MODEL}
    (agent / "settings.json").write_text(json.dumps(settings))
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("VERS_", "XDG_", "PI_"))
    }
    paths = [str(GOLDEN / "bin"), programs(), str(Path(sys.executable).parent), kept["PATH"]]
    swarm = {"SWARM_HOME": str(folder / "swarm"), "SWARM_WORKSPACE": str(folder / "workspace")}
    swarm["SWARM_LIBRARY"] = str(library)
    env = {**kept, "HOME": str(folder), "PATH": os.pathsep.join(paths), "PI_OFFLINE": "1", **swarm}
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # the sources are the repository's
    return Home(folder, env, model)


class Agent:
    """A pi that runs, and the client of it."""

    def __init__(self, process: asyncio.subprocess.Process, model: Model) -> None:
        self.process, self.model = process, model
        self.number = 0

    async def event(self) -> dict[str, Any]:
        """The next of its events and responses."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
        assert line, "pi has ended"
        return dict(json.loads(line))

    async def command(self, **command: Any) -> dict[str, Any]:
        """The response to a command."""
        self.number += 1
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({**command, "id": str(self.number)}).encode() + b"\n")
        while True:
            event = await self.event()
            if event["type"] == "response" and event.get("id") == str(self.number):
                return event

    async def answer(self, dialog: str, **answer: Any) -> None:
        """Answer a question of its extension."""
        assert self.process.stdin is not None
        told = {"type": "extension_ui_response", "id": dialog, **answer}
        self.process.stdin.write(json.dumps(told).encode() + b"\n")

    async def run(self, *turns: Turn, task: str = "Go on.") -> list[dict[str, Any]]:
        """The events of a task in which the model says that."""
        self.model.says(*turns)
        accepted = await self.command(type="prompt", message=task)
        assert accepted["success"], accepted
        events = []
        while not events or events[-1]["type"] != "agent_settled":
            events.append(await self.event())
        return events

    async def use(self, tool: str, **arguments: Any) -> Used:
        """What comes of one tool call of the model's."""
        events = await self.run((tool, arguments), "Done.")
        (end,) = [event for event in events if event["type"] == "tool_execution_end"]
        text = "".join(part.get("text", "") for part in end["result"]["content"])
        return Used(text, bool(end["isError"]), end["result"].get("details") or {})


@dataclass
class Used:
    """What the model is shown of a tool call, and its details."""

    text: str
    failed: bool
    details: dict[str, Any]


@contextlib.asynccontextmanager
async def running(home: Home, *options: str) -> AsyncIterator[Agent]:
    """A pi in that home, until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *("pi", "--mode", "rpc", *options),
        cwd=home.folder / "workspace",
        env=home.env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=64 << 20,
    )
    try:
        yield Agent(process, home.model)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()
