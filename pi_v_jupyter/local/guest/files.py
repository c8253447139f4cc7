"""Files of this machine, for the API: read in parts, written whole or not at all.

What is too large for one request arrives first, in parts, in a file without a name, which is gone with
this program.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import Any

from .ground import Refused

MOST_PER_ANSWER = 256 << 10
MOST_UPLOADS = 16  # under way; of more the oldest is given up
STAGE = "/var/tmp"  # noqa: S108 - files there have no names
STEP = 1 << 20


class Uploads:
    """Bytes on their way in, by the host's name for them."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, token: str, data: str) -> None:
        """Append `data` (base64) to the upload `token`, which begins with its first part."""
        with self._lock:
            if token not in self._files:
                while len(self._files) >= MOST_UPLOADS:
                    os.close(self._files.pop(next(iter(self._files))))
                self._files[token] = os.open(STAGE, os.O_TMPFILE | os.O_RDWR, 0o600)
            write_all(self._files[token], base64.b64decode(data))

    def take(self, token: str | None, data: str | None) -> int:
        """A descriptor at the beginning of an upload, or of `data`; whoever takes it closes it."""
        if token is None:
            fd = os.memfd_create("pi-v")
            write_all(fd, base64.b64decode(data or ""))
        else:
            with self._lock:
                if token not in self._files:
                    raise Refused("ESTALE", "the upload was given up; send it again")
                fd = self._files.pop(token)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd


def read(path: str, offset: int, version: str | None) -> dict[str, Any]:
    """A part of the file from `offset` on. `version`: what the first part was of, or None for the first."""
    # Without O_NONBLOCK a FIFO would keep us until somebody writes to it.
    fd = os.open(_absolute(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        _check_regular(status, path)
        # Files of /proc change with each look and have no size.
        now = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}" if status.st_size else "0"
        if version not in (None, now):
            raise Refused("ESTALE", f"{path} was changed while it was read")
        parts = []
        left = MOST_PER_ANSWER
        while left and (part := os.pread(fd, left, offset)):
            parts.append(part)
            offset += len(part)
            left -= len(part)
    finally:
        os.close(fd)
    data = base64.b64encode(b"".join(parts)).decode()
    return {"data": data, "size": status.st_size, "version": now, "eof": left > 0}


def write(path: str, source: int, mode: int, *, create_dirs: bool) -> None:
    """Put what descriptor `source` holds at `path`, through a new file beside it."""
    target = Path(os.path.realpath(_absolute(path)))  # a link stays, and what it names is replaced
    if create_dirs:
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        status = target.stat()
    except FileNotFoundError:
        status = None
    if status is not None:
        _check_regular(status, path)
    temporary = target.with_name(f".pi-v-{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        try:
            while part := os.read(source, STEP):
                write_all(fd, part)
            if status is not None:
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise Refused("EINVAL", f"{path!r} is not an absolute path")
    return path


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Refused("EISDIR", f"{path} is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise Refused("EINVAL", f"{path} is not a regular file")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
