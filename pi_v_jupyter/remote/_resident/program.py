"""The loop of the resident program: pipes, sockets, children and clocks of all clients."""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import os
import selectors
import signal
import socket
import time

from .clients import Client
from .processes import environment, take_many_files
from .shells import Shell, Single
from .wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SPARES = 4  # bashes that wait for a command
REFILL = 0.005  # seconds after one was taken: the command it runs comes first
CROWD = 256  # timers before the cancelled among them are cleared away


class Timer:
    """Something to be done at a time of the monotonic clock."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None  # and whatever it holds is let go of now, not at its time

    def fire(self) -> None:
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class Program:
    """The loop, and what waits to be used by the next command."""

    def __init__(self, path: str | None, *, forever: bool = False, here: bool = False) -> None:
        self.path, self.forever, self.here = path, forever, here
        self.selector = selectors.DefaultSelector()
        self.clients: dict[str, Client] = {}
        self.connections: set[Connection] = set()
        self.unflushed: set[Connection] = set()
        self.children: dict[int, Callable[[int], object]] = {}  # pid: what to call with its wait status
        self.timers: list[tuple[float, int, Timer]] = []
        self.calls: collections.deque[Callable[[], object]] = collections.deque()  # from other threads
        self.order, self.crowd = itertools.count(), CROWD
        self.at_work = 0  # threads that have not cleaned up yet
        self.singles: list[Single] = []
        self.spare_shell: Shell | None = None
        take_many_files()
        self.wake, self.wake_writer = socket.socketpair()
        self.wake.setblocking(False)
        self.wake_writer.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, or the wake-up descriptor stays silent
        signal.signal(signal.SIGHUP, lambda *_: None)  # not SIG_IGN, which commands would inherit
        signal.set_wakeup_fd(self.wake_writer.fileno(), warn_on_full_buffer=False)
        self.watch(self.wake.fileno(), selectors.EVENT_READ, self.reap)
        self.listener = self.listen(path) if path else None
        self.refilling: Timer | None = self.later(0, self.refill)

    def environment(self) -> dict[str, str]:
        """What commands start with, as of now."""
        return environment(here=self.here)

    def listen(self, path: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(64)
        listener.setblocking(False)
        self.watch(listener.fileno(), selectors.EVENT_READ, lambda _: self.accept(listener))
        return listener

    def accept(self, listener: socket.socket) -> None:
        try:
            fd = listener.accept()[0].detach()
        except OSError:
            return
        Connection(self, fd, fd)

    def client(self, name: str) -> Client:
        if name not in self.clients:
            self.clients[name] = Client(self, name)
        return self.clients[name]

    def single(self) -> Single:
        """A bash for one command: a spare, if one has today's environment."""
        if self.refilling is None:
            self.refilling = self.later(REFILL, self.refill)
        while self.singles:
            spare = self.singles.pop()
            if spare.env == self.environment():
                return spare
            spare.discard()
        return Single(self)

    def shell(self) -> Shell:
        spare, self.spare_shell = self.spare_shell, None
        if spare is not None and spare.env == self.environment():
            return spare
        if spare is not None:
            spare.discard()
        return Shell(self)

    def refill(self) -> None:
        """Start one spare a turn: whoever waits for this program meanwhile waits for one start at most."""
        self.refilling = None
        try:
            if len(self.singles) < SPARES:
                self.singles.append(Single(self))
                self.refilling = self.later(0, self.refill)
            elif self.forever and self.spare_shell is None:
                self.spare_shell = Shell(self)
        except OSError:  # no bash, or too much else runs: the command that needs one will tell
            return

    def watch(self, fd: int, events: int, callback: Callable[[int], object]) -> None:
        try:
            self.selector.modify(fd, events, callback)
        except KeyError:
            self.selector.register(fd, events, callback)

    def unwatch(self, fd: int) -> None:
        try:
            self.selector.unregister(fd)
        except KeyError:
            return

    def later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        if len(self.timers) > self.crowd:  # of cancelled ones, mostly: commands rarely use up their time
            self.timers = [entry for entry in self.timers if entry[2].callback is not None]
            heapq.heapify(self.timers)
            self.crowd = max(CROWD, 2 * len(self.timers))
        timer = Timer(callback)
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.order), timer))
        return timer

    def call(self, function: Callable[[], object]) -> None:
        """Have the loop call `function` soon; the one method for other threads."""
        self.calls.append(function)
        with contextlib.suppress(BlockingIOError):  # full of wake-ups already
            self.wake_writer.send(b"\0")

    def hear(self) -> None:
        """Do what other threads asked for."""
        while self.calls:
            self.calls.popleft()()

    def reap(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self.wake.recv(4096)
        self.hear()
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            ended = self.children.pop(pid, None)
            if ended is not None:
                ended(status)

    def fire(self) -> None:
        now = time.monotonic()
        while self.timers and (self.timers[0][0] <= now or self.timers[0][2].callback is None):
            heapq.heappop(self.timers)[2].fire()
        self.flush()

    def serve(self) -> None:
        timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
        for key, events in self.selector.select(timeout):
            current: Any = self.selector.get_map().get(key.fd)
            if current is not None and current.data == key.data:  # not closed, or reused, a moment ago
                key.data(events)
        self.flush()

    def flush(self) -> None:
        while self.unflushed:
            self.unflushed.pop().flush()

    def run(self) -> None:
        self.fire()
        while self.forever or self.connections or self.clients or self.at_work:
            self.serve()
            self.fire()


def private_folder() -> str | None:
    """A folder only this user can enter, for the socket; None when there is nowhere to put one."""
    root = os.getuid() == 0
    shared = os.environ.get("TMPDIR", "/tmp")  # noqa: S108  the folder in it is checked
    for base in ("/run" if root else os.environ.get("XDG_RUNTIME_DIR"), shared):
        if not base:
            continue
        path = os.path.join(base, "pi-v" if root else f"pi-v-{os.getuid()}")
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            found = os.lstat(path)
        except OSError:
            continue
        if found.st_uid == os.getuid() and found.st_mode & 0o77 == 0:
            return path
    return None


def sweep(folder: str) -> None:
    """Remove the sockets of programs that were killed."""
    for name in os.listdir(folder):
        pid, dash, _ = name.partition("-")
        if dash and pid.isdigit() and not os.path.exists(f"/proc/{pid}/exe"):
            with contextlib.suppress(FileNotFoundError):  # another program sweeps too
                os.unlink(os.path.join(folder, name))


def main(arguments: list[str]) -> None:
    """`TOKEN` serves stdin and stdout, and a socket while it lasts; `--listen PATH` that socket, for good.

    `TOKEN --here` is for a user's own machine: no socket, and commands have this program's environment
    and umask.
    """
    os.chdir("/")
    here = "--here" in arguments
    if not here:
        os.umask(0o022)
    if arguments[0] == "--listen":
        os.makedirs(os.path.dirname(arguments[1]), 0o700, exist_ok=True)
        Program(arguments[1], forever=True).run()
        return
    folder = None if here else private_folder()
    path = None
    if folder:
        sweep(folder)
        path = os.path.join(folder, f"{os.getpid()}-{os.urandom(4).hex()}.sock")
    program = Program(path, here=here)
    reader, writer = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.write(writer, arguments[0].encode())  # whatever a login script printed stands before this
    Connection(program, reader, writer)
    try:
        program.run()
    finally:
        if path:
            os.unlink(path)
