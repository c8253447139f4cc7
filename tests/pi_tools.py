"""Real pi on this machine, with the golden image's tools and a model that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pis import programs

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "golden"
PATIENCE = 60  # seconds for an answer


@dataclass
class Model:
    """Answers each request with the next of `turns`: a text, a tool's name and arguments, or a status."""

    turns: list[str | int | tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    def next(self) -> str | int | tuple[str, dict[str, Any]]:
        """What it says now."""
        return self.turns.pop(0) if self.turns else "Nothing else is to be done."

    def events(self, turn: str | tuple[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """How it says that."""
        usage = {"input_tokens": 1000, "output_tokens": 100}
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "rehearsal"}
        yield {"type": "message_start", "message": {**message, "usage": usage, "stop_reason": None}}
        if isinstance(turn, str):
            block: dict[str, Any] = {"type": "text", "text": ""}
            delta: dict[str, Any] = {"type": "text_delta", "text": turn}
        else:
            name, arguments = turn
            block = {"type": "tool_use", "id": f"toolu_{os.urandom(8).hex()}", "name": name, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        yield {"type": "content_block_start", "index": 0, "content_block": block}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
        yield {"type": "content_block_stop", "index": 0}
        reason = "end_turn" if isinstance(turn, str) else "tool_use"
        yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
        yield {"type": "message_stop"}


@contextlib.contextmanager
def scripted() -> Iterator[Model]:
    """A model that speaks Anthropic's event stream on this machine."""
    model = Model()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            turn = model.next()
            if isinstance(turn, int):
                self.send_error(turn)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in model.events(turn):
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        model.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield model
        finally:
            server.shutdown()
            thread.join()


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
    prices = {"input": 3, "output": 15, "cacheRead": 0.3, "cacheWrite": 3.75}
    known = {"id": "rehearsal", "contextWindow": 200_000, "maxTokens": 8192, "cost": prices}
    provider = {"baseUrl": model.url, "api": "anthropic-messages", "apiKey": "none", "models": [known]}
    (agent / "models.json").write_text(json.dumps({"providers": {"scripted": provider}}))
    settings = {"defaultProvider": "scripted", "defaultModel": "rehearsal"}
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

    async def run(
        self, *turns: str | tuple[str, dict[str, Any]], task: str = "Go on."
    ) -> list[dict[str, Any]]:
        """The events of a task in which the model says that."""
        self.model.turns[:] = turns
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
async def running(home: Home) -> AsyncIterator[Agent]:
    """A pi in that home, until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *("pi", "--mode", "rpc"),
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
