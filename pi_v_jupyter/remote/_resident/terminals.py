"""The output of a job that runs at a terminal, and that terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from .streams import Stream
from .wire import CHUNK, OUT, TERMINAL_WINDOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .jobs import Job

IUTF8 = getattr(termios, "IUTF8", 0o40000)  # Backspace takes a whole character; it has a name since 3.12
# A session has as its terminal the first that its leader opens. A shell opens it and becomes the program, for
# nothing of ours can safely run between fork and exec where there are threads.
OPEN = 'exec <>"$1" >&0 2>&0; shift; exec "$@"'


class Terminal(Stream):
    """A pseudo-terminal: what is written to it is the one stream of its job."""

    window = TERMINAL_WINDOW

    def __init__(self, job: Job, cols: int, rows: int) -> None:
        super().__init__(job, OUT)
        self.read_from(*os.openpty())
        assert self.fd is not None  # noqa: S101  it was made just now
        modes = termios.tcgetattr(self.fd)
        modes[0] |= IUTF8
        termios.tcsetattr(self.fd, termios.TCSANOW, modes)
        self.resize(cols, rows)

    def at(self, argv: Sequence[str]) -> list[str]:
        """What runs `argv` at it, as the leader of a session that has no terminal yet."""
        assert self.writer is not None  # noqa: S101  until the program has it
        return ["sh", "-c", OPEN, "sh", os.ttyname(self.writer), *argv]

    def keyboard(self) -> int:
        """A descriptor for what is typed."""
        assert self.fd is not None  # noqa: S101  nobody typed at it yet
        return os.dup(self.fd)

    def resize(self, cols: int, rows: int) -> None:
        if self.fd is not None:
            size = struct.pack("HHHH", int(rows) & 0xFFFF, int(cols) & 0xFFFF, 0, 0)
            fcntl.ioctl(self.fd, termios.TIOCSWINSZ, size)

    def take(self, fd: int, size: int) -> bytes | None:
        """As of a pipe, from which the kernel would give all of it at once."""
        data = b""
        while len(data) < size:
            try:
                data += os.read(fd, size - len(data))
            except BlockingIOError:
                return data or None
            except OSError:  # nobody has it open any more
                break
        return data

    def end(self) -> None:
        """The program has ended: what others write from now on has nowhere to go, as with a closed window."""
        self.close_writer()
        self.left = CHUNK  # far more than the kernel keeps
        self.readable(0)
        self.close()
