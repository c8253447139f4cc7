"""The host's end of the line to our agent inside a VM: one JSON object per line, many questions at once.

Answers are told by the id of their question. An id begins with a name of its link that nobody could
guess, so that what a copy of a machine still answers to its original's questions is never taken for an
answer here. The guest is not trusted: an answer is only ever data, of bounded size, and may not come at
all; one that talks without being asked is hung up on, until the next question.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from pathlib import Path
from typing import Any

from pi_v_jupyter.errors import PlatformError

_LONGEST_ANSWER = 1024 * 1024
# What may come in that answers no question, in bytes and as much again for each line: a few late answers.
_MOST_IDLE_TALK = 4 * 1024 * 1024
_IDLE_LINE = 1024


class GuestError(PlatformError):
    """The agent said no. `code` is an errno's name; `said` is why, in its own words."""

    def __init__(self, op: str, code: str, said: str) -> None:
        super().__init__(f"The VM could not do {op!r}: {said}.")
        self.code = code
        self.said = said


class GuestLink:
    """A line to the agent of one VM."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    @classmethod
    async def connect(cls, path: Path) -> GuestLink:
        """Connect to QEMU's socket at `path`; the machine need not run yet."""
        link = cls(path)
        await link._connected()
        return link

    async def ask(self, op: str, *, timeout: float, **fields: object) -> dict[str, Any]:
        """The agent's answer to `op`, waited for at most `timeout` seconds.

        Raises:
            GuestError: the agent said no.
            PlatformError: it said nothing, or nothing that makes sense.
        """
        try:
            async with asyncio.timeout(timeout):
                line = await self._connected()
                answer = await line.ask({"op": op, **fields})
        except TimeoutError:
            raise PlatformError(f"The VM did not answer {op!r} within {timeout:g} s.") from None
        except ConnectionError as error:
            raise PlatformError(f"The VM did not answer {op!r}: {error}.") from None
        if "error" in answer:
            said = answer["error"] if isinstance(answer["error"], str) else "it did not say why"
            raise GuestError(op, str(answer.get("code"))[:30], _printable(said))
        return answer

    async def _connected(self) -> _Line:
        async with self._connecting:
            if self._closed:
                raise PlatformError("The VM's agent is not spoken to any more.")
            if self._line is None or self._line.lost is not None:
                try:
                    _, self._line = await asyncio.get_running_loop().create_unix_connection(
                        _Line, str(self._path)
                    )
                except OSError as error:
                    raise PlatformError(
                        f"The VM's agent socket cannot be reached: {error.strerror}."
                    ) from None
            return self._line

    def close(self) -> None:
        """Hang up for good."""
        self._closed = True
        if self._line is not None:
            self._line.hang_up("the line was closed")


class _Line(asyncio.Protocol):
    """One connection, from its start to its loss."""

    def __init__(self) -> None:
        self.lost: str | None = None  # why, once it is
        self._name = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._pending = b""
        self._idle_talk = 0
        self._turn = asyncio.Lock()
        self._writable = asyncio.Event()
        self._writable.set()

    async def ask(self, request: dict[str, object]) -> dict[str, Any]:
        """The answer, whenever it comes."""
        number = f"{self._name}.{next(self._numbers)}"
        line = json.dumps({"id": number, **request}).encode() + b"\n"
        # One at a time, so that a machine that does not listen fills no more memory than one request.
        async with self._turn:
            await self._writable.wait()
            if self.lost is not None:
                raise ConnectionResetError(self.lost)
            self._transport.write(line)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def hang_up(self, why: str) -> None:
        """Close the connection; whoever waits learns `why`."""
        if self.lost is None:
            self.lost = why
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin by ending a line that whoever was connected before may not have ended."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        transport.write(b"\n")

    def data_received(self, data: bytes) -> None:
        """Hand out the answers in it."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            if self.lost is None:
                self._take(line)
        if len(self._pending) > _LONGEST_ANSWER:
            self.hang_up("it sent a line without end")

    def _take(self, line: bytes) -> None:
        answer = _answer(line) if len(line) <= _LONGEST_ANSWER else {}
        waiting = self._waiting.get(answer.get("id", ""))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
            self._idle_talk = 0
            return
        self._idle_talk += len(line) + _IDLE_LINE
        if self._idle_talk > _MOST_IDLE_TALK:
            self.hang_up("it talks without being asked")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self.lost = self.lost or "the VM ended"
        self._writable.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError(self.lost))

    def pause_writing(self) -> None:
        """Too much is on its way already."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """There is room again."""
        self._writable.set()


def _answer(line: bytes) -> dict[str, Any]:
    """What a line says, empty when it says nothing that can be an answer."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) and isinstance(answer.get("id"), str) else {}


def _printable(words: str) -> str:
    return words[:300].encode(errors="replace").decode()
