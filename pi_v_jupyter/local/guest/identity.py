"""Who this machine is: name, keys, clock and randomness.

A restored machine wakes up as an exact copy of another. All here is on the way of every new, branched
and restored VM, so it starts no program and waits for no disk. Nor does it go the convenient way through
`pathlib` and file objects: a machine under emulation that has just woken up pays for each instruction that
it executes for the first time.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import socket
import struct
import time

from . import ground
from .ground import Refused, overwrite, read_lines, variable
from .sshserver import SSHServer

HOSTNAME = "/etc/hostname"
HOSTS = "/etc/hosts"
MACHINE_ID = "/etc/machine-id"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"
OURS = "pi-v"  # how our lines end in files that are the user's too
# From <linux/random.h>; neither is in any Python module.
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207


def set_time(*, now: float, seed: str) -> None:
    """Set the clock to `now` (Unix seconds), and mix `seed` (base64) into the random numbers.

    Without it a copy of this machine would draw the same numbers as every other copy.
    """
    time.clock_settime(time.CLOCK_REALTIME, now)
    fresh = base64.b64decode(seed)
    pool = struct.pack("ii", len(fresh) * 8, len(fresh)) + fresh
    device = os.open("/dev/urandom", os.O_WRONLY)
    try:
        fcntl.ioctl(device, RNDADDENTROPY, pool)
        fcntl.ioctl(device, RNDRESEEDCRNG)
    finally:
        os.close(device)


def configure(
    ssh: SSHServer,
    *,
    name: str,
    machine_id: str,
    seed: str,
    now: float,
    authorized_key: str,
    host_key: str | None = None,
    host_public_key: str | None = None,
    env: dict[str, str] | None = None,
) -> None:
    """Become the machine `name`, reachable with `authorized_key`; the lines of users stay.

    Without `host_key` it keeps the one it has, and its SSH server is left alone. `env` goes into
    /etc/environment.
    """
    check_variables(env or {})
    set_time(now=now, seed=seed)
    socket.sethostname(name)
    # Its user may have made other things of these files, and can still have copies of it.
    with contextlib.suppress(OSError):
        overwrite(HOSTNAME, f"{name}\n")
    with contextlib.suppress(OSError):
        replace_our_line(HOSTS, f"127.0.1.1 {name} # {OURS}")
    with contextlib.suppress(OSError):
        overwrite(MACHINE_ID, f"{machine_id}\n", 0o444)
    os.makedirs(os.path.dirname(AUTHORIZED_KEYS), 0o700, exist_ok=True)  # noqa: PTH103, PTH120 - see above
    replace_our_line(AUTHORIZED_KEYS, f"{authorized_key} {OURS}", 0o600)
    if env:
        merge_environment(env)
    if host_key is not None:
        ssh.listen(host_key, host_public_key or "")


def replace_our_line(path: str, line: str | None, mode: int = 0o644) -> None:
    """Make `line` the only one of ours in `path`; None: have none."""
    others = [each for each in read_lines(path) if each.split()[-1:] != [OURS]]
    lines = others if line is None else [*others, line]
    overwrite(path, "".join(f"{each}\n" for each in lines), mode)


def check_variables(env: dict[str, str]) -> None:
    """Raise Refused for what a line of /etc/environment cannot hold."""
    for name, value in env.items():
        if not name or any(character in name for character in "=#\n\0 ") or "\n" in value or "\0" in value:
            raise Refused("EINVAL", f"the variable {name[:80]!r} does not fit on a line of /etc/environment")


def merge_environment(env: dict[str, str]) -> None:
    """Set the variables of `env` in /etc/environment, where each name then occurs once."""
    kept = []
    for line in read_lines(ground.ENVIRONMENT_FILE):
        found = variable(line)
        if found is None or found[0] not in env:
            kept.append(line)
    lines = [*kept, *(f"{name}={value}" for name, value in env.items())]
    overwrite(ground.ENVIRONMENT_FILE, "".join(f"{line}\n" for line in lines))
