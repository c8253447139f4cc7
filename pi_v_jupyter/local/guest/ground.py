"""What the modules of the agent share: its refusals, whole files, the environment of what it starts."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_FILE = "/etc/environment"
ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


class Refused(Exception):
    """It cannot be done, for a reason the host may tell its user. `code` is an errno's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def write_file(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Replace the file `path` by one that holds `data`, whole or not at all."""
    temporary = path.with_name(path.name + ".pi-v")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(data.encode() if isinstance(data, str) else data)
    temporary.replace(path)


def overwrite(path: str, data: str, mode: int = 0o644) -> None:
    """Make `data` the content of the small file `path`, in place.

    A new file renamed over the old one costs ten times as much in a machine that has just woken up, and
    a file within one block of the disk is no safer for it.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, mode)  # a FIFO keeps nobody waiting
    try:
        content = data.encode(errors="surrogateescape")
        os.write(fd, content)
        os.ftruncate(fd, len(content))
    finally:
        os.close(fd)


def read_lines(path: str) -> list[str]:
    """The lines of a text file, none when it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return []
    parts = []
    try:
        while part := os.read(fd, 1 << 16):
            parts.append(part)
    finally:
        os.close(fd)
    # Not `splitlines`, which knows ends of lines that no program here does.
    lines = b"".join(parts).decode(errors="surrogateescape").split("\n")
    return lines if lines[-1] else lines[:-1]


def variable(line: str) -> tuple[str, str] | None:
    """Name and value that a line of /etc/environment sets, read as a login would."""
    name, equals, value = line.strip().partition("=")
    name = name.removeprefix("export ").strip()
    if not equals or not name or name.startswith("#"):
        return None
    return name, value.strip().strip("\"'")


def environment() -> dict[str, str]:
    """What a command finds set: a login's variables, and those of /etc/environment."""
    return {**ENVIRONMENT, **dict(filter(None, map(variable, read_lines(ENVIRONMENT_FILE))))}
