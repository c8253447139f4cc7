"""The sender of a copy: files and folders into a stream. `unpack` is the receiver, `records` the stream.

What cannot be read is told by name and left out, the rest is copied. Names are opened by descriptor, a
folder at a time, and no link inside a folder is followed: what is copied is what stood there.
"""

from __future__ import annotations

import errno
import os
import stat

from .bulk import Writer
from .origins import READ, Origin, Part, begins, extents, small, totals
from .records import (
    ABANDON,
    AGAIN,
    CLOSE,
    COUNTS,
    DEEPEST,
    DONE,
    FIFO,
    FILE,
    FOLDER,
    HEAD,
    HIDDEN,
    LARGE,
    LEAVE,
    LINK,
    LINKED,
    MAGIC,
    ORIGIN,
    RECORD,
    SOURCE,
    SPAN,
    Stopped,
    raw,
    reason,
    text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TOLD = 100  # of what could not be read, by name
OLDEST = 1 << 63  # ns; some file systems can say more


def pack(
    paths: list[str], out: int, *, resume: dict[str, Any] | None, stopped: Callable[[], bool]
) -> dict[str, Any]:
    """Write `paths`, absolute, to the pipe `out`; what went, and what could not be read.

    `resume` is what `parts.partial` said over there, for a single file. Raises CopyError before anything
    is written if one of `paths` is not there.
    """
    return Packer(out, stopped).run([Origin(raw(path)) for path in paths], resume)


class Packer:
    """One run."""

    def __init__(self, out: int, stopped: Callable[[], bool]) -> None:
        self.out, self.stopped = Writer(out, stopped), stopped
        self.links: dict[tuple[int, int], int] = {}  # device and inode: number of the record that has it
        self.path: list[bytes] = []  # of folders, down to where we are
        self.failed: list[tuple[str, str]] = []
        self.summary = dict.fromkeys(
            ("files", "folders", "links", "fifos", "skipped", "bytes", "sent", "failures", "start"), 0
        )

    def run(self, origins: list[Origin], resume: dict[str, Any] | None) -> dict[str, Any]:
        part = Part(resume) if resume and len(origins) == 1 else None
        if part is not None and not begins(origins[0], part, self.stopped):
            part = None
        start = self.summary["start"] = part.size if part else 0
        entries, size = totals(origins)
        self.out.write(memoryview(HEAD.pack(MAGIC, len(origins), entries, size, start)))
        for origin in origins:
            found = ORIGIN.pack(origin.stat.st_dev, origin.stat.st_ino)
            self.put(SOURCE, origin.name, tail=found)
            if origin.folder:
                self.tree(origin)
            else:
                self.file(origin.path, None, origin.name, part)
        counts = self.summary
        entries = counts["files"] + counts["folders"] + counts["links"] + counts["fifos"]
        self.put(DONE, tail=COUNTS.pack(entries, counts["bytes"]))
        self.out.flush()
        counts["sent"] = self.out.sent
        return {**counts, "failed": self.failed}

    def put(
        self,
        kind: int,
        name: bytes = b"",
        about: os.stat_result | None = None,
        value: int = 0,
        tail: bytes = b"",
    ) -> None:
        if about is None:
            self.out.put(RECORD.pack(kind, len(name), 0, 0, 0, 0, value, len(tail)) + name, tail)
            return
        mtime = max(-OLDEST, min(OLDEST - 1, about.st_mtime_ns))
        mode = about.st_mode & 0o7777
        header = RECORD.pack(kind, len(name), mode, about.st_uid, about.st_gid, mtime, value, len(tail))
        self.out.put(header + name, tail)

    def fail(self, name: bytes, error: OSError) -> None:
        self.summary["failures"] += 1
        if len(self.failed) < TOLD:
            self.failed.append((text(b"/".join([*self.path, name])), reason(error)))

    def tree(self, origin: Origin) -> None:
        """A folder and all in it: its files first, then folder after folder."""
        open_folders: list[tuple[int, list[bytes]]] = []
        try:
            self.enter(origin.path, None, origin.name, open_folders)
            while open_folders:
                fd, inner = open_folders[-1]
                if inner:
                    name = inner.pop()
                    self.enter(name, fd, name, open_folders)
                else:
                    open_folders.pop()
                    os.close(fd)
                    self.path.pop()
                    self.put(LEAVE)
        finally:
            for fd, _ in open_folders:
                os.close(fd)

    def enter(
        self, path: bytes, at: int | None, name: bytes, open_folders: list[tuple[int, list[bytes]]]
    ) -> None:
        if len(open_folders) == DEEPEST:
            self.fail(path, OSError(errno.ELOOP, "it is nested too deep"))
            return
        try:
            fd = os.open(path, READ | os.O_DIRECTORY | (0 if at is None else os.O_NOFOLLOW), dir_fd=at)
        except OSError as error:
            self.fail(path, error)
            return
        inner: list[bytes] = []
        open_folders.append((fd, inner))
        self.path.append(path.rstrip(b"/"))
        self.put(FOLDER, name, os.fstat(fd))
        self.summary["folders"] += 1
        try:
            self.files(fd, inner)
        except OSError as error:
            self.fail(b"", error)

    def files(self, fd: int, inner: list[bytes]) -> None:
        """Everything in a folder but its folders, which are noted."""
        with os.scandir(fd) as found:
            for entry in found:
                if self.stopped():
                    raise Stopped("The copy was stopped.")
                name = os.fsencode(entry.name)
                if name.startswith(HIDDEN):
                    continue
                if entry.is_file(follow_symlinks=False):
                    self.file(name, fd, name)
                elif entry.is_dir(follow_symlinks=False):
                    inner.append(name)
                else:
                    self.other(name, fd)

    def other(self, name: bytes, at: int) -> None:
        try:
            about = os.stat(name, dir_fd=at, follow_symlinks=False)
            link = os.readlink(name, dir_fd=at) if stat.S_ISLNK(about.st_mode) else b""
        except OSError as error:
            self.fail(name, error)
            return
        if link:
            self.put(LINK, name, about, tail=link)
            self.summary["links"] += 1
        elif stat.S_ISFIFO(about.st_mode):
            self.put(FIFO, name, about)
            self.summary["fifos"] += 1
        else:
            self.summary["skipped"] += 1

    def file(self, path: bytes, at: int | None, name: bytes, part: Part | None = None) -> None:
        try:
            fd = os.open(path, READ if at is None else READ | os.O_NOFOLLOW, dir_fd=at)
        except OSError as error:
            self.fail(path, error)
            return
        try:
            about = os.fstat(fd)
            if stat.S_ISREG(about.st_mode):
                self.content(fd, name, about, part)
            else:
                self.summary["skipped"] += 1  # something else took its place a moment ago
        except OSError as error:
            self.fail(path, error)
        finally:
            os.close(fd)

    def content(self, fd: int, name: bytes, about: os.stat_result, part: Part | None) -> None:
        number, key = 0, (about.st_dev, about.st_ino)
        if about.st_nlink > 1:
            if key in self.links:
                self.put(AGAIN, name, value=self.links[key])
                self.summary["files"] += 1
                return
            if len(self.links) < LINKED:
                number = len(self.links) + 1
        data = small(fd, about.st_size)
        if data is None:
            self.large(fd, name, about, number, part)
        else:
            self.put(FILE, name, about, number, data)
            self.summary["bytes"] += len(data)
        self.summary["files"] += 1
        if number:
            self.links[key] = number

    def large(self, fd: int, name: bytes, about: os.stat_result, number: int, part: Part | None) -> None:
        """A file in parts, as long as it was when it was opened: somebody may go on appending to it."""
        start = part.size if part else 0
        earlier = (part.size, part.inode, part.mtime) if part else (0, 0, 0)
        self.put(LARGE, name, about, number, SPAN.pack(about.st_size, *earlier))
        at, shrunk = start, False
        try:
            for begin, end in extents(fd, about, start):
                at = begin
                while at < end and not shrunk:
                    got = self.out.put_data(fd, at, end - at)
                    at += got
                    self.summary["bytes"] += got
                    shrunk = not got
                if shrunk:
                    break
            size = at if shrunk else max(at, min(about.st_size, os.fstat(fd).st_size))
        except OSError:
            self.put(ABANDON)
            raise
        self.put(CLOSE, value=size)
