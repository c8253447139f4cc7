"""The loop of the resident program: pipes, sockets, children and clocks of all clients."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket

from .clients import Client
from .loop import Loop, Timer
from .processes import environment, take_many_files
from .shells import Shell, Single
from .wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SPARES = 4  # bashes that wait for a command
REFILL = 0.005  # seconds after one was taken: the command it runs comes first


class Program(Loop):
    """The loop, and what waits to be used by the next command."""

    def __init__(self, path: str | None, *, forever: bool = False, here: bool = False) -> None:
        super().__init__()
        self.path, self.forever, self.here = path, forever, here
        self.clients: dict[str, Client] = {}
        self.connections: set[Connection] = set()
        self.unflushed: set[Connection] = set()
        self.children: dict[int, Callable[[int], object]] = {}  # pid: what to call with its wait status
        self.at_work = 0  # threads that have not cleaned up yet
        self.singles: list[Single] = []
        self.spare_shell: Shell | None = None
        take_many_files()
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

    def reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            ended = self.children.pop(pid, None)
            if ended is not None:
                ended(status)

    def turn(self) -> None:
        self.fire()
        self.flush()

    def flush(self) -> None:
        while self.unflushed:
            self.unflushed.pop().flush()

    def run(self) -> None:
        self.turn()
        while self.forever or self.connections or self.clients or self.at_work:
            self.serve()
            self.flush()
            self.turn()


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
