"""The way into a background process: what is written there goes in whole, in order and once."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from typing import Any

from pi_v_jupyter.errors import StdinError, UsageError
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.remote._resident.frames import ANSWER, LONGEST_WAIT, PIECE
from pi_v_jupyter.remote.backgroundrows import BackgroundRows
from pi_v_jupyter.remote.backgroundstatus import Status, Table
from pi_v_jupyter.remote.journals import said, told

TIMEOUT = 30.0  # seconds
PATIENCE = 5.0  # seconds more in which its machine may say that it did not take it in time


def seconds(timeout: float) -> float:
    """A time to wait.

    Raises:
        UsageError: it is none.
    """
    if not 0 < timeout <= LONGEST_WAIT:
        raise UsageError(f"timeout={timeout} is no time to wait.", f"Seconds, up to {LONGEST_WAIT:g}.")
    return timeout


class BackgroundInput(BackgroundRows):
    """What a run of a command reads."""

    def __init__(self, table: Table, status: Status) -> None:
        super().__init__(table, status)
        self._writer, self._number = secrets.token_hex(8), 0  # by which a piece that comes again is known
        self._turn = asyncio.Lock()

    @at_home
    async def write(self, data: str | bytes, *, timeout: float = TIMEOUT) -> None:
        """Write to its stdin: all of `data` in one piece, behind what was written before by anybody.

        Returns when the machine has it, in the pipe or in line for it, at most 32 MB of which wait there for
        a process that reads none. Through breaks of the connection it is written once. Text is sent as UTF-8;
        `timeout` is in seconds. What is cancelled before its turn is not written.

        Raises:
            StdinError: it did not go in, or only `written` bytes of it: the process was started without
                `stdin=True`, has closed it, has ended, or did not read in time.
            UsageError: it is larger than 16 MB, or is no text; or there is no such time.
        """
        try:
            piece = data.encode() if isinstance(data, str) else bytes(data)
        except UnicodeEncodeError:
            raise UsageError(
                f"What is written to {self.id} holds half a character.", "Take it out, or encode it to bytes."
            ) from None
        if len(piece) > PIECE:
            raise UsageError(
                f"{len(piece) / 1e6:.1f} MB are too much to write to {self.id} at once.",
                f"Write up to {PIECE / 1e6:.1f} MB, or put them in a file.",
            )
        answer = await self._deliver({"do": "write", "size": len(piece)}, piece, timeout)
        if answer["how"] == "full":
            raise self._unread(len(piece), timeout)
        if answer["how"] != "taken":
            raise self._closed(len(piece), int(answer["written"]))

    @at_home
    async def write_eof(self, *, timeout: float = TIMEOUT) -> None:
        """Let its stdin end behind what was written. Nothing to do where it has ended, or the process has.

        Raises:
            StdinError: it was started without `stdin=True`, or has other turns to wait for until time is up.
        """
        if self.state != "running" or self.status.stdin == "closed":
            return
        answer = await self._deliver({"do": "close"}, b"", timeout)
        if answer["how"] == "full":
            raise self._unread(0, timeout)

    async def _deliver(self, order: dict[str, Any], piece: bytes, timeout: float) -> dict[str, Any]:
        """Have its minder take a piece: what became of that."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds(timeout)
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.acquire()
        except TimeoutError:
            raise self._unread(len(piece), timeout) from None
        try:
            if self.state != "running" or self.status.stdin != "open":
                raise self._closed(len(piece), 0)
            self._number += 1
            name = {"writer": self._writer, "number": self._number}

            def words() -> bytes:
                return said({**order, **name, "wait": max(0.0, deadline - clock())}) + piece

            async with asyncio.timeout_at(deadline + PATIENCE), aclosing(self._talk(words)) as answers:
                async for kind, body in answers:
                    if kind == ANSWER:
                        with self._understood():
                            answer = told(body)
                            return {"how": str(answer["how"]), "written": int(answer["written"])}
        except TimeoutError:
            raise StdinError(
                f"{self.machine.label} has not said in {timeout:g} s whether {self.id} was written to.",
                "Look at what the process does before you write it again.",
                written=None,
            ) from None
        finally:
            self._turn.release()
        raise self._closed(len(piece), None)

    def _unread(self, size: int, timeout: float) -> StdinError:
        return StdinError(
            f"{self.id} on {self.machine.label} does not read what it is given: there was no room for {size}"
            f" bytes in {timeout:g} s, and none of them were written.",
            f"`%bg list` shows whether it does anything, `%bg stop {self.id}{self._option}` ends it.",
        )

    def _closed(self, size: int, written: int | None) -> StdinError:
        """Why nothing goes in any more."""
        name = f"{self.id} on {self.machine.label}"
        if self.state == "running" and self.status.stdin == "none":
            return StdinError(f"{name} reads nothing.", "`start(…, stdin=True)` gives it a stdin.")
        if not self.exited:
            why = f"{name} has closed its stdin"
        else:
            why = f"{name} runs no more ({self.exit if self.state == 'running' else self.outcome})"
        if written is None:
            what = "it is not known whether what was written went in"
        else:
            what = f"{written or 'none'} of the {size} bytes went in"
        return StdinError(
            f"{why}: {what}.", f"`%bg logs {self.id}{self._option}` shows what it wrote.", written=written
        )
