"""Commands inside a VM, through its agent; what the API's exec and logs are made of.

Output is kept by the agent, in the VM's own memory, and read from it by position (`cursor`): whoever
reads may leave and come back, this process may die and another go on.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Literal, NoReturn

from pydantic import BaseModel, Field

from pi_v_jupyter.local.answers import ANSWER_TIMEOUT, checked, decoded, hand_over, refuse
from pi_v_jupyter.local.guestlink import GuestError, GuestLink
from pi_v_jupyter.local.problems import NotPossibleError, UnknownError

LARGEST_INPUT = 16 * 1024**2
LARGEST_RESULT = 16 * 1024**2  # of one stream, in the answer to `exec`
TIMED_OUT = 124  # exit code of a command whose time was up, as timeout(1) has it
_LAST_MOMENT = 253402300799  # the last second of the year 9999
_WAIT = 20.0  # for news of a command, before the question is asked again

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class Command:
    """What is to run: an argv list, never a shell's line. `timeout` in seconds, 0 for none."""

    argv: list[str]
    exec_id: str = field(default_factory=lambda: secrets.token_hex(16))
    env: dict[str, str] = field(default_factory=dict, repr=False)
    stdin: bytes | None = field(default=None, repr=False)
    timeout: int = 0
    cwd: str | None = None


@dataclass(frozen=True)
class Output:
    """Some output of a command. `cursor` is the position after it, in bytes of both streams.

    When it is further from the cursor before than `data` is long, the output between was dropped.
    """

    stream: Stream
    data: bytes
    cursor: int


@dataclass(frozen=True)
class Exit:
    """How a command ended. `code` is 128 and its number for a signal, TIMED_OUT when its time was up."""

    code: int
    timed_out: bool


@dataclass(frozen=True)
class Result:
    """A command that has ended."""

    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class LogEntry:
    """Output of any command. `time` in Unix seconds, by the VM's clock."""

    exec_id: str
    stream: Stream
    time: float
    data: bytes


@dataclass(frozen=True)
class LogPage:
    """Entries, the offset to go on from, and whether that is the end for now."""

    entries: list[LogEntry]
    next_offset: int
    eof: bool


async def start(guest: GuestLink, command: Command) -> None:
    """Start a command; it goes on whoever reads.

    Raises:
        ConflictError: there is one of that `exec_id`, or there are too many.
        NotPossibleError: it cannot be started.
    """
    given = await hand_over(guest, command.stdin, "stdin") if command.stdin is not None else {}
    try:
        await guest.ask(
            "exec_start",
            timeout=ANSWER_TIMEOUT,
            exec_id=command.exec_id,
            argv=command.argv,
            env=command.env,
            cwd=command.cwd,
            seconds=command.timeout,
            **given,
        )
    except GuestError as error:
        if error.code in ("ENOENT", "EACCES"):
            raise NotPossibleError(
                f"{command.argv[0]} cannot be run on the VM: {error.said}.",
                "`command` is a list: the program, then its arguments.",
            ) from None
        refuse(error)


async def follow(guest: GuestLink, exec_id: str, *, cursor: int = 0) -> AsyncIterator[Output | Exit]:
    """The output of a command after `cursor`, as it comes; then its end.

    Raises:
        UnknownError: there is no such command any more.
    """
    while True:
        try:
            answer = await guest.ask(
                "exec_read", timeout=_WAIT + ANSWER_TIMEOUT, exec_id=exec_id, cursor=cursor, wait=_WAIT
            )
        except GuestError as error:
            _refuse_read(error, exec_id)
        news = checked(_News, answer)
        for stream, after, data in news.chunks:
            yield Output(stream, decoded(data), after)
        cursor = news.cursor
        if news.exit is not None:
            yield news.exit.told()
            return


async def latest(guest: GuestLink, exec_id: str) -> int:
    """The cursor after all output there is of a command.

    Raises:
        UnknownError: there is no such command any more.
    """
    try:
        answer = await guest.ask("exec_latest", timeout=ANSWER_TIMEOUT, exec_id=exec_id)
    except GuestError as error:
        _refuse_read(error, exec_id)
    return checked(_Latest, answer).cursor


async def result(guest: GuestLink, command: Command) -> Result:
    """All output of a command that was started, once it has ended.

    Of a stream longer than LARGEST_RESULT the end is kept, and stderr says so.
    """
    streams: dict[Stream, _Tail] = {"stdout": _Tail(), "stderr": _Tail()}
    position = code = lost = 0
    notes = []
    async for event in follow(guest, command.exec_id):
        if isinstance(event, Output):
            streams[event.stream].add(event.data)
            lost += max(event.cursor - len(event.data) - position, 0)
            position = event.cursor
        else:
            code = event.code
            if event.timed_out:
                notes.append(f"time was up after {command.timeout} s (timeout_secs)")
    if lost:
        notes.append(f"{lost} bytes of output were dropped: they were not read in time")
    for name, tail in streams.items():
        if tail.dropped:
            notes.append(f"the first {tail.dropped} bytes of {name} are left out; exec/stream has all")
    for note in notes:
        streams["stderr"].data += f"[pi-v: {note}]\n".encode()
    return Result(code, bytes(streams["stdout"].data), bytes(streams["stderr"].data))


async def logs(guest: GuestLink, *, offset: int, most: int, stream: Stream | None) -> LogPage:
    """Output of all commands from `offset` (bytes) on: at most `most` entries, and 256 KB."""
    answer = await guest.ask("logs", timeout=ANSWER_TIMEOUT, offset=offset, most=most, stream=stream)
    page = checked(_Log, answer)
    entries = [
        LogEntry(exec_id=exec_id, stream=of, time=time, data=decoded(data))
        for exec_id, of, time, data in page.entries
    ]
    return LogPage(entries, page.next_offset, page.eof)


class _Tail:
    """The last LARGEST_RESULT bytes of a stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        self.data += data
        if (excess := len(self.data) - LARGEST_RESULT) > 0:
            del self.data[:excess]
            self.dropped += excess


class _Ended(BaseModel):
    code: int
    timed_out: bool

    def told(self) -> Exit:
        code = self.code if self.code >= 0 else 128 - self.code
        return Exit(TIMED_OUT if self.timed_out else code & 0xFF, self.timed_out)


class _Latest(BaseModel):
    cursor: int


class _News(BaseModel):
    chunks: list[tuple[Stream, int, str]]
    cursor: int
    exit: _Ended | None


class _Log(BaseModel):
    entries: list[tuple[str, Stream, Annotated[float, Field(ge=0, le=_LAST_MOMENT)], str]]
    next_offset: int
    eof: bool


def _refuse_read(error: GuestError, exec_id: str) -> NoReturn:
    if error.code == "ENOENT":
        raise UnknownError(
            f"There is no command {exec_id} on the VM.", "Its output is kept for a while only."
        ) from None
    refuse(error)
