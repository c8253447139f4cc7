"""Leads to the pi that pi-v started on this machine, which reads a FIFO and appends to files.

`join FOLDER`: commands from stdin go to FOLDER/in, one whole line after the other; FOLDER/out and FOLDER/err,
from their first line on, to stdout and stderr. When pi has ended it says so, and ends with ENDED.
`succeed FOLDER COMMAND…`: ends that pi and becomes COMMAND, with the keys that pi had.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENDED = 69  # no pi reads the FIFO: sysexits' "service unavailable"
PAUSE = 100  # milliseconds between looks at files that do not grow
CHUNK = 64 << 10  # bytes read at once
WAITING = 1 << 20  # bytes of commands that pi has not read: then no more are taken
PATIENCE = 5.0  # seconds in which pi ends by itself
SECRETS = os.path.expanduser("~/.swarm/secrets")
UPDATE = b'{"type":"message_update"'
KEPT = ("VERS_BASE_URL", "VERS_VM_REGISTRY_URL", "VERS_AUTH_TOKEN")


class Copy:
    """What is appended to a file, in whole lines, on a descriptor of ours."""

    def __init__(self, path: str, target: int, passed: Callable[[bytes], bytes] = bytes) -> None:
        self.path, self.target, self.passed = path, target, passed
        self.file = -1
        self.at = 0  # bytes of it that were read
        self.line = b""  # what has come of one

    def step(self) -> bool:
        """Pass on some; False: there is nothing more for now."""
        if self.file < 0:
            try:
                self.file, self.at = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC), 0
            except FileNotFoundError:
                return False
        data = os.read(self.file, CHUNK)
        if data:
            self.at += len(data)
            *whole, self.line = (self.line + data).split(b"\n")
            write(self.target, b"".join(self.passed(line) + b"\n" for line in whole))
            return True
        now = os.fstat(self.file)
        if now.st_size < self.at:  # it was emptied, and is written anew
            self.rest()
            self.at = os.lseek(self.file, 0, os.SEEK_SET)
            return True
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        if (there.st_dev, there.st_ino) != (now.st_dev, now.st_ino):  # another has its name
            self.rest()
            os.close(self.file)
            self.file = -1
            return True
        return False

    def rest(self) -> None:
        """A line that will not be ended."""
        if self.line:
            write(self.target, self.line + b"\n")
            self.line = b""


class Way:
    """The FIFO that pi reads; `open` as long as it does."""

    def __init__(self, path: str) -> None:
        self.file = -1
        self.waiting = b""
        try:
            if stat.S_ISFIFO(os.stat(path).st_mode):
                self.file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # ENXIO: nobody reads it
            self.file = -1

    @property
    def open(self) -> bool:
        return self.file >= 0

    @property
    def ready(self) -> bool:
        """Is there a whole line for it?"""
        return b"\n" in self.waiting

    def push(self) -> None:
        """One line, or as much of it as the FIFO has room for; a short one goes whole or not at all."""
        line = self.waiting[: self.waiting.index(b"\n") + 1]
        try:
            self.waiting = self.waiting[os.write(self.file, line) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.close()

    def close(self) -> None:
        os.close(self.file)
        self.file = -1


def slim(line: bytes) -> bytes:
    """An update of a message without all that came of it before: pi until 0.84 repeats that in each, and what
    it has written would outgrow the log in which it is kept here.
    """
    if not line.startswith(UPDATE):
        return line
    try:
        record = json.loads(line)
        del record["message"]
        record["assistantMessageEvent"].pop("partial", None)
    except (ValueError, KeyError, AttributeError, RecursionError):
        return line
    return json.dumps(record, separators=(",", ":")).encode()


def write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


def join(folder: str) -> int:
    copies = (Copy(os.path.join(folder, "out"), 1, slim), Copy(os.path.join(folder, "err"), 2))
    way = Way(os.path.join(folder, "in"))
    if way.open:
        keep_keys(folder)
    listening = True
    while way.open and (listening or way.ready):
        busy = sum(copy.step() for copy in copies)  # of all: each has its turn
        poll = select.poll()
        poll.register(way.file, select.POLLOUT if way.ready else 0)
        if listening and (len(way.waiting) < WAITING or not way.ready):  # the rest of a line must come
            poll.register(0, select.POLLIN)
        for file, event in poll.poll(0 if busy else PAUSE):
            if file == 0:
                data = os.read(0, CHUNK)
                listening = bool(data)
                way.waiting += data
            elif event & select.POLLERR:  # its last reader has gone
                way.close()
            else:
                way.push()
    if way.open:  # who talked to it has gone; it works on
        return 0
    for copy in copies:
        while copy.step():
            continue
        copy.rest()
    write(2, b"The pi that pi-v had started has ended.\n")
    return ENDED


def holders(path: str) -> Iterator[tuple[int, int]]:
    """The processes that have a file open, but for this one, each with how: os.O_RDONLY, …"""
    there = os.stat(path)
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            for number in os.listdir(f"/proc/{name}/fd"):
                own = os.stat(f"/proc/{name}/fd/{number}")
                if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino):
                    with open(f"/proc/{name}/fdinfo/{number}") as file:
                        flags = [line.split()[1] for line in file if line.startswith("flags:")]
                    yield int(name), int(flags[0], 8) & os.O_ACCMODE
        except OSError:  # it has ended, or closed that
            continue


def reader(path: str) -> int | None:
    return next((pid for pid, how in holders(path) if how == os.O_RDONLY), None)


def keep_keys(folder: str) -> None:
    """pi-v gave pi its keys as variables, which end with it: keep them for the next."""
    pid = reader(os.path.join(folder, "in"))
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = [pair.partition(b"=") for pair in file.read().split(b"\0")]
    except OSError:
        return
    os.makedirs(SECRETS, 0o700, exist_ok=True)
    for name, _, value in variables:
        variable = os.fsdecode(name)
        wanted = (variable.endswith("_API_KEY") or variable in KEPT) and "/" not in variable
        path = os.path.join(SECRETS, variable)
        if wanted and value and not os.path.exists(path):
            kept = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            write(kept, value)
            os.close(kept)


def end(folder: str) -> None:
    """End that pi, and what holds its FIFO open."""
    path = os.path.join(folder, "in")
    if not os.path.exists(path):
        return
    pid = reader(path)
    tell(pid, signal.SIGTERM)
    late = time.monotonic() + PATIENCE
    while reader(path) == pid is not None and time.monotonic() < late:
        time.sleep(PAUSE / 1000)
    for other, _ in list(holders(path)):
        tell(other, signal.SIGKILL)
    os.unlink(path)


def tell(pid: int | None, number: int) -> None:
    try:
        if pid is not None:
            os.kill(pid, number)
    except ProcessLookupError:
        return


def succeed(folder: str, command: list[str]) -> None:
    end(folder)
    env = dict(os.environ)
    for name in os.listdir(SECRETS) if os.path.isdir(SECRETS) else ():
        with open(os.path.join(SECRETS, name)) as file:
            env[name] = file.read()
    os.execvpe(command[0], command, env)  # noqa: S606  words, not a shell's text


if __name__ == "__main__":
    if sys.argv[1] == "join":
        sys.exit(join(sys.argv[2]))
    succeed(sys.argv[2], sys.argv[3:])
