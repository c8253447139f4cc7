"""A VM is not trusted: whatever it sends in place of frames, its commands fail and nothing else does."""

from __future__ import annotations

import pytest

from pi_v_jupyter.errors import ConnectionLostError
from pi_v_jupyter.remote._resident import wire
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.resident import LARGEST, Resident


class Link:
    """Notes that it was closed."""

    closed = False

    def write(self, data: bytes) -> None:
        """Into the void."""

    def close(self) -> None:
        self.closed = True


def frame(kind: int, payload: bytes, number: int = 0) -> bytes:
    return wire.HEADER.pack(kind, number, len(payload)) + payload


@pytest.mark.parametrize(
    "sent",
    [
        wire.HEADER.pack(wire.OUT, 1, LARGEST + 1),
        wire.HEADER.pack(wire.OUT, 1, 0xFFFFFFFF),
        frame(wire.WELCOME, b"{"),
        frame(wire.WELCOME, b"{}"),
        frame(wire.WELCOME, b"[" * 100_000),
        frame(wire.OUT, b"short", 1),
        frame(wire.EXIT, b'{"unheard": "of"}', 1),
        frame(wire.EXIT, b"\xff\xfe", 1),
    ],
)
async def test_nonsense_closes_the_link_and_fails_the_commands(sent: bytes) -> None:
    resident, link = Resident(), Link()
    resident._link = link
    process = resident.start(Request(argv=("true",)))
    resident.feed(sent)
    assert link.closed
    with pytest.raises(ConnectionLostError):
        await process.wait()


async def test_more_output_than_allowed_fails_the_command_that_sent_it() -> None:
    resident, link = Resident(), Link()
    resident._link = link
    flooded = resident.start(Request(argv=("yes",)))
    other = resident.start(Request(argv=("true",)))
    data, offset = b"y" * wire.CHUNK, 0
    while not flooded.over and offset < 4 * wire.WINDOW:
        resident.feed(frame(wire.OUT, wire.CURSOR.pack(offset) + data, 1))
        offset += len(data)
    assert flooded.over
    assert not other.over
    assert not link.closed
