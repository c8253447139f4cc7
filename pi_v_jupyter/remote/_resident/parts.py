"""What is left of the copy of one large file that was cut: a hidden file beside the target.

The next copy of that name goes on from it, if the source begins with the very same bytes. It is locked while
a copy writes to it, so that two never share one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from .records import HIDDEN, RESUMABLE, CopyError, digest, own_name, raw
from .targets import aim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SUFFIX = b".part"


def part_name(name: bytes) -> bytes:
    """Of the part of a file called `name`: readable, where there is room for that."""
    if len(HIDDEN + name + SUFFIX) > 255:
        import hashlib

        name = hashlib.blake2b(name, digest_size=16).hexdigest().encode()
    return HIDDEN + name + SUFFIX


def claim(folder: int, name: bytes, flags: int = os.O_RDWR) -> int | None:
    """The part `name`, open and locked; None where it is not there, not ours, or in use."""
    try:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=folder)
    except OSError:
        return None
    with contextlib.suppress(OSError):  # another copy uses it, or it is gone, or there are no locks here
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found, there = os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False)
        # Whoever had it may have given it its final name before the lock was ours.
        same = (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino)
        if same and stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid():
            return fd
    os.close(fd)
    return None


def start(folder: int, name: bytes) -> int | None:
    """An empty part for a copy from the beginning."""
    fd = claim(folder, name, os.O_RDWR | os.O_CREAT)
    if fd is not None:
        os.ftruncate(fd, 0)
    return fd


def go_on(folder: int, name: bytes, size: int, stamp: tuple[int, int]) -> int:
    """The part that `partial` told of, to go on at `size`."""
    fd = claim(folder, name)
    if fd is None:
        raise CopyError(
            "What was left of the last copy is gone, or another copy goes on with it: copy again."
        )
    found = os.fstat(fd)
    if (found.st_size, found.st_ino, found.st_mtime_ns) != (size, *stamp):
        os.close(fd)
        raise CopyError("What was left of the last copy has changed meanwhile: copy again.")
    return fd


def partial(
    target: str, source: str, *, stopped: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """What is left of an interrupted copy of the one file `source` to `target`, for `pack(resume=)`."""
    try:
        folder, name = aim(raw(target), own_name(raw(source)), several=False, folder=False)
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (CopyError, OSError):
        return None  # and the copy itself will tell
    try:
        fd = claim(at, part_name(name))
    finally:
        os.close(at)
    if fd is None:
        return None
    try:
        found = os.fstat(fd)
        if found.st_size < RESUMABLE:
            return None
        hashed = digest(fd, found.st_size, stopped)
    except OSError:
        return None
    finally:
        os.close(fd)
    return {"size": found.st_size, "digest": hashed, "stamp": [found.st_ino, found.st_mtime_ns]}


def discard(folder: int, name: bytes) -> None:
    """A part of what has been copied whole since."""
    fd = claim(folder, name)
    if fd is not None:
        os.unlink(name, dir_fd=folder)
        os.close(fd)
