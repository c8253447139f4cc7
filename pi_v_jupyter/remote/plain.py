"""Commands over an SSH channel each: for a VM without python3, where the resident program cannot run.

Slower (about 0.1 s a command), a connection that breaks takes its commands along, and a shell session does
not last from cell to cell. The interface is the resident's.
"""

from __future__ import annotations

import asyncio
import collections
import secrets
import shlex
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncssh

from pi_v_jupyter.errors import ConnectionLostError
from pi_v_jupyter.remote.channel import Exit, Request, StreamName

GRACE = 2.0  # seconds between SIGINT and SIGKILL when time is up
QUIET = 1.0  # seconds without output after which a process left in the background is what holds it open
WINDOW = 1 << 20  # bytes kept for a reader before the channel is left alone

# Every shell says its process group first, which also tells a login's own output from the command's. Signals
# go there by `kill` in a shell of our own: OpenSSH carries none to a session of root.
# Values and code come as one line on stdin, which `read` takes byte by byte and not further: in an argument
# list all users of the VM could see them.
READER = 'IFS= read -r __pi_v_line; eval "eval $__pi_v_line"'


def command_line(request: Request) -> str:
    """What the login shell runs: a shell that reads what to do."""
    shell = "sh" if request.argv else "bash"
    newline = "__pi_v_n='\n'; "
    return f"exec {shell} -c {shlex.quote(newline + READER)} {shell}"


def instructions(request: Request, mark: bytes) -> bytes:
    """What that shell reads; it writes `mark`, its process group and a newline before all else."""
    lines = [f"printf '{mark.decode()}%d\\n' $$", "unset __pi_v_n __pi_v_line"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in request.env.items()]
    if request.cwd:
        lines.append(f"cd -- {shlex.quote(request.cwd)} || exit 127")
    if not request.stdin:
        lines.append("exec </dev/null")
    if not request.argv:
        lines.append(request.command or request.code or "")
    elif request.code is None:
        lines.append(f"exec {shlex.join(request.argv)}")
    else:
        end = secrets.token_hex(16)
        lines += [f"exec {shlex.join(request.argv)} /dev/fd/3 3<<'{end}'", request.code, end]
    quoted = "'" + "\n".join(lines).replace("'", "'\\''").replace("\n", "'\"$__pi_v_n\"'") + "'"
    return quoted.encode("utf-8", "surrogateescape") + b"\n"


def terminal_line(request: Request, mark: bytes) -> str:
    """What the login shell runs at a terminal, which would echo a line to read; it writes `mark` first."""
    words = [f"printf '{mark.decode()}%d\\n' $$"]
    if request.cwd:
        words.append(f"cd -- {shlex.quote(request.cwd)} || exit 127")
    words.append(f"exec {shlex.join(request.argv)}")
    return f"exec sh -c {shlex.quote('; '.join(words))}"


