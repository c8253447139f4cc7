"""Takes the platform's word to the machine it runs on.

This program is part of the saved memory of machines that others are copies of. It reads one JSON object
per line from a virtio-serial port, `{"id", "op", ...}`, and answers each with one, `{"id", "ok": true,
...}` or `{"id", "error", "code"}`, in the order in which it gets done: a request that may take a while
has a thread, so that it keeps no other waiting. The part of an id before its full stop names the link
it came over; what an earlier link asked is not answered any more.

Only the standard library, Python 3.9 and later, and nothing of this package: it runs in the guest.
The host trusts it with nothing: what it answers is data.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import files, identity
from .commands import Commands
from .ground import ENVIRONMENT, Refused, write_file
from .sshserver import SSHServer

PORT_NAME = "org.pi-v.agent"
RESIDENT = Path("/usr/local/lib/pi-v/resident.py")
PROMPT = ("ping", "time", "configure")  # what a machine that has just woken up is asked, and must be quick
MOST_AT_ONCE = 200  # requests under way
READ = 64 << 10


class Agent:
    """The requests, one method each; the fields of a request are the method's arguments."""

    def __init__(self) -> None:
        self._ssh = SSHServer()
        self._commands = Commands()
        self._uploads = files.Uploads()
        self._methods: dict[str, Callable[..., dict[str, Any] | None]] = {
            name: getattr(self, name)
            for name in (
                *("ping", "time", "configure", "settle", "grow_disk"),
                *("start_resident", "start_kernel", "rehearse_login", "forget"),
                *("exec_start", "exec_read", "exec_latest", "logs", "upload", "read_file", "write_file"),
            )
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        reply = {"id": request.pop("id", None)}
        try:
            method = self._methods[str(request.pop("op", None))]
            reply.update(method(**request) or {}, ok=True)
        except Refused as refusal:
            reply.update(error=str(refusal), code=refusal.code)
        except OSError as error:
            what = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
            reply.update(
                error=f"{error.strerror or error}{what}", code=errno.errorcode.get(error.errno or 0, "EIO")
            )
        except ValueError as error:  # no such bytes, or names that cannot be
            reply.update(error=str(error), code="EINVAL")
        except Exception as error:  # noqa: BLE001 - a request that fails must not end the agent
            reply.update(error=f"{type(error).__name__}: {error}", code="EIO")
        return reply

    def ping(self) -> None:
        """Show that the machine is up."""

    def time(self, *, now: float, seed: str) -> None:
        """Set clock and randomness right, of a machine that stood still."""
        identity.set_time(now=now, seed=seed)

    def configure(self, **fields: Any) -> None:
        """Become another machine; see `identity.configure`."""
        identity.configure(self._ssh, **fields)

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

    def start_kernel(self, *, program: str, socket_path: str, seconds: float) -> None:
        """Run `program` (base64 of Python source), which ends once its kernel serves `socket_path`."""
        subprocess.run(
            ["/usr/bin/python3", "-", socket_path],
            input=base64.b64decode(program),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/root",
            timeout=seconds,
            check=True,
        )

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
        identity.replace_our_line(identity.AUTHORIZED_KEYS, None, 0o600)
        self._ssh.forget()
        os.sync()

    def exec_start(
        self,
        *,
        exec_id: str,
        argv: list[str],
        env: dict[str, str],
        cwd: str | None,
        seconds: float,
        stdin: str | None = None,
        upload: str | None = None,
    ) -> None:
        """Start a command. Its input: `stdin` (base64), what was sent as `upload`, or none."""
        source = None if stdin is None and upload is None else self._uploads.take(upload, stdin)
        try:
            self._commands.start(exec_id, argv, env, cwd, seconds, source)
        finally:
            if source is not None:
                os.close(source)

    def exec_read(self, *, exec_id: str, cursor: int, wait: float) -> dict[str, Any]:
        """Output of a command after `cursor`, as soon as there is any, within `wait` seconds."""
        return self._commands.get(exec_id).read(cursor, wait)

    def exec_latest(self, *, exec_id: str) -> dict[str, Any]:
        """The cursor after all output there is of a command."""
        return {"cursor": self._commands.get(exec_id).output.end}

    def logs(self, *, offset: int, most: int, stream: str | None) -> dict[str, Any]:
        """Output of all commands from `offset` on."""
        return self._commands.log(offset, most, stream)

    def upload(self, *, token: str, data: str) -> None:
        """Receive a part of what a later request needs."""
        self._uploads.add(token, data)

    def read_file(self, *, path: str, offset: int, version: str | None) -> dict[str, Any]:
        """A part of a file."""
        return files.read(path, offset, version)

    def write_file(
        self, *, path: str, mode: int, create_dirs: bool, data: str | None = None, upload: str | None = None
    ) -> None:
        """Replace a file by `data` (base64) or by what was sent as `upload`."""
        source = self._uploads.take(upload, data)
        try:
            files.write(path, source, mode, create_dirs=create_dirs)
        finally:
            os.close(source)


class Port:
    """The line to the host. Requests come in one by one, answers go out as they are ready."""

    def __init__(self, fd: int, agent: Agent) -> None:
        self._fd = fd
        self._agent = agent
        self._link = ""  # the latest that asked
        self._writing = threading.Lock()
        self._slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._workers = ThreadPoolExecutor(MOST_AT_ONCE)  # to start a thread takes longer than most requests

    def serve(self) -> None:
        """Answer requests for ever."""
        begun: list[bytes] = []  # parts of a line: the port gives 4 KB at a time
        while True:
            data = os.read(self._fd, READ)
            if not data:
                # Nobody is at the other end, and the port cannot tell when somebody comes.
                time.sleep(0.1)
                continue
            part, *parts = data.split(b"\n")
            begun.append(part)
            for part in parts:
                self._take(b"".join(begun))
                begun = [part]

    def _take(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except ValueError:
            return  # the rest of a line that an earlier link did not finish
        if not isinstance(request, dict) or not isinstance(request.get("id"), str):
            return
        self._link = _link_of(request["id"])
        if request.get("op") in PROMPT:
            self._send(self._agent.answer(request))
        elif self._slots.acquire(blocking=False):
            self._workers.submit(self._work, request)
        else:
            self._send({"id": request["id"], "error": "too much is asked at once", "code": "EAGAIN"})

    def _work(self, request: dict[str, Any]) -> None:
        try:
            self._send(self._agent.answer(request))
        finally:
            self._slots.release()

    def _send(self, reply: dict[str, Any]) -> None:
        line = json.dumps(reply).encode() + b"\n"
        with self._writing:
            if _link_of(reply["id"]) == self._link:
                files.write_all(self._fd, line)


def _link_of(number: str) -> str:
    return number.partition(".")[0]


def find_port() -> Path:
    """Device file of our virtio-serial port. There is no udev here that would name it."""
    for file in Path("/sys/class/virtio-ports").glob("*/name"):
        if file.read_text().strip() == PORT_NAME:
            return Path("/dev") / file.parent.name
    raise FileNotFoundError(f"no virtio-serial port is named {PORT_NAME}")


def main() -> None:
    """Serve the port of this machine."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # A request waits no longer than this for the interpreter while another thread is at work.
    sys.setswitchinterval(0.001)
    Port(os.open(find_port(), os.O_RDWR), Agent()).serve()
