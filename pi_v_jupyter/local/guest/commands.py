"""Commands that the API runs, and their output, kept for those who ask.

A command writes into pipes that a thread of its own empties into a bounded backlog. While somebody reads
along, a command that is ahead of its reader waits, as at any full pipe. A reader that stays away longer
than PATIENCE holds nobody up: from then on the oldest output is dropped. It may come back any time, and
goes on where it was. All this is in memory, so copies of this machine have it too.
"""

from __future__ import annotations

import base64
import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any

from .backlog import Backlog, Chunk
from .ground import ENVIRONMENT, Refused, environment

MOST_RUNNING = 64
MOST_ENDED = 64
KEPT = 8 << 20  # bytes of output kept of one command
LOG_KEPT = 4 << 20  # of all commands together, for the log
LEAST_KEPT = 256 << 10
PATIENCE = 10.0  # seconds that a command waits for its reader's next question
GRACE = 2.0  # seconds between SIGTERM and SIGKILL when time is up
CHUNK = 64 << 10
PIPE = 1 << 20  # bytes in a pipe at most
MOST_PER_ANSWER = 256 << 10


class Command:
    """One command: its process, its output, its end."""

    def __init__(self, exec_id: str, log: Backlog, log_lock: threading.Lock) -> None:
        self.exec_id = exec_id
        self.output = Backlog(KEPT)
        self.exit: dict[str, Any] | None = None
        self._log, self._log_lock = log, log_lock
        self._changed = threading.Condition()
        self._read_to = 0  # the furthest position a reader has asked from
        self._asked_at = time.monotonic()
        self._deadline: float | None = None
        self._timed_out = False

    def start(
        self, argv: list[str], env: dict[str, str], cwd: str | None, timeout: float, stdin: int | None
    ) -> None:
        """Start the process; after `timeout` seconds it is ended. 0: never."""
        if not argv or not argv[0]:
            raise Refused("EINVAL", "the command names no program")
        folder = cwd or ENVIRONMENT["HOME"]
        if not Path(folder).is_dir():
            raise Refused("ENOTDIR", f"{folder} is not a directory")
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=folder,
            env={**environment(), **env},
            start_new_session=True,
        )
        if timeout:
            self._deadline = time.monotonic() + timeout
        threading.Thread(target=self._follow, daemon=True).start()

    def read(self, cursor: int, wait: float) -> dict[str, Any]:
        """What came after `cursor`, waited for at most `wait` seconds; the end, when nothing follows."""
        with self._changed:
            self._read_to = max(self._read_to, cursor)
            self._asked_at = time.monotonic() + wait
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.exit is not None or self.output.end > cursor, wait)
            self._asked_at = time.monotonic()
            chunks: list[list[Any]] = []
            size = 0
            for end, chunk in self.output.after(cursor):
                if size + len(chunk.data) > MOST_PER_ANSWER:
                    return {"chunks": chunks, "cursor": cursor, "exit": None}
                chunks.append([chunk.stream, end, base64.b64encode(chunk.data).decode()])
                cursor, size = end, size + len(chunk.data)
            return {"chunks": chunks, "cursor": cursor, "exit": self.exit}

    def limit(self, size: int) -> None:
        """Keep `size` bytes of output from now on."""
        with self._changed:
            self.output.limit = size

    def _follow(self) -> None:
        process = self._process
        pipes: dict[str, IO[bytes]] = {"stdout": process.stdout, "stderr": process.stderr}  # type: ignore[dict-item]
        with selectors.DefaultSelector() as selector, process:
            for stream, pipe in pipes.items():
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, stream)
            watch = os.pidfd_open(process.pid)
            selector.register(watch, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(self._time_left()):
                    if key.fd == watch:
                        selector.unregister(watch)
                        os.close(watch)
                        self._end(pipes)
                    elif not self._take(key.data, key.fd):
                        selector.unregister(key.fd)
                self._mind_the_time()

    def _take(self, stream: str, fd: int) -> bool:
        """Keep what is in a pipe now; whether more can come."""
        self._wait_for_reader()
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        # What a process left in the background prints is no output of the command any more. It is read
        # all the same, so that it neither blocks nor dies of it.
        if data and self.exit is None:
            chunk = Chunk(self.exec_id, stream, data, time.time())
            with self._log_lock:
                self._log.append(chunk)
            with self._changed:
                self.output.append(chunk)
                self._changed.notify_all()
        return bool(data)

    def _end(self, pipes: dict[str, IO[bytes]]) -> None:
        if self._timed_out:
            self._signal(signal.SIGKILL)  # those of its group that outlived it
        code = self._process.wait()
        self._deadline = None
        for stream, pipe in pipes.items():
            before = self.output.end
            while self.output.end - before < PIPE:
                end = self.output.end
                if not self._take(stream, pipe.fileno()) or self.output.end == end:
                    break
        with self._changed:
            self.exit = {"code": code, "timed_out": self._timed_out}
            self._changed.notify_all()

    def _wait_for_reader(self) -> None:
        with self._changed:
            while self.exit is None and self.output.would_drop(CHUNK, self._read_to):
                patience = self._asked_at + PATIENCE - time.monotonic()
                if patience <= 0 or self._time_left() == 0:
                    return
                self._changed.wait(min(patience, self._time_left() or patience))

    def _time_left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _mind_the_time(self) -> None:
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        self._signal(signal.SIGKILL if self._timed_out else signal.SIGTERM)
        self._deadline = None if self._timed_out else time.monotonic() + GRACE
        self._timed_out = True

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class Commands:
    """All commands of this machine, those that ended lately included."""

    def __init__(self) -> None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._room = memory // 16  # for the output of those that run; as much for those that ended
        self._commands: dict[str, Command] = {}
        self._log = Backlog(LOG_KEPT)
        self._log_lock = threading.Lock()
        self._lock = threading.Lock()

    def start(
        self,
        exec_id: str,
        argv: list[str],
        env: dict[str, str],
        cwd: str | None,
        timeout: float,
        stdin: int | None,
    ) -> None:
        """Start a command under a new id."""
        with self._lock:
            if exec_id in self._commands:
                raise Refused("EEXIST", f"there is a command {exec_id} already")
            self._make_room()
            command = self._commands[exec_id] = Command(exec_id, self._log, self._log_lock)
            running = [each for each in self._commands.values() if each.exit is None]
            for each in running:
                each.limit(min(KEPT, max(LEAST_KEPT, self._room // len(running))))
        try:
            command.start(argv, env, cwd, timeout, stdin)
        except BaseException:
            with self._lock:
                del self._commands[exec_id]
            raise

    def _make_room(self) -> None:
        ended = [each for each in self._commands.values() if each.exit is not None]
        if len(self._commands) - len(ended) >= MOST_RUNNING:
            raise Refused("EAGAIN", f"{MOST_RUNNING} commands run already")
        size = sum(each.output.size for each in ended)
        while ended and (len(ended) >= MOST_ENDED or size > self._room):
            oldest = ended.pop(0)
            size -= oldest.output.size
            del self._commands[oldest.exec_id]

    def get(self, exec_id: str) -> Command:
        """The command of that id."""
        with self._lock:
            command = self._commands.get(exec_id)
        if command is None:
            raise Refused("ENOENT", f"there is no command {exec_id}")
        return command

    def log(self, offset: int, most: int, stream: str | None) -> dict[str, Any]:
        """At most `most` chunks of any command's output from `offset` on."""
        entries: list[list[Any]] = []
        size = 0
        with self._log_lock:
            for end, chunk in self._log.after(offset):
                wanted = stream in (None, chunk.stream)
                if wanted and (len(entries) == most or size + len(chunk.data) > MOST_PER_ANSWER):
                    break
                offset = end
                if wanted:
                    size += len(chunk.data)
                    data = base64.b64encode(chunk.data).decode()
                    entries.append([chunk.exec_id, chunk.stream, chunk.time, data])
            return {"entries": entries, "next_offset": offset, "eof": offset >= self._log.end}
