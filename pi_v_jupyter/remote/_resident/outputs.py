"""What a background process writes to one stream, on its way into the journal."""

from __future__ import annotations

import os

from .journal import Lines
from .wire import widen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loop import Timer
    from .minder import Minder

READ = 1 << 20  # bytes
QUIET = 0.5  # seconds after which a line without an end is kept as far as it goes


class Output:
    """One stream of the process."""

    def __init__(self, minder: Minder, name: str) -> None:
        self.minder, self.lines = minder, Lines(name)
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        widen(self.reader)
        self.open = True
        self.hurrying: Timer | None = None

    def take(self) -> int:
        """Keep what there is; the bytes of it."""
        if not self.open:
            return 0
        try:
            data = os.read(self.reader, READ)
        except BlockingIOError:
            return 0
        if self.hurrying is not None:
            self.hurrying.cancel()
            self.hurrying = None
        if data:
            self.minder.keep(self.lines.feed(data))
            if self.lines.open:
                self.hurrying = self.minder.later(QUIET, self.hurry)
        else:
            self.close()
        return len(data)

    def hurry(self) -> None:
        self.minder.keep(self.lines.hurry())

    def close(self) -> None:
        if self.open:
            self.open = False
            self.minder.unwatch(self.reader)
            os.close(self.reader)
            self.minder.keep(self.lines.rest())
