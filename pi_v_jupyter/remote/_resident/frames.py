"""What a minder and its clients say to each other over its Unix socket; and how logs are sent at any rate.

A client sends lines of JSON:

    {"do": "follow", "from": cursor}
    {"do": "stop", "signal": number, "grace": seconds, "order": its name, by which it is known again}
    {"do": "write", "size": bytes, which come behind this line, "writer": whose, "number": which of that
     writer's, "wait": seconds it may wait for room}
    {"do": "close", "writer", "number", "wait"}: nothing is written any more

It is sent frames, length (u32) and kind (u8) before each:

    ABOUT   JSON: what is known of the process; first, and when it changes
    LOG     a cursor (u64), and bytes of the journal from there
    ANSWER  JSON: "how" the "write" or "close" of that "number" went: "taken", it is in the pipe or waits for
            it; "none", the process has no such pipe; "closed", it has none any longer, and "written" bytes
            went in; "full", there was no room in time
"""

from __future__ import annotations

import struct

HEAD = struct.Struct("!IB")
CURSOR = struct.Struct("!Q")
ABOUT, LOG, ANSWER = range(3)
LARGEST = 1 << 20  # bytes of one frame's body
PIECE = 16 << 20  # bytes that are written at once
LONGEST_WAIT = 86400.0  # seconds


def frame(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return HEAD.pack(len(body), kind) + body
