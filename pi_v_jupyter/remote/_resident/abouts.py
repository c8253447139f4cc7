"""What is known of a background process, in a file of its folder: written by its minder, read by all."""

from __future__ import annotations

import contextlib
import errno
import json
import os

from . import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOM = 4096  # bytes by which about.json grows, and
SLACK = 1024  # bytes that it has to spare: what replaces it fits where it is, when the disk is full
TOLD = {
    **{"run": str, "command": str, "cwd": str, "state": str, "pid": int, "pid_began": str},
    **{"minder": int, "minder_began": str, "started": float, "begin": int, "end": int},
}


def save(folder: str, about: dict[str, Any]) -> None:
    """What is known of the process, for those who come when its minder has ended."""
    path = os.path.join(folder, "about.json")
    data = json.dumps(about).encode()
    data = data.ljust(ROOM * (1 + (len(data) + SLACK) // ROOM))
    try:
        fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
        os.replace(path + ".new", path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path + ".new")
        try:
            with open(path, "r+b", buffering=0) as file:
                file.write(data)
        except FileNotFoundError:
            raise error from None


def recorded(folder: str) -> bytes | None:
    """What is known of an earlier run."""
    try:
        with open(os.path.join(folder, "about.json"), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def restore(folder: str, before: bytes | None) -> None:
    """As if there had been no other run since."""
    path = os.path.join(folder, "about.json")
    with contextlib.suppress(OSError):
        if before is None:
            os.unlink(path)
        else:
            with open(path, "r+b", buffering=0) as file:
                file.write(before)
                file.truncate()


def told(place: str) -> dict[str, Any]:
    """What its minder wrote down last; ValueError: that makes no sense."""
    with open(os.path.join(place, "about.json"), "rb") as file:
        try:
            about: dict[str, Any] = json.loads(file.read())
        except RecursionError:
            raise ValueError("too deep") from None
    whole = isinstance(about, dict) and all(isinstance(about.get(name), TOLD[name]) for name in TOLD)
    if not whole:
        raise ValueError("no record")
    about["id"] = os.path.basename(place)
    return about


def damaged(place: str) -> dict[str, Any]:
    """One whose record was lost, as in a power failure: its log is there, and it can be removed."""
    written = os.stat(os.path.join(place, "about.json")).st_mtime
    return {
        **{"id": os.path.basename(place), "run": "", "command": "", "cwd": "", "state": "lost"},
        **{"pid": 0, "pid_began": "", "minder": 0, "minder_began": ""},
        **{"started": written, "ended": written, "begin": 0, "end": journal.end(place)},
        "trouble": "its record is damaged",
    }
