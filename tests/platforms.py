"""Embedded platforms for the tests, with real machines.

Each has a HOME and state of its own in a short folder (paths of Unix sockets are limited); the image and the
booted machine are those of the user's real cache, which take a minute to make.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import platformdirs
import psutil

from pi_v_jupyter.settings import APP, EmbeddedPlatform, Settings

ROOT = Path(__file__).parent.parent
_CACHE = Path(platformdirs.user_cache_path(APP, appauthor=False))
_UP_TIMEOUT = 280
_BUILD_TIMEOUT = 900
_ALL_COMMITS = "/commits?limit=1000"


@dataclass
class Platform:
    """A platform of the test's own. `env` is for child processes that are to use it."""

    folder: Path
    env: dict[str, str] = field(repr=False)

    @property
    def settings(self) -> Settings:
        """Settings of a user of this platform."""
        return Settings(environ=self.env)

    @property
    def description(self) -> EmbeddedPlatform:
        """What the daemon tells its clients."""
        return EmbeddedPlatform(**_read_json(self.state / "platform.json"))

    @property
    def state(self) -> Path:
        """The platform's folder of state."""
        return self.folder / "state" / APP / "platform"

    def run(self, *arguments: str, timeout: float = _UP_TIMEOUT) -> subprocess.CompletedProcess[str]:
        """`pi-v-jupyter ARGUMENTS`, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "pi_v_jupyter", *arguments],
            env=self.env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self, *arguments: str) -> EmbeddedPlatform:
        """Start it on free ports."""
        done = self.run("up", "--port", "0", "--gateway-port", "0", *arguments)
        assert done.returncode == 0, done.stderr
        return self.description

    def qemus(self) -> list[psutil.Process]:
        """The QEMU processes of this platform that are alive."""
        found = []
        for process in psutil.process_iter(["environ", "name", "status"]):
            told = process.info
            if (
                "qemu" in told["name"]
                and (told["environ"] or {}).get("HOME") == self.env["HOME"]
                and told["status"] != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        return found

    def api(self) -> httpx.AsyncClient:
        """A client of its API that has the key."""
        return httpx.AsyncClient(**self._access())

    def _access(self) -> dict[str, Any]:
        key = Path(self.description.key_file).read_text()
        return {
            "base_url": self.description.base_url,
            "headers": {"Authorization": f"Bearer {key}"},
            "timeout": 120,
            "trust_env": False,
        }

    async def create(self, **config: Any) -> str:
        """The id of a new VM that runs."""
        async with self.api() as api:
            answer = await api.post("/vm/new_root", params={"wait_boot": True}, json={"vm_config": config})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["vm_id"])

    async def get(self, path: str) -> Any:
        """The answer to a question that has one."""
        async with self.api() as api:
            answer = await api.get(path)
            assert answer.status_code == 200, answer.text
            return answer.json()

    async def delete(self, vm_id: str) -> None:
        """Delete a VM."""
        async with self.api() as api:
            assert (await api.delete(f"/vm/{vm_id}")).status_code == 200

    @asynccontextmanager
    async def ssh(self, vm_id: str, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """A login, through the gateway; with the VM's own key unless `options` say otherwise."""
        key = (await self.get(f"/vm/{vm_id}/ssh_key"))["ssh_private_key"]
        options = {"client_keys": [asyncssh.import_private_key(key)], "known_hosts": None, **options}
        host = f"{vm_id}.vm.{self.description.domain}"
        async with asyncssh.connect(
            host, username="root", tunnel=_Gateway(self.description), config=None, agent_path=None, **options
        ) as connection:
            yield connection

    async def shell(self, vm_id: str, command: str) -> str:
        """Standard output of a command that succeeds."""
        async with self.ssh(vm_id) as connection:
            return str((await connection.run(command, check=True)).stdout)

    async def inside(self, vm_id: str, script: str) -> str:
        """Standard output of a script that succeeds, by the platform's own agent: quicker than a login."""
        async with self.api() as api:
            answer = await api.post(f"/vm/{vm_id}/exec", json={"command": ["sh", "-ec", script]})
            assert answer.status_code == 200, answer.text
            assert answer.json()["exit_code"] == 0, answer.text
            return str(answer.json()["stdout"])

    @contextmanager
    def left_as_found(self) -> Iterator[None]:
        """VMs, commits and tags that are made meanwhile are deleted at the end."""

        def there(api: httpx.Client) -> list[str]:
            """The paths of all, in an order in which they can be deleted: the newest commits come first."""
            return [
                *(f"/commit_tags/{tag['tag_name']}" for tag in api.get("/commit_tags").json()["tags"]),
                *(f"/vm/{vm['vm_id']}" for vm in api.get("/vm").json()),
                *(f"/commits/{commit['commit_id']}" for commit in api.get(_ALL_COMMITS).json()["commits"]),
            ]

        with httpx.Client(**self._access()) as api:
            found = there(api)
        try:
            yield
        finally:
            with httpx.Client(**self._access()) as api:
                answers = {path: api.delete(path) for path in there(api) if path not in found}
        done = (404, *range(200, 300))  # a kernel that ended deletes, too, and may have been quicker
        refused = {path: answer.text for path, answer in answers.items() if answer.status_code not in done}
        assert not refused, refused

    def crash(self) -> None:
        """End the daemon, and nothing else, as a crash would."""
        daemon = psutil.Process(self.description.pid)
        daemon.kill()
        psutil.wait_procs([daemon], timeout=10)

    def misplaced(self) -> set[str]:
        """Files that nothing on record needs, and those that are needed and not there."""
        needed = set()
        for file in self.state.glob("vms/*/vm.json"):
            record = _read_json(file)
            needed |= {*record["layers"], record["memory"], *filter(None, [_snapshot(record["saved"])])}
            if record["state"] == "dead" and not (self.state / record["layers"][-1]).exists():
                needed.remove(record["layers"][-1])  # it died before it had a disk, or a new layer of it
        for file in self.state.glob("commits/*.json"):
            record = _read_json(self.state / "snapshots" / file.stem / "snapshot.json")
            needed |= {*record["layers"], record["memory"], f"snapshots/{file.stem}"}
        missing = {name for name in needed if not (self.state / name).exists()}
        found = {f"{path.parent.name}/{path.name}" for path in self.state.glob("[ls]*s/*")}
        return missing | (found - {"/".join(name.split("/")[:2]) for name in needed})

    def end(self) -> None:
        """End it, and see that nothing is left."""
        done = self.run("down", "--purge", "--force")
        left = self.qemus()
        for process in left:
            process.kill()
        shutil.rmtree(self.folder)
        assert done.returncode == 0, done.stderr
        assert not left, "QEMU processes were left running"


