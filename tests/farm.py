"""A platform whose VMs are all this machine, each logged in to with a home of its own, made of one commit.

Root only: a VM is logged in to as root. Nothing of it is left, whatever the tests did.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from uuid import uuid4

import answers
import asyncssh
import psutil
from leftovers import end_background
from loopback import TLSFront, make_certificate, start_sshd

from pi_v_jupyter.swarm._there import source

DOMAIN = "vm.pi-v.localhost"
COMMIT = "c0ffee00-0000-4000-8000-000000000001"
TAG = "golden"
LONG_AGO = "2026-01-01T00:00:00Z"
Answer = tuple[int, Any]


@dataclass
class Farm:
    """The VMs, by id; those named in `stubborn` cannot be deleted."""

    folder: Path
    pi: str
    config: dict[str, str] = field(default_factory=dict)  # files of pi's, in each home
    vms: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    stubborn: set[str] = field(default_factory=set)
    answered: dict[str, Answer] = field(default_factory=dict)  # by the keys of writes
    telling: threading.Event = field(default_factory=threading.Event)  # of which VMs it makes
    withheld: threading.Event = field(default_factory=threading.Event)  # that was, of some
    unready: int = 0  # of the next that are made, so many cannot be logged in to

    def make(self) -> str:
        """One more, of the commit."""
        vm_id = str(uuid4())
        home = self.home(vm_id)
        (home / "bin").mkdir(parents=True)
        (home / "workspace").mkdir()
        for name, words in (("python3", sys.executable), ("pi", self.pi)):
            (home / "bin" / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            (home / "bin" / name).chmod(0o755)
        for name, text in self.config.items():
            file = home / ".pi" / "agent" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        marked = [sys.executable, "-c", source("workspace"), "mark", ""]  # as in a golden image
        subprocess.run(marked, check=True, env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
        key = asyncssh.generate_private_key("ssh-ed25519")
        if self.unready:
            self.unready -= 1
        else:
            given = f'environment="HOME={home}",environment="PATH={home}/bin:/usr/bin:/bin"'
            with (self.folder / "authorized_keys").open("a") as file:
                file.write(f"{given} {key.export_public_key().decode()}")
        self.keys[vm_id] = key.export_private_key().decode()
        created = datetime.now(UTC).isoformat()
        self.vms[vm_id] = {
            **{"vm_id": vm_id, "owner_id": "me", "state": "running", "created_at": created, "labels": {}},
            "parent_commit_id": COMMIT,
        }
        return vm_id

    def home(self, vm_id: str) -> Path:
        """Where one is."""
        return self.folder / "homes" / vm_id

    def of(self, label: str) -> Path:
        """The home of the agent of that label."""
        (vm_id,) = [key for key, vm in self.vms.items() if vm["labels"].get("name") == label]
        return self.home(vm_id)

    def delete(self, vm_id: str) -> None:
        """One goes, with all that runs in its home."""
        self.forget(vm_id)
        self.clear(vm_id)

    def forget(self, vm_id: str) -> None:
        """It is no VM any more, and nobody can log in to it."""
        del self.vms[vm_id]
        keys = self.folder / "authorized_keys"
        lines = keys.read_text().splitlines(keepends=True)
        keys.write_text("".join(line for line in lines if f"/{vm_id}/" not in line))

    def clear(self, vm_id: str) -> None:
        """End all that runs in its home."""
        end_background(self.home(vm_id) / ".local" / "share")
        end_those_of(self.home(vm_id))
        shutil.rmtree(self.home(vm_id), ignore_errors=True)

    def put_last(self) -> None:
        """Have all else here go before what runs on them now, as if they were elsewhere."""
        for process in those_of(self.folder / "homes"):
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                process.nice(19)
                # Where Linux weighs sessions against each other (sched(7), autogroup), it is for within one.
                Path(f"/proc/{process.pid}/autogroup").write_text("19")

    def answer(self, method: str, path: str, query: str, body: Any) -> Answer:
        """What the platform says."""
        if (method, path) == ("GET", "/vm"):
            return 200, list(self.vms.values())
        if (method, path) == ("GET", "/commits"):
            commit = {
                "commit_id": COMMIT,
                "owner_id": "me",
                "created_at": LONG_AGO,
                "is_public": False,
            }
            return 200, {"commits": [commit], "total": 1, "limit": 100, "offset": 0}
        if (method, path) == ("GET", "/commit_tags"):
            tag = {"tag_id": str(uuid4()), "tag_name": TAG, "commit_id": COMMIT}
            times = dict.fromkeys(("created_at", "updated_at"), LONG_AGO)
            return 200, {"tags": [tag | times]}
        if (method, path) == ("POST", "/vm/from_commit"):
            return 201, {"vm_id": self.make()}
        if (method, path) == ("POST", f"/vm/branch/by_commit/{COMMIT}"):
            count = int(dict(pair.split("=") for pair in query.split("&"))["count"])
            return 201, {"vms": [{"vm_id": self.make()} for _ in range(count)]}
        found = re.fullmatch(r"/vm/([^/]+)(/\w+)?", path)
        if found is None or found[1] not in self.vms:
            return 404, {"error": f"no {path}"}
        return self.answer_of(found[1], f"{method} {found[2] or ''}", body)

    def answer_of(self, vm_id: str, what: str, body: Any) -> Answer:
        """What it says of one VM."""
        vm = self.vms[vm_id]
        match what:
            case "GET /ssh_key":
                return 200, {"ssh_port": 22, "ssh_private_key": self.keys[vm_id]}
            case "GET /status" | "GET /metadata":
                return 200, vm
            case "PATCH /label":
                vm["labels"].update(body["labels"])
                return 200, {}
            case "DELETE " if vm["labels"].get("name") in self.stubborn:
                return 409, {"error": "it is needed"}
            case "DELETE ":
                self.forget(vm_id)
                return 200, {"vm_id": vm_id}
        return 404, {"error": what}


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something of which no event tells."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def those_of(home: Path) -> list[psutil.Process]:
    """All that runs with a home at or below that."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.environ().get("HOME", "/")).is_relative_to(home):
                found.append(process)
    return found


