"""OpenSSH's server, started before it is needed.

To start it takes a third of a second under emulation, nearly all of it before it reads its host key.
So its key file is first a FIFO, at which it waits, also in the saved memory that new machines are
copies of. A machine's own key is written into the FIFO, and the server listens at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

from .ground import ENVIRONMENT, overwrite

# -r: a login goes on in a fork. Starting sshd anew for each, as it otherwise does, costs a quarter of a
# second under emulation.
COMMAND = ("/usr/sbin/sshd", "-D", "-e", "-r")
HOST_KEY = Path("/etc/ssh/ssh_host_ed25519_key")
PID_FILE = Path("/run/sshd.pid")
PRIVILEGE_FOLDER = Path("/run/sshd")  # sshd insists on it
READY_SOCKET = Path("/run/pi-v-sshd-ready")  # where sshd says, as it would to systemd, that it listens
TIMEOUT = 30.0  # seconds, for a start on a slow computer
PAUSE = 1.0  # between two starts, when it does not last


class SSHServer:
    """Keeps sshd running: waiting for a host key at first, listening once it has one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # one change at a time
        self._gate: int | None = None  # our end of the FIFO
        self._ready: socket.socket | None = None
        self._pid: int | None = None
        threading.Thread(target=self._begin, daemon=True).start()

    def listen(self, key: str, public_key: str) -> None:
        """Have it listen with the host key `key`, and wait until it does."""
        with self._lock:
            if self._gate is None or not _lives(self._pid):
                self._stop()
                self._prepare()
            overwrite(f"{HOST_KEY}.pub", f"{public_key}\n")
            overwrite(f"{HOST_KEY}.new", key, 0o600)
            # In the FIFO's place: sshd looks there for the public half next.
            os.replace(f"{HOST_KEY}.new", HOST_KEY)  # noqa: PTH105 - see identity.py
            self._open_gate(key.encode())

    def forget(self) -> None:
        """Drop the host key; wait for another."""
        with self._lock:
            self._stop()
            for path in HOST_KEY.parent.glob("ssh_host_*"):
                path.unlink()
            self._prepare()

    def _begin(self) -> None:
        with self._lock:
            if self._pid is not None or self._gate is not None:
                return  # somebody was quicker
            try:
                has_key = stat.S_ISREG(HOST_KEY.lstat().st_mode)
            except FileNotFoundError:
                has_key = False
            if not has_key:
                self._prepare()
            elif (pid := _running()) is not None:  # it outlived an earlier agent
                self._keep(pid)
            else:
                self._start()

    def _prepare(self) -> None:
        HOST_KEY.unlink(missing_ok=True)
        os.mkfifo(HOST_KEY, 0o600)
        READY_SOCKET.unlink(missing_ok=True)
        self._ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ready.bind(str(READY_SOCKET))
        self._start()
        deadline = time.monotonic() + TIMEOUT
        while (gate := _writer(HOST_KEY)) is None:
            if time.monotonic() > deadline or not _lives(self._pid):
                self._stop()
                raise TimeoutError("sshd does not ask for its host key")
            time.sleep(0.01)
        self._gate = gate

    def _open_gate(self, key: bytes) -> None:
        gate, ready = self._gate, self._ready
        assert gate is not None and ready is not None  # noqa: S101, PT018 - for the type checker
        self._gate = self._ready = None
        with ready:
            try:
                os.write(gate, key)  # far less than a pipe holds
            finally:
                os.close(gate)
            ready.settimeout(TIMEOUT)
            ready.recv(64)
        READY_SOCKET.unlink()

    def _start(self) -> None:
        PRIVILEGE_FOLDER.mkdir(mode=0o755, exist_ok=True)
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.DEVNULL,
            env={**ENVIRONMENT, "NOTIFY_SOCKET": str(READY_SOCKET)},
            start_new_session=True,
        )
        process.returncode = 0  # not Popen, but the thread that keeps it learns of its end
        self._keep(process.pid)

    def _keep(self, pid: int) -> None:
        self._pid = pid
        threading.Thread(target=self._mind, args=(pid, os.pidfd_open(pid)), daemon=True).start()

    def _mind(self, pid: int, fd: int) -> None:
        _ended(fd, None)
        os.close(fd)
        with contextlib.suppress(ChildProcessError):  # of an earlier agent
            os.waitpid(pid, 0)
        time.sleep(PAUSE)
        with self._lock:
            if self._pid != pid:
                return  # it was stopped
            self._pid = None
            if self._gate is None:  # else whoever has a key for it starts another
                self._start()

    def _stop(self) -> None:
        pid, self._pid = self._pid, None
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            os.kill(pid, signal.SIGTERM)
            over = _ended(fd, TIMEOUT)
            os.close(fd)
            if not over:
                raise TimeoutError("sshd does not end")


def _ended(pidfd: int, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def _lives(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


def _writer(fifo: Path) -> int | None:
    """A descriptor to write to `fifo`, once somebody reads there."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def _running() -> int | None:
    try:
        pid = int(PID_FILE.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if name == "sshd" else None
