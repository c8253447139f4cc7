"""Real pis for tests: installed once into a cache, run in folders of their own against a scripted model."""

from __future__ import annotations

import json
import os
import platform
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from pi_v_jupyter.settings import APP
from pi_v_jupyter.swarm.scripted import MODEL, PROVIDER, program, provider
from pi_v_jupyter.swarm.story import QUIET, Story

OLD, NEW = "0.74.2", "0.87.1"  # without `agent_settled`, and with it
NODE = "22"
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
CACHE = platformdirs.user_cache_path(APP, appauthor=False) / "tests"
ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}
SLOW = 30  # seconds

Record = dict[str, Any]


def installed(version: str) -> list[str]:
    """The words that start a pi of this version: node's, and its script's."""
    folder = CACHE / f"pi-{version}"
    system = "darwin" if sys.platform == "darwin" else "linux"
    node = f"node-{system}-{ARCHITECTURES[platform.machine()]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(CACHE / "pi.lock"):
        if not (folder / "whole").exists():
            wanted = [f"@earendil-works/pi-coding-agent@{version}", f"{node}@{NODE}"]
            words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
            words += ["--prefix", str(folder), *wanted]
            # Node brings a list of its own of whom to trust; the system's may have more.
            env = {"NODE_EXTRA_CA_CERTS": str(TRUSTED), **os.environ} if TRUSTED.exists() else None
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL, timeout=600, env=env)
            (folder / "whole").touch()
    modules = folder / "node_modules"
    return [
        str(modules / node / "bin" / "node"),
        str(modules / "@earendil-works" / "pi-coding-agent" / "dist" / "cli.js"),
    ]


def programs() -> str:
    """The folder with `pi`, the new one, and `node`."""
    node, _ = installed(NEW)
    return str(Path(node).parents[2] / ".bin")


@contextmanager
def scripted_model(folder: Path, script: Path | None = None) -> Iterator[str]:
    """A scripted model that is up: its URL."""
    file = folder / "scripted.py"
    file.write_bytes(program())
    words = [sys.executable, "-I", "-S", file, "--port", "0"]
    words += ["--script", script] if script else []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as model:
        try:
            assert model.stdout is not None
            yield model.stdout.readline().split()[-1]
        finally:
            model.terminate()
            assert model.wait(SLOW) == 0


class Pi:
    """A pi that runs; what it says is in `lines`, and told in `story`."""

    def __init__(self, process: subprocess.Popen[bytes], home: Path, script: Path) -> None:
        self.process = process
        self.home = home
        self.workspace = home / "workspace"
        self.script = script
        self.story = Story()
        self.lines: list[bytes] = []
        self.states: list[str] = [self.story.state]
        self._coming: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def follow(self, **script: Any) -> None:
        """Give its model another script."""
        self.script.write_text(json.dumps(script))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._coming.put(line)
        self._coming.put(None)

    def send(self, type: str, **told: Any) -> None:
        """Send a command, or an answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"type": type, **told}).encode() + b"\n")
        self.process.stdin.flush()

    def until(self, condition: Callable[[Record], object]) -> Record:
        """Take what it says until a record is as wanted, asking an old one whether it has finished."""
        deadline = time.monotonic() + SLOW
        while time.monotonic() < deadline:
            try:
                line = self._coming.get(timeout=QUIET)
            except queue.Empty:
                if self.story.wants_check:
                    self.send("get_state", id="check")
                continue
            assert line is not None, self.stderr()
            self.lines.append(line)
            record: Record = json.loads(line)
            self.story.feed(record)
            if self.story.state != self.states[-1]:
                self.states.append(self.story.state)
            if condition(record):
                return record
        raise AssertionError(f"This did not come; the last that did: {self.lines[-3:]}")

    def response(self, id: str) -> Record:
        """Take what it says until it answers a command."""
        return self.until(lambda record: record.get("id") == id and record["type"] == "response")

    def state(self, *wanted: str) -> None:
        """Take what it says until it is in one of these states."""
        if self.story.state not in wanted:
            self.until(lambda _: self.story.state in wanted)

    def prompt(self, message: str, id: str = "", **told: Any) -> None:
        """Give it a task, and see that taken or refused."""
        id = id or f"task {len(self.lines)}"
        self.send("prompt", id=id, message=message, **told)
        self.response(id)

    def stderr(self) -> str:
        """What it wrote there."""
        return (self.home / "stderr").read_text()


@contextmanager
def running_pi(
    version: str,
    script: Record | None = None,
    settings: Record | None = None,
    extension: str = "",
) -> Iterator[Pi]:
    """A pi that is `idle`, with a scripted model of its own."""
    words = installed(version)
    home = Path(tempfile.mkdtemp(prefix="pi-"))
    try:
        told = home / "script.json"
        told.write_text(json.dumps(script or {}))
        agent, workspace = home / ".pi" / "agent", home / "workspace"
        (agent / "extensions").mkdir(parents=True)
        workspace.mkdir()
        if extension:
            (agent / "extensions" / "test.ts").write_text(extension)
        # The provider's own retries would hide what pi does of its.
        retry = {"baseDelayMs": 20, "provider": {"maxRetries": 0}}
        (agent / "settings.json").write_text(json.dumps({"retry": retry, **(settings or {})}))
        with scripted_model(home, told) as url:
            models = {"providers": {PROVIDER: provider(url)}}
            (agent / "models.json").write_text(json.dumps(models))
            words += ["--mode", "rpc", "--model", f"{PROVIDER}/{MODEL}"]
            env = {"PATH": os.environ["PATH"], "HOME": str(home), "PI_OFFLINE": "1"}
            with (home / "stderr").open("wb") as stderr:
                process = subprocess.Popen(
                    words,
                    cwd=workspace,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                )
            pi = Pi(process, home, told)
            try:
                pi.send("get_state", id="up")
                pi.response("up")
                yield pi
            finally:
                process.terminate()  # it takes its tools along, as it would not when killed
                try:
                    process.wait(SLOW)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(SLOW)
                pi._reader.join(SLOW)
                for pipe in (process.stdin, process.stdout):
                    assert pipe is not None
                    with suppress(BrokenPipeError):
                        pipe.close()
    finally:
        shutil.rmtree(home)
