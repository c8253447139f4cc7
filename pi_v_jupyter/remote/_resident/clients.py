"""One user of the resident program, its jobs and its sessions, present or away."""

from __future__ import annotations

import json
import os
import signal

from .jobs import Job
from .wire import (
    ACK,
    ACKED,
    BYE,
    CLOSE,
    CONGESTED,
    CURSOR,
    FORGET,
    GONE,
    RESIZE,
    SIGNAL,
    START,
    STDIN,
    WELCOME,
    Connection,
    dump,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loop import Timer
    from .program import Program
    from .shells import Shell

IDLE = 30.0  # seconds for a client that has nothing here; it may have sent a command that was lost


class Client:
    """One user of this program, over whichever connection it has just now."""

    def __init__(self, program: Program, name: str) -> None:
        self.program, self.name = program, name
        self.connection: Connection | None = None
        self.jobs: dict[int, Job] = {}
        self.shells: dict[str, Shell] = {}
        self.told_identity: set[Shell] = set()
        self.linger = 0.0  # seconds it may be away
        self.absence: Timer | None = None

    def shell(self, name: str) -> Shell:
        if name not in self.shells:
            self.shells[name] = self.program.shell()
            self.shells[name].serve(self, name)
        return self.shells[name]

    def fresh(self, shell: Shell) -> bool:
        """Is this the first cell of `shell` since the client came? The machine may be a clone by now."""
        new = shell not in self.told_identity
        self.told_identity.add(shell)
        return new

    def send(self, kind: int, number: int, *parts: bytes) -> None:
        if self.connection is not None:
            self.connection.send(kind, number, *parts)

    def congested(self) -> bool:
        return self.connection is not None and self.connection.queued > CONGESTED

    def regulate(self) -> None:
        for job in self.jobs.values():
            if not job.over:
                for stream in job.streams:
                    stream.regulate()

    def attach(self, connection: Connection, linger: float, cursors: dict[str, list[int]]) -> None:
        if self.connection is not None:
            self.connection.close()
        if self.absence is not None:
            self.absence.cancel()
        self.connection, self.linger = connection, linger
        self.told_identity.clear()
        for number in [number for number in self.jobs if str(number) not in cursors]:
            self.abandon(number)
        jobs = {number: {"pid": job.pid, "signals": job.signals} for number, job in self.jobs.items()}
        self.send(WELCOME, 0, dump({"pid": os.getpid(), "socket": self.program.path, "jobs": jobs}))
        for number, job in list(self.jobs.items()):
            job.replay(cursors[str(number)])

    def inherit(self, names: list[str]) -> None:
        """This machine was cloned from one that served `names`, nearest first: go on in their sessions."""
        for name in names:
            former = self.program.clients.pop(name, None)
            if former is not None:
                former.bequeath(self)

    def bequeath(self, heir: Client) -> None:
        """Nobody comes back for this: sessions at rest are the heir's, what runs goes on without a reader."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
        if self.absence is not None:
            self.absence.cancel()
        for job in list(self.jobs.values()):
            if job.waits_for_client():
                job.kill(signal.SIGKILL)
            job.forget()
        for name, shell in self.shells.items():
            if shell.current is not None:
                shell.leave()
            elif name in heir.shells:
                shell.discard()
            else:
                heir.shells[name] = shell
                shell.serve(heir, name)

    def detach(self) -> None:
        self.connection = None
        self.regulate()
        idle = not (self.jobs or self.shells)
        self.absence = self.program.later(min(self.linger, IDLE) if idle else self.linger, self.end)

    def drop(self, number: int) -> None:
        """End a job whose reader is no more."""
        self.jobs.pop(number).give_up()

    def abandon(self, number: int) -> None:
        """End a job of an earlier kernel, a cell of a session so that the session lasts."""
        if self.jobs[number].shell is None:
            self.drop(number)
            return
        job = self.jobs.pop(number)
        job.forget()
        if job.exit is None:
            job.out_of_time()

    def end(self) -> None:
        for number in list(self.jobs):
            self.drop(number)
        for shell in self.shells.values():
            shell.discard()
        self.program.clients.pop(self.name, None)

    def handle(self, kind: int, number: int, payload: bytes) -> None:
        job = self.jobs.get(number)
        if kind == START:
            if job is None:
                job = self.jobs[number] = Job(self, number, json.loads(payload))
                job.start()
        elif kind == BYE:
            self.end()
            self.send(GONE, 0)
        elif job is None:
            return
        elif kind == ACK:
            stream, offset = ACKED.unpack(payload)
            if stream < len(job.streams):
                job.streams[stream].ack(offset)
        elif kind == SIGNAL:
            told = json.loads(payload)
            job.signalled(told["index"], told["signal"])
        elif kind == RESIZE and job.terminal is not None:
            job.terminal.resize(**json.loads(payload))
        elif kind == FORGET:
            self.drop(number)
        elif job.stdin is not None and kind == STDIN:
            job.stdin.feed(CURSOR.unpack_from(payload)[0], payload[CURSOR.size :])
        elif job.stdin is not None and kind == CLOSE:
            job.stdin.finish_at(CURSOR.unpack(payload)[0])
