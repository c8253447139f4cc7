"""The receiver of a copy: a stream into files and folders. `pack` is the sender, `records` the stream.

The sender is not trusted: `landing` keeps everything it says inside the target, `bulk` keeps it small.
Target names mean what they mean to `cp`: in a folder that is there, the source keeps its name; else the
target is its new name.
"""

from __future__ import annotations

import contextlib
import os

from . import parts
from .bulk import Reader
from .landing import Landing, Looks
from .records import (
    ABANDON,
    AGAIN,
    CLOSE,
    COUNTS,
    DATA,
    DONE,
    EVERYTHING,
    FIFO,
    FILE,
    FOLDER,
    LARGE,
    LEAVE,
    LINK,
    LINKED,
    ORIGIN,
    RESUMABLE,
    SOURCE,
    SPAN,
    CopyError,
    Cut,
    Nonsense,
    Stopped,
    own_name,
    raw,
    reason,
    shown,
    text,
)
from .targets import aim, apart, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CONFUSED = "The other side sent what does not belong there in a copy."


def unpack(
    source: int,
    target: str,
    *,
    asked: list[str],
    owners: bool,
    whole: Callable[[], bool],
    stopped: Callable[[], bool],
    same_machine: bool = False,
) -> dict[str, Any]:
    """Read a copy from the pipe `source` and put it where `target`, an absolute path, says; what came.

    `asked` are the paths given to `pack`: nothing of another name is taken, whatever the sender sends.
    `owners` keeps uid, gid, setuid and setgid where this user may. `whole` is asked when the pipe ends
    before the copy does: did the other side end of its own accord? `same_machine` says that the sender sees
    the same files, so that nothing is copied into itself.
    """
    wanted = [own_name(raw(path)) for path in asked]
    return Unpacker(Reader(source, whole, stopped), raw(target), wanted, owners, same_machine).run()


class Incoming:
    """A file that comes in parts."""

    def __init__(
        self, fd: int, made: bytes, name: bytes, looks: Looks, number: int, *, part: bool, at: int
    ) -> None:
        self.fd, self.made, self.name, self.looks, self.number = fd, made, name, looks, number
        self.part = part  # it may be gone on with if it is cut
        self.at = at  # everything before is there


