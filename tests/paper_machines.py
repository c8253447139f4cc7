"""Machines on paper, for the real fleet: processes with real memory and disks that are text files, no QEMU.

They keep what they are told in their memory and on their disk, so that it can be looked for in copies of
them; they outlive the fleet that made them, and can be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import disks, foundry, processes, roster, snapshots
from pi_v_jupyter.local.base import Base
from pi_v_jupyter.local.capacity import Limits
from pi_v_jupyter.local.catalog import Catalog
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.foundry import Foundry
from pi_v_jupyter.local.hardware import Size, Wiring
from pi_v_jupyter.local.image import Image
from pi_v_jupyter.local.roster import Roster

SIZE = Size(vcpus=1, memory_mib=128, disk_mib=1024)
LIMITS = Limits(vms=12, vcpus=1000, memory_mib=10**6, disk_mib=10**9)
FEW_BYTES = 64 * 1024  # a small and a large token are on either side of it


@dataclass
class World:
    """All paper machines of a test, and what goes wrong with them.

    `failing` has the names of methods of a machine that fail, each with how often it succeeds before.
    """

    folder: Path
    failing: dict[str, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._maker = subprocess.Popen(
            [sys.executable, "-ES", str(Path(__file__).with_name("paper_process.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def make(self, name: str, wiring: Wiring) -> psutil.Process:
        """A new process, which stands still."""
        assert self._maker.stdin is not None
        assert self._maker.stdout is not None
        assert all(layer.exists() for layer in wiring.layers)
        words = {
            "memory": str(wiring.memory),
            "layers": [str(layer) for layer in wiring.layers],
            "monitor": str(wiring.monitor),
        }
        self._maker.stdin.write(json.dumps(words) + "\n")
        self._maker.stdin.flush()
        process = psutil.Process(int(self._maker.stdout.readline()))
        self.names[process.pid] = name
        return process

    def alive(self) -> dict[int, str]:
        """The machines there are: their names by their process ids."""
        return {pid: name for pid, name in self.names.items() if psutil.pid_exists(pid)}

    def left_over(self, prefix: str, known: Collection[int]) -> list[psutil.Process]:
        """As `processes.left_over`."""
        assert all(name.startswith(prefix) for name in self.names.values())
        return [psutil.Process(pid) for pid in self.alive() if pid not in known]

    def fail(self, step: str) -> None:
        """Raise if `step` is to fail now."""
        left = self.failing.get(step)
        if left == 0:
            raise PlatformError(f"No {step}.")
        if left is not None:
            self.failing[step] = left - 1

    def close(self) -> None:
        """End all of it."""
        processes = [psutil.Process(pid) for pid in self.alive()]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)  # before their maker ends, which takes them away
        self._maker.communicate(timeout=10)


class PaperMachine:
    """What the fleet takes for a `Machine`."""

    world: World

    def __init__(self, process: psutil.Process, wiring: Wiring) -> None:
        self.pid, self.started = process.pid, process.create_time()
        self.guest = self
        self._process = process
        self._monitor = socket.socket(socket.AF_UNIX)
        try:
            self._monitor.connect(str(wiring.monitor))
        except OSError:  # the process has just ended
            self._monitor.close()
            raise
        self._lines = self._monitor.makefile("rw")
        self._ended = asyncio.Event()

    @classmethod
    async def start(cls, image: Any, size: Size, accelerator: str, wiring: Wiring, *, name: str):  # type: ignore[no-untyped-def]
        cls.world.fail("start")
        assert image.disk.exists()
        made = cls(cls.world.make(name, wiring), wiring)
        try:
            if not wiring.restored:
                await made.go_on()
        except PlatformError:
            made.hang_up()
            raise
        return made

    @classmethod
    async def adopt(cls, pid: int, started: float, wiring: Wiring):  # type: ignore[no-untyped-def]
        cls.world.fail("adopt")
        process = psutil.Process(pid)
        assert process.create_time() == started
        return cls(process, wiring)

    def tell(self, op: str, **words: Any) -> Any:
        """What the process answers."""
        try:
            self._lines.write(json.dumps({"op": op, **words}) + "\n")
            self._lines.flush()
            answer = self._lines.readline()
        except OSError:
            answer = ""
        if not answer:
            raise PlatformError(f"The machine ended during {op}.")
        return json.loads(answer)

    async def ask(self, op: str, *, timeout: float, **fields: object) -> dict[str, Any]:
        """The guest: it answers while it runs."""
        self.world.fail(op)
        if await self.is_paused():
            raise PlatformError(f"The VM did not answer {op!r}.")
        return {"ok": True}

    async def pause(self) -> None:
        self.tell("run", on=False)

    async def go_on(self) -> None:
        self.tell("run", on=True)

    async def is_paused(self) -> bool:
        return not self.tell("status")["runs"]

    async def layer(self) -> Path:
        return Path(self.tell("status")["layer"])

    async def put_layer(self, path: Path) -> None:
        self.world.fail("put_layer")
        self.tell("put_layer", path=str(path))

    async def save_devices(self, path: Path) -> None:
        assert await self.is_paused()
        self.world.fail("save_devices")
        path.write_text("devices")

    async def save_memory(self, folder: Path, size: Size) -> list[Path]:
        self.world.fail("save_memory")
        self.tell("dump", path=str(folder / "memory.0"))
        return [folder / "memory.0"]

    async def load(self, devices: Path) -> None:
        self.world.fail("load")
        assert devices.read_text() == "devices"

    async def grow_disk(self, size_mib: int) -> None:
        self.world.fail("grow_disk")

    async def let_out(self, sends: Any, takes: Any) -> None:
        pass

    async def ssh_port(self) -> int:
        return 2222

    def runs(self) -> bool:
        return self._process.is_running()

    async def ended(self) -> None:
        await self._ended.wait()

    async def leave(self) -> None:
        self.hang_up()

    async def end(self) -> None:
        self.hang_up()
        self._process.kill() if self.runs() else None
        psutil.wait_procs([self._process], timeout=10)

    def kill(self) -> None:
        """End it as the system might, and see that it is seen."""
        self._process.kill()
        psutil.wait_procs([self._process], timeout=10)
        self._ended.set()

    def hang_up(self) -> None:
        """Close this end of its monitor, as happens when the fleet's process ends."""
        with (
            self._monitor,
            contextlib.suppress(OSError),
        ):  # of what was not written, to a process that has ended
            self._lines.close()


