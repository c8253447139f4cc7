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

VERSION = 1
OWN, SHELL, CONTROL, STDIN, IOPUB = range(5)
HEAD = struct.Struct("!IB")
LENGTH = struct.Struct("!I")
LARGEST = 1 << 30  # bytes of one frame


def packed(channel: int, parts: list[bytes]) -> bytes:
    size = sum(LENGTH.size + len(part) for part in parts)
    pieces = [HEAD.pack(size, channel)]
    for part in parts:
        pieces += [LENGTH.pack(len(part)), part]
    return b"".join(pieces)


def unpacked(body: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(body):
        (size,) = LENGTH.unpack_from(body, at)
        at += LENGTH.size + size
        parts.append(body[at - size : at])
    return parts
