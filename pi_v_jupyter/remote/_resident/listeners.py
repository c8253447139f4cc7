"""Whoever asks the minder of a background process."""

from __future__ import annotations

import json
import selectors
import signal
import socket

from . import journal
from .frames import ABOUT, ANSWER, CURSOR, LOG, LONGEST_WAIT, PIECE, frame
from .inputs import Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .minder import Minder

QUEUED = 256 << 10  # bytes on their way to one listener before its log is left in the files
HEARD = 4096  # bytes of an order
NAMED = 64  # characters of a writer's name
READ = 256 << 10  # bytes
MOST_GRACE = 1e6  # seconds


class Listener:
    """One of them, over a connection of its own."""

    def __init__(self, minder: Minder, link: socket.socket) -> None:
        self.minder, self.link = minder, link
        link.setblocking(False)
        self.heard = b""
        self.queue = bytearray()
        self.piece: Piece | None = None  # that it writes
        self.cursor: int | None = None  # of what it is sent next; None: it follows nothing
        minder.listeners.add(self)
        minder.watch(link.fileno(), selectors.EVENT_READ, self.ready)
        self.tell(ABOUT, minder.words())

    def tell(self, kind: int, *parts: bytes) -> None:
        self.queue += frame(kind, *parts)
        self.flush()

    def answer(self, number: int, how: str, written: int) -> None:
        self.tell(ANSWER, json.dumps({"number": number, "how": how, "written": written}).encode())

    def ready(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            try:
                data = self.link.recv(HEARD if self.piece is None else READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self.heard += data
            self.go_on()
        else:
            self.flush()

    def go_on(self) -> None:
        """Do as it says, but for what has to wait."""
        if self not in self.minder.listeners:
            return
        try:
            self.hear()
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):  # no client of ours
            self.close()
        self.flush()

    def hear(self) -> None:
        while self.piece is None or not self.piece.waits:
            if self.piece is not None:
                size = self.piece.missing
                self.piece.add(self.heard[:size])
                self.heard = self.heard[size:]
                if self.piece.missing:
                    return
                piece, self.piece = self.piece, None
                if piece.wanted and self.minder.input is not None:
                    self.minder.input.take(piece)
                continue
            line, newline, rest = self.heard.partition(b"\n")
            if not newline:
                if len(line) > HEARD:
                    raise ValueError("no order is so long")
                return
            self.heard = rest
            self.obey(**json.loads(line))

    def obey(self, do: str, **how: Any) -> None:
        if do == "follow":
            self.cursor = int(how["from"])
        elif do == "stop":
            number, grace = signal.Signals(int(how["signal"])), float(how["grace"])
            if not 0 <= grace <= MOST_GRACE:
                raise ValueError("nobody waits for that long")
            self.minder.stop(number, grace, str(how["order"]))
        elif do in ("write", "close"):
            writer, count, wait = str(how["writer"]), int(how["number"]), float(how["wait"])
            size = 0 if do == "close" else int(how["size"])
            if not (len(writer) <= NAMED and 0 <= size <= PIECE and 0 <= wait <= LONGEST_WAIT):
                raise ValueError("nobody writes that much, or waits for that long")
            self.piece = Piece(self, writer, count, size, wait, last=do == "close")
            if self.minder.input is None:
                self.piece.answer("none")
            else:
                self.minder.input.announce(self.piece)

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
                self.attend(0)
                return
            try:
                del self.queue[: self.link.send(self.queue)]
            except BlockingIOError:
                self.attend(selectors.EVENT_WRITE)
                return
            except OSError:
                self.close()
                return

    def attend(self, events: int) -> None:
        """Listen, unless what it writes has to wait; and write, if there is reason to."""
        if self.piece is None or not self.piece.waits:
            events |= selectors.EVENT_READ
        if events:
            self.minder.watch(self.link.fileno(), events, self.ready)
        else:
            self.minder.unwatch(self.link.fileno())

    def close(self) -> None:
        if self in self.minder.listeners:
            if self.piece is not None and self.minder.input is not None:
                self.minder.input.drop(self.piece)
            self.minder.listeners.discard(self)
            self.minder.unwatch(self.link.fileno())
            self.link.close()
