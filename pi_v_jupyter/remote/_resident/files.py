"""Files of this machine, read and looked at as bytes, without a shell.

Each function of `DOES` (and of `writing`, for those that change something) is one operation. Paths are text
in which odd bytes are surrogates; relative ones begin at `Call.base`, `~` is the user's home. What is raised,
OSError or `Refusal`, is told to whoever asked; what is returned must be JSON, and small: lists go to the
output.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat as modes
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

BLOCK = 256 << 10
HELD = 64 << 10  # bytes of output that may wait for more
LOOKED_AT = 8 << 10  # bytes at the beginning in which a NUL tells a binary file
PAUSE = 0.5  # seconds between two looks at what is watched
SHARE = 10  # times as long as a look takes is waited until the next
KINDS = {
    modes.S_IFREG: "file",
    modes.S_IFDIR: "directory",
    modes.S_IFLNK: "symlink",
    modes.S_IFIFO: "fifo",
    modes.S_IFSOCK: "socket",
    modes.S_IFCHR: "device",
    modes.S_IFBLK: "device",
}


class Refusal(Exception):
    """It is not done, for a reason of ours; `value` says more."""

    def __init__(self, kind: str, message: str, **value: Any) -> None:
        super().__init__(message)
        self.kind, self.value = kind, value


class Call:
    """What surrounds one operation. `whole`: is the input there to its end? `opened` makes a pipe."""

    def __init__(
        self,
        base: str,
        stopped: Callable[[], bool],
        whole: Callable[[], bool],
        opened: Callable[[], int],
    ) -> None:
        self.base, self.stopped, self.whole, self.opened = base, stopped, whole, opened
        self.environment: Callable[[], dict[str, str]] = lambda: dict(os.environ)  # of commands
        self.source: int | None = None
        self.output: int | None = None
        self.held = b""
        self.flushed = False  # otherwise all of the output goes with the end, in one packet

    def path(self, path: str) -> str:
        if path == "~" or path.startswith("~/"):
            path = os.path.expanduser(path)
        return os.path.join(self.base, path)

    def write(self, data: bytes) -> None:
        self.held += data
        if len(self.held) > HELD:
            self.flush()

    def out(self) -> int:
        """A pipe for much output."""
        if self.output is None:
            self.output = self.opened()
        return self.output

    def flush(self) -> None:
        view, self.held = memoryview(self.held), b""
        while view:
            view = view[os.write(self.out(), view) :]
        self.flushed = True

    def check(self) -> None:
        """Go no further once it was stopped."""
        if self.stopped():
            raise InterruptedError(errno.EINTR, "It was stopped")

    def tell(self, **fields: object) -> None:
        """A line of JSON."""
        self.write(json.dumps(fields).encode() + b"\n")

    def blocks(self) -> Iterator[bytes]:
        """The input; one that was cut off is an error at its end."""
        while True:
            data = os.read(self.source, BLOCK)  # type: ignore[arg-type]
            if not data:
                break
            yield data
        if not self.whole():
            raise OSError(errno.EIO, "What was to be written did not arrive whole")


def opened(path: str) -> tuple[int, os.stat_result]:
    """A regular file. Anything else might keep us waiting, or have no end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    status = os.fstat(fd)
    if modes.S_ISREG(status.st_mode):
        return fd, status
    os.close(fd)
    if modes.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise Refusal("special", f"It is a {kind(status.st_mode)}, not a file")


def kind(mode: int) -> str:
    return KINDS.get(modes.S_IFMT(mode), "device")


def read(call: Call, path: str, offset: int, limit: int | None, most: int) -> Any:
    """Whole lines from line `offset` (the first is 1) on: at most `limit`, at most `most` bytes of them."""
    fd, status = opened(call.path(path))
    with os.fdopen(fd, "rb", buffering=0) as file:
        held = file.read(LOOKED_AT) or b""
        if b"\0" in held:
            raise Refusal("binary", "It is a binary file", size=status.st_size)
        held, passed = _skip(call, file, held, offset - 1)
        if not held and offset > 1:
            raise Refusal("end", "It has fewer lines", lines=passed)
        lines, taken, ended = _lines(file, held, limit, most)
        cut = None
        if not lines and taken:  # one line is more than may be given
            cut, ended = _rest_of_line(call, file, taken)
            taken, lines = _to_character(taken[:most]), 1
    call.write(taken)
    following = None if ended else offset + lines
    return {"first": offset, "lines": lines, "next": following, "size": status.st_size, "cut": cut}


def _skip(call: Call, file: Any, held: bytes, lines: int) -> tuple[bytes, int]:
    """What stands behind `lines` more lines; and, where there are fewer, how many there are."""
    passed = 0
    while lines > passed:
        found = held.count(b"\n")
        if passed + found >= lines:
            at = -1
            for _ in range(lines - passed):
                at = held.index(b"\n", at + 1)
            passed, held = lines, held[at + 1 :]
        else:
            call.check()
            passed += found
            last, held = held, file.read(BLOCK)
            if not held:
                return b"", passed + bool(last and not last.endswith(b"\n"))
    return held or file.read(BLOCK), passed


