"""One command: its start, its signals, its end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess

from .processes import exit_of, launch, memory_file
from .sockets import Socket
from .streams import Stdin, Stream
from .terminals import Terminal
from .wire import ERR, EXIT, OUT, STARTED, dump, widen
from .work import Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .clients import Client
    from .loop import Timer
    from .shells import Shell

TOLD = 4096  # characters of a name or a message in EXIT, which must fit into a frame
GRACE = 2.0  # seconds between SIGINT and SIGKILL when time is up
ANNOUNCE = 0.05  # seconds after which a job is worth a frame that tells its pid


class Job:
    """One command, or one cell of a shell session."""

    def __init__(self, client: Client, number: int, request: dict[str, Any]) -> None:
        self.client, self.number, self.request = client, number, request
        self.pid: int | None = None  # of its process, which leads its process group
        self.exit: dict[str, Any] | None = None  # the EXIT payload, once known
        self.over = False  # EXIT was sent: later output has no reader
        self.signals = 0  # received so far; a client that comes back may not know
        self.clock_runs = self.timed_out = False
        self.shell: Shell | None = None
        self.work: Work | None = None
        self.stdin: Stdin | None = None
        self.reader: int | None = None  # of what a session's cell reads, which comes before its turn does
        self.streams: list[Stream] = []
        self.terminal: Terminal | None = None
        self.socket: Socket | None = None
        self.timers: list[Timer] = []

    def start(self) -> None:
        try:
            if self.request.get("pty"):
                self.terminal = Terminal(self, *self.request["pty"])
                self.streams.append(self.terminal)
            elif self.request.get("socket"):
                self.streams.append(Stream(self, OUT))
            else:
                self.streams = [Stream(self, OUT), Stream(self, ERR)]
                if self.request.get("work") is None:
                    for stream in self.streams:
                        stream.read_from(*os.pipe())
        except OSError as error:
            self.fail(error, "pipe")
        else:
            self.launch()

    def launch(self) -> None:
        request = self.request
        what = (request.get("argv") or ["bash"])[0]
        try:
            runs = request.get("work") is None and request.get("socket") is None
            cwd = self.directory() if runs else None
            if cwd is not None and not os.path.isdir(cwd):
                what = cwd
                os.listdir(cwd)
            if request.get("shell") is not None:
                if self.stdin is None:
                    self.reader = self.open_stdin()
                self.shell = self.client.shell(request["shell"])
                self.shell.enqueue(self)
            elif request.get("command") is not None:
                self.client.program.single().run(self)
            elif request.get("work") is not None:
                what = request["work"]["with"].get("path", "")
                self.work = Work(self)
                self.work.start()
            elif request.get("socket"):
                what = os.path.expanduser(request["socket"])
                self.socket = Socket(self, what)
                self.streams = [self.socket]
                self.stdin = Stdin(self, self.socket.keyboard())
            else:
                self.spawn(request["argv"])
        except (OSError, ValueError) as error:
            self.fail(error, what)

    def directory(self) -> str | None:
        """Where to run, when that is known here: a session has a place of its own to start from."""
        cwd: str | None = self.request.get("cwd")
        if self.request.get("shell") is not None:
            return cwd if cwd and os.path.isabs(cwd) else None
        return os.path.join(self.client.program.environment()["HOME"], cwd or "")

    def fail(self, error: OSError | ValueError, what: str) -> None:
        """It cannot be started."""
        number = error.errno if isinstance(error, OSError) else None
        message = error.strerror if isinstance(error, OSError) else None
        name = errno.errorcode.get(number or errno.EINVAL, "EINVAL")
        self.end(error=name, what=what[:TOLD], message=(message or str(error))[:TOLD])

    def open_stdin(self) -> int | None:
        """The descriptor the process reads from, to be closed once it has it; None when it reads nothing."""
        if self.terminal is not None:
            self.stdin = Stdin(self, self.terminal.keyboard())
            return None
        if not self.request.get("stdin"):
            return None
        reader, writer = os.pipe()
        widen(writer)
        self.stdin = Stdin(self, writer)
        return reader

    def spawn(self, argv: list[str]) -> None:
        given = []
        if self.request.get("code") is not None:
            given.append(memory_file(self.request["code"].encode("utf-8", "surrogateescape")))
            argv = [*argv, f"/proc/self/fd/{given[0]}"]
        out, err = self.streams[0], self.streams[-1]
        if self.terminal is not None:
            argv = self.terminal.at(argv)
        reader = None
        try:
            reader = self.open_stdin()
            process = launch(
                argv,
                stdin=subprocess.DEVNULL if reader is None else reader,
                stdout=out.writer,
                stderr=err.writer,
                cwd=self.directory(),
                env={**self.client.program.environment(), **(self.request.get("env") or {})},
                pass_fds=given,
            )
        finally:
            for fd in given if reader is None else [*given, reader]:
                os.close(fd)
        if self.terminal is None:  # which a program may close, and open again
            out.close_writer()
            err.close_writer()
        self.client.program.children[process.pid] = lambda status: self.end(**exit_of(status))
        self.started(process.pid)

    def started(self, pid: int) -> None:
        self.pid = pid
        self.timers.append(self.client.program.later(ANNOUNCE, self.announce))
        self.start_clock()

    def start_clock(self) -> None:
        """Its time runs from now, unless it does already."""
        if self.request.get("timeout") and not self.clock_runs:
            self.clock_runs = True
            self.timers.append(self.client.program.later(self.request["timeout"], self.out_of_time))

    def announce(self) -> None:
        self.client.send(STARTED, self.number, dump({"pid": self.pid}))

    def out_of_time(self) -> None:
        number = signal.SIGKILL if self.timed_out else signal.SIGINT
        self.timed_out = True
        self.timers.append(self.client.program.later(GRACE, self.out_of_time))
        self.kill(number)

    def end(self, **how: Any) -> None:
        if self.exit is not None:
            return
        self.exit = dict(how, timed_out=self.timed_out)
        for timer in self.timers:
            timer.cancel()
        if self.stdin is not None:
            self.stdin.close()
        if self.reader is not None:
            os.close(self.reader)
        for stream in self.streams:
            stream.end()
        self.finish()

    def finish(self) -> None:
        """Send EXIT once all output of the job itself is on its way."""
        if self.exit is not None and not self.over and all(stream.drained() for stream in self.streams):
            self.over = True
            self.client.send(EXIT, self.number, dump(self.exit))
            for stream in self.streams:
                stream.regulate()

    def signalled(self, index: int, number: int) -> None:
        """A signal from the client, which sends again what may have been lost on the way."""
        if index == self.signals:
            self.signals += 1
            self.kill(number)

    def kill(self, number: int) -> None:
        if self.exit is not None:
            return
        if self.shell is not None:
            self.shell.kill(self, number)
        elif self.work is not None:
            self.work.stop(number)
        elif self.socket is not None:
            self.socket.close()
            self.end(signal=signal.Signals(number).name)
        elif self.pid is not None:
            try:
                os.killpg(self.pid, number)
            except OSError:
                return  # it ended just now, and its exit is on the way; or it has become another user's

    def waits_for_client(self) -> bool:
        """Has it not been started, or not been sent all of its input?"""
        fed = self.stdin is not None and self.stdin.end is None and self.terminal is None
        return self.exit is None and (self.pid is None or fed)

    def replay(self, received: list[int]) -> None:
        """To a client that came back: what it has not seen."""
        for stream, offset in zip(self.streams, received):  # noqa: B905  strict= is of Python 3.10
            stream.resend(offset)
        if self.stdin is not None:
            self.stdin.tell()
        if self.over:
            self.client.send(EXIT, self.number, dump(self.exit))

    def give_up(self) -> None:
        """Its user is gone, and so shall it be; from a terminal, as when its window is closed."""
        if self.terminal is None or self.stdin is None:
            self.kill(signal.SIGKILL)
        else:
            self.stdin.close()
            self.terminal.close()
        self.forget()

    def forget(self) -> None:
        """Nobody waits for more. Pipes that a background process still holds stay, read and dropped."""
        self.over = True
        for stream in self.streams:
            stream.kept.clear()
            stream.regulate()
