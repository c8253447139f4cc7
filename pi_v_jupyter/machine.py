"""A machine as commands see it: what they are asked, what they did. This computer is one, and each VM."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pi_v_jupyter.errors import RemoteCommandError, RemoteTimeoutError, UsageError
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote.backgroundhost import BackgroundHost
from pi_v_jupyter.remote.channel import Exit, Process, Request, StreamName, TextDecoder
from pi_v_jupyter.remote.here import HereConnection
from pi_v_jupyter.texts import last_line

TAIL = 4096  # bytes of stderr an error carries
LINE = 400  # characters of its last line that are quoted
STARTED_WRONG = {"ENOENT": 127, "EACCES": 126, "ENOTDIR": 126, "ENOEXEC": 126}

OnOutput = Callable[[StreamName, bytes], object]


@dataclass(frozen=True)
class Result:
    """What a command did. `duration` is in seconds; `signal` names what ended it, such as "SIGINT"."""

    exit_code: int | None
    signal: str | None
    stdout_bytes: bytes = field(repr=False)
    stderr_bytes: bytes = field(repr=False)
    duration: float
    timed_out: bool = False
    shell_ended: bool = False
    truncated: bool = False
    """A cell's result holds the first megabyte of each stream; True when there was more."""

    @property
    def ok(self) -> bool:
        """Did it end with 0?"""
        return self.exit_code == 0

    @property
    def stdout(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are shown as `\\xff`."""
        return self.stdout_bytes.decode("utf-8", "backslashreplace")

    @property
    def stderr(self) -> str:
        """Standard error as text, likewise."""
        return self.stderr_bytes.decode("utf-8", "backslashreplace")


class Results(dict[str, Result]):
    """What a command did on several machines, by their labels."""


class Starts(Protocol):
    """A connection as a machine needs it."""

    async def start(self, request: Request) -> Process:
        """Start a command."""

    async def close(self) -> None:
        """End it."""


class Command:
    """One command under way, on its machine's loop; `signal` and `detach` may be called from any thread."""

    def __init__(self, machine: Machine, request: Request, stdin: bytes | None, on_output: OnOutput) -> None:
        self.machine, self.request = machine, request
        self._stdin, self._on_output = stdin, on_output
        self._process: Process | None = None
        self._wanted: list[int] = []
        self._shown = asyncio.Event()
        self._shown.set()
        self._began = time.monotonic()
        self.exit: Exit | None = None

    @property
    def pid(self) -> int | None:
        """Its process group, once known."""
        return self._process.pid if self._process else None

    @property
    def started(self) -> bool:
        """Has it been handed to the machine, or is the connection still being made?"""
        return self._process is not None

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._began

    async def run(self) -> Exit:
        """Run it to its end. Cancelling kills it."""
        self._process = process = await self.machine.launch(self.request)
        for number in self._wanted:
            process.kill(number)
        feeder = asyncio.create_task(self._feed(process)) if self._stdin is not None else None
        try:
            async for stream, data in process.chunks():
                await self._shown.wait()
                self._on_output(stream, data)
            self.exit = await process.wait()
        finally:
            if feeder is not None:
                feeder.cancel()
            await process.close()
        return self.exit

    async def _feed(self, process: Process) -> None:
        await process.write(self._stdin or b"")
        await process.write_eof()

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        self.machine.home.call_soon_threadsafe(self._signal, number)

    def _signal(self, number: int) -> None:
        if self._process is None:
            self._wanted.append(number)
        else:
            self._process.kill(number)

    def detach(self) -> None:
        """Leave its output where it is until `attach`."""
        self.machine.home.call_soon_threadsafe(self._shown.clear)

    def attach(self, on_output: OnOutput) -> None:
        """Have the rest of its output; call it on the machine's loop."""
        self._on_output = on_output
        self._shown.set()


class Machine(BackgroundHost):
    """What a VM and this computer have in common: commands run on it, and it has files.

    `home` is the loop it lives on.
    """

    @abstractmethod
    def _connection(self) -> Starts:
        """The connection, made but not opened."""

    async def launch(self, request: Request) -> Process:
        """Start a command; for those who read its output themselves, on the machine's own loop."""
        return await self._connection().start(request)

    @at_home
    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: float = 0,
        check: bool = True,
    ) -> Result:
        """Run `command` (text: by bash; a list: as it stands) and return what it did.

        `timeout` is in seconds, 0 for none: then SIGINT, and 2 s later SIGKILL, there. Cancelling kills it.

        Raises:
            RemoteCommandError: it ended with another code than 0, and `check` is true.
            ConnectError: the machine cannot be reached.
        """
        request = _request(command, cwd, env, stdin, timeout)
        kept: dict[StreamName, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        data = stdin.encode() if isinstance(stdin, str) else stdin
        job = Command(self, request, data, lambda stream, data: kept[stream].extend(data))
        how = await job.run()
        result = self.result(how, bytes(kept["stdout"]), bytes(kept["stderr"]), job.seconds)
        if check:
            self.raise_unless_ok(result, quoting=True)
        return result

    async def stream(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 0,
    ) -> AsyncGenerator[tuple[StreamName, str], None]:
        """Run `command` and give its output as it comes: ("stdout" or "stderr", text). Leaving kills it.

        Raises as `run` does, at the end.
        """
        request = _request(command, cwd, env, None, timeout)
        async with contextlib.aclosing(cross(self._stream(request), self.home)) as pieces:
            async for piece in pieces:
                yield piece

    async def _stream(self, request: Request) -> AsyncGenerator[tuple[StreamName, str], None]:
        process = await self.launch(request)
        began, errors = time.monotonic(), b""
        decoders: dict[StreamName, TextDecoder] = {"stdout": TextDecoder(), "stderr": TextDecoder()}
        try:
            async for stream, data in process.chunks():
                if stream == "stderr":
                    errors = (errors + data)[-TAIL:]
                if text := decoders[stream].feed(data):
                    yield stream, text
            for stream, decoder in decoders.items():
                if text := decoder.feed(b"", final=True):
                    yield stream, text
            result = self.result(await process.wait(), b"", errors, time.monotonic() - began)
            self.raise_unless_ok(result, quoting=True)
        finally:
            await process.close()

    def result(self, how: Exit, stdout: bytes, stderr: bytes, duration: float) -> Result:
        """The result of a command; one that never started reads as a shell would tell it (127, 126)."""
        code = how.code
        if how.error:
            code = STARTED_WRONG.get(how.error, 126)
            stderr += f"{how.what}: {how.message}\n".encode()
        return Result(code, how.signal, stdout, stderr, duration, how.timed_out, how.shell_ended)

    def raise_unless_ok(self, result: Result, *, quoting: bool = False) -> None:
        """Raise RemoteCommandError unless it ended with 0; `quoting` the last line of its stderr."""
        if result.ok and not result.timed_out:
            return
        how = f"ended by {result.signal}" if result.signal else f"exit code {result.exit_code}"
        message = f"{how} on {self.label} after {result.duration:.2f} s"
        tail = result.stderr_bytes[-TAIL:].decode("utf-8", "backslashreplace")
        if result.timed_out:
            raise RemoteTimeoutError(
                f"out of time: {message}",
                "`timeout=SECONDS` gives it more, `timeout=0` all it wants."
                if quoting
                else "`--timeout SECONDS` gives it more, `--timeout 0` all it wants.",
                exit_code=result.exit_code,
                signal=result.signal,
                stderr=tail,
            )
        words = last_line(tail.strip().rpartition("\n")[2], LINE) if quoting else ""
        raise RemoteCommandError(
            message, words, exit_code=result.exit_code, signal=result.signal, stderr=tail
        )


def _request(
    command: str | Sequence[str],
    cwd: str | None,
    env: Mapping[str, str] | None,
    stdin: object,
    timeout: float,
) -> Request:
    given = {"cwd": cwd, "env": dict(env or {}), "stdin": stdin is not None, "timeout": timeout}
    if isinstance(command, str):
        return Request(command=command, **given)  # type: ignore[arg-type]
    if not command:
        raise UsageError("There is no command to run.", "Give at least one word.")
    return Request(argv=tuple(command), **given)  # type: ignore[arg-type]


class Here(Machine):
    """This computer."""

    def __init__(self, home: asyncio.AbstractEventLoop) -> None:
        self.home = home
        self._open: HereConnection | None = None

    @property
    def label(self) -> str:
        """Always "this computer"."""
        return "this computer"

    @property
    def option(self) -> str:
        """How `%bg` is told of it."""
        return " --local"

    def _connection(self) -> HereConnection:
        if self._open is None:
            self._open = HereConnection()
        return self._open

    @at_home
    async def close(self) -> None:
        """End what it runs, but in the background."""
        await self.background.leave()
        if self._open is not None:
            await self._open.close()