def _lines(file: Any, held: bytes, limit: int | None, most: int) -> tuple[int, bytes, bool]:
    """How many whole lines may be given, their bytes, and whether they are the last of the file.

    Without any, the bytes are the beginning of a line that is too long.
    """
    ended = not held
    while not ended and len(held) <= most and (limit is None or held.count(b"\n") < limit):
        more = file.read(BLOCK)
        held += more
        ended = not more
    taken = lines = 0
    while taken < len(held) and lines != limit:
        end = held.find(b"\n", taken) + 1 or (len(held) if ended else most + 1)
        if end > most:
            break
        taken, lines = end, lines + 1
    if not lines:
        return 0, held if limit != 0 else b"", ended
    ended = taken == len(held) and (ended or not file.read(1))
    return lines, held[:taken], ended


def _rest_of_line(call: Call, file: Any, begun: bytes) -> tuple[int, bool]:
    """The length of a line of which `begun` has been read, and whether it is the last."""
    length, block = 0, begun
    while block and b"\n" not in block:
        call.check()
        length += len(block)
        block = file.read(BLOCK)
    end = block.find(b"\n") + 1
    return length + end, end == len(block) and not file.read(1)


def _to_character(data: bytes) -> bytes:
    """Without the beginning of a character at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if size > back else data
        if byte < 0x80:
            return data
    return data


def fetch(call: Call, path: str) -> Any:
    """All of a file."""
    fd, status = opened(call.path(path))
    with os.fdopen(fd, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            call.check()
            call.write(block)
    return {"size": status.st_size}


def entry(path: str, status: os.stat_result) -> dict[str, Any]:
    """What is told of something in a folder."""
    told = {
        "path": path,
        "kind": kind(status.st_mode),
        "size": status.st_size,
        "mode": modes.S_IMODE(status.st_mode),
        "mtime": status.st_mtime_ns,
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
    if modes.S_ISLNK(status.st_mode):
        with contextlib.suppress(OSError):  # not ours to follow
            told["target"] = os.readlink(path)
    return told


def stat(call: Call, path: str, follow: bool) -> Any:
    full = call.path(path)
    call.tell(**entry(full, os.stat(full, follow_symlinks=follow)))


def listing(call: Call, path: str) -> Any:
    """What is in a folder."""
    for name in sorted(os.listdir(call.path(path)), key=os.fsencode):
        _tell_of(call, os.path.join(call.path(path), name))


def glob(call: Call, path: str) -> Any:
    """What a pattern finds; `**` goes down, and a name that begins with a dot wants a dot."""
    from glob import escape, iglob  # many programs never need it

    full = call.path(path)
    pattern = escape(full[: len(full) - len(path)]) + path if full.endswith(path) else full
    found = []
    for each in iglob(pattern, recursive=True):
        call.check()
        found.append(each)
    for each in sorted(found, key=os.fsencode):
        _tell_of(call, each)


def _tell_of(call: Call, path: str) -> None:
    call.check()
    try:
        told = entry(path, os.lstat(path))
    except FileNotFoundError:  # removed meanwhile
        return
    call.tell(**told)


def watch(call: Call, path: str) -> Any:
    """Say what appears, changes and goes at or below `path`, until stopped."""
    full = call.path(path)
    os.lstat(full)
    before = _look(full)
    pause = PAUSE
    while not call.stopped():
        began = time.monotonic()
        while not call.stopped() and time.monotonic() < began + pause:
            time.sleep(PAUSE)
        began = time.monotonic()
        now = _look(full)
        pause = max(PAUSE, SHARE * (time.monotonic() - began))
        for gone in sorted(before.keys() - now.keys()):
            call.tell(kind="removed", path=gone)
        for found in sorted(now):
            if found not in before:
                call.tell(kind="created", path=found)
            elif now[found] != before[found]:
                call.tell(kind="changed", path=found)
        before = now
        call.flush()


def _look(path: str) -> dict[str, tuple[int, ...]]:
    """All there is at and below `path`, each with what changes when it does."""
    found: dict[str, tuple[int, ...]] = {}
    waiting = [path]
    while waiting:
        path = waiting.pop()
        try:
            status = os.lstat(path)
            found[path] = (status.st_ino, status.st_mode, status.st_uid, status.st_gid)
            if modes.S_ISDIR(status.st_mode):  # which changes when something in it comes or goes
                waiting.extend(os.path.join(path, name) for name in os.listdir(path))
            else:
                found[path] += (status.st_size, status.st_mtime_ns)
        except OSError:  # removed meanwhile, or not ours to look at
            continue
    return found


DOES: dict[str, Callable[..., Any]] = {
    "read": read,
    "fetch": fetch,
    "stat": stat,
    "list": listing,
    "glob": glob,
    "watch": watch,
}
