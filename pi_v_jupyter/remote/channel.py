"""Commands on a VM, as their user sees them, whatever carries them there."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

StreamName = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class Request:
    """What to run: `argv`; or `command`, by bash; or `code`, in the lasting shell session named `shell`.

    `argv` with `code` gives the program a file that holds the code as its last argument. `cwd` defaults to
    the user's home, or to where the session is; `env` is added to the VM's; `timeout` is in seconds, 0 for
    none, and is kept on the VM, so that it holds when the connection does not.
    """

    argv: tuple[str, ...] = ()
    command: str | None = None
    shell: str | None = None
    code: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bool = False
    timeout: float = 0


@dataclass(frozen=True)
class Exit:
    """How a command ended: `code`, or the `signal` (such as "SIGTERM") that ended it.

    `shell_ended`: its shell session is gone, the next cell gets a fresh one. `timed_out`: it was ended because
    its time was up. `error`: it never started; an errno name such as "ENOENT", with `what` and `message`.
    """

    code: int | None = None
    signal: str | None = None
    shell_ended: bool = False
    timed_out: bool = False
    error: str | None = None
    what: str = ""
    message: str = ""


class Process(Protocol):
    """A command that was started. Its output waits on the VM until it is read here."""

    pid: int | None

    def chunks(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        """Output as it comes, ends when the command has ended. A slow reader slows the command, nothing else."""

    async def wait(self) -> Exit:
        """How it ended; output nobody reads is dropped."""

    async def write(self, data: bytes) -> None:
        """Bytes to its stdin; waits while the command does not take them."""

    async def write_eof(self) -> None:
        """End of stdin."""

    def kill(self, signal: int) -> None:
        """Send a signal to its process group."""

    async def close(self) -> None:
        """Let go of it: a command that still runs is killed (SIGKILL)."""


class Runner(Protocol):
    """Starts commands on one VM."""

    def start(self, request: Request) -> Process:
        """Start a command; whatever goes wrong is told by its `wait`."""


class TextDecoder:
    """UTF-8 that arrives in pieces; bytes that are none are shown as `\\xff`, never raised."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text that is complete so far."""
        return self._decoder.decode(data, final)
