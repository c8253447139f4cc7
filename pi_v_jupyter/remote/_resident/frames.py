"""What a minder and its clients say to each other over its Unix socket; and how logs are sent at any rate.

A client sends lines of JSON, {"do": "follow", "from": cursor} | {"do": "stop", "signal": number, "grace":
seconds, "order": its name, by which one that comes again is known}. It is sent frames, length (u32) and kind
(u8) before each:

    ABOUT   JSON: what is known of the process; first, and when it changes
    LOG     a cursor (u64), and bytes of the journal from there
"""

from __future__ import annotations

import struct

HEAD = struct.Struct("!IB")
CURSOR = struct.Struct("!Q")
ABOUT, LOG = range(2)
LARGEST = 1 << 20  # bytes of one frame's body


def frame(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return HEAD.pack(len(body), kind) + body
