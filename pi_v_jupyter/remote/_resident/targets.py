"""Where a copy is to land, in the words of `cp`, and what may be a name there."""

from __future__ import annotations

import os
import stat

from .records import CopyError, Nonsense, reason, shown


def aim(target: bytes, name: bytes, *, several: bool, folder: bool) -> tuple[bytes, bytes]:
    """The folder in which a source called `name` is to be put, and its name there."""
    try:
        found = stat.S_IFMT(os.stat(target).st_mode)
    except FileNotFoundError:
        found = stat.S_IFLNK if os.path.islink(target) else 0
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise CopyError(f"{shown(target)}: {reason(error)}.") from None
    if found == stat.S_IFDIR:
        return target, name
    if several:
        raise CopyError(f"{shown(target)} is not a folder, and several things are to be copied there.")
    if folder and found:
        raise CopyError(f"{shown(target)} is not a folder, and what is copied there is one.")
    if found not in (0, stat.S_IFREG, stat.S_IFLNK):
        raise CopyError(f"{shown(target)} is neither a file nor a folder, and a copy would replace it.")
    if target.endswith(b"/") and not folder:
        raise CopyError(f"{shown(target)}: there is no such folder.")
    above, own = os.path.split(target.rstrip(b"/"))
    if not os.path.isdir(above or b"."):
        raise CopyError(f"{shown(above)}: there is no such folder.")
    if own in (b"", b".", b".."):
        raise CopyError(f"{shown(target)}: there is no such folder.")
    return above or b".", own


def check(name: bytes) -> None:
    """Is it the name of something in a folder, and of nothing elsewhere?"""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise Nonsense(f"The other side sent a name that cannot be one: {shown(name)!r}.")


def apart(fd: int, name: bytes, identity: tuple[int, int], told: str, *, folder: bool) -> None:
    """Refuse to put what has that device and inode into itself, as `name` in the open folder `fd`."""
    if folder:
        if inside(fd, identity):
            raise CopyError(f"{told} is in the folder that is to be copied there.")
        return
    try:
        there = os.stat(name, dir_fd=fd)
    except FileNotFoundError:
        return
    if (there.st_dev, there.st_ino) == identity:
        raise CopyError(f"{told} is the file that is to be copied there.")


def inside(fd: int, identity: tuple[int, int]) -> bool:
    """Is the open folder that one, or in it?"""
    up = b"."
    while True:
        found, above = os.stat(up, dir_fd=fd), os.stat(up + b"/..", dir_fd=fd)
        if (found.st_dev, found.st_ino) == identity:
            return True
        if (found.st_dev, found.st_ino) == (above.st_dev, above.st_ino):
            return False
        up += b"/.."