@dataclass
class Daemon:
    """A fleet of paper machines, from its beginning to its end or its crash."""

    fleet: Fleet
    roster: Roster
    routes: dict[str, int]

    def machine(self, vm_id: str) -> PaperMachine:
        running: Any = self.roster.machine(vm_id)
        return running  # type: ignore[no-any-return]

    def crash(self) -> None:
        """Let go of all machines, as if the process had been killed; nothing of it may run any more."""
        for vm in self.fleet.list():
            running: Any = self.roster._machines.get(vm.vm_id)
            if running is not None:
                running.hang_up()


def new_daemon(folder: Path, told: Callable[[], dict[str, str]] = dict) -> Daemon:
    """A daemon that has not begun; what its machines are made of is in `folder`."""
    image = Image(folder / "image", "image", "r", "bookworm", "6.1", "2026-01-01T00:00:00+00:00")
    base = Base(folder / "base")
    routes: dict[str, int] = {}

    def route(vm_id: str, port: int | None) -> None:
        if port is None:
            routes.pop(vm_id, None)
        else:
            routes[vm_id] = port

    made = Foundry(image, base, "tcg", told)
    connect: Any = lambda vm_id: (None, None)  # noqa: E731 - nothing to connect
    kept = Roster(made, route, connect)
    return Daemon(Fleet(made, kept, Catalog.load(), LIMITS, "owner"), kept, routes)


def lay_ground(folder: Path) -> None:
    """What machines are made of: an image and a booted machine, with token 1 in both its memory and disk."""
    for name in ("image", "base"):
        (folder / name).mkdir()
    for file in ("image/root.qcow2", "image/vmlinuz", "image/initrd.img", "base/disk.qcow2"):
        (folder / file).write_text("")
    (folder / "base/devices").write_text("devices")
    with (folder / "base/memory").open("wb") as memory:
        memory.truncate(SIZE.memory_mib * 1024**2)


def live_on_paper(patch: pytest.MonkeyPatch, folder: Path) -> World:
    """From here on fleets make paper machines, under `folder`; whoever asked closes the world."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"):
        patch.setenv(name, str(folder))
    patch.setattr("tempfile.tempdir", str(folder))
    world = World(folder)
    kind: Any = type("Machine", (PaperMachine,), {"world": world})
    for module in (foundry, roster):
        patch.setattr(module, "Machine", kind)
    patch.setattr(foundry, "DEFAULT_SIZE", SIZE)
    patch.setattr(processes, "left_over", world.left_over)
    patch.setattr(processes, "name_of", lambda process: world.names[process.pid])
    patch.setattr(foundry, "machine_digest", lambda size, accel: f"{size.vcpus} {size.memory_mib}")
    patch.setattr(snapshots, "FEW_BYTES", FEW_BYTES)
    patch.setattr(disks, "overlay", _overlay(world))
    lay_ground(folder)
    return world


def _overlay(world: World) -> Callable[[Path, Path, int], None]:
    def overlay(path: Path, under: Path, size_mib: int) -> None:
        world.fail("overlay")
        assert under.exists()
        path.write_text("")

    return overlay
