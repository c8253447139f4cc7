"""IPython in a terminal as a person has it: its real prompt, on a screen that shows what they would see."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable, Mapping

import pexpect
import pyte

LINES, COLUMNS = 1000, 120  # nothing of a session scrolls away
PROMPT = re.compile(r"(?:⇢ \S+ )?In \[(\d+)\]: ?")
CONTINUED = re.compile(r" +\.\.\.: ?")


class _Screen(pyte.Screen):
    """One that answers, as terminals do, when it is asked where the cursor is."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        super().__init__(COLUMNS, LINES)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Terminal:
    """A session of IPython. `number` is that of the input that is being asked for."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--no-banner", "--no-confirm-exit"],
            env={**env, "TERM": "xterm-256color"},
            encoding="utf-8",
            dimensions=(LINES, COLUMNS),
            timeout=60,
        )
        self.screen = _Screen(self.child.send)
        self._stream = pyte.Stream(self.screen)
        self.number = 1
        self.wait_for(lambda text: self._asks(text) == self.number)

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    @property
    def prompt(self) -> str:
        """The last line: what asks for input now."""
        return self.text.rpartition("\n")[2]

    def wait_for(self, seen: Callable[[str], object], timeout: float = 60) -> None:
        """Until that can be seen on the screen."""
        deadline = time.monotonic() + timeout
        while not seen(self.text):
            assert time.monotonic() < deadline, f"it never came:\n{self.text}"
            try:
                self._stream.feed(self.child.read_nonblocking(1 << 16, timeout=1))
            except pexpect.TIMEOUT:
                continue

    def enter(self, cell: str) -> None:
        """Give it a cell: a line, or a cell magic, as typed (an empty line ends it); others as pasted."""
        if cell.startswith("%%"):
            self.child.send("".join(f"{line}\r" for line in cell.splitlines()) + "\r\r")
        elif "\n" in cell:
            self.child.send(f"\x1b[200~{cell}\x1b[201~\r")
        else:
            self.child.send(f"{cell}\r")

    def finished(self) -> str:
        """Wait for the next prompt; what was shown since the last one, behind what was entered."""
        self.number += 1
        self.wait_for(lambda text: self._asks(text) == self.number)
        lines = self.text.splitlines()
        starts = [lines.index(line) for line in lines if PROMPT.match(line)]
        shown = lines[starts[-2] + 1 : starts[-1]]
        return "\n".join(itertools.dropwhile(CONTINUED.match, shown)).strip("\n")

    def run(self, cell: str) -> str:
        """A cell from its beginning to its end."""
        self.enter(cell)
        return self.finished()

    def stop(self) -> None:
        """Ctrl-C."""
        self.child.sendintr()

    def close(self) -> None:
        """Leave it, with Ctrl-D."""
        try:
            self.child.sendeof()
            self.child.expect(pexpect.EOF)
        finally:
            self.child.close(force=True)

    def _asks(self, text: str) -> int | None:
        """The number of the prompt that waits, if one does: it is the last line, and nothing is entered."""
        asked = PROMPT.fullmatch(text.splitlines()[-1].rstrip() if text else "")
        return int(asked[1]) if asked else None
