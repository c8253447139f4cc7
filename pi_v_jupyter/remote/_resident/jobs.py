"""One command: its process, its streams, its end."""

from __future__ import annotations

import collections
import errno
import fcntl
import json
import os
import re
import selectors
import signal
import struct
import subprocess
import termios

from .wire import CHUNK, CURSOR, ERR, EXIT, OUT, STARTED, TAKEN, WINDOW, dump, widen

GRACE = 2.0  # seconds between SIGINT and SIGKILL when time is up
ANNOUNCE = 0.05  # seconds after which a job is worth a frame that tells its pid
NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
EVERYTHING = 1 << 62  # an offset past all input: whatever more is sent has nowhere to go


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return "SIG%d" % number


def exit_of(status):
    """The parts of EXIT that a wait status tells."""
    if os.WIFSIGNALED(status):
        return {"signal": signal_name(os.WTERMSIG(status))}
    return {"code": os.WEXITSTATUS(status)}


def memory_file(data):
    """A readable descriptor that holds `data`: no disk, no name, no argv."""
    fd = os.memfd_create("pi-v")
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def environment():
    """What a login would have; a resident that was started at boot has next to nothing."""
    env = dict(os.environ)
    for name in ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"):
        env.pop(name, None)  # of a connection that commands outlive; and bash would read ~/.bashrc for each
    env.setdefault("HOME", os.path.expanduser("~"))
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    env.setdefault("LANG", "C.UTF-8")
    env.setdefault("SHELL", "/bin/bash")
    if os.getuid() == 0:
        env.setdefault("USER", "root")
        env.setdefault("LOGNAME", "root")
    try:
        with open("/etc/environment", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                key, equals, value = line.strip().partition("=")
                key = key[7:].strip() if key.startswith("export ") else key.strip()
                if equals and key and not key.startswith("#"):
                    env[key] = value.strip().strip("\"'")
    except OSError:
        return env
    return env


class Stream:
    """One output of a job: read from a pipe, kept until acknowledged."""

    def __init__(self, job, kind):
        self.job, self.kind = job, kind
        self.fd, self.writer = os.pipe()
        os.set_blocking(self.fd, False)
        widen(self.fd)
        self.kept = collections.deque()  # (offset, bytes), oldest first
        self.read = 0  # offset of the next byte from the pipe
        self.acked = 0
        self.left = None  # bytes still to come once the job has ended; None while it runs
        self.watched = False

    def close_writer(self):
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None

    def close(self):
        self.close_writer()
        if self.fd is not None:
            self.unwatch()
            os.close(self.fd)
            self.fd = None

    def unwatch(self):
        if self.watched:
            self.job.client.program.unwatch(self.fd)
            self.watched = False

    def regulate(self):
        """Watch the pipe exactly while there is room for what comes out of it."""
        if not (self.job.over or (self.read - self.acked < WINDOW and not self.job.client.congested())):
            self.unwatch()
        elif self.fd is not None and not self.watched:
            self.job.client.program.watch(self.fd, selectors.EVENT_READ, self.readable)
            self.watched = True

    def readable(self, _events):
        bounded = self.left is not None and not self.job.over
        try:
            data = os.read(self.fd, min(CHUNK, self.left) if bounded else CHUNK)
        except BlockingIOError:
            data = None
        if data == b"":
            self.close()
        if self.job.over:
            return  # a process left in the background: what it prints has no reader, and must not block it
        if data:
            if bounded:
                self.left -= len(data)
            offset, self.read = self.read, self.read + len(data)
            self.kept.append((offset, data))
            self.job.client.send(self.kind, self.job.number, CURSOR.pack(offset), data)
            self.regulate()
        elif bounded:
            self.left = 0
        self.job.finish()

    def drained(self):
        return self.fd is None or self.left == 0

    def end(self):
        """The job has ended: what is in the pipe now is its own, anything later is not."""
        self.close_writer()
        self.left = 0
        if self.fd is not None:
            size = bytearray(4)
            fcntl.ioctl(self.fd, termios.FIONREAD, size)
            (self.left,) = struct.unpack("i", size)
            self.regulate()

    def ack(self, offset):
        self.acked = max(self.acked, offset)
        while self.kept and self.kept[0][0] + len(self.kept[0][1]) <= self.acked:
            self.kept.popleft()
        self.regulate()

    def resend(self):
        for offset, data in self.kept:
            skip = max(0, self.acked - offset)
            self.job.client.send(self.kind, self.job.number, CURSOR.pack(offset + skip), data[skip:])
        self.regulate()


class Stdin:
    """Bytes on their way into a job."""

    def __init__(self, job, fd):
        self.job, self.fd = job, fd
        os.set_blocking(fd, False)
        self.queue = collections.deque()
        self.got = self.taken = 0
        self.end = None

    def feed(self, offset, data):
        fresh = data[max(0, self.got - offset) :]
        if self.fd is not None and fresh:
            self.got += len(fresh)
            self.queue.append(fresh)
            self.flush()

    def flush(self, _events=None):
        program = self.job.client.program
        while self.fd is not None and self.queue:
            try:
                written = os.write(self.fd, self.queue[0])
            except BlockingIOError:
                program.watch(self.fd, selectors.EVENT_WRITE, self.flush)
                break
            except OSError:
                self.close()
                break
            self.taken += written
            rest = self.queue.popleft()[written:]
            if rest:
                self.queue.appendleft(rest)
        else:
            if self.fd is not None:
                program.unwatch(self.fd)
                if self.end is not None and self.taken >= self.end:
                    self.close()
        self.tell()

    def tell(self):
        self.job.client.send(TAKEN, self.job.number, CURSOR.pack(self.taken))

    def close(self):
        if self.fd is not None:
            self.job.client.program.unwatch(self.fd)
            os.close(self.fd)
            self.fd, self.taken = None, EVERYTHING
            self.queue.clear()


class Job:
    """One command, or one cell of a shell session."""

    def __init__(self, client, number, request):
        self.client, self.number, self.request = client, number, request
        self.pid = None  # of its process, which leads its process group
        self.exit = None  # the EXIT payload, once known
        self.over = False  # EXIT was sent: later output has no reader
        self.timed_out = False
        self.shell = None
        self.stdin = None
        self.streams = [Stream(self, OUT), Stream(self, ERR)]
        for stream in self.streams:
            stream.regulate()

    def start(self):
        request = self.request
        cwd = request.get("cwd")
        what = (request.get("argv") or ["bash"])[0]
        try:
            for name in request.get("env") or {}:
                if not NAME.fullmatch(name):
                    raise ValueError("%r is not a name of an environment variable" % name)
            if cwd is not None and not os.path.isdir(cwd):
                what = cwd
                os.listdir(cwd)
            if request.get("shell") is not None:
                self.shell = self.client.shell(request["shell"])
                self.shell.enqueue(self)
            elif request.get("command") is not None:
                self.client.program.single().run(self)
            else:
                self.spawn(request["argv"])
        except (OSError, ValueError) as error:
            name = errno.errorcode.get(getattr(error, "errno", None) or errno.EINVAL, "EINVAL")
            self.end(error=name, what=what, message=getattr(error, "strerror", None) or str(error))

    def open_stdin(self):
        """The descriptor the process reads from, to be closed once it has it; None when it reads nothing."""
        if not self.request.get("stdin"):
            return None
        reader, writer = os.pipe()
        self.stdin = Stdin(self, writer)
        return reader

    def spawn(self, argv):
        given = []
        if self.request.get("code") is not None:
            given.append(memory_file(self.request["code"].encode("utf-8", "surrogateescape")))
            argv = [*argv, "/proc/self/fd/%d" % given[0]]
        reader = self.open_stdin()
        env = environment()
        env.update(self.request.get("env") or {})
        out, err = self.streams
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL if reader is None else reader,
                stdout=out.writer,
                stderr=err.writer,
                cwd=self.request.get("cwd") or env["HOME"],
                env=env,
                start_new_session=True,
                pass_fds=given,
            )
        finally:
            for fd in given if reader is None else [*given, reader]:
                os.close(fd)
        process.returncode = 0  # reaped by the loop, not by Popen
        out.close_writer()
        err.close_writer()
        self.client.program.children[process.pid] = lambda status: self.end(**exit_of(status))
        self.started(process.pid)

    def started(self, pid):
        self.pid = pid
        program = self.client.program
        program.later(ANNOUNCE, self.announce)
        if self.request.get("timeout"):
            program.later(self.request["timeout"], self.out_of_time)

    def announce(self):
        if self.exit is None:
            self.client.send(STARTED, self.number, dump({"pid": self.pid}))

    def out_of_time(self):
        if self.exit is None:
            self.kill(signal.SIGKILL if self.timed_out else signal.SIGINT)
            self.timed_out = True
            self.client.program.later(GRACE, self.out_of_time)

    def end(self, **how):
        if self.exit is None:
            self.exit = dict(how, timed_out=self.timed_out)
            if self.stdin is not None:
                self.stdin.close()
            for stream in self.streams:
                stream.end()
            self.finish()

    def finish(self):
        """Send EXIT once all output of the job itself is on its way."""
        if self.exit is not None and not self.over and all(stream.drained() for stream in self.streams):
            self.over = True
            self.client.send(EXIT, self.number, dump(self.exit))
            for stream in self.streams:
                stream.regulate()

    def kill(self, number):
        if self.exit is not None:
            return
        if self.shell is not None:
            self.shell.kill(self, number)
        elif self.pid is not None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return  # it ended just now; its exit is on the way

    def replay(self):
        """To a client that came back: what it has not seen."""
        if self.pid is not None:
            self.announce()
        for stream in self.streams:
            stream.resend()
        if self.stdin is not None:
            self.stdin.tell()
        if self.over:
            self.client.send(EXIT, self.number, dump(self.exit))

    def forget(self):
        """Nobody waits for more. Pipes that a background process still holds stay, read and dropped."""
        self.over = True
        for stream in self.streams:
            stream.kept.clear()
            stream.regulate()

    def signalled(self, payload):
        self.kill(json.loads(payload)["signal"])
