"""Whoever asks the minder of a background process."""

from __future__ import annotations

import json
import selectors
import signal
import socket

from . import journal
from .frames import ABOUT, CURSOR, LOG, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .minder import Minder

QUEUED = 256 << 10  # bytes on their way to one listener before its log is left in the files
HEARD = 4096  # bytes of an order
MOST_GRACE = 1e6  # seconds


class Listener:
    """One of them, over a connection of its own."""

    def __init__(self, minder: Minder, link: socket.socket) -> None:
        self.minder, self.link = minder, link
        link.setblocking(False)
        self.heard = b""
        self.queue = bytearray()
        self.cursor: int | None = None  # of what it is sent next; None: it follows nothing
        minder.listeners.add(self)
        minder.watch(link.fileno(), selectors.EVENT_READ, self.ready)
        self.tell(ABOUT, minder.words())

    def tell(self, kind: int, *parts: bytes) -> None:
        self.queue += frame(kind, *parts)
        self.flush()

    def ready(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            try:
                data = self.link.recv(HEARD)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            *lines, self.heard = (self.heard + data).split(b"\n")
            try:
                for line in lines:
                    self.obey(**json.loads(line))
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError):  # no client of ours
                self.close()
                return
            if len(self.heard) > HEARD:  # nor this
                self.close()
                return
        self.flush()

    def obey(self, do: str, **how: Any) -> None:
        if do == "follow":
            self.cursor = int(how["from"])
        elif do == "stop":
            number, grace = signal.Signals(int(how["signal"])), float(how["grace"])
            if not 0 <= grace <= MOST_GRACE:
                raise ValueError("nobody waits for that long")
            self.minder.stop(number, grace, str(how["order"]))

    def flush(self) -> None:
        if self not in self.minder.listeners:
            return
        end = self.minder.journal.end
        while True:
            while self.cursor is not None and self.cursor < end and len(self.queue) < QUEUED:
                at, data = journal.read(self.minder.folder, self.cursor)
                if not data:
                    break
                self.queue += frame(LOG, CURSOR.pack(at), data)
                self.cursor = at + len(data)
            if not self.queue:
                self.minder.watch(self.link.fileno(), selectors.EVENT_READ, self.ready)
                return
            try:
                del self.queue[: self.link.send(self.queue)]
            except BlockingIOError:
                both = selectors.EVENT_READ | selectors.EVENT_WRITE
                self.minder.watch(self.link.fileno(), both, self.ready)
                return
            except OSError:
                self.close()
                return

    def close(self) -> None:
        if self in self.minder.listeners:
            self.minder.listeners.discard(self)
            self.minder.unwatch(self.link.fileno())
            self.link.close()