class PlainProcess(asyncssh.SSHClientSession[bytes]):
    """One command on its own channel; see `channel.Process`."""

    def __init__(self, request: Request, send_signal: Callable[[int, int], object]) -> None:
        self.pid: int | None = None
        self.on_away: Callable[[bool], object] = lambda _: None  # a break is its end
        self.request = request
        self._send_signal = send_signal
        self._mark = secrets.token_hex(16).encode()
        self._before = b""  # what came before the mark
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._chunks: collections.deque[tuple[StreamName, bytes]] = collections.deque()
        self._held = 0  # bytes of them
        self._paused = False
        self._eof = False
        self._how: Exit | None = None
        self._failure: ConnectionLostError | None = None
        self._timed_out = False
        self._wanted: list[int] = []
        self._size = request.pty
        self._timers: list[asyncio.TimerHandle] = []
        self._changed = asyncio.Event()
        self.opened = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.over = False

    async def chunks(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        while True:
            while self._chunks:
                stream, data = self._chunks.popleft()
                yield stream, data
                self._held -= len(data)
                if self._paused and self._held < WINDOW and self._channel is not None:
                    self._paused = False
                    self._channel.resume_reading()
            if self.over:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    async def wait(self) -> Exit:
        async for _ in self.chunks():
            pass
        assert self._how is not None  # noqa: S101  chunks() ends with an exit or raises
        return self._how

    async def write(self, data: bytes) -> None:
        await self.opened.wait()
        for start in range(0, len(data), 1 << 16):
            await self._writable.wait()
            if self.over or self._channel is None or self._channel.is_closing():
                return
            self._channel.write(data[start : start + (1 << 16)])

    async def write_eof(self) -> None:
        await self.opened.wait()
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write_eof()

    def kill(self, signal: int) -> None:
        if self.pid is None:
            self._wanted.append(signal)
        elif self._how is None:
            self._send_signal(self.pid, signal)

    def resize(self, cols: int, rows: int) -> None:
        self._size = (cols, rows)
        if self._channel is not None and not self._channel.is_closing():
            self._channel.change_terminal_size(cols, rows)

    async def close(self) -> None:
        if self.over:
            return
        if self.request.pty is None:
            self.kill(signal.SIGKILL)
        elif self._channel is not None:
            self._channel.close()  # and the server closes the terminal
        self.fail("The command was let go of.")

    # From here on: called by the runner and by asyncssh.

    def opening(self) -> dict[str, Any]:
        """How to open its channel. A terminal's variables are those the server accepts from a client."""
        request = self.request
        if self._size is None:
            return {"command": command_line(request)}
        command = terminal_line(request, self._mark)
        kind = request.env.get("TERM", "xterm-256color")
        return {
            "command": command,
            "term_type": kind,
            "term_size": self._size,
            "term_modes": {asyncssh.PTY_IUTF8: 1},  # Backspace takes a whole character
            "env": dict(request.env),
        }

    def started(self) -> None:
        """The channel is there."""
        assert self._channel is not None  # noqa: S101  asyncssh told `connection_made`
        if self._size is None:
            self._channel.write(instructions(self.request, self._mark))
        elif self.over:
            self._channel.close()  # it was let go of meanwhile
        else:
            self._channel.change_terminal_size(*self._size)
        if self.request.timeout and not self.over:
            self._later(self.request.timeout, self._out_of_time)
        self.opened.set()

    def fail(self, why: str) -> None:
        if not self.over:
            self._failure = ConnectionLostError(why)
            self._end()

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is None and self.pid is None:
            data = self._unmarked(data)
        if self.over or not data:
            return  # it comes from a process left in the background
        self._chunks.append(("stdout" if datatype is None else "stderr", data))
        self._held += len(data)
        self._changed.set()
        if self._held >= WINDOW and not self._paused and self._channel is not None:
            self._paused = True
            self._channel.pause_reading()

    def _unmarked(self, data: bytes) -> bytes:
        self._before += data
        _, mark, after = self._before.partition(self._mark)
        pid, newline, rest = after.partition(b"\n")
        if not mark or not newline:
            return b""
        self.pid, self._before = int(pid), b""
        for number in self._wanted:
            self._send_signal(self.pid, number)
        return rest

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def eof_received(self) -> bool:
        self._eof = True
        if self._how is not None:
            self._end()
        return True

    def exit_status_received(self, status: int) -> None:
        self._exited(Exit(code=status, timed_out=self._timed_out))

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._exited(Exit(signal=f"SIG{signal}", timed_out=self._timed_out))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._how is None:
            self.fail("The connection broke, and took the command with it.")
        self._end()

    def _exited(self, how: Exit) -> None:
        self._how = how
        if self._eof:
            self._end()
        else:
            self._later(QUIET, self._still_open, self._held)

    def _still_open(self, held: int) -> None:
        if self._held or held:
            self._later(QUIET, self._still_open, self._held)
        else:
            self._end()

    def _out_of_time(self) -> None:
        self.kill(signal.SIGKILL if self._timed_out else signal.SIGINT)
        self._timed_out = True
        self._later(GRACE, self._out_of_time)

    def _later(self, seconds: float, function: Any, *arguments: Any) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, function, *arguments))

    def _end(self) -> None:
        self.over = True
        for timer in self._timers:
            timer.cancel()
        self._changed.set()
        self._writable.set()
        self.opened.set()


class PlainRunner:
    """See `channel.Runner`."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection
        self._opening = asyncio.Lock()
        self._control: asyncssh.SSHClientChannel[bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()

    def start(self, request: Request) -> PlainProcess:
        """Start a command."""
        process = PlainProcess(request, self._signal)
        task = asyncio.create_task(self._run(process))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return process

    def _signal(self, group: int, number: int) -> None:
        if self._control is not None and not self._control.is_closing():
            self._control.write(f"kill -{number} -{group}\n".encode())

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._freed.set()

    async def _run(self, process: PlainProcess) -> None:
        try:
            channel = await self._open(process)
        except (asyncssh.Error, OSError) as error:
            process.fail(f"The command could not be run: {error}.")
            return
        process.started()
        await channel.wait_closed()

    async def _open(self, process: PlainProcess) -> asyncssh.SSHClientChannel[bytes]:
        """A channel; a server allows some (OpenSSH: 10), and past them one waits for another's end."""
        async with self._opening:
            if self._control is None:
                self._control, _ = await self._connection.create_session(
                    asyncssh.SSHClientSession[bytes], "exec sh 2>/dev/null", encoding=None
                )
            while True:
                self._freed.clear()
                try:
                    channel, _ = await self._connection.create_session(
                        lambda: process, encoding=None, **process.opening()
                    )
                except asyncssh.ChannelOpenError:
                    if self._connection.is_closed() or len(self._tasks) < 2:
                        raise
                    await self._freed.wait()
                else:
                    return channel
