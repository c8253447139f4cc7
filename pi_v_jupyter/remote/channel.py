"""Commands on a VM, as their user sees them, whatever carries them there."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol, TypeVar, get_type_hints

from pi_v_jupyter.errors import UsageError

NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
T = TypeVar("T")
StreamName = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class Request:
    """What to run: `argv`; or `command`, by bash; or `code`, in the lasting shell session named `shell`.

    Or `work`, which the resident program does itself: {"do": what, "with": arguments}, where `beside` names
    the session whose folder is the one that relative paths begin at.

    Or `socket`, the path of a Unix socket there: its two directions as stdin and stdout until a side closes
    it. `~` is the user's home. `prompt`: it is a conversation, in which every piece is waited for.

    `argv` with `code` gives the program a file that holds the code as its last argument. `cwd` defaults to
    the user's home, or to where the session is; `env` is added to the VM's; `timeout` is in seconds, 0 for
    none, and is kept on the VM, so that it holds when the connection does not.

    `pty` is columns and rows: `argv` runs at a terminal of that size, which is its stdin, stdout and stderr,
    all of it read as "stdout", and hangs up on it (SIGHUP) where another command would be killed.

    Raises:
        UsageError: a text holds a NUL, which no command can be given; or a variable cannot have that name; or
            what is to run at a terminal is no `argv`.
    """

    argv: tuple[str, ...] = ()
    command: str | None = None
    shell: str | None = None
    code: str | None = None
    work: Mapping[str, Any] | None = None
    socket: str | None = None
    prompt: bool = False
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bool = False
    timeout: float = 0
    pty: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.pty is not None and not self.argv:
            raise UsageError("A terminal runs a program, not a cell.", 'Name one, such as ("bash", "-l").')
        for name in self.env:
            if not NAME.fullmatch(name):
                raise UsageError(
                    f"{name!r} cannot name an environment variable.", "Use letters, digits and '_'."
                )
        texts = [*self.argv, self.command, self.code, self.cwd, self.socket, *self.env.values()]
        if self.work is not None:
            texts += [value for value in self.work["with"].values() if isinstance(value, str)]
        if any("\0" in text for text in texts if text is not None):
            raise UsageError("A command, a path or a variable holds a NUL character.", "Take it out.")


@cache
def _kinds(kind: Any) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(kind).items() if hint is not Any}


def checked(kind: type[T], fields: dict[str, Any]) -> T:
    """A dataclass of what came from outside; TypeError where that is of another kind.

    pydantic would refuse text with surrogates, which names of files may have.
    """
    made = kind(**fields)
    for name, hint in _kinds(kind).items():  # type: ignore[arg-type]  # classes are hashable
        value = getattr(made, name)
        if not isinstance(value, hint) or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"{name} is no {hint}")
    return made


@dataclass(frozen=True)
class Exit:
    """How a command ended: `code`, or the `signal` (such as "SIGTERM") that ended it.

    `shell_ended`: its shell session is gone, and the next cell gets a fresh one. `timed_out`: its time was
    up, so it was ended. `error`: it never started, or was work that could not be done; an errno name
    (`ENOENT`) or a reason of ours, with `what` and `message`. `value`: what work found.
    """

    code: int | None = None
    signal: str | None = None
    shell_ended: bool = False
    timed_out: bool = False
    error: str | None = None
    what: str = ""
    message: str = ""
    value: Any = None


class Process(Protocol):
    """A command that was started. Its output waits on the VM until it is read here."""

    pid: int | None
    on_away: Callable[[bool], object]
    """Called with True when the machine is out of reach, and with False when it is there again."""

    def chunks(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        """Output as it comes; ends when the command has ended. A slow reader slows that command alone."""

    async def wait(self) -> Exit:
        """How it ended; output nobody reads is dropped."""

    async def write(self, data: bytes) -> None:
        """Bytes to its stdin; waits while the command does not take them."""

    async def write_eof(self) -> None:
        """End of stdin."""

    def kill(self, signal: int) -> None:
        """Send a signal to its process group."""

    def resize(self, cols: int, rows: int) -> None:
        """Give its terminal another size, which it is told by SIGWINCH."""

    async def close(self) -> None:
        """Let go of it: a command that still runs is killed (SIGKILL), a terminal hangs up (SIGHUP)."""


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
