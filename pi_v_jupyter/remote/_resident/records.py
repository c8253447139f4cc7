"""What the stream of a copy says, and the words for what goes wrong with one.

    stream = HEAD block*                    bulk.py; blocks hold records, one after the other
    record = RECORD name tail

    SOURCE                                  the next record is what was asked for, under this name
    FOLDER … LEAVE                          a folder, and what is in it
    FILE                                    a file; its tail is its content
    LARGE (DATA …) CLOSE | ABANDON          a file in parts; a sender that cannot go on reading abandons it
    LINK, FIFO                              a symbolic link, its tail says whereto; a named pipe
    AGAIN                                   another name of the file of that number
    DONE                                    and how much there was

Names are single names: where a record goes is told by the FOLDER it is in and by nothing else.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAGIC = b"pi-v cp1"
HEAD = struct.Struct("!8sIqqQ")  # MAGIC, sources, entries, bytes (-1: not known), bytes already there
RECORD = struct.Struct("!BHIIIqQI")  # kind, bytes of name, mode, uid, gid, mtime in ns, value, bytes of tail
ORIGIN = struct.Struct("!QQ")  # SOURCE: device and inode, for a receiver on the same machine
SPAN = struct.Struct("!QQQq")  # LARGE: its size, where to go on, and in which part: inode, mtime in ns
COUNTS = struct.Struct("!QQ")  # DONE: entries, bytes of content

SOURCE, FOLDER, LEAVE, FILE, LARGE, DATA, CLOSE, ABANDON, LINK, FIFO, AGAIN, DONE = range(1, 13)

SMALL = 64 << 10  # bytes of a file that goes in one record
CHUNK = 256 << 10  # bytes of a part of a larger one
LONGEST = dict.fromkeys(range(SOURCE, DONE + 1), 0)  # bytes of its tail
LONGEST.update(
    {SOURCE: ORIGIN.size, FILE: SMALL, LARGE: SPAN.size, DATA: CHUNK, LINK: 4095, DONE: COUNTS.size}
)

EVERYTHING = 1 << 62  # past the end of any file
LINKED = 1 << 18  # files with several names that both sides remember; further ones become a file a name
DEEPEST = 1000  # folders in folders; each costs a descriptor on both sides
RESUMABLE = 8 << 20  # bytes of one file worth keeping when its copy is cut
HIDDEN = b".pi-v-copy-"  # how the names of copies under way begin; no copy takes those along


class CopyError(Exception):
    """Why a copy did not come about: one sentence."""


class Stopped(CopyError):
    """Its user stopped it."""


class Cut(CopyError):
    """The other side went away in the middle."""


class Nonsense(CopyError, ValueError):
    """The other side sent what no sender of ours would."""


def raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def shown(path: bytes) -> str:
    """`path` for a sentence: a name may hold what would move a terminal's cursor."""
    name = text(path)
    return name if name.isprintable() else ascii(name)


def reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def own_name(path: bytes) -> bytes:
    """What a source is called where it is copied to; `.` is the content of a folder, not the folder."""
    name = os.path.basename(path.rstrip(b"/"))
    return b"." if name in (b"", b".", b"..") else name


def head(data: bytes) -> dict[str, Any] | None:
    """What the first bytes of a stream promise; None while there are too few."""
    return promise(data) if len(data) >= HEAD.size else None


def promise(data: bytes) -> dict[str, Any]:
    """What HEAD says; totals the sender did not know in time are None."""
    magic, sources, entries, size, start = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Nonsense("This is not the stream of a copy.")
    return {
        "sources": sources,
        "entries": None if entries < 0 else entries,
        "bytes": None if size < 0 else size,
        "start": start,
    }


def digest(fd: int, size: int, stopped: Callable[[], bool]) -> str | None:
    """Of the first `size` bytes of a file; None where there are fewer."""
    import hashlib

    hashed = hashlib.blake2b()
    view = memoryview(bytearray(1 << 20))
    at = 0
    while at < size:
        if stopped():
            raise Stopped("The copy was stopped.")
        got = os.preadv(fd, [view[: size - at]], at)
        if not got:
            return None
        hashed.update(view[:got])
        at += got
    return hashed.hexdigest()
