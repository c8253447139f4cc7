"""Commands over an SSH channel each: for a VM without python3, where the resident program cannot run.

Slower (about 0.1 s a command), a connection that breaks takes its commands along, and a shell session does not
last from cell to cell. The interface is the resident's.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from typing import Any

import asyncssh

from pi_v_jupyter.errors import ConnectionLostError
from pi_v_jupyter.remote.channel import Exit, Request, StreamName

NAMES = {2: "INT", 9: "KILL", 15: "TERM", 1: "HUP", 3: "QUIT"}
GRACE = 2.0  # seconds between SIGINT and SIGKILL when time is up


def command_line(request: Request) -> str:
    """The request as one line for the login shell; code goes in by stdin or `-c`, never unquoted."""
    words = list(request.argv) or ["bash", "-c", request.command or request.code or ""]
    if request.argv and request.code is not None:
        words += ["-c", request.code]
    line = "exec " + (
        "env " + shlex.join(f"{k}={v}" for k, v in request.env.items()) + " " if request.env else ""
    )
    line += shlex.join(words) + ("" if request.stdin else " </dev/null")
    return f"cd -- {shlex.quote(request.cwd)} && {line}" if request.cwd else line


class PlainProcess:
    """One command on its own channel; see `channel.Process`."""

    def __init__(self, connection: asyncssh.SSHClientConnection, request: Request) -> None:
        self.pid: int | None = None
        self._request = request
        self._queue: asyncio.Queue[tuple[StreamName, bytes] | None] = asyncio.Queue(maxsize=64)
        self._started: asyncio.Future[asyncssh.SSHClientProcess[bytes]] = (
            asyncio.get_running_loop().create_future()
        )
        self._timed_out = False
        self._exit: Exit | None = None
        self._failure: Exception | None = None
        self._task = asyncio.create_task(self._run(connection))

    async def _run(self, connection: asyncssh.SSHClientConnection) -> None:
        try:
            process = await connection.create_process(command_line(self._request), encoding=None)
            self._started.set_result(process)
            deadline = asyncio.create_task(self._watch(process)) if self._request.timeout else None
            try:
                await asyncio.gather(
                    self._pump("stdout", process.stdout), self._pump("stderr", process.stderr)
                )
                done = await process.wait(check=False)
            finally:
                if deadline is not None:
                    deadline.cancel()
            signal = f"SIG{done.exit_signal[0]}" if done.exit_signal else None
            if done.exit_status is None and signal is None:
                raise ConnectionLostError("The connection broke, and took the command with it.")
            self._exit = Exit(
                code=None if signal else done.exit_status,
                signal=signal,
                timed_out=self._timed_out,
                shell_ended=False,
            )
        except ConnectionLostError as error:
            self._failure = error
        except (asyncssh.Error, OSError) as error:
            self._failure = ConnectionLostError(f"The command could not be run: {error}.")
        finally:
            if not self._started.done():
                self._started.cancel()
            await self._queue.put(None)

    async def _pump(self, name: StreamName, reader: asyncssh.SSHReader[bytes]) -> None:
        while data := await reader.read(1 << 16):
            await self._queue.put((name, data))

    async def _watch(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        await asyncio.sleep(self._request.timeout)
        self._timed_out = True
        process.send_signal("INT")
        await asyncio.sleep(GRACE)
        process.send_signal("KILL")

    async def chunks(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        while (item := await self._queue.get()) is not None:
            yield item
        await self._queue.put(None)  # the end stays at the end, for whoever asks again
        if self._failure is not None:
            raise self._failure

    async def wait(self) -> Exit:
        async for _ in self.chunks():
            pass
        assert self._exit is not None  # noqa: S101  chunks() ends with an exit or raises
        return self._exit

    async def write(self, data: bytes) -> None:
        process = await self._started
        process.stdin.write(data)
        await process.stdin.drain()

    async def write_eof(self) -> None:
        (await self._started).stdin.write_eof()

    def kill(self, signal: int) -> None:
        if self._started.done() and not self._started.cancelled() and self._exit is None:
            self._started.result().send_signal(NAMES.get(signal, "TERM"))

    async def close(self) -> None:
        if not self._task.done():
            self.kill(9)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class PlainRunner:
    """See `channel.Runner`."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    def start(self, request: Request) -> PlainProcess:
        return PlainProcess(self._connection, request)
