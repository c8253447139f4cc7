"""The host's end of the line to our agent inside a VM: one JSON object per line, a question at a time.

The guest is not trusted: an answer is only ever data, of bounded size, and may not come at all.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

from pi_v_jupyter.errors import PlatformError

_LONGEST_ANSWER = 1024 * 1024


class GuestLink:
    """A connection to the agent of one VM."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def connect(cls, path: Path) -> GuestLink:
        """Connect to QEMU's socket at `path`; the machine need not run yet."""
        try:
            return cls(*await asyncio.open_unix_connection(str(path), limit=_LONGEST_ANSWER))
        except OSError as error:
            raise PlatformError(f"The VM's agent socket cannot be reached: {error.strerror}.") from None

    async def ask(self, op: str, *, timeout: float, **fields: object) -> dict[str, Any]:
        """The agent's answer to `op`, waited for at most `timeout` seconds.

        Raises:
            PlatformError: the agent said no, or nothing.
        """
        try:
            async with self._one_at_a_time, asyncio.timeout(timeout):
                answer = await self._exchange(op, fields)
        except TimeoutError:
            raise PlatformError(f"The VM did not answer {op!r} within {timeout:g} s.") from None
        except (OSError, ValueError, RecursionError) as error:  # no JSON, a line without end, or too deep
            raise PlatformError(f"The VM's answer to {op!r} cannot be read: {error}.") from None
        if "error" in answer:
            said = answer["error"] if isinstance(answer["error"], str) else "it did not say why"
            words = said[:300].encode(errors="replace").decode()
            raise PlatformError(f"The VM could not do {op!r}: {words}.")
        return answer

    async def _exchange(self, op: str, fields: dict[str, object]) -> dict[str, Any]:
        number = next(self._ids)
        self._writer.write(json.dumps({"id": number, "op": op, **fields}).encode() + b"\n")
        await self._writer.drain()
        while True:
            line = await self._reader.readline()
            if not line:
                raise ConnectionResetError("the VM ended")
            answer = json.loads(line)
            # An answer to a question that was given up may come late: it is not ours.
            if isinstance(answer, dict) and answer.get("id") == number:
                return answer

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
