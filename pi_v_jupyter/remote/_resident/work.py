"""What this program does itself rather than by a command: on a thread, for a disk or a network may be slow.

Such work reads its input and writes its output through pipes, as a process would: cursors, windows and
breaks are the loop's affair. Little output needs no pipe: it goes with EXIT, as does what was found, or why
it could not be.
"""

from __future__ import annotations

import _thread  # `threading` takes longer to import than a file to read
import errno
import os
import signal

from . import files, programs, writing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .jobs import Job


def operation(name: str) -> Callable[..., Any]:
    if name in COPYING:
        from . import copying  # which many programs never need

        return getattr(copying, name)  # type: ignore[no-any-return]
    if name == "edit":
        from . import editing  # likewise

        return editing.edit
    if name.startswith("background."):
        from . import background  # likewise

        return background.OPERATIONS[name.partition(".")[2]]
    return DOES[name]


DOES = {**files.DOES, **writing.DOES, "programs": programs.programs}
TOLD = 4096  # characters of a name or a message in EXIT, which must fit into a frame
SOON = 0.002  # seconds the loop waits for work: most is done by then, and a thread's call would come later
COPYING = ("send", "receive", "partial")


class Work:
    """One piece of work. All but `perform` is called by the loop."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stopped = False
        self.call = files.Call(self.base(), lambda: self.stopped, self.is_whole, self.open_out)
        self.call.environment = job.client.program.environment
        self.how: dict[str, Any] = {}

    def base(self) -> str:
        """Where relative paths begin: where the session named by the request is, else the user's home."""
        if not self.relative():
            return "/"
        request, client = self.job.request, self.job.client
        base: str = client.program.environment()["HOME"]
        shell = client.shells.get(request["work"].get("beside"))
        if shell is not None:
            try:
                here = f"/proc/{shell.process.pid}/cwd"
                base = os.readlink(here) if os.stat(here).st_nlink else self.nowhere()
            except ProcessLookupError:
                return base  # the session is ending
        return os.path.join(base, request["cwd"]) if request.get("cwd") else base

    def relative(self) -> list[str]:
        """The paths that begin somewhere."""
        given = self.job.request["work"]["with"]
        paths = (given.get("path"), given.get("to"), *given.get("paths", ()))
        return [
            path for path in paths if path is not None and not (path.startswith(("/", "~/")) or path == "~")
        ]

    def nowhere(self) -> str:
        """Its folder was removed under the session: nothing can begin there."""
        raise FileNotFoundError(errno.ENOENT, "The folder of the shell session is gone", self.relative()[0])

    def is_whole(self) -> bool:
        return self.job.stdin is not None and self.job.stdin.whole

    def start(self) -> None:
        program = self.job.client.program
        self.call.source = self.job.open_stdin()
        self.job.start_clock()
        done = _thread.allocate_lock()
        done.acquire()
        try:
            _thread.start_new_thread(self.perform, (done,))
        except RuntimeError:
            self.let_go()
            raise OSError(errno.EAGAIN, "No thread can be started") from None
        program.at_work += 1
        if self.call.source is None and done.acquire(timeout=SOON):
            program.hear()

    def open_out(self) -> int:
        """On the thread: a pipe that the loop reads."""
        reader, writer = os.pipe()
        self.job.client.program.call(lambda: self.take_from(reader))
        return writer

    def take_from(self, reader: int) -> None:
        if self.stopped:
            os.close(reader)
        else:
            self.job.streams[0].read_from(reader, None)

    def perform(self, done: _thread.LockType) -> None:
        """On the thread: to its end, whatever that is."""
        work = self.job.request["work"]
        path = work["with"].get("path", "")[:TOLD]
        try:
            value = operation(work["do"])(self.call, **work["with"])
            if self.call.flushed:
                self.call.flush()
            self.how = {"code": 0, "value": value}
        except files.Refusal as refusal:
            self.how = {
                "error": refusal.kind,
                "what": path,
                "message": str(refusal)[:TOLD],
                "value": refusal.value,
            }
        except OSError as error:
            name = errno.errorcode.get(error.errno or errno.EIO, "EIO")
            what = error.filename if isinstance(error.filename, (str, bytes)) else path
            self.how = {
                "error": name,
                "what": os.fsdecode(what or "")[:TOLD],
                "message": error.strerror or str(error),
            }
        except Exception as error:  # noqa: BLE001  whoever waits for it is told
            self.how = {"error": "EINVAL", "what": path, "message": f"{type(error).__name__}: {error}"[:TOLD]}
        finally:
            if self.stopped and "code" not in self.how:
                self.how = {"signal": "SIGINT"}
            self.let_go()
            self.job.client.program.call(self.ended)
            done.release()

    def let_go(self) -> None:
        for fd in (self.call.source, self.call.output):
            if fd is not None:
                os.close(fd)

    def ended(self) -> None:
        self.job.client.program.at_work -= 1
        if "code" in self.how and not self.job.over:
            self.job.streams[0].put(self.call.held)
        self.job.end(**self.how)

    def stop(self, number: int) -> None:
        """Have it end soon and clean up; at SIGKILL nobody waits for that: it may hang in the system."""
        self.stopped = True
        if self.job.stdin is not None:
            self.job.stdin.close()
        for stream in self.job.streams:
            stream.close()  # it may stand in a write
        if number == signal.SIGKILL:
            self.job.end(signal="SIGKILL")
