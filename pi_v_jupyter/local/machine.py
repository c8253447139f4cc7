"""One QEMU process, from start to end, driven through its monitor (QMP).

The process is its own session with its own files, so that it outlives the daemon; a later daemon
finds it again by its sockets (`Machine.adopt`). Everything that waits has a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from qemu.qmp import ExecuteError, QMPClient, QMPError

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import hardware, processes, tools
from pi_v_jupyter.local.guestlink import GuestLink
from pi_v_jupyter.local.hardware import Size, Wiring
from pi_v_jupyter.local.image import Image

_ANSWER_TIMEOUT = 20.0  # for one monitor command, on a computer that is busy
_TRANSFER_TIMEOUT = 120.0  # for saving or loading the state of devices
_END_TIMEOUT = 10.0
_MOST_WORDS = 65536
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH")  # all that QEMU gets to see of ours
_FORWARD = re.compile(r"^\s*TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", re.MULTILINE)


class Machine:
    """A running QEMU. `pid` and `started` (Unix seconds, of the process) name it beyond doubt."""

    def __init__(self, process: psutil.Process, monitor: QMPClient, guest: GuestLink) -> None:
        self._reaper: asyncio.Task[int] | None = None  # only its parent can take away an ended process
        self.pid = process.pid
        self.started = process.create_time()
        self.guest = guest
        self._process = process
        self._monitor = monitor

    @classmethod
    async def start(cls, image: Image, size: Size, accelerator: str, wiring: Wiring, *, name: str) -> Machine:
        """Start QEMU; with `wiring.restored` it waits for `load`, else it boots at once.

        Raises:
            MissingToolError: QEMU is not installed.
            PlatformError: it ended; the message has its last words.
        """
        (program,) = tools.need(hardware.program())
        # Only its start is listened to: later a guest can have QEMU complain without end, which no file
        # would hold. It is used to nobody being at the other end.
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as said:
            with (
                os.fdopen(writing, "wb", buffering=0) as saying,
                _listening(wiring.monitor) as monitor,
                _listening(wiring.agent) as agent,
            ):
                fds = (monitor.fileno(), agent.fileno())
                arguments = hardware.arguments(image, size, accelerator, wiring, name=name, sockets=fds)
                process = await asyncio.create_subprocess_exec(
                    program,
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=saying,
                    start_new_session=True,
                    pass_fds=fds,
                    env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                )
            reaper = asyncio.create_task(process.wait())
            try:
                machine = await cls._connect(psutil.Process(process.pid), wiring)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await reaper
                if not isinstance(error, PlatformError | psutil.NoSuchProcess):
                    raise
                words = said.read(_MOST_WORDS).decode(errors="replace").strip()[-500:] or "it said nothing"
                raise PlatformError(f"QEMU did not start: {words}") from None
        machine._reaper = reaper
        return machine

    @classmethod
    async def adopt(cls, pid: int, started: float, wiring: Wiring) -> Machine:
        """Take over a QEMU that another daemon started.

        Raises:
            PlatformError: it is gone, or does not answer.
        """
        process = processes.find(pid, started)
        if process is None:
            raise PlatformError(f"QEMU process {pid} has ended.")
        return await cls._connect(process, wiring)

    @classmethod
    async def _connect(cls, process: psutil.Process, wiring: Wiring) -> Machine:
        monitor = QMPClient(f"vm-{process.pid}")
        monitor.logger.disabled = True  # it reports at error level what is raised as well
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                await monitor.connect(str(wiring.monitor))
        except (QMPError, OSError, TimeoutError) as error:
            raise PlatformError(f"QEMU process {process.pid} does not answer: {error}.") from None
        try:
            return cls(process, monitor, await GuestLink.connect(wiring.agent))
        except BaseException:
            await _disconnect(monitor)  # QEMU takes one client: the next must not find this one there
            raise

    async def ask(self, command: str, within: float = _ANSWER_TIMEOUT, **arguments: Any) -> Any:
        """The monitor's answer to `command`.

        Raises:
            PlatformError: QEMU said no, or is gone.
        """
        try:
            async with asyncio.timeout(within):
                return await self._monitor.execute(command, arguments or None)
        except ExecuteError as error:
            raise PlatformError(f"QEMU refused {command!r}: {error}.") from None
        except (QMPError, OSError, EOFError) as error:
            raise PlatformError(f"QEMU ended during {command!r}: {error}.") from None
        except TimeoutError:
            raise PlatformError(f"QEMU did not answer {command!r}.") from None

    async def load(self, devices: Path) -> None:
        """Give the machine, started with `wiring.restored`, the state of its devices; it stands still."""
        await self._pass("incoming", devices, os.O_RDONLY)
        await self.ask("migrate-incoming", uri="fd:incoming")
        try:
            async with asyncio.timeout(_TRANSFER_TIMEOUT):
                while (status := (await self.ask("query-migrate")).get("status")) != "completed":
                    if status in ("failed", "cancelled"):
                        raise PlatformError("QEMU could not load the state of the machine.")
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise PlatformError("QEMU took too long to load the state of the machine.") from None

    async def save_devices(self, path: Path) -> None:
        """Write the state of all but memory and disk to `path`. The machine stands still."""
        # Despite its name of every build; not `live`, or QEMU would let go of the disk.
        await self.ask("xen-save-devices-state", filename=str(path), live=False)

    async def save_memory(self, folder: Path, size: Size) -> list[Path]:
        """Write the whole memory to files in `folder`, which follow each other. The machine stands still."""
        parts = []
        for number, (address, length) in enumerate(hardware.memory_map(size)):
            part = folder / f"memory.{number}"
            await self.ask("pmemsave", _TRANSFER_TIMEOUT, val=address, size=length, filename=str(part))
            parts.append(part)
        return parts

    async def pause(self) -> None:
        """Have it stand still."""
        await self.ask("stop")

    async def go_on(self) -> None:
        """Have it run."""
        await self.ask("cont")

    async def is_paused(self) -> bool:
        """Whether it stands still."""
        return not (await self.ask("query-status"))["running"]

    async def layer(self) -> Path:
        """The file that its disk writes to."""
        told = str((await self._disk())["file"])
        if told.startswith("json:"):  # QEMU's way of saying that there are options beside the name
            told = json.loads(told.removeprefix("json:"))["file"]["filename"]
        return Path(told)

    async def put_layer(self, path: Path) -> None:
        """Have its disk write to the empty layer `path` from now on; the one it wrote to changes no more."""
        below = (await self._disk())["node-name"]
        name = f"n{path.stem[:24]}"
        node: dict[str, Any] = hardware.layer(path, name, below=None, read_only=False)
        await self.ask("blockdev-add", **node)
        await self.ask("blockdev-snapshot", node=below, overlay=name)

    async def grow_disk(self, size_mib: int) -> None:
        """Make its disk larger; the file system on it is the guest's to grow."""
        node = (await self._disk())["node-name"]
        arguments: dict[str, Any] = {"node-name": node, "size": size_mib * 1024**2}
        await self.ask("block_resize", **arguments)

    async def _disk(self) -> dict[str, Any]:
        (disk,) = [device for device in await self.ask("query-block") if "inserted" in device]
        return dict(disk["inserted"])

    async def _pass(self, name: str, path: Path, flags: int) -> None:
        fd = os.open(path, flags)
        try:
            self._monitor.send_fd_scm(fd)
            await self.ask("getfd", fdname=name)
        finally:
            os.close(fd)

    async def let_out(self, sends: socket.socket, takes: socket.socket) -> None:
        """Lead what the guest sends to the outside into `sends`, and what is read from `takes` out there.

        Before that, and once their other ends are closed, nothing a guest sends gets out.
        """
        with sends, takes:
            filters = {item["name"] for item in await self.ask("qom-list", path="/objects")}
            channels = {item["label"] for item in await self.ask("query-chardev")}
            for name, end in ((hardware.SENDS, sends), (hardware.TAKES, takes)):
                if name in filters:  # a daemon that is no more had it
                    await self.ask("object-del", id=name)
                if name in channels:
                    await self.ask("chardev-remove", id=name)
                self._monitor.send_fd_scm(end.fileno())
                await self.ask("getfd", fdname=name)
                address = {"type": "fd", "data": {"str": name}}
                backend = {"type": "socket", "data": {"addr": address, "server": False}}
                await self.ask("chardev-add", id=name, backend=backend)
            for part in hardware.sieve():
                await self.ask("object-add", **part)

    async def ssh_port(self) -> int:
        """Loopback port that leads to the guest's port 22.

        QEMU chose it itself, so that two machines never race for one; only its human monitor tells.
        """
        line: dict[str, Any] = {"command-line": "info usernet"}
        told = await self.ask("human-monitor-command", **line)
        found = _FORWARD.search(str(told))
        if found is None:
            raise PlatformError("QEMU did not open a port for SSH.")
        return int(found[1])

    async def console(self) -> str:
        """The last the guest wrote on its console, at most 64 KB, for when it does not come up."""
        return str(await self.ask("ringbuf-read", device="console", size=65536))

    async def ended(self) -> None:
        """Wait until the process has ended, whoever started it."""
        while self.runs():
            await asyncio.sleep(0.5)

    def runs(self) -> bool:
        """Whether the process is there."""
        try:
            return bool(self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    async def leave(self) -> None:
        """Hang up; the process goes on."""
        self.guest.close()
        await _disconnect(self._monitor)

    async def end(self) -> None:
        """End the process; its disk is left as it is. Ended already is ended."""
        with contextlib.suppress(PlatformError):
            await self.ask("quit")  # flushes the disk, which a signal would not
        await self.leave()
        deadline = asyncio.get_running_loop().time() + _END_TIMEOUT
        while self.runs():
            if asyncio.get_running_loop().time() > deadline:
                self._process.kill()
            await asyncio.sleep(0.01)
        if self._reaper is not None:
            await self._reaper


async def _disconnect(monitor: QMPClient) -> None:
    with contextlib.suppress(QMPError, OSError, EOFError):
        await monitor.disconnect()


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A socket that listens at `path` before QEMU runs, so that nobody has to wait for it to appear."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4)
        yield listener
