"""What is to be copied: whether it is there, how much it is, and what of a file is worth sending."""

from __future__ import annotations

import errno
import os
import stat
import struct
import time

from .records import EVERYTHING, HIDDEN, SMALL, SPAN, CopyError, Nonsense, digest, own_name, reason, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

PRESCAN = 0.3  # seconds for finding out how much there is
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # nonblocking: of a pipe that took a file's place


class Origin:
    """One of the paths that were asked for. A link among those is followed."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.name = own_name(path)
        try:
            self.stat = os.stat(path)
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL
            raise CopyError(f"{shown(path)}: {reason(error)}.") from None
        self.folder = stat.S_ISDIR(self.stat.st_mode)
        if not (self.folder or stat.S_ISREG(self.stat.st_mode)):
            raise CopyError(f"{shown(path)} is neither a file nor a folder.")


class Part:
    """What the other side says it has of an earlier copy, in the words of `parts.partial`."""

    def __init__(self, told: dict[str, Any]) -> None:
        try:
            self.size, self.digest = told["size"], told["digest"]
            self.inode, self.mtime = told["stamp"]
            SPAN.pack(self.size, self.size, self.inode, self.mtime)
        except (KeyError, TypeError, ValueError, struct.error):
            raise Nonsense("The other side does not say what it has of an earlier copy.") from None


def begins(origin: Origin, part: Part, stopped: Callable[[], bool]) -> bool:
    """Does this file begin with what is there already?"""
    if origin.folder or not SMALL < part.size <= origin.stat.st_size:
        return False
    try:
        fd = os.open(origin.path, READ)
    except OSError:
        return False  # and that is told when it is its turn
    try:
        return bool(digest(fd, part.size, stopped) == part.digest)
    except OSError:
        return False
    finally:
        os.close(fd)


def totals(origins: list[Origin]) -> tuple[int, int]:
    """Entries and bytes there are; -1 for both when looking takes too long."""
    deadline = time.perf_counter() + PRESCAN
    entries, size, seen = len(origins), 0, set()
    folders = [origin.path for origin in origins if origin.folder]
    size += sum(occupied(origin.stat) for origin in origins if not origin.folder)
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                for entry in found:
                    if time.perf_counter() > deadline:
                        return -1, -1
                    if entry.name.startswith(HIDDEN):
                        continue
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        about = entry.stat(follow_symlinks=False)
                        if about.st_nlink == 1 or (about.st_dev, about.st_ino) not in seen:
                            size += occupied(about)
                        if about.st_nlink > 1:
                            seen.add((about.st_dev, about.st_ino))
        except OSError:
            continue  # told when it is its turn
    return entries, size


def occupied(about: os.stat_result) -> int:
    """Bytes to be sent: of a sparse file, those that are there."""
    return min(about.st_size, about.st_blocks * 512)


def small(fd: int, size: int) -> bytes | None:
    """All of a file, where that is little. Files of /proc have no size, and something in them."""
    if size > SMALL:
        return None
    data = os.read(fd, size or SMALL)
    if not size:
        return None if data else b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            break
        data += more
    return data


def extents(fd: int, about: os.stat_result, at: int) -> Iterator[tuple[int, int]]:
    """Where a file has something, from `at` on."""
    size = about.st_size or EVERYTHING
    if about.st_blocks * 512 >= about.st_size:
        yield at, size
        return
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing more
                return
            raise
        yield at, min(end, size)
        at = end
