"""An SSH channel that carries a `Resident`'s bytes, once what a login printed before them is over."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh

from pi_v_jupyter.remote.resident import Resident

NOISE = 1 << 16  # bytes a login script may print before the program answers


class ChannelLink(asyncssh.SSHClientSession[bytes], asyncssh.SSHUNIXSession[bytes]):
    """Bytes between an SSH channel and a `Resident`. `token`: what marks the program's first byte."""

    def __init__(self, resident: Resident, token: bytes = b"") -> None:
        self._resident, self._token = resident, token
        self._channel: Any = None
        self._noise = b""
        self.errors = b""
        self.exit_status: int | None = None
        self.settled = asyncio.Event()  # it started, or did not

    @property
    def started(self) -> bool:
        """Does the program answer?"""
        return not self._token

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is not None:
            self.errors = (self.errors + data)[-4096:]
        elif self.started:
            self._resident.feed(data)
        else:
            self._noise += data
            before, found, after = self._noise.partition(self._token)
            if found:
                self._token = self._noise = b""
                self.settled.set()
                self._resident.feed(after)
            elif len(before) > NOISE:
                self.errors = b"the login prints without end"
                self.close()

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status

    def eof_received(self) -> bool:
        if self.started:  # it ended, or let go of us; the server says no more than that while it lives
            self._resident.lost(self)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.settled.set()
        self._resident.lost(self)

    def reason(self) -> str:
        """The last line it wrote to stderr, as the end of a sentence."""
        lines = self.errors.decode(errors="backslashreplace").strip().splitlines()
        return f": {lines[-1].rstrip('.')}." if lines else "."

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent."""
        if not self._channel.is_closing():
            self._channel.write(data)

    def close(self) -> None:
        """End it; the resident is told."""
        self._channel.close()
