"""One QEMU process, from start to end, driven through its monitor (QMP).

The process is its own session with its own files, so that it outlives the daemon; a later daemon
finds it again by its sockets (`Machine.adopt`). Everything that waits has a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import psutil
from qemu.qmp import ExecuteError, QMPClient, QMPError

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import hardware, tools
from pi_v_jupyter.local.guestlink import GuestLink
from pi_v_jupyter.local.hardware import Size, Wiring
from pi_v_jupyter.local.image import Image

_ANSWER_TIMEOUT = 20.0  # for one monitor command, on a computer that is busy
_TRANSFER_TIMEOUT = 120.0  # for saving or loading the state of devices
_END_TIMEOUT = 10.0
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
    async def start(
        cls, image: Image, size: Size, accelerator: str, wiring: Wiring, *, name: str, log: Path
    ) -> Machine:
        """Start QEMU; with `wiring.restored` it waits for `load`, else it boots at once.

        Raises:
            MissingToolError: QEMU is not installed.
            PlatformError: it ended; the message has its last words.
        """
        (program,) = tools.need(hardware.program())
        with (
            _listening(wiring.monitor) as monitor,
            _listening(wiring.agent) as agent,
            log.open("wb") as output,
        ):
            fds = (monitor.fileno(), agent.fileno())
            arguments = hardware.arguments(image, size, accelerator, wiring, name=name, sockets=fds)
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
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
            words = log.read_text(errors="replace").strip()[-500:] or "it said nothing"
            raise PlatformError(f"QEMU did not start: {words}") from None
        machine._reaper = reaper
        return machine

    @classmethod
    async def adopt(cls, pid: int, started: float, wiring: Wiring) -> Machine:
        """Take over a QEMU that another daemon started.

        Raises:
            PlatformError: it is gone, or does not answer.
        """
        process = _process(pid, started)
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
        return cls(process, monitor, await GuestLink.connect(wiring.agent))

    async def ask(self, command: str, **arguments: object) -> Any:
        """The monitor's answer to `command`.

        Raises:
            PlatformError: QEMU said no, or is gone.
        """
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                return await self._monitor.execute(command, arguments or None)
        except ExecuteError as error:
            raise PlatformError(f"QEMU refused {command!r}: {error}.") from None
        except (QMPError, OSError, EOFError) as error:
            raise PlatformError(f"QEMU ended during {command!r}: {error}.") from None
        except TimeoutError:
            raise PlatformError(f"QEMU did not answer {command!r}.") from None

    async def load(self, state: Path) -> None:
        """Give the machine, started with `wiring.restored`, the devices saved in `state`, and let it run."""
        await self._share_no_memory()
        await self._pass("incoming", state, os.O_RDONLY)
        await self.ask("migrate-incoming", uri="fd:incoming")
        await self._transferred()
        await self.ask("cont")

    async def save(self, state: Path) -> None:
        """Stop the machine and write its devices to `state`. Its memory is in its memory file."""
        await self.ask("stop")
        await self._share_no_memory()
        await self._pass("outgoing", state, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        await self.ask("migrate", uri="fd:outgoing")
        await self._transferred()

    async def _share_no_memory(self) -> None:
        # Memory in a file is found there by whoever loads the state: it stays out of the stream.
        capability = {"capability": "x-ignore-shared", "state": True}
        await self.ask("migrate-set-capabilities", capabilities=[capability])

    async def _pass(self, name: str, path: Path, flags: int) -> None:
        fd = os.open(path, flags, 0o600)
        try:
            self._monitor.send_fd_scm(fd)
            await self.ask("getfd", fdname=name)
        finally:
            os.close(fd)

    async def _transferred(self) -> None:
        try:
            async with asyncio.timeout(_TRANSFER_TIMEOUT):
                while (status := (await self.ask("query-migrate")).get("status")) != "completed":
                    if status in ("failed", "cancelled"):
                        raise PlatformError("QEMU could not save or load the state of the machine.")
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise PlatformError("QEMU took too long to save or load the state of the machine.") from None

    async def ssh_port(self) -> int:
        """Loopback port that leads to the guest's port 22.

        QEMU chose it itself, so that two machines never race for one; only its human monitor tells.
        """
        told = await self.ask("human-monitor-command", **{"command-line": "info usernet"})
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

    async def end(self) -> None:
        """End the process; its disk is left as it is. Ended already is ended."""
        self.guest.close()
        with contextlib.suppress(PlatformError):
            await self.ask("quit")  # flushes the disk, which a signal would not
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._monitor.disconnect()
        deadline = asyncio.get_running_loop().time() + _END_TIMEOUT
        while self.runs():
            if asyncio.get_running_loop().time() > deadline:
                self._process.kill()
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A socket that listens at `path` before QEMU runs, so that nobody has to wait for it to appear."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4)
        yield listener


def is_there(pid: int, started: float) -> bool:
    """Whether the process that a record names still runs."""
    return _process(pid, started) is not None


def kill(pid: int, started: float) -> None:
    """End at once the process that a record names, and wait for that."""
    process = _process(pid, started)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        psutil.wait_procs([process], timeout=_END_TIMEOUT)


def _process(pid: int, started: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def name_of(process: psutil.Process) -> str:
    """The machine's name of one of the processes found by `left_over`."""
    words = process.info["cmdline"]
    return str(words[words.index("-name") + 1])


def left_over(prefix: str, known: Collection[int]) -> list[psutil.Process]:
    """QEMU processes of this user whose machine's name begins with `prefix`, but for those `known` by pid."""
    found = []
    for process in psutil.process_iter(["uids", "cmdline"]):
        words = process.info["cmdline"] or []
        if not words or "qemu-system" not in words[0] or "-name" not in words or process.pid in known:
            continue
        mine = process.info["uids"] is not None and process.info["uids"].real == os.getuid()
        if mine and words[words.index("-name") + 1].startswith(prefix):
            found.append(process)
    return found
