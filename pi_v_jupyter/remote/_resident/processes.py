"""Starting a process, what surrounds it, and how it ended."""

from __future__ import annotations

import os
import resource
import signal
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

ENVIRONMENT_FILE = "/etc/environment"
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)  # as this program got it, and as its commands get it
MANY_FILES = 1 << 16


def take_many_files() -> None:
    """Each job takes a few descriptors of this program, and there may be thousands of jobs."""
    soft, hard = FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MANY_FILES)), hard))


def launch(argv: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
    """Start `argv` as the leader of a process group of its own; the loop, not Popen, learns of its end."""
    process = subprocess.Popen(argv, start_new_session=True, **how)
    process.returncode = 0
    try:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, FILES)
    except OSError:  # it ended already, or runs as another user
        return process
    return process


def programs(group: int) -> set[int]:
    """The processes of `group` that run another program than its leader, which they were forked from."""
    found = set()
    leader = command_of(group)
    for name in os.listdir("/proc"):
        try:
            if (
                name.isdigit()
                and os.getpgid(int(name)) == group
                and command_of(int(name)) not in (leader, b"")
            ):
                found.add(int(name))
        except OSError:  # it ended meanwhile
            continue
    return found


def ignores_interrupts(pid: int) -> bool:
    """As all that bash starts with `&` does."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            ignored = next(line for line in file if line.startswith("SigIgn:"))
    except (OSError, StopIteration):  # it ended meanwhile
        return True
    return bool(int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1)


def command_of(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def exit_of(status: int) -> dict[str, Any]:
    """The parts of EXIT that a wait status tells."""
    if os.WIFSIGNALED(status):
        return {"signal": signal_name(os.WTERMSIG(status))}
    return {"code": os.WEXITSTATUS(status)}


def memory_file(data: bytes) -> int:
    """A readable descriptor that holds `data`: no disk, no name, no argv."""
    fd = os.memfd_create("pi-v")
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def environment(*, here: bool) -> dict[str, str]:
    """What a login would have; a resident that was started at boot has next to nothing.

    `here`: commands run on their user's own machine, where the notebook's environment is the one to have.
    """
    env = dict(os.environ)
    for name in ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"):
        env.pop(name, None)  # of a connection that commands outlive; and bash would read ~/.bashrc for each
    env.setdefault("HOME", os.path.expanduser("~"))
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    env.setdefault("LANG", "C.UTF-8")
    env.setdefault("SHELL", "/bin/bash")
    if os.getuid() == 0:
        env.setdefault("USER", "root")
        env.setdefault("LOGNAME", "root")
    if not here:
        env.update(environment_file())
    return env


def environment_file() -> dict[str, str]:
    """What the platform set for every login."""
    found = {}
    try:
        with open(ENVIRONMENT_FILE, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                key, equals, value = line.strip().partition("=")
                key = key[7:].strip() if key.startswith("export ") else key.strip()
                if equals and key and not key.startswith("#"):
                    found[key] = value.strip().strip("\"'")
    except OSError:
        return {}
    return found
