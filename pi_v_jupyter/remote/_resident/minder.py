"""The minder of one background process: runs it, keeps what it writes, tells whoever asks.

It is forked from the resident program, and goes on without it. All that the process starts stays below it,
sessions of their own included: it is what the kernel calls a subreaper. `frames` describes its clients.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import time

from . import journal
from .abouts import recorded, restore, save
from .descendants import began, below, family, signal_groups
from .frames import ABOUT, CURSOR, LOG
from .inputs import Input
from .listeners import Listener
from .loop import Loop
from .outputs import READ, Output
from .processes import exit_of, launch, memory_file, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .loop import Timer

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl
MUCH = 32 << 10  # bytes read at once, after which more is read at once
BRIEF = 0.05  # seconds between two reads of little
HOLD = 0.25  # seconds until what wrote alone is read again: less for whoever follows a hundred of these
AGAIN = 1.0  # seconds between two tries to write to a full disk
LOOK = 0.05  # seconds between two rounds of SIGKILL: what is killed may just have started more
CHASE = 0.05  # seconds of one round
MOST_PATIENCE = 2.0  # seconds: what is left then is another user's, or waits for a disk
PARTING = 2.0  # seconds clients have to take the last words; the files have all of it


class Minder(Loop):
    """Lives in `folder`: about.json, the journal's files, the socket, and the lock that it holds."""

    def __init__(self, folder: str, about: dict[str, Any]) -> None:
        super().__init__()
        self.folder, self.about = folder, about
        self.journal = journal.Journal(folder)
        self.listeners: set[Listener] = set()
        self.status: int | None = None  # of the first process, as `wait` tells it
        self.alone = False  # has all of it ended?
        self.told = False  # is it known that the first has, though others go on?
        self.killing: Timer | None = None
        self.patience = LOOK
        self.orders: set[str] = set()
        self.holding: Timer | None = None
        self.resting: set[Output] = set()  # they are not looked at for a while
        self.full: Timer | None = None
        self.outputs = [Output(self, name) for name in journal.MARKS]
        self.input: Input | None = None

    def words(self) -> bytes:
        return json.dumps(self.about).encode()

    def change(self, **changes: Any) -> None:
        """Learn something, and tell it."""
        self.about.update(changes)
        with contextlib.suppress(OSError):  # who asks is told all the same
            save(self.folder, self.about)
        for each in list(self.listeners):
            each.tell(ABOUT, self.words())

    def start(self, argv: list[str], code: str | None, reads: bool, cwd: str, env: dict[str, str]) -> None:
        """Run it. OSError: it cannot be."""
        ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)
        given = [] if code is None else [memory_file(code.encode("utf-8", "surrogateescape"))]
        if self.journal.end:
            again = time.strftime("%Y-%m-%d %H:%M:%S")
            self.journal.write(journal.AGAIN + f"— started again, {again} —\n".encode())
        self.about.update(
            **{"pid": 0, "pid_began": "", "minder": os.getpid(), "minder_began": began(os.getpid())},
            **{"started": time.time(), "begin": self.journal.end, "end": self.journal.end},
            state="running",
            stdin="open" if reads else "none",
        )
        save(self.folder, self.about)  # before it runs: the disk may be full
        self.listen()
        out, err = self.outputs
        if reads:
            self.input = Input(self)
        reader = subprocess.DEVNULL if self.input is None else self.input.reader
        argv = [*argv, *(f"/proc/self/fd/{fd}" for fd in given)]
        process = launch(
            argv,
            stdin=reader,
            stdout=out.writer,
            stderr=err.writer,
            cwd=cwd,
            env=env,
            pass_fds=given,
        )
        for fd in (*given, out.writer, err.writer, *([] if self.input is None else [reader])):
            os.close(fd)
        self.pid = process.pid
        self.change(pid=process.pid, pid_began=began(process.pid))
        self.regulate()

    def listen(self) -> None:
        """By a short way: the whole path may be longer than one of a socket can be."""
        self.listener = socket.socket(socket.AF_UNIX)
        os.chdir(self.folder)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("socket")
        self.listener.bind("socket")
        os.chmod("socket", 0o600)
        os.chdir("/")
        self.listener.listen(64)
        self.listener.setblocking(False)
        self.watch(self.listener.fileno(), selectors.EVENT_READ, self.welcome)

    def welcome(self, _events: int) -> None:
        """Whoever comes finds all that was written up to now."""
        with contextlib.suppress(OSError):
            link = self.listener.accept()[0]
            for output in self.outputs if self.full is None else ():
                output.take()
            Listener(self, link)

    def regulate(self) -> None:
        """Watch what it writes, unless that is to wait."""
        for output in self.outputs:
            if output.open and output not in self.resting and self.full is None:
                self.watch(output.reader, selectors.EVENT_READ, self.readable)
            elif output.open:
                self.unwatch(output.reader)

    def readable(self, _events: int) -> None:
        """What rested has written before the other, which had nothing until now."""
        first = sorted(self.outputs, key=lambda output: output not in self.resting)
        taken = {output: output.take() for output in first}
        if self.holding is not None:
            self.holding.cancel()
        if max(taken.values()) < MUCH:
            self.resting = set(self.outputs)
            self.holding = self.later(BRIEF, lambda: self.rest({each for each in taken if taken[each]}))
        else:
            self.resting = set()
        self.regulate()

    def rest(self, wrote: set[Output]) -> None:
        self.resting, self.holding = wrote, None
        if wrote:
            self.holding = self.later(HOLD - BRIEF, lambda: self.rest(set()))
        self.regulate()

    def keep(self, rows: bytes) -> None:
        """Write, and tell. What a full disk has no room for waits, and with it the process."""
        before = self.journal.end
        late = bool(self.journal.pending)  # then more than `rows` is new
        try:
            self.journal.write(rows)
        except OSError as error:
            if self.full is None:
                self.full = self.later(AGAIN, self.try_again)
                self.change(trouble=f"{error.strerror}: its output waits")
                self.regulate()
        for each in list(self.listeners):
            current = each.cursor == before and not each.queue
            if current and not late and not self.journal.pending and 0 < len(rows) <= journal.CHUNK:
                each.cursor = self.journal.end
                each.tell(LOG, CURSOR.pack(before), rows)
            elif each.cursor is not None:
                each.flush()

    def try_again(self) -> None:
        self.full = None
        self.keep(b"")
        if self.full is None:
            self.change(trouble="")
            self.regulate()

    def reap(self) -> None:
        """As all that loses its parent is ours, no children means that nothing is left."""
        while not self.alone:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.alone = True
                return
            if pid == 0:
                break
            if pid == self.pid:
                self.status = status
        if self.status is not None and not self.told:
            self.told = True
            self.empty()  # all that it wrote comes before the news of its end
            self.change(end=self.journal.end, **exit_of(self.status))

    def empty(self) -> None:
        """Take all that has been written so far."""
        for output in self.outputs:
            while output.take() == READ:  # as a pipe holds no more, another is what came behind the end
                pass

    def stop(self, number: int, grace: float, order: str) -> None:
        """Signal all of it, and kill what is left later; once for each order, which may come again."""
        if order in self.orders:
            return
        self.orders.add(order)
        self.about["stopped_by"] = signal_name(number)
        self.send(number)
        self.send(signal.SIGCONT)  # what stands still could not obey
        if self.killing is None:
            self.killing = self.later(LOOK if number == signal.SIGKILL else grace, self.kill)

    def send(self, number: int) -> None:
        signal_groups(below(os.getpid(), family()), number)

    def kill(self) -> None:
        self.about["stopped_by"] = "SIGKILL"
        self.send(signal.SIGKILL)
        self.chase()
        self.killing = self.later(self.patience, self.kill)
        self.patience = min(2 * self.patience, MOST_PATIENCE)

    def chase(self) -> None:
        """Kill what has become ours: what forks without end does so faster than /proc is walked through."""
        deadline = time.monotonic() + CHASE
        with contextlib.suppress(FileNotFoundError):  # a kernel without that
            while not self.alone and time.monotonic() < deadline:
                with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                    pids = file.read().split()
                for pid in reversed(pids):
                    with contextlib.suppress(PermissionError):
                        os.kill(int(pid), signal.SIGKILL)
                self.reap()

    def run(self) -> None:
        """Until all of it has ended, and nobody waits for more."""
        while not self.alone:
            self.serve()
            self.fire()
        self.empty()
        for output in self.outputs:
            output.close()
        self.listener.close()
        with contextlib.suppress(FileNotFoundError):  # somebody removed the folder
            os.unlink(os.path.join(self.folder, "socket"))
        if self.journal.pending:
            self.about["trouble"] = f"the disk was full: its last {len(self.journal.pending)} bytes are lost"
        outcome = exit_of(self.status or 0)
        self.change(state="ended", ended=time.time(), end=self.journal.end, **outcome)
        if self.input is not None:
            self.input.close()
        deadline = time.monotonic() + PARTING
        while any(each.queue for each in self.listeners) and time.monotonic() < deadline:
            self.later(LOOK, lambda: None)
            self.serve()
            self.fire()


def depart(keep: set[int]) -> None:
    """Become a process of one's own that has nothing of its parent but these descriptors."""
    os.setsid()
    if os.fork():
        os._exit(0)
    gc.freeze()  # what is shared with the parent stays so
    signal.set_wakeup_fd(-1)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in keep:
            with contextlib.suppress(OSError):
                os.close(fd)
    for _ in range(3):
        os.open(os.devnull, os.O_RDWR)  # the lowest free one


def mind(told: int, lock: int, folder: str, about: dict[str, Any], *what: Any) -> None:
    """In a fork: start it, say through `told` how that went, and stay. Does not return."""
    try:
        depart({told, lock})
        before = recorded(folder)
        try:
            minder = Minder(folder, about)
            minder.start(*what)
        except OSError as error:
            restore(folder, before)
            name = os.fsdecode(error.filename or folder)
            os.write(told, json.dumps({"errno": error.errno, "what": name}).encode())
            return
        os.write(told, b"{}")
        os.close(told)
        minder.run()
    except Exception:  # noqa: BLE001  nobody else would tell
        import traceback

        with open(os.path.join(folder, "minder.log"), "w") as file:
            traceback.print_exc(file=file)
    finally:
        os._exit(0)
