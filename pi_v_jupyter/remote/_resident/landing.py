"""Where a copy lands: folders by descriptor, and files that get their names when they are whole.

Nothing here follows a link or takes a path: every step is one name in a folder that is held open, so that no
stream, and nobody who swaps a folder for a link meanwhile, leads out of the target. What was not there is
built under a hidden name and renamed when it is complete; a folder that was there is entered and stays as it
is, but for what is put into it.
"""

from __future__ import annotations

import contextlib
import os
import stat

from .records import DEEPEST, HIDDEN, CopyError, Nonsense, shown

INSIDE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Looks:
    """Mode, owner and time of what is copied."""

    __slots__ = ("gid", "mode", "mtime", "uid")

    def __init__(self, mode: int, uid: int, gid: int, mtime: int) -> None:
        self.mode, self.uid, self.gid = mode, uid, gid
        self.mtime = mtime  # ns


class Folder:
    """One that is open, on the way from the target down to where we are."""

    def __init__(
        self, fd: int, name: bytes, looks: Looks | None, *, hidden: bytes = b"", fresh: bool = False
    ) -> None:
        self.fd, self.name = fd, name
        self.looks = looks  # to be given to it at the end; None for one that was there
        self.hidden = hidden  # its name until it is whole
        self.fresh = fresh  # it is ours alone: nobody looks for anything in it yet


