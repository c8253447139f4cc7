"""Files of this machine, changed: whole or not at all, as bytes, without a shell. See `files`."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat as modes

from .files import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .files import Call

NEW = 0o644  # the mode of what was not there before
PATIENCE = 0.5  # seconds between two looks whether a write was stopped
# Why no other file can take a file's place: it is mounted, or its folder is the kernel's, or not ours.
IN_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EBUSY, errno.EXDEV)


def write(call: Call, path: str, append: bool, mode: int | None) -> Any:
    """The input becomes the file's content, or is added to it. Folders that are not there are made."""
    target = resolved(call.path(path))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    before = status_of(target)
    size = add(call, target, mode, before) if append else replace(call, target, before, mode, call.blocks())
    return {"path": target, "size": size, "created": before is None}


def resolved(path: str) -> str:
    """Where a link leads: it stays one, and what it names is written."""
    if path.endswith("/"):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return os.path.realpath(path)


def status_of(path: str) -> os.stat_result | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if modes.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return status


def add(call: Call, target: str, mode: int | None, before: os.stat_result | None) -> int:
    """At the end of the file, once all of it is there: what others add meanwhile stays."""
    data = b"".join(call.blocks())
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    if before is None:
        flags |= os.O_CREAT
    fd = os.open(target, flags, NEW)
    start = os.fstat(fd).st_size
    try:
        fill(call, fd, [data])
        if mode is not None:
            os.fchmod(fd, mode)
    except OSError:
        status = os.fstat(fd)
        if modes.S_ISREG(status.st_mode) and start < status.st_size < start + len(data):
            os.ftruncate(fd, start)  # the disk is full: nobody has added more
        raise
    finally:
        os.close(fd)
    return len(data)


def fill(call: Call, fd: int, blocks: Iterable[bytes]) -> int:
    """Write all of it, down to the disk; the bytes it was."""
    size = 0
    for block in blocks:
        size += len(block)
        view = memoryview(block)
        while view:
            call.check()
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:  # a pipe or a terminal whose reader takes its time
                select.select([], [fd], [], PATIENCE)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # a device or a pipe has no disk
            raise
    return size


def replace(
    call: Call,
    target: str,
    before: os.stat_result | None,
    mode: int | None,
    blocks: Iterable[bytes],
    unless: Callable[[], None] = lambda: None,
) -> int:
    """Have another file with that content take the place of `target`, its owner, mode and attributes kept.

    `unless` raises what speaks against it, at the last moment.
    """
    if before is not None and not _ours(before):
        return overwrite(call, target, mode, blocks, unless)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".pi-v-{os.urandom(8).hex()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if before is None or error.errno not in IN_PLACE:
            raise OSError(error.errno, error.strerror, target) from None  # the name the user knows
        return overwrite(call, target, mode, blocks, unless)
    try:
        try:
            size = fill(call, fd, blocks)
            if before is not None:
                take_after(fd, target, before)
            os.fchmod(fd, mode if mode is not None else modes.S_IMODE(before.st_mode) if before else NEW)
        finally:
            os.close(fd)
        unless()
        try:
            os.replace(temporary, target)
        except OSError as error:
            if before is None or error.errno not in IN_PLACE:
                raise OSError(error.errno, error.strerror, target) from None
            with open(temporary, "rb") as file:
                return overwrite(call, target, mode, iter(lambda: file.read(1 << 20), b""), unless)
        else:
            temporary = ""
            settle(folder)
    finally:
        if temporary:
            os.unlink(temporary)
    return size


def _ours(before: os.stat_result) -> bool:
    """May another file take its place? Its owner could not be kept, a device is no file."""
    return modes.S_ISREG(before.st_mode) and os.geteuid() in (0, before.st_uid)


def overwrite(
    call: Call, target: str, mode: int | None, blocks: Iterable[bytes], unless: Callable[[], None]
) -> int:
    """Where only this very file will do: at least not before all of its content is there."""
    data = b"".join(blocks)
    unless()
    fd = os.open(target, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        size = fill(call, fd, [data])
        if mode is not None:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)
    return size


def take_after(fd: int, target: str, before: os.stat_result) -> None:
    """Owner and extended attributes (access lists are some), as far as this user may set them."""
    for uid, gid in ((before.st_uid, -1), (-1, before.st_gid)):
        try:
            os.fchown(fd, uid, gid)
        except PermissionError:
            continue
    with contextlib.suppress(OSError):  # the file system has none
        for name in os.listxattr(target):
            with contextlib.suppress(OSError):  # or keeps this one to itself
                os.setxattr(fd, name, os.getxattr(target, name))


def settle(folder: str) -> None:
    """Have the folder's new entry reach the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


def named(call: Call, path: str) -> str:
    """The path itself, not what a link there leads to. Of what has no name nothing is taken away."""
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return call.path(path).rstrip("/") or "/"


def remove(call: Call, path: str, recursive: bool) -> Any:
    """A file, a link or an empty folder; with `recursive` a folder and all in it."""
    full = named(call, path)
    status = os.lstat(full)
    if not modes.S_ISDIR(status.st_mode):
        os.unlink(full)
        return
    for kept, what in (("/", "the root of the file system"), (os.path.expanduser("~"), "the user's home")):
        if os.path.exists(kept) and os.path.samefile(full, kept):
            raise Refusal("kept", f"It is {what}")
    if recursive:
        empty(call, full, None)
    os.rmdir(full)


def empty(call: Call, name: str, at: int | None) -> None:
    """Remove all that is in a folder, following no link."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        with os.scandir(fd) as found:
            for each in found:
                call.check()
                if each.is_dir(follow_symlinks=False):
                    empty(call, each.name, fd)
                    os.rmdir(each.name, dir_fd=fd)
                else:
                    os.unlink(each.name, dir_fd=fd)
    finally:
        os.close(fd)


def move(call: Call, path: str, to: str) -> Any:
    """As `mv` does it: into a folder that is there, else to that very name, replacing a file there."""
    source, target = named(call, path), named(call, to)
    os.lstat(source)
    if os.path.isdir(target) and not os.path.samefile(source, target):
        target = os.path.join(target, os.path.basename(source))
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        from shutil import move as carry

        carry(source, target)
    return {"path": target}


def mkdir(call: Call, path: str, parents: bool) -> Any:
    """A folder; with `parents` those above it too, and one that is there is no error."""
    if parents:
        os.makedirs(call.path(path), exist_ok=True)
    else:
        os.mkdir(call.path(path))


DOES: dict[str, Callable[..., Any]] = {
    "write": write,
    "remove": remove,
    "move": move,
    "mkdir": mkdir,
}
