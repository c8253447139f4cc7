"""The clients of the resident program, and the loop that serves them."""

from __future__ import annotations

import heapq
import itertools
import json
import os
import selectors
import signal
import socket
import tempfile
import time

from .jobs import Job, environment
from .shells import Shell, Single
from .wire import (
    ACK,
    ACKED,
    BYE,
    CLOSE,
    CONGESTED,
    CURSOR,
    FORGET,
    SIGNAL,
    START,
    STDIN,
    WELCOME,
    Connection,
    dump,
)

LINGER = 600.0  # seconds a client may be away
SPARES = 2  # bashes that wait for a command


class Client:
    """One user of this program, over whichever connection it has just now."""

    def __init__(self, program, name):
        self.program, self.name = program, name
        self.connection = None
        self.jobs = {}
        self.shells = {}
        self.told_identity = set()
        self.visits = 0

    def shell(self, name):
        if name not in self.shells:
            self.shells[name] = self.program.shell()
            self.shells[name].serve(self, name)
        return self.shells[name]

    def fresh(self, shell):
        """Is this the first cell of `shell` since the client came? The machine may be a clone by now."""
        new = shell not in self.told_identity
        self.told_identity.add(shell)
        return new

    def send(self, kind, number, *parts):
        if self.connection is not None:
            self.connection.send(kind, number, *parts)

    def congested(self):
        return self.connection is not None and self.connection.queued > CONGESTED

    def regulate(self):
        for job in self.jobs.values():
            if not job.over:
                for stream in job.streams:
                    stream.regulate()

    def attach(self, connection, cursors):
        if self.connection is not None:
            self.connection.close()
        self.connection = connection
        self.visits += 1
        self.told_identity.clear()
        for number in [n for n in self.jobs if str(n) not in cursors]:
            self.drop(number)
        for number, offsets in cursors.items():
            if int(number) in self.jobs:
                for stream, offset in zip(self.jobs[int(number)].streams, offsets):
                    stream.ack(offset)
        jobs = {n: {"pid": job.pid} for n, job in self.jobs.items()}
        self.send(WELCOME, 0, dump({"pid": os.getpid(), "socket": self.program.path, "jobs": jobs}))
        for job in list(self.jobs.values()):
            job.replay()

    def detach(self):
        self.connection = None
        self.regulate()
        visits = self.visits
        busy = self.jobs or self.shells
        self.program.later(LINGER if busy else 0.0, lambda: self.visits == visits and self.end())

    def drop(self, number):
        """End a job whose reader is no more."""
        job = self.jobs.pop(number)
        job.kill(signal.SIGKILL)
        job.forget()

    def end(self):
        for number in list(self.jobs):
            self.drop(number)
        for shell in self.shells.values():
            shell.discard()
        self.program.clients.pop(self.name, None)

    def handle(self, kind, number, payload):
        job = self.jobs.get(number)
        if kind == START:
            if job is None:
                job = self.jobs[number] = Job(self, number, json.loads(payload))
                job.start()
        elif kind == BYE:
            self.end()
        elif job is None:
            return
        elif kind == ACK:
            stream, offset = ACKED.unpack(payload)
            job.streams[stream].ack(offset)
        elif kind == SIGNAL:
            job.signalled(payload)
        elif kind == FORGET:
            self.jobs.pop(number).forget()
        elif job.stdin is not None and kind == STDIN:
            job.stdin.feed(CURSOR.unpack_from(payload)[0], payload[CURSOR.size :])
        elif job.stdin is not None and kind == CLOSE:
            (job.stdin.end,) = CURSOR.unpack(payload)
            job.stdin.flush()


class Program:
    """The loop: pipes, sockets, children and clocks of all clients."""

    def __init__(self, path, forever):
        self.path, self.forever = path, forever
        self.selector = selectors.DefaultSelector()
        self.clients, self.connections, self.unflushed = {}, set(), set()
        self.children = {}  # pid -> what to call with its wait status
        self.timers, self.order = [], itertools.count()
        self.singles, self.spare_shell = [], None
        self.wake, writer = socket.socketpair()
        self.wake.setblocking(False)
        writer.setblocking(False)
        self.wake_writer = writer
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, or the wake-up descriptor stays silent
        signal.signal(signal.SIGHUP, lambda *_: None)  # not SIG_IGN, which commands would inherit
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self.watch(self.wake.fileno(), selectors.EVENT_READ, self.reap)
        self.listener = self.listen(path) if path else None
        self.later(0, self.refill)

    def listen(self, path):
        listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(64)
        listener.setblocking(False)
        self.watch(listener.fileno(), selectors.EVENT_READ, self.accept)
        return listener

    def accept(self, _events):
        try:
            fd = self.listener.accept()[0].detach()
        except OSError:
            return
        Connection(self, fd, fd)

    def client(self, name):
        if name not in self.clients:
            self.clients[name] = Client(self, name)
        return self.clients[name]

    def single(self):
        """A bash for one command: a spare, if one has today's environment."""
        while self.singles:
            spare = self.singles.pop()
            if spare.env == environment():
                return spare
            spare.discard()
        return Single(self)

    def shell(self):
        spare, self.spare_shell = self.spare_shell, None
        if spare is not None and spare.env == environment():
            return spare
        if spare is not None:
            spare.discard()
        return Shell(self)

    def refill(self):
        while len(self.singles) < SPARES:
            self.singles.append(Single(self))
        if self.forever and self.spare_shell is None:
            self.spare_shell = Shell(self)

    def watch(self, fd, events, callback):
        try:
            self.selector.modify(fd, events, callback)
        except KeyError:
            self.selector.register(fd, events, callback)

    def unwatch(self, fd):
        try:
            self.selector.unregister(fd)
        except KeyError:
            return

    def later(self, seconds, callback):
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.order), callback))

    def reap(self, _events):
        try:
            self.wake.recv(4096)
        except BlockingIOError:
            pass
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            ended = self.children.pop(pid, None)
            if ended is not None:
                ended(status)

    def turn(self):
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            heapq.heappop(self.timers)[2]()
        self.flush()
        timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
        for key, events in self.selector.select(timeout):
            current = self.selector.get_map().get(key.fd)
            if current is not None and current.data == key.data:  # not closed, or reused, a moment ago
                key.data(events)
        self.flush()

    def flush(self):
        while self.unflushed:
            self.unflushed.pop().flush()

    def run(self):
        while self.forever or self.connections or self.clients:
            self.turn()


def private_folder():
    """A folder only this user can enter, for the socket; None when there is nowhere to put one."""
    root = os.getuid() == 0
    for base in ("/run" if root else os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        if not base:
            continue
        path = os.path.join(base, "pi-v" if root else "pi-v-%d" % os.getuid())
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            found = os.lstat(path)
        except OSError:
            continue
        if found.st_uid == os.getuid() and found.st_mode & 0o77 == 0:
            return path
    return None


def main(arguments):
    """`--listen PATH` serves that socket for good; `TOKEN` serves stdin and stdout, and a socket while it lasts."""
    os.umask(0o022)
    os.chdir("/")
    if arguments[0] == "--listen":
        os.makedirs(os.path.dirname(arguments[1]), 0o700, exist_ok=True)
        Program(arguments[1], forever=True).run()
        return
    folder = private_folder()
    path = os.path.join(folder, "%d-%s.sock" % (os.getpid(), os.urandom(4).hex())) if folder else None
    program = Program(path, forever=False)
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
