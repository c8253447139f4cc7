"""The events of an agent: records out of what it has written, on their way to whoever reads them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from pydantic_core import from_json

from pi_v_jupyter.remote.journals import Rows

OURS = "process_"  # so begin the types of records that are none of pi's
QUEUED = 10_000  # events that wait for one who reads them late; the next are read again later

Record = dict[str, Any]
Event = tuple[int, Record]


def events(rows: Rows, cursor: int) -> list[Event]:
    """The records of some rows, each with the cursor behind it; `cursor`: where the rows begin.

    Four types are none of pi's, and none that its machine can write: "process_noise", a line that is no
    record: its `text`; "process_missed":
    `bytes` that were let go unread; "process_again": pi was started again; "process_end".
    """
    found: list[Event] = [(cursor, {"type": "process_missed", "bytes": rows.missed})] if rows.missed else []
    for row in rows:
        if row.stream == "again":
            found.append((row.cursor, {"type": "process_again", "text": row.text}))
            continue
        record = _decoded(row.text)
        if not _is_pis(record):
            record = {"type": "process_noise", "text": row.text}
        found.append((row.cursor, record))
    return found


def _decoded(line: str) -> Any:
    """The JSON object that a line is, or whatever else is no record."""
    if not line.lstrip().startswith("{"):
        return None
    with contextlib.suppress(ValueError):
        return from_json(line)  # half the time of json's, which was a sixth of hearing many agents
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(line)  # knows half of a character, with which a piece of an answer may end
    return None


def _is_pis(record: Any) -> bool:
    """Is it one that pi may have written? Whatever it has started can write there too."""
    kind = record.get("type") if isinstance(record, dict) else None
    return isinstance(kind, str) and not kind.startswith(OURS)


class Feed:
    """What one who reads events has not taken yet."""

    def __init__(self, behind: int) -> None:
        self._behind = behind  # a cursor: what is up to there has been read already
        self._waiting: list[Event] = []
        self._changed = asyncio.Event()
        self.open = True
        self.failure: Exception | None = None

    def put(self, found: list[Event]) -> None:
        """More of them."""
        if self._behind:
            found = [each for each in found if each[0] > self._behind]
            self._behind = 0 if found else self._behind
        self._waiting += found
        if len(self._waiting) > QUEUED:
            self.open = False
        self._changed.set()

    def end(self, last: Event | None, failure: Exception | None) -> None:
        """There will be no more, behind `last`."""
        self._waiting += [last] if last else []
        self.open, self.failure = False, failure
        self._changed.set()

    async def batches(self) -> AsyncGenerator[list[Event], None]:
        """All that waits, again and again, until there will be no more."""
        while self._waiting or self.open:
            if self._waiting:
                found, self._waiting = self._waiting, []
                yield found
            else:
                self._changed.clear()
                await self._changed.wait()
