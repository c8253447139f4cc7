"""The way into a background process: what its clients write there goes in whole, in order and once.

What a client writes at once is a piece. Room is kept for it when it is announced, or when its turn comes, and
it goes in when all of it is here: those of two clients never mix, and one whose client is lost halfway never
begins. A piece has the name of its writer and a number that grows with each of that writer's, by which one
that comes again after a break is known.
"""

from __future__ import annotations

import collections
import os
import selectors

from .wire import widen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .listeners import Listener
    from .loop import Timer
    from .minder import Minder

ROOM = 32 << 20  # bytes for pieces that come, and for those that the process has not read
WRITERS = 1024  # of whom it is remembered how far they came


class Piece:
    """What one client writes at once; `last`: nothing goes in after it."""

    def __init__(
        self, listener: Listener, writer: str, number: int, size: int, wait: float, *, last: bool
    ) -> None:
        self.listener, self.writer, self.number = listener, writer, number
        self.size, self.wait, self.last = size, wait, last
        self.missing = size
        self.data = bytearray()
        self.waits = self.wanted = True  # for its turn; and by anybody
        self.clock: Timer | None = None  # of its waiting

    def add(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.wanted:
            self.data += data

    def proceed(self) -> None:
        """It waits no longer."""
        self.waits = False
        if self.clock is not None:
            self.clock.cancel()

    def answer(self, how: str, written: int = 0) -> None:
        """Tell its client what became of it; what more comes of it is dropped."""
        self.proceed()
        self.wanted = False
        self.listener.answer(self.number, how, written)


class Input:
    """A pipe whose one end is the stdin of the process, and all who write into the other."""

    def __init__(self, minder: Minder) -> None:
        self.minder = minder
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        widen(self.writer)
        self.open = True  # to more
        self.whole = False  # has all of it gone in, and is the pipe closed?
        self.queue: collections.deque[memoryview] = collections.deque()
        self.held = 0  # bytes of room that are taken
        self.got = self.sent = 0
        self.turns: collections.deque[Piece] = collections.deque()
        self.numbers: dict[str, int] = {}  # of the last piece of each writer

    def known(self, piece: Piece) -> bool:
        return piece.number <= self.numbers.get(piece.writer, -1)

    def announce(self, piece: Piece) -> None:
        """One is to come."""
        if self.known(piece):
            piece.answer("taken")
        elif not self.open:
            piece.answer("closed")
        else:
            self.turns.append(piece)
            piece.clock = self.minder.later(piece.wait, lambda: self.expire(piece))
            self.admit()

    def expire(self, piece: Piece) -> None:
        self.turns.remove(piece)
        piece.answer("full")
        piece.listener.go_on()
        self.admit()

    def admit(self) -> None:
        """Let those come whose turn it is, as long as there is room."""
        while self.turns and (not self.held or self.held + self.turns[0].size <= ROOM):
            piece = self.turns.popleft()
            piece.proceed()
            self.held += piece.size
            self.minder.later(0, piece.listener.go_on)

    def take(self, piece: Piece) -> None:
        """All of it is here."""
        if self.known(piece) or not self.open:
            self.held -= piece.size
            piece.answer("taken" if self.known(piece) else "closed")
            self.admit()
            return
        self.numbers.pop(piece.writer, None)
        self.numbers[piece.writer] = piece.number
        if len(self.numbers) > WRITERS:
            del self.numbers[next(iter(self.numbers))]
        before = self.got
        self.got += piece.size
        self.open = not piece.last
        if piece.size:
            self.queue.append(memoryview(piece.data))
        self.flush()
        if self.whole and self.sent < self.got:
            piece.answer("closed", max(0, self.sent - before))
        else:
            piece.answer("taken")

    def drop(self, piece: Piece) -> None:
        """Its client is gone."""
        if piece.waits:
            self.turns.remove(piece)
            piece.proceed()
        elif piece.wanted:
            self.held -= piece.size
            piece.wanted = False
        self.admit()

    def flush(self, _events: int = 0) -> None:
        while self.queue:
            try:
                written = os.write(self.writer, self.queue[0])
            except BlockingIOError:
                self.minder.watch(self.writer, selectors.EVENT_WRITE, self.flush)
                break
            except OSError:  # nobody will ever read it
                self.close()
                return
            self.sent += written
            self.held -= written
            rest = self.queue.popleft()[written:]
            if rest:
                self.queue.appendleft(rest)
        else:
            self.minder.unwatch(self.writer)
            if not self.open:
                self.close()
                return
        self.admit()

    def close(self) -> None:
        """Nothing more goes in."""
        if not self.whole:
            self.open, self.whole = False, True
            self.held -= sum(map(len, self.queue))
            self.queue.clear()
            self.minder.unwatch(self.writer)
            os.close(self.writer)
            self.minder.change(stdin="closed")
        while self.turns:
            piece = self.turns.popleft()
            piece.answer("closed")
            self.minder.later(0, piece.listener.go_on)
