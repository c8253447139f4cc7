"""This computer, through the same resident program: what a cell runs on when no VM is active."""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import sys

from pi_v_jupyter.errors import ConnectError, ConnectionLostError
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import BOOT, PYTHON
from pi_v_jupyter.remote.process import ResidentProcess
from pi_v_jupyter.remote.resident import Resident, program

START_TIMEOUT = 20.0  # seconds
END_TIMEOUT = 5.0  # seconds


class _Link(asyncio.Protocol):
    """Bytes between a socket and a `Resident`."""

    def __init__(self, resident: Resident, token: bytes) -> None:
        self._resident, self._token = resident, token
        self._before = b""
        self.transport: asyncio.WriteTransport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  what a socket's transport is
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.ready.done():
            self._resident.feed(data)
            return
        self._before += data
        if self._before.startswith(self._token):
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(
                ConnectionLostError("The resident program did not start on this computer.")
            )
        self._resident.lost(self)

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class HereConnection:
    """Runs commands on this computer; see `connection.Connection`."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._resident = Resident(linger=0)  # nothing could lead a client back
        self._resident.on_lost = self._lost
        self._link: _Link | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, request: Request) -> ResidentProcess:
        """Start a command, and the program first if need be."""
        async with self._lock:
            if not self._resident.attached:
                await self._open()
        return self._resident.start(request)

    async def _open(self) -> None:
        if not sys.platform.startswith("linux"):
            raise ConnectError("Cells on this computer need Linux.", "`%vers use VM` runs them on a VM.")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        token = secrets.token_hex(16)
        code = program()
        words = [sys.executable, *PYTHON[1:], BOOT, str(len(code)), token, "--here"]
        await self._reap()
        link = _Link(self._resident, token.encode())
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: ASYNC220  returns once it is started
                    words,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(START_TIMEOUT):
                await loop.create_connection(lambda: link, sock=ours)
                link.write(code)
                await link.ready
                await self._resident.attach(link)
        except TimeoutError:
            self._give_up(link)
            raise ConnectError("The resident program did not start on this computer.") from None
        except BaseException:
            self._give_up(link)
            raise
        self._link = link

    def _give_up(self, link: _Link) -> None:
        """It is not waited for: what there is of the program would not end by itself."""
        link.close()
        if self._process is not None:
            self._process.kill()

    async def _reap(self) -> None:
        """Wait for the program, which is to end now."""
        if self._process is not None:
            process, self._process = self._process, None
            try:
                await asyncio.to_thread(process.wait, END_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)

    def _lost(self) -> None:
        self._resident.fail(ConnectionLostError("The resident program on this computer ended."))

    async def close(self) -> None:
        """End the program and all it runs."""
        await self._resident.goodbye()
        if self._link is not None:
            self._link.close()
        await self._reap()
