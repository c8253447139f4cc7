"""Takes the platform's word to the machine it runs on.

A restored machine wakes up as an exact copy of another: same clock, same random numbers, same keys.
This program, part of the saved memory, makes it itself. It reads one JSON object per line from a
virtio-serial port and answers each with one: `{"id", "ok": true, ...}` or `{"id", "error"}`.

Only the standard library, Python 3.9 and later, and nothing of this package: it runs in the guest.
The host trusts it with nothing: what it answers is data.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PORT_NAME = "org.pi-v.agent"
RESIDENT = Path("/usr/local/lib/pi-v/resident.py")
HOST_KEY = Path("/etc/ssh/ssh_host_ed25519_key")
AUTHORIZED_KEYS = Path("/root/.ssh/authorized_keys")
ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
# From <linux/random.h>; neither is in any Python module.
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
LISTEN_TIMEOUT = 30.0  # seconds
TCP_LISTEN = "0A"  # as /proc/net/tcp has it


def write_file(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Replace the file `path` by one that holds `data`, whole or not at all."""
    temporary = path.with_name(path.name + ".pi-v")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(data.encode() if isinstance(data, str) else data)
    temporary.replace(path)


def reseed(seed: bytes) -> None:
    """Make the kernel's random numbers differ from those of every other copy of this machine."""
    pool = struct.pack("ii", len(seed) * 8, len(seed)) + seed
    with Path("/dev/urandom").open("wb", buffering=0) as device:
        fcntl.ioctl(device, RNDADDENTROPY, pool)
        fcntl.ioctl(device, RNDRESEEDCRNG)


def listens(port: int) -> bool:
    """Whether anything on this machine listens on TCP `port`, seen without connecting to it."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == TCP_LISTEN and fields[1].endswith(f":{port:04X}"):
                return True
    return False


class SSHServer:
    """Keeps OpenSSH's server running once there is a host key for it."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._keep, daemon=True).start()
        if HOST_KEY.exists():
            self._wanted.set()

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._wanted.set()
        deadline = time.monotonic() + LISTEN_TIMEOUT
        while not listens(22):
            if time.monotonic() > deadline:
                raise TimeoutError("sshd does not listen")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, until `start`."""
        self._wanted.clear()
        if self._process is not None:
            self._process.terminate()

    def _keep(self) -> None:
        while True:
            self._wanted.wait()
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
            # -r: a login goes on in a fork. Starting sshd anew for each, as it otherwise does, costs
            # a quarter of a second under emulation.
            self._process = subprocess.Popen(
                ["/usr/sbin/sshd", "-D", "-e", "-r"],
                stdin=subprocess.DEVNULL,
                env=ENVIRONMENT,
                start_new_session=True,
            )
            self._process.wait()
            if self._wanted.is_set():
                time.sleep(1)


class Agent:
    """The requests, one method each; the fields of a request are the method's arguments."""

    def __init__(self) -> None:
        self._ssh = SSHServer()
        self._methods: dict[str, Callable[..., dict[str, str] | None]] = {
            "ping": self.ping,
            "configure": self.configure,
            "settle": self.settle,
            "grow_disk": self.grow_disk,
            "start_resident": self.start_resident,
            "rehearse_login": self.rehearse_login,
            "forget": self.forget,
        }

    def answer(self, line: bytes) -> bytes:
        """The answer to one request line, as a line."""
        reply: dict[str, Any] = {}
        try:
            request = json.loads(line)
            reply["id"] = request.pop("id")
            result = self._methods[request.pop("op")](**request)
            reply.update(result or {}, ok=True)
        except Exception as error:  # noqa: BLE001 - a request that fails must not end the agent
            reply["error"] = f"{type(error).__name__}: {error}"
        return json.dumps(reply).encode() + b"\n"

    def ping(self) -> None:
        """Show that the machine is up."""

    def configure(
        self,
        *,
        name: str,
        machine_id: str,
        seed: str,
        now: float,
        authorized_key: str,
        host_key: str,
        host_public_key: str,
    ) -> None:
        """Become the machine `name`, reachable with `authorized_key`. `now` is in Unix seconds."""
        time.clock_settime(time.CLOCK_REALTIME, now)
        reseed(base64.b64decode(seed))
        socket.sethostname(name)
        write_file(Path("/etc/hostname"), f"{name}\n")
        write_file(Path("/etc/hosts"), f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")
        write_file(Path("/etc/machine-id"), f"{machine_id}\n", 0o444)
        write_file(AUTHORIZED_KEYS, f"{authorized_key}\n", 0o600)
        write_file(HOST_KEY.with_suffix(".pub"), f"{host_public_key}\n")
        write_file(HOST_KEY, host_key, 0o600)
        self._ssh.start()

    def settle(self, *, seconds: float) -> dict[str, str]:
        """Wait until the machine has started all it starts; say how that went."""
        done = subprocess.run(
            ["systemctl", "is-system-running", "--wait"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=seconds,
            check=False,
        )
        return {"state": done.stdout.decode().strip()}

    def grow_disk(self) -> None:
        """Let the file system fill the disk."""
        subprocess.run(
            ["resize2fs", "/dev/vda"], stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=True
        )

    def start_resident(self, *, program: str, socket_path: str, seconds: float) -> None:
        """Keep `program` (base64 of Python source) running; it serves `socket_path`."""
        write_file(RESIDENT, base64.b64decode(program))
        subprocess.Popen(
            ["/usr/bin/python3", RESIDENT, "--listen", socket_path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/root",
            start_new_session=True,
        )
        deadline = time.monotonic() + seconds
        while not Path(socket_path).exists():
            if time.monotonic() > deadline:
                raise TimeoutError("the resident program does not listen")
            time.sleep(0.05)

    def rehearse_login(self, *, private_key: str) -> None:
        """Log in once, so that what a login reads is in memory."""
        key = Path("/run/pi-v-rehearsal")
        write_file(key, private_key, 0o600)
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes")
        try:
            subprocess.run(
                ["ssh", "-i", key, *(f"-o{option}" for option in options), "127.0.0.1", "true"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=ENVIRONMENT,
                timeout=50,
                check=True,
            )
        finally:
            key.unlink()

    def forget(self) -> None:
        """Drop what is this machine's own, so that it can be copied; leave nothing unwritten."""
        self._ssh.stop()
        for path in (*HOST_KEY.parent.glob("ssh_host_*"), AUTHORIZED_KEYS):
            path.unlink()
        os.sync()


def find_port() -> Path:
    """Device file of our virtio-serial port. There is no udev here that would name it."""
    for file in Path("/sys/class/virtio-ports").glob("*/name"):
        if file.read_text().strip() == PORT_NAME:
            return Path("/dev") / file.parent.name
    raise FileNotFoundError(f"no virtio-serial port is named {PORT_NAME}")


def serve(fd: int, agent: Agent) -> None:
    """Answer requests for ever."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    pending = b""
    while True:
        ((_, events),) = poll.poll()
        if not events & select.POLLIN:
            # Nobody is at the other end, and the port cannot tell when somebody comes.
            time.sleep(0.1)
            continue
        pending += os.read(fd, 65536)
        *lines, pending = pending.split(b"\n")
        for line in lines:
            answer = agent.answer(line)
            while answer:
                answer = answer[os.write(fd, answer) :]


def main() -> None:
    """Serve the port of this machine."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    serve(os.open(find_port(), os.O_RDWR), Agent())


if __name__ == "__main__":
    main()