@dataclass
class _Gateway:
    """What asyncssh connects through: the gateway's port, its certificate verified for the VM's name."""

    platform: EmbeddedPlatform

    async def create_connection(self, protocol_factory: Callable[[], Any], host: str, port: int) -> Any:
        context = ssl.create_default_context(cafile=self.platform.ca_file)
        return await asyncio.get_running_loop().create_connection(
            protocol_factory, "127.0.0.1", self.platform.vm_port, ssl=context, server_hostname=host
        )


def _snapshot(snapshot_id: str | None) -> str | None:
    return f"snapshots/{snapshot_id}" if snapshot_id else None


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text())


def build_golden_image() -> None:
    """Have it in the user's real cache, where `make test` has put it before."""
    done = subprocess.run(
        [sys.executable, "-m", "pi_v_jupyter", "image", "build", "--golden"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BUILD_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def new_platform() -> Platform:
    """A platform that is not up yet; whoever made it ends it."""
    folder = Path(tempfile.mkdtemp(prefix="pv-"))
    _CACHE.mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir()
    (folder / "cache" / APP).symlink_to(_CACHE)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("VERS_", "XDG_"))}
    env |= {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    return Platform(folder, env)


@contextmanager
def running_platform() -> Iterator[Platform]:
    """A platform that is up, and ended afterwards."""
    platform = new_platform()
    try:
        platform.up()
        yield platform
    finally:
        platform.end()