class Unpacker:
    """One run."""

    def __init__(
        self, reader: Reader, target: bytes, wanted: list[bytes], owners: bool, same_machine: bool
    ) -> None:
        self.reader, self.target, self.owners, self.same_machine = reader, target, owners, same_machine
        self.wanted, self.several = wanted[::-1], len(wanted) > 1
        self.origin: tuple[bytes, int, int] | None = None  # name, device, inode of what comes next
        self.landing: Landing | None = None
        self.file: Incoming | None = None
        self.name = b""  # of what is being made, for an error
        self.numbers: dict[int, tuple[bytes, ...]] = {}
        self.counts = dict.fromkeys(("files", "folders", "links", "fifos", "bytes"), 0)
        self.landed = b""
        self.lone = b""  # the name of the one file that was asked for

    def run(self) -> dict[str, Any]:
        try:
            self.reader.begin()
            while self.step():
                pass
        except OSError as error:
            self.give_up(keep=False)
            place = self.landing.shown(self.name) if self.landing else shown(self.target)
            raise CopyError(f"{place}: {reason(error)}.") from None
        except BaseException as error:
            self.give_up(keep=isinstance(error, (Cut, Stopped)))
            raise
        self.close()
        return {**self.counts, "target": text(self.landed)}

    def step(self) -> bool:
        """One record; False after the last."""
        self.reader.poll()
        kind, name, mode, uid, gid, mtime, value, tail = self.reader.record()
        if kind == DATA:
            self.data(value, tail)
            return True
        content = self.reader.take(tail) if tail else b""
        if (self.file is not None) != (kind in (CLOSE, ABANDON)):
            raise Nonsense(CONFUSED)
        if kind == DONE:
            return self.done(content)
        if kind == CLOSE:
            self.closed(value)
        elif kind == ABANDON:
            self.abandoned()
        elif kind == SOURCE:
            self.announced(name, content)
        elif kind == LEAVE:
            if self.at_top():
                raise Nonsense(CONFUSED)
            self.place().leave()
        else:
            self.entry(kind, name, Looks(mode, uid, gid, mtime), value, content)
        return True

    def at_top(self) -> bool:
        return self.landing is None or len(self.landing.folders) == 1

    def place(self) -> Landing:
        if self.landing is None:
            raise Nonsense(CONFUSED)
        return self.landing

    def announced(self, name: bytes, origin: bytes) -> None:
        if not self.at_top():
            raise Nonsense(CONFUSED)
        if not self.wanted or self.wanted.pop() != name:
            raise Nonsense(f"The other side sent what nobody asked for: {shown(name)!r}.")
        self.origin = (name, *ORIGIN.unpack(content_of(origin, ORIGIN.size)))

    def entry(self, kind: int, name: bytes, looks: Looks, value: int, content: bytes) -> None:
        top = self.at_top()
        if top:
            name = self.arrive(kind)
        if not (name == b"." and top and kind == FOLDER):
            check(name)
        self.name = name
        place = self.place()
        if kind == FOLDER:
            place.enter(name, looks)
            self.counts["folders"] += 1
        elif kind == FILE:
            place.file(name, content, looks)
            self.remember(value, name)
            self.counts["files"] += 1
            self.counts["bytes"] += len(content)
        elif kind == LARGE:
            self.large(place, name, looks, value, content, alone=top and not self.several)
        elif kind == LINK and not top:
            if not content or b"\0" in content:
                raise Nonsense("The other side sent a link that cannot be one.")
            place.link(name, content, looks)
            self.counts["links"] += 1
        elif kind == FIFO and not top:
            place.fifo(name, looks)
            self.counts["fifos"] += 1
        elif kind == AGAIN and value in self.numbers:
            place.again(name, self.numbers[value])
            self.counts["files"] += 1
        else:
            raise Nonsense(CONFUSED)

    def arrive(self, kind: int) -> bytes:
        """Something that was asked for, not what is in it: its name here."""
        if self.origin is None:
            raise Nonsense(CONFUSED)
        (name, device, inode), self.origin = self.origin, None
        folder = kind == FOLDER
        above, name = aim(self.target, name, several=self.several, folder=folder)
        if self.landing is None:
            fd = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
            self.landing = Landing(fd, above, owners=self.owners)
        self.landed = self.target if self.several else os.path.join(above, name)
        self.name = name
        if not (self.several or folder):
            self.lone = name
        if self.same_machine:
            apart(self.landing.here.fd, name, (device, inode), self.landing.shown(name), folder=folder)
        return name

    def remember(self, number: int, name: bytes) -> None:
        """A file that has other names too."""
        if number:
            if len(self.numbers) >= LINKED:
                raise Nonsense(CONFUSED)
            self.numbers[number] = self.place().where(name)

    def large(
        self, place: Landing, name: bytes, looks: Looks, number: int, content: bytes, *, alone: bool
    ) -> None:
        size, start, inode, stamp = SPAN.unpack(content_of(content, SPAN.size))
        made, part, here = place.room(name), parts.part_name(name), place.here.fd
        fd = None
        if start:
            if not alone:
                raise Nonsense(CONFUSED)
            fd = parts.go_on(here, part, start, (inode, stamp))
        elif alone and size >= RESUMABLE:
            fd = parts.start(here, part)
        resumable = fd is not None
        if resumable:
            made = place.loose = part
        self.file = Incoming(
            place.create(made) if fd is None else fd, made, name, looks, number, part=resumable, at=start
        )

    def data(self, at: int, size: int) -> None:
        file = self.file
        if file is None or at < file.at or at + size > EVERYTHING:
            raise Nonsense(CONFUSED)
        self.reader.pour(file.fd, at, size)
        file.at = at + size
        self.counts["bytes"] += size

    def closed(self, size: int) -> None:
        file, place = self.file, self.place()
        if file is None or not file.at <= size <= EVERYTHING:
            raise Nonsense(CONFUSED)
        if size > file.at:  # a hole is at its end
            os.ftruncate(file.fd, size)
        place.dress(file.fd, file.looks)
        place.settle(file.made, file.name)
        self.file = None
        os.close(file.fd)
        self.remember(file.number, file.name)
        self.counts["files"] += 1

    def abandoned(self) -> None:
        """The sender could not go on reading it, and tells its user."""
        file, self.file = self.file, None
        if file is not None:
            os.close(file.fd)
            os.unlink(file.made, dir_fd=self.place().here.fd)

    def done(self, content: bytes) -> bool:
        counts = self.counts
        entries = counts["files"] + counts["folders"] + counts["links"] + counts["fifos"]
        if (
            not self.at_top()
            or self.wanted
            or COUNTS.unpack(content_of(content, COUNTS.size)) != (entries, counts["bytes"])
        ):
            raise Nonsense("The other side sent less, or more, than it says.")
        if self.lone:  # it is whole: what an earlier copy left of it is of no use
            parts.discard(self.place().here.fd, parts.part_name(self.lone))
        return False

    def give_up(self, *, keep: bool) -> None:
        """What is not whole goes, but for the part of a large file, if its copy was cut."""
        file, self.file = self.file, None
        if file is not None:
            os.close(file.fd)
        if keep and file is not None and file.part and file.at >= RESUMABLE:
            self.place().loose = b""
        with contextlib.suppress(OSError):  # why the copy failed is what its user must hear
            self.close()

    def close(self) -> None:
        if self.landing is not None:
            self.landing.close()


def content_of(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise Nonsense(CONFUSED)
    return content
