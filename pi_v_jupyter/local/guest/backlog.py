"""Output that is kept for those who read it later: a bounded row of chunks, found by position.

A position counts bytes from the very first one on. When there are too many the oldest chunks are
dropped; positions stay what they are, so that a reader sees by the next chunk how much it missed.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import NamedTuple

OVERHEAD = 256  # bytes of memory that a chunk takes besides its data


class Chunk(NamedTuple):
    """What one read from a command's pipe gave. `time` is in Unix seconds."""

    exec_id: str
    stream: str
    data: bytes
    time: float


class Backlog:
    """Chunks, oldest first, of `limit` bytes of memory at most."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.end = 0  # position after the last byte
        self.size = 0  # bytes of memory
        self._chunks: list[Chunk] = []
        self._ends: list[int] = []  # position after each chunk

    def append(self, chunk: Chunk) -> None:
        """Add a chunk; the oldest make room for it."""
        self.end += len(chunk.data)
        self._chunks.append(chunk)
        self._ends.append(self.end)
        self.size += len(chunk.data) + OVERHEAD
        dropped = 0
        while self.size > self.limit and dropped < len(self._chunks) - 1:
            self.size -= len(self._chunks[dropped].data) + OVERHEAD
            dropped += 1
        del self._chunks[:dropped], self._ends[:dropped]

    def would_drop(self, size: int, position: int) -> bool:
        """Whether a chunk of `size` bytes would take the room of one that a reader at `position` lacks."""
        full = self.size + size + OVERHEAD > self.limit
        return full and bool(self._ends) and self._ends[0] > position

    def after(self, position: int) -> Iterator[tuple[int, Chunk]]:
        """All kept from `position` on: chunks, each with the position after it. The first may be a rest."""
        for index in range(bisect.bisect_right(self._ends, position), len(self._chunks)):
            chunk, end = self._chunks[index], self._ends[index]
            begin = end - len(chunk.data)
            if begin < position:
                chunk = chunk._replace(data=chunk.data[position - begin :])
            yield end, chunk