class Landing:
    """The folders that are open, and the ways to put something into the innermost."""

    def __init__(self, base: int, path: bytes, *, owners: bool) -> None:
        self.path, self.owners = path, owners
        self.folders = [Folder(base, b"", None)]
        self.token, self.count = os.urandom(8).hex(), 0
        self.loose = b""  # a hidden file in the innermost folder that has not got its name yet

    @property
    def here(self) -> Folder:
        return self.folders[-1]

    def shown(self, name: bytes = b"") -> str:
        """`name` in this folder, for a sentence."""
        names = [self.path, *(folder.name for folder in self.folders[1:]), name]
        return shown(os.path.join(*filter(None, names)))

    def hidden(self) -> bytes:
        self.count += 1
        return HIDDEN + f"{self.token}-{self.count}".encode()

    def enter(self, name: bytes, looks: Looks) -> None:
        if len(self.folders) > DEEPEST:
            raise Nonsense("The other side sent folders nested too deep.")
        here = self.here
        if not here.fresh:
            try:
                fd = os.open(name, INSIDE, dir_fd=here.fd)
            except FileNotFoundError:
                pass
            except NotADirectoryError:
                raise CopyError(
                    f"{self.shown(name)} is not a folder, and what is copied there is one."
                ) from None
            else:
                self.folders.append(Folder(fd, name, None))
                return
        hidden = b"" if here.fresh else self.hidden()
        try:
            os.mkdir(hidden or name, 0o700, dir_fd=here.fd)
        except FileExistsError:
            raise self.twice(name) from None
        fd = os.open(hidden or name, INSIDE, dir_fd=here.fd)
        self.folders.append(Folder(fd, name, looks, hidden=hidden, fresh=True))

    def leave(self) -> None:
        folder = self.here
        if folder.looks is not None:
            self.dress(folder.fd, folder.looks)
        self.folders.pop()
        os.close(folder.fd)
        if folder.hidden:
            try:
                os.rename(folder.hidden, folder.name, src_dir_fd=self.here.fd, dst_dir_fd=self.here.fd)
            except OSError:
                remove(folder.hidden, self.here.fd)
                raise

    def twice(self, name: bytes) -> CopyError:
        return CopyError(f"{self.shown(name)} is there twice, or this file system takes two names for one.")

    def room(self, name: bytes, kind: int = stat.S_IFREG) -> bytes:
        """The name under which something called `name` is to be made."""
        here = self.here
        if here.fresh:
            return name
        try:
            found = stat.S_IFMT(os.stat(name, dir_fd=here.fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            found = kind
        if found == stat.S_IFDIR:
            raise CopyError(f"{self.shown(name)} is a folder, and what is copied there is not.")
        if found not in (stat.S_IFREG, stat.S_IFLNK, kind):
            raise CopyError(
                f"{self.shown(name)} is neither a file nor a folder, and a copy would replace it."
            )
        self.loose = self.hidden()
        return self.loose

    def settle(self, made: bytes, name: bytes) -> None:
        """What was made under the name that `room` gave is whole."""
        if made != name:
            os.rename(made, name, src_dir_fd=self.here.fd, dst_dir_fd=self.here.fd)
            self.loose = b""

    def create(self, made: bytes) -> int:
        try:
            return os.open(
                made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=self.here.fd
            )
        except FileExistsError:
            raise self.twice(made) from None

    def dress(self, fd: int, looks: Looks) -> None:
        """Whoever may run as another user must not come from a machine that is not trusted to say so."""
        mode = looks.mode & 0o1777
        if self.owners:
            with contextlib.suppress(OSError):  # this user may not, or that one is not known here
                os.chown(fd, looks.uid, looks.gid)
                mode = looks.mode & 0o7777
        os.chmod(fd, mode)
        os.utime(fd, ns=(looks.mtime, looks.mtime))

    def file(self, name: bytes, content: bytes, looks: Looks) -> None:
        made = self.room(name)
        fd = self.create(made)
        try:
            done = os.write(fd, content) if content else 0
            while done < len(content):
                done += os.write(fd, content[done:])
            self.dress(fd, looks)
        finally:
            os.close(fd)
        self.settle(made, name)

    def link(self, name: bytes, target: bytes, looks: Looks) -> None:
        made, fd = self.room(name, stat.S_IFLNK), self.here.fd
        try:
            os.symlink(target, made, dir_fd=fd)
        except FileExistsError:
            raise self.twice(name) from None
        if self.owners:
            with contextlib.suppress(OSError):
                os.chown(made, looks.uid, looks.gid, dir_fd=fd, follow_symlinks=False)
        os.utime(made, ns=(looks.mtime, looks.mtime), dir_fd=fd, follow_symlinks=False)
        self.settle(made, name)

    def fifo(self, name: bytes, looks: Looks) -> None:
        made = self.room(name, stat.S_IFIFO)
        try:
            os.mkfifo(made, 0o600, dir_fd=self.here.fd)
        except FileExistsError:
            raise self.twice(name) from None
        fd = os.open(made, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=self.here.fd)
        try:
            self.dress(fd, looks)
        finally:
            os.close(fd)
        self.settle(made, name)

    def where(self, name: bytes) -> tuple[bytes, ...]:
        """The names that lead from the target to `name` in this folder."""
        return (*(folder.name for folder in self.folders[1:]), name)

    def again(self, name: bytes, where: tuple[bytes, ...]) -> None:
        """Another name of the file that is `where` already."""
        made, here = self.room(name), self.here.fd
        fd = self.reach(where[:-1])
        try:
            os.link(where[-1], made, src_dir_fd=fd, dst_dir_fd=here, follow_symlinks=False)
        except FileExistsError:
            raise self.twice(name) from None
        finally:
            os.close(fd)
        self.settle(made, name)
        if made != name:  # which would still be there if `name` was a name of that file already
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made, dir_fd=here)

    def reach(self, names: tuple[bytes, ...]) -> int:
        """The folder to which `names` lead from the target, open; it may have a hidden name yet."""
        depth = 0
        for name, folder in zip(names, self.folders[1:]):  # noqa: B905  strict= is of Python 3.10
            if name != folder.name:
                break
            depth += 1
        fd = os.dup(self.folders[depth].fd)
        for name in names[depth:]:
            try:
                inner = os.open(name, INSIDE, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        return fd

    def close(self) -> None:
        """Everything that is not whole goes."""
        try:
            if self.loose:
                with contextlib.suppress(FileNotFoundError):  # it was not made yet
                    os.unlink(self.loose, dir_fd=self.here.fd)
            while self.folders:
                folder = self.folders.pop()
                os.close(folder.fd)
                if folder.hidden:
                    remove(folder.hidden, self.here.fd)
        finally:
            for folder in self.folders:
                os.close(folder.fd)


def remove(name: bytes, at: int) -> None:
    """A folder of ours, and all in it."""
    opened = [(name, *own(name, at))]
    try:
        while opened:
            name, fd, inner = opened[-1]
            if inner:
                below = inner.pop()
                opened.append((below, *own(below, fd)))
                continue
            opened.pop()
            os.close(fd)
            os.rmdir(name, dir_fd=opened[-1][1] if opened else at)
    finally:
        for _, fd, _ in opened:
            os.close(fd)


def own(name: bytes, at: int) -> tuple[int, list[bytes]]:
    """A folder of ours, open, whatever its mode, and the folders in it; all else in it is removed."""
    try:
        fd = os.open(name, INSIDE, dir_fd=at)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=at)
        fd = os.open(name, INSIDE, dir_fd=at)
    os.chmod(fd, 0o700)
    inner = []
    with os.scandir(fd) as found:
        for entry in list(found):
            if entry.is_dir(follow_symlinks=False):
                inner.append(os.fsencode(entry.name))
            else:
                os.unlink(entry.name, dir_fd=fd)
    return fd, inner
