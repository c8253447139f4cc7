"""The way to a pi that pi-v started: a small program on its VM, as the background process that agents have.

pi-v runs pi in tmux, reading a FIFO and appending to a file; that program stands between those and the stdin
and stdout of a process, so that all else here knows no difference.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pi_v_jupyter.errors import UnknownProcessError
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.swarm._there import source
from pi_v_jupyter.vm import VM

PLACE = "/tmp/pi-rpc"  # noqa: S108  where pi-v has the FIFO and the files, on every VM
PROGRAM = ".swarm/bridge.py"  # of the user's home over there
LOOK_TIMEOUT = 30.0  # seconds


def leads_to(process: BackgroundProcess | None) -> bool:
    """Is it such a program, with a pi of pi-v's behind it?"""
    return process is not None and f"{PROGRAM} join " in process.status.command


def succeeded(process: BackgroundProcess | None) -> bool:
    """Is it a pi that took the place of such a one?"""
    return process is not None and f"{PROGRAM} succeed " in process.status.command


async def process(vm: VM, id: str) -> BackgroundProcess:
    """An agent's pi: the background process `id`, which is made to lead to pi-v's where there is none.

    Raises:
        UnknownProcessError: pi-v has started none there either.
        VersError: the VM cannot be reached.
    """
    try:
        return await vm.process(id)
    except UnknownProcessError:
        joined = await join(vm, id)
        if joined is None:
            raise
        return joined


async def join(vm: VM, id: str) -> BackgroundProcess | None:
    """Have the background process `id` lead to pi-v's pi; None: pi-v has started none there.

    Raises:
        VersError: the VM cannot be reached, or has no python3.
    """
    looked = await vm.run(["test", "-e", f"{PLACE}/out"], timeout=LOOK_TIMEOUT, check=False)
    if not looked.ok:
        return None
    await vm.write(PROGRAM, source("bridge"))
    return await vm.start(("python3", PROGRAM, "join", PLACE), id=id, stdin=True)


async def succeed(vm: VM, id: str, command: Sequence[str], cwd: str) -> BackgroundProcess:
    """End pi-v's pi, if it runs, and have `command` be the background process `id`, with the keys pi had.

    Raises:
        VersError: the VM cannot be reached, or has no python3.
    """
    await vm.write(PROGRAM, source("bridge"))
    words = ("sh", "-c", f'exec python3 "$HOME"/{PROGRAM} succeed {shlex.quote(PLACE)} "$@"', "sh", *command)
    return await vm.start(words, id=id, cwd=cwd, stdin=True, restart=True)