def end_those_of(home: Path) -> None:
    """Kill all that."""
    while found := those_of(home):
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()


def answers_of(farm: Farm) -> Callable[[BaseHTTPRequestHandler, Any], answers.Answer | None]:
    lock = threading.Lock()

    def answer(request: BaseHTTPRequestHandler, body: Any) -> answers.Answer | None:
        path, _, query = request.path.removeprefix("/api/v1").partition("?")
        with lock:
            key = request.headers.get("X-Idempotency-Key", "")
            status, told = farm.answered.get(key) or farm.answer(request.command, path, query, body)
            if key and status < 300:
                farm.answered[key] = status, told
        if request.command == "DELETE" and status == 200:  # while others ask, or they would go on there
            farm.clear(told["vm_id"])
        if request.command == "POST" and "commit" in path and not farm.telling.is_set():
            farm.withheld.set()
            farm.telling.wait()
            return None
        return status, told, {}

    return answer


@contextlib.contextmanager
def farm(folder: Path, pi: str) -> Iterator[tuple[Farm, dict[str, str]]]:
    """One, and what a kernel needs in its environment to use it. `pi`: the shell words that start a pi."""
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(folder / "host_key")
    (folder / "host_key").chmod(0o600)
    (folder / "authorized_keys").touch()
    server, port = start_sshd(folder, 500, "PermitUserEnvironment yes")
    certificate, key = make_certificate(folder, f"*.{DOMAIN}")
    front = TLSFront(certificate, key, port)
    made = Farm(folder, pi)
    made.telling.set()
    own = {name: str(folder / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    own["PI_CODING_AGENT_DIR"] = str(folder / "pi")  # the user's own configuration of pi
    try:
        with answers.answering(answers_of(made)) as url:
            yield (
                made,
                {
                    **os.environ,
                    **own,
                    "VERS_BASE_URL": url,
                    "VERS_API_KEY": "key-of-the-platform",
                    "VERS_VM_DOMAIN": DOMAIN,
                    "VERS_VM_PORT": str(front.port),
                    "VERS_CA_FILE": str(certificate),
                },
            )
    finally:
        for vm_id in list(made.vms):
            made.delete(vm_id)
        front.close()
        server.terminate()
        server.wait(10)
        end_those_of(folder / "homes")  # a connection that healed has begun something anew
