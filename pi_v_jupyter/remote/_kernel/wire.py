"""Frames between the keeper of a kernel and its clients.

A frame, in both directions: length of what follows (u32), channel (u8), and then

    OWN             JSON. To it: {do: hello, session: as in the headers of this client's messages},
                    {do: interrupt | restart | end}. From it: {version, key, pid, python, used} first and
                    after each start; {died: how} when the kernel ended by itself; {ended: true}; {lost: bytes
                    of output that came faster than the client took it}
    SHELL … IOPUB   the parts of one message of Jupyter's protocol, each with its length (u32); signed by the
                    client with `key`
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VERSION = 1
OWN, SHELL, CONTROL, STDIN, IOPUB = range(5)
HEAD = struct.Struct("!IB")
LENGTH = struct.Struct("!I")
LARGEST = 1 << 30  # bytes of one frame
LARGE = 1 << 16  # bytes of a part
Part = Union[bytes, memoryview]  # noqa: UP007  of Python 3.10


def pieces(channel: int, parts: Sequence[Part]) -> Iterator[Part]:
    """A frame to be written; large parts are pieces of their own, as they are: copies would cost memory."""
    piece = HEAD.pack(sum(LENGTH.size + len(part) for part in parts), channel)
    for part in parts:
        piece += LENGTH.pack(len(part))
        if len(part) > LARGE:
            yield piece
            yield part
            piece = b""
        else:
            piece += part
    yield piece


def packed(channel: int, parts: Sequence[Part]) -> bytes:
    return b"".join(pieces(channel, parts))


def unpacked(body: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(body):
        (size,) = LENGTH.unpack_from(body, at)
        at += LENGTH.size + size
        parts.append(body[at - size : at])
    return parts
