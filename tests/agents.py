"""The agent of a VM, run as a process of this computer: its real code, real commands, no machine.

    python agents.py SOCKET FOLDER

It serves one connection to SOCKET after the other, as QEMU's virtio-serial port does, and takes FOLDER for
the machine: what it would do to clock, name and SSH server it only writes down there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pi_v_jupyter.local import inside
from pi_v_jupyter.local.guest import agent, commands, files, ground, identity, sshserver
from pi_v_jupyter.local.guestlink import GuestLink

# An SSH server as far as the agent can tell: waits for its key, says that it listens, stays.
SERVER = """
import os, pathlib, socket, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / "asked").write_text(str(os.getpid()))
key = (folder / "ssh/ssh_host_ed25519_key").read_text()
if not key:
    sys.exit(1)
(folder / "served").open("a").write(key)
ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
try:
    ready.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
except FileNotFoundError:
    pass
time.sleep(600)
"""


class Recorded:
    """Writes down what a machine would be told."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "told"

    def set_time(self, **fields: Any) -> None:
        self._note(fields)

    def sethostname(self, name: str) -> None:
        self._note({"hostname": name})

    def _note(self, what: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(what) + "\n")


def main(path: str, folder: Path) -> None:
    for name in ("ssh", "etc"):
        (folder / name).mkdir(exist_ok=True)
    recorded = Recorded(folder)
    identity.set_time = recorded.set_time
    socket.sethostname = recorded.sethostname
    for name in ("HOSTNAME", "HOSTS", "MACHINE_ID", "AUTHORIZED_KEYS"):
        setattr(identity, name, f"{folder}/etc/{name.lower()}")
    ground.ENVIRONMENT["HOME"] = str(folder)
    ground.ENVIRONMENT_FILE = f"{folder}/etc/environment"
    files.STAGE = str(folder)
    (folder / "server.py").write_text(SERVER)
    sshserver.COMMAND = (sys.executable, str(folder / "server.py"), str(folder))
    sshserver.HOST_KEY = folder / "ssh/ssh_host_ed25519_key"
    sshserver.PID_FILE = folder / "pid"
    sshserver.PRIVILEGE_FOLDER = folder / "privilege"
    sshserver.READY_SOCKET = folder / "ready"
    sshserver.PAUSE = 0.05
    commands.PATIENCE = 2.0

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    port = os.dup(listener.accept()[0].detach())

    def plug() -> None:
        while True:
            connection, _ = listener.accept()
            os.dup2(connection.fileno(), port)
            connection.close()

    threading.Thread(target=plug, daemon=True).start()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    agent.Port(port, agent.Agent()).serve()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Path]:
    """The socket of an agent that runs for the time of the block, and whatever it started with it."""
    path = folder / "agent"
    process = subprocess.Popen(
        [sys.executable, __file__, str(path), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield path
    finally:
        _end(process, folder)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    for entry in Path("/proc").iterdir():  # commands have sessions of their own, and outlive it
        try:
            working = entry.name.isdigit() and (entry / "cwd").resolve().is_relative_to(folder)
            named = working or str(folder).encode() in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if named and int(entry.name) != os.getpid():
            os.kill(int(entry.name), signal.SIGKILL)


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[GuestLink]:
    """A link to an agent of its own."""
    async with running(folder) as path:
        link = await GuestLink.connect(path)
        try:
            yield link
        finally:
            link.close()


async def run(link: GuestLink, command: inside.Command) -> inside.Result:
    """A command, from its start to its end."""
    await inside.start(link, command)
    return await inside.result(link, command)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
