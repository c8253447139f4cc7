"""A job that is no process but a Unix socket of this machine: what comes from it is its output."""

from __future__ import annotations

import os
import socket

from .streams import Stream
from .wire import OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .jobs import Job


def connected(path: str, patience: float = 0.0) -> socket.socket:
    """A connection to a socket that listens; OSError: nobody does, or not within `patience` seconds."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(patience)
    try:
        folder = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
        try:  # a short way: the whole path may be longer than one of a socket can be
            made.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        finally:
            os.close(folder)
    except OSError:
        made.close()
        raise
    return made


class Socket(Stream):
    """Both directions of a connected socket. Its end is the job's."""

    def __init__(self, job: Job, path: str) -> None:
        super().__init__(job, OUT)
        made = connected(path)  # a full backlog is an error, and nothing to wait for here
        self.read_from(made.detach(), None)

    def keyboard(self) -> int:
        """A descriptor for what is sent."""
        assert self.fd is not None  # noqa: S101  it was connected just now
        return os.dup(self.fd)

    def readable(self, events: int) -> None:
        super().readable(events)
        if self.fd is None:
            self.job.end(code=0)

    def take(self, fd: int, size: int) -> bytes | None:
        try:
            return super().take(fd, size)
        except ConnectionError:
            return b""
