"""One planned command, confined: what a machine is asked to run, and the report that comes behind its output.

What confines it is `_there/confine.py`, which runs on the machine.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pi_v_jupyter.plan import _there
from pi_v_jupyter.plan.ground import SHELL
from pi_v_jupyter.remote.channel import Exit, Process, Request, StreamName

FOLDER = "trap 'builtin pwd -P >&9' EXIT; "  # before a command: its last folder, for `_there/confine.py`
LONGEST = 1 << 17  # bytes of a report


@dataclass(frozen=True)
class Confinement:
    """How commands are confined: `python` is the path of one there, `environment` all that commands have.

    `readonly`: are file systems read-only, or as they are, for the machine is a copy? Without `namespaces`
    a command is left its own powers, but for sockets.
    """

    python: str
    environment: Mapping[str, str]
    readonly: bool
    namespaces: bool = True

    def process(
        self, command: str, folders: Sequence[str], *, timeout: float, stdin: bool
    ) -> tuple[Request, bytes]:
        """What to run, and the mark of its report. It runs in the first of `folders` that is there."""
        mark = f"\n{secrets.token_hex(16)}"
        task = {
            "argv": [*SHELL, FOLDER + command],
            "env": dict(self.environment),
            "folders": list(folders),
            "readonly": self.readonly,
            "namespaces": self.namespaces,
            "mark": mark,
        }
        words = (self.python, "-I", "-S", "-c", _there.source())
        return Request(
            argv=words, code=json.dumps(task), cwd="/", timeout=timeout, stdin=stdin
        ), mark.encode()


@dataclass(frozen=True)
class Report:
    """What came behind the output: the `folder` the command ended in, or why it was not run: `cannot`."""

    folder: str = ""
    cannot: str = ""

    @classmethod
    def of(cls, data: bytes) -> Report:
        """As it was sent. What does not come whole, as when a command was killed, tells nothing."""
        try:
            told: Any = json.loads(data)
            return cls(**{key: str(value) for key, value in told.items()})
        except (ValueError, TypeError, AttributeError):
            return cls()


class Reported:
    """A `Process` without its report, which `on_report` is given once it has ended."""

    def __init__(
        self,
        process: Process,
        mark: bytes,
        on_report: Callable[[Report], object],
        on_close: Callable[[], object],
    ) -> None:
        self.pid = process.pid
        self._process, self._mark, self._on_report, self._on_close = process, mark, on_report, on_close
        self._held: bytes | None = b""  # of stderr: what may be the beginning of the mark
        self._report = bytearray()
        self._told = self._closed = False

    @property
    def on_away(self) -> Callable[[bool], object]:
        """See `Process`."""
        return self._process.on_away

    @on_away.setter
    def on_away(self, function: Callable[[bool], object]) -> None:
        self._process.on_away = function

    async def chunks(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        """Its output, without the report."""
        async for stream, data in self._process.chunks():
            piece = self._before_report(data) if stream == "stderr" else data
            if piece:
                yield stream, piece
        if self._held:
            yield "stderr", self._held
            self._held = b""

    def _before_report(self, data: bytes) -> bytes:
        if self._held is None:
            self._report += data[: LONGEST - len(self._report)]
            return b""
        text = self._held + data
        before, mark, report = text.partition(self._mark)
        if mark:
            self._held = None
            self._report += report
            return before
        kept = next(
            size
            for size in range(min(len(text), len(self._mark) - 1), -1, -1)
            if text.endswith(self._mark[:size])
        )
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    async def wait(self) -> Exit:
        """How it ended; raises what `on_report` raises."""
        async for _ in self.chunks():
            pass
        how = await self._process.wait()
        if not self._told:
            self._told = True
            failed = Report(cannot=f"{how.what}: {how.message}") if how.error else None
            self._on_report(failed or Report.of(bytes(self._report)))
        return how

    async def write(self, data: bytes) -> None:
        """As the process does, and all that follows."""
        await self._process.write(data)

    async def write_eof(self) -> None:
        """End of stdin."""
        await self._process.write_eof()

    def kill(self, signal: int) -> None:
        """Send a signal to its process group."""
        self._process.kill(signal)

    def resize(self, cols: int, rows: int) -> None:
        """Give its terminal another size."""
        self._process.resize(cols, rows)

    async def close(self) -> None:
        """Let go of it, and of what it ran on."""
        try:
            await self._process.close()
        finally:
            if not self._closed:
                self._closed = True
                self._on_close()
