"""One machine and what one does with it: a VM, or this computer when none is active."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VMInfo, VMState
from pi_v_jupyter.errors import NotFoundError, RemoteCommandError, RemoteTimeoutError, UsageError, VMGoneError
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote.channel import Exit, Process, Request, StreamName, TextDecoder
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.remote.here import HereConnection
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.state import State

TAIL = 4096  # bytes of stderr an error carries
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
        self._process = process = await self.machine.start(self.request)
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


class Machine:
    """What a VM and this computer have in common: commands run on it. `home` is the loop it lives on."""

    home: asyncio.AbstractEventLoop

    @property
    def label(self) -> str:
        """What to call it in a sentence."""
        raise NotImplementedError

    def _connection(self) -> Starts:
        raise NotImplementedError

    async def start(self, request: Request) -> Process:
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
            self.raise_unless_ok(result)
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
        process = await self.start(request)
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
            self.raise_unless_ok(self.result(await process.wait(), b"", errors, time.monotonic() - began))
        finally:
            await process.close()

    def result(self, how: Exit, stdout: bytes, stderr: bytes, duration: float) -> Result:
        """The result of a command; one that never started reads as a shell would tell it (127, 126)."""
        code = how.code
        if how.error:
            code = STARTED_WRONG.get(how.error, 126)
            stderr += f"{how.what}: {how.message}\n".encode()
        return Result(code, how.signal, stdout, stderr, duration, how.timed_out, how.shell_ended)

    def raise_unless_ok(self, result: Result) -> None:
        """Raise RemoteCommandError unless it ended with 0."""
        if result.ok and not result.timed_out:
            return
        how = f"ended by {result.signal}" if result.signal else f"exit code {result.exit_code}"
        message = f"{how} on {self.label} after {result.duration:.2f} s"
        tail = result.stderr_bytes[-TAIL:].decode("utf-8", "backslashreplace")
        if result.timed_out:
            raise RemoteTimeoutError(
                f"out of time: {message}",
                "`--timeout SECONDS` gives it more, `--timeout 0` all it wants.",
                exit_code=result.exit_code,
                signal=result.signal,
                stderr=tail,
            )
        raise RemoteCommandError(message, exit_code=result.exit_code, signal=result.signal, stderr=tail)


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
        """Always "this machine"."""
        return "this machine"

    def _connection(self) -> HereConnection:
        if self._open is None:
            self._open = HereConnection()
        return self._open

    @at_home
    async def close(self) -> None:
        """End what it runs."""
        if self._open is not None:
            await self._open.close()


class VM(Machine):
    """One VM: `id`, `name`, `state`, and what can be done with it.

    All methods may be awaited on any loop; the connection is opened by the first that needs it, and shared.
    """

    def __init__(
        self,
        info: VMInfo,
        client: VersClient,
        settings: Settings,
        state: State,
        home: asyncio.AbstractEventLoop,
        on_notice: Callable[[str], None],
    ) -> None:
        self.info = info
        self.home = home
        self.vm_id = info.vm_id
        self._client, self._settings, self._state = client, settings, state
        self._platform = settings.base_url
        self._on_notice = on_notice
        self._open: Connection | None = None

    @property
    def id(self) -> str:
        """The platform's id, a UUID."""
        return self.vm_id

    @property
    def name(self) -> str:
        """The name given to it here or by a label; empty when it has none."""
        name = self._state.get(self._platform, "names", self.vm_id) or self.info.labels.get("name", "")
        # Anyone with the account's key sets labels: what steers a terminal or breaks a line is not shown.
        return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)

    @property
    def label(self) -> str:
        """What to call it: its name, or the start of its id."""
        return self.name or self.vm_id[:8]

    @property
    def state(self) -> VMState:
        """When last looked at; see `refresh`."""
        return self.info.state

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return self.info.created_at

    def __repr__(self) -> str:
        return f"<VM {self.label} {self.vm_id[:8]} {self.state.value}>"

    def _connection(self) -> Connection:
        if self._open is None:
            self._open = Connection(self, self, self._on_notice)
        return self._open

    @at_home
    async def connect(self) -> None:
        """Open the connection now rather than with the first command."""
        await self._connection().open()

    @at_home
    async def refresh(self) -> VMInfo:
        """Ask the platform what it is like now, sizes included."""
        self.learn(await self._client.vm_metadata(self.vm_id))
        return self.info

    def learn(self, info: VMInfo) -> None:
        """Take in what the platform said; an answer that says less than an earlier one takes nothing away."""
        known = self.info.model_dump(exclude_none=True)
        self.info = VMInfo.model_validate(known | info.model_dump(exclude_none=True))

    @at_home
    async def delete(self) -> None:
        """Destroy it, and what is on its disk."""
        await self.close()
        await self._client.delete_vm(self.vm_id)
        self._state.forget_vm(self._platform, self.vm_id)

    @at_home
    async def close(self) -> None:
        """End this session's commands on it, and the connection. The VM goes on."""
        if self._open is not None:
            connection, self._open = self._open, None
            await connection.close()

    # What the connection asks of its endpoint, and where host keys are pinned.

    async def address(self) -> tuple[str, int, str | None]:
        """Host name, TLS port, CA file."""
        return *self._settings.vm_address(self.vm_id), self._settings.ca_file

    async def private_key(self) -> str:
        """The login key."""
        try:
            return (await self._client.ssh_key(self.vm_id)).ssh_private_key
        except NotFoundError:
            raise self._deleted() from None

    async def check(self) -> None:
        """Raise VMGoneError when there is nothing left to connect to."""
        try:
            self.learn(await self._client.vm_status(self.vm_id))
        except NotFoundError:
            raise self._deleted() from None
        if self.info.state is VMState.DEAD:
            raise VMGoneError(
                f"VM {self.label} has died: its state is dead.",
                "`%vers rm` clears it away, `%vers create` makes another.",
            )

    def _deleted(self) -> VMGoneError:
        return VMGoneError(f"VM {self.label} was deleted.", "`%vers ls` shows those that are there.")

    def pinned(self, vm_id: str) -> str | None:
        """The host key seen first."""
        return self._state.get(self._platform, "host_keys", vm_id)

    def pin(self, vm_id: str, fingerprint: str) -> None:
        """Remember it."""
        self._state.set(self._platform, "host_keys", vm_id, fingerprint)
