"""What a machine tells of a background process, and what is asked of the machine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, fields
from typing import Any, Protocol

from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.channel import Process, Request, checked

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SIGNAL = re.compile(r"(SIG[A-Z0-9+-]{1,12})?")
STATES = ("running", "ended", "lost")
WAYS_IN = ("open", "closed", "none")
NEWS = ("run", "state", "trouble", "code", "signal", "stopped_by", "ended", "end", "stdin")  # from its minder


@dataclass(frozen=True)
class Status:
    """A background process when last looked at; times in seconds, of its machine's clock.

    `state`: "running", as long as anything that came from it runs; "ended"; or "lost": what minded it was
    killed, or its machine restarted. `left`: how many processes of one that was lost run on. `stopped_by`:
    the signal that a stop took. `trouble`: why its log stands still. `stdin`: "open", "closed" or "none".
    `cpu`: seconds of processor time; `memory`: bytes.
    """

    id: str
    run: str
    command: str
    cwd: str
    state: str
    pid: int
    minder: int
    minder_began: str
    started: float
    begin: int
    end: int
    socket: str = ""
    uptime: float = 0.0
    ended: float | None = None
    code: int | None = None
    signal: str | None = None
    stopped_by: str | None = None
    trouble: str = ""
    stdin: str = "none"
    left: int = 0
    cpu: float = 0.0
    memory: int = 0
    last_line: str = ""


KNOWN = {field.name for field in fields(Status)}


def made(told: dict[str, Any]) -> Status:
    """What a machine said; ValueError or TypeError: no program of ours would."""
    status = checked(Status, {name: value for name, value in told.items() if name in KNOWN})
    names = (status.signal or "", status.stopped_by or "")
    states = status.state in STATES and status.stdin in WAYS_IN
    if not states or not ID.fullmatch(status.id) or not all(map(SIGNAL.fullmatch, names)):
        raise ValueError("no status")
    return status


class Machine(Protocol):
    """Where it runs."""

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on."""

    @property
    def label(self) -> str:
        """What to call it in a sentence."""

    @property
    def option(self) -> str:
        """How `%bg` is told of it: " --on NAME"."""

    async def launch(self, request: Request) -> Process:
        """Start a command."""


class Table(Protocol):
    """The table of a machine's background processes, as one of them needs it; see `ProcessTable`."""

    @property
    def machine(self) -> Machine:
        """Where they run."""

    callbacks: Callbacks
    partings: int

    async def status(self, process_id: str, *, load: bool) -> Status:
        """What is known of one."""

    async def ask(self, what: str, **arguments: Any) -> Any:
        """Have the resident program do it."""

    def request(self, what: str, **arguments: Any) -> Request:
        """What the resident program is asked."""

    def attend(self, work: Callable[[], Coroutine[Any, Any, None]]) -> concurrent.futures.Future[None]:
        """Have `work` done until the session ends."""
