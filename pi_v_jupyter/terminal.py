"""A program at a terminal of a machine, for any number of screens that show it.

What it writes has an offset, so that a screen that came late or missed something is sent what it lacks, as
far as that is kept. A screen acknowledges what it has shown; while one is behind, the program is not read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pi_v_jupyter.errors import VersError
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.channel import Exit, Process, Request

# Ctrl+S searches: who presses it to save would not know that Ctrl+Q has a terminal go on.
LOGIN = ("sh", "-c", "stty -ixon; exec bash --login")
ENVIRONMENT = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
SIZE = (80, 24)  # columns and rows, until a screen says its own
LARGEST = 1000  # columns or rows
KEPT = 256 << 10  # bytes of its output that a screen which comes later is shown
AHEAD = 256 << 10  # bytes that a screen may not have shown yet
AWAY = 10.0  # seconds after which a screen that is behind and shows nothing is one nobody sees any more
GONE = 1.0  # likewise, where another has shown everything: it may be of a page that was loaded again
TYPED = 16 << 20  # bytes that a program may not have read yet; more are dropped
SILENCE = 1.0  # seconds without a connection that are worth a word
INTERVAL = 1 / 60  # seconds between two updates: a Jupyter server drops messages past 1000 a second
# After whatever the program left the screen in: the ordinary page, no colours, margins, odd letters or mouse.
PLAIN = b"\x1b[?47l\x1b[!p\x1b(B\x0f\x1b[?9;1000;1002;1003;1004;1006;2004l\x1b[?25h"
MODES = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")  # DEC's private ones, such as the alternate page
LONGEST = 32  # bytes of such a sequence


@dataclass(frozen=True)
class Output:
    """`data`, from `offset` on, for the screen `to`, or for all.

    Of what a program asks its terminal, only `speaker` is to answer, and only what comes after `answered`:
    before that somebody has. `modes` is what a screen has to be in that begins here. `over`: nobody reads
    what is typed any more.
    """

    to: str | None
    offset: int
    data: bytes
    speaker: str | None
    answered: int
    modes: str
    over: bool


OnOutput = Callable[[Output], object]


class Terminal:
    """A terminal on `machine` that runs `command`, a login shell by default; lives on the machine's loop.

    `on_output` is called with what screens are to show, `on_status` with what to show beside it, or nothing.
    """

    def __init__(
        self,
        machine: Machine,
        command: Sequence[str] = (),
        *,
        on_output: OnOutput,
        on_status: Callable[[str], object],
    ) -> None:
        self.machine, self.home = machine, machine.home
        self._command = tuple(command) or LOGIN
        self._on_output, self._on_status = on_output, on_status
        self._process: Process | None = None
        self._pump: asyncio.Task[None] | None = None
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._unread = 0  # bytes of it
        self._kept = bytearray()
        self._seam = b""  # the end of what is not kept any more
        self._modes: dict[bytes, bytes] = {}  # that the screen was in at the beginning of what is kept
        self._begin = self._sent = 0  # offsets: of what is kept, of what the screens were not sent yet
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # when the screens may be updated again, by the loop's clock
        self._shown: dict[str, int] = {}  # by screen: up to where
        self._speaker: str | None = None
        self._answered = 0  # all before this offset was shown by somebody
        self._silence: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()  # a screen has shown more, or went
        self.ended = False
        self.exit: Exit | None = None

    @at_home
    async def start(self) -> None:
        """Run the program.

        Raises:
            ConnectError: the machine cannot be reached.
        """
        request = Request(argv=self._command, env=ENVIRONMENT, pty=SIZE)
        self._process = await self.machine.launch(request)
        self._process.on_away = self._on_away
        self._pump = asyncio.create_task(self._run(self._process))
        await asyncio.sleep(0)  # a task that is cancelled before it began would not close the process

    @at_home
    async def close(self) -> None:
        """Hang up, and wait until that is done."""
        if self._pump is not None:
            self.hang_up()
            await asyncio.wait([self._pump])

    async def _run(self, process: Process) -> None:
        typing = asyncio.create_task(self._type(process))
        how = "it was closed"
        try:
            async for _, data in process.chunks():
                await self._room()
                self._put(data)
            self.exit = await process.wait()
            how = _ended(self.exit)
        except VersError as error:
            how = error.message
        finally:
            typing.cancel()
            self._on_away(False)
            await process.close()
            self.ended = True
            self._put(PLAIN + f"\r\n[ended: {how}]\r\n".encode())
            self._update()

    def _on_away(self, away: bool) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
            self._on_status("")
        if away:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(SILENCE, self._on_status, "reconnecting …")

    async def _type(self, process: Process) -> None:
        while True:
            data = await self._typed.get()
            await process.write(data)
            self._unread -= len(data)

    async def _room(self) -> None:
        """Wait while a screen is behind that shows anything at all."""
        while behind := self._behind():
            try:
                async with asyncio.timeout(AWAY if len(behind) == len(self._shown) else GONE):
                    while self._behind() == behind:
                        self._moved.clear()
                        await self._moved.wait()
            except TimeoutError:
                for screen in behind:
                    self.left(screen)

    def _behind(self) -> dict[str, int]:
        return {screen: at for screen, at in self._shown.items() if self._end - at > AHEAD}

    @property
    def _end(self) -> int:
        """The offset of what it writes next."""
        return self._begin + len(self._kept)

    def _put(self, data: bytes) -> None:
        self._kept += data
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next, loop.time()), self._update)

    def _update(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next = None, asyncio.get_running_loop().time() + INTERVAL
        sent, self._sent = self._sent, self._end
        if self._shown:
            self._show(None, sent)
        spare = max(0, len(self._kept) - KEPT)
        self._learn(bytes(self._kept[:spare]))
        del self._kept[:spare]
        self._begin += spare

    def _learn(self, gone: bytes) -> None:
        """Remember what a screen would be in that had shown what is not kept any more."""
        for numbers, state in MODES.findall(self._seam + gone):
            self._modes |= dict.fromkeys(numbers.split(b";"), state)
        self._seam = (self._seam + gone)[-LONGEST:]

    def _show(self, screen: str | None, start: int, *, afresh: bool = False) -> None:
        modes = b"".join(b"\x1b[?%s%s" % mode for mode in self._modes.items()) if afresh else b""
        data = bytes(self._kept[start - self._begin :])
        answered, self._answered = self._answered, self._end
        self._on_output(Output(screen, start, data, self._speaker, answered, modes.decode(), over=self.ended))

    # From here on: called for a screen, on the machine's loop.

    def opened(self, screen: str, have: int) -> None:
        """It has shown all before offset `have`: send it what followed."""
        start = min(max(0, have), self._end)
        if afresh := start < self._begin:
            start = self._begin + self._kept.find(b"\n") + 1  # rather than amid a line or a sequence
        self._shown[screen] = max(start, self._shown.get(screen, 0))
        self._speaker = self._speaker or screen
        self._show(screen, start, afresh=afresh)

    def shown(self, screen: str, offset: int) -> None:
        """It has shown all before `offset`."""
        if screen in self._shown:
            self._shown[screen] = max(self._shown[screen], min(offset, self._end))
            self._moved.set()
        else:
            self.opened(screen, offset)  # it was taken for gone, and got nothing since

    def hang_up(self) -> None:
        """Close it, as one closes a window: the program gets SIGHUP."""
        if self._pump is not None:
            self._pump.cancel()

    def left(self, screen: str) -> None:
        """It is gone."""
        self._shown.pop(screen, None)
        if self._speaker == screen:
            self._speaker = next(reversed(self._shown), None)
        self._moved.set()

    def typed(self, screen: str, offset: int, data: bytes) -> None:
        """Bytes from its keyboard or mouse; it has shown all before `offset`."""
        if screen not in self._shown:
            self.opened(screen, offset)
        if not self.ended and self._unread + len(data) > TYPED:
            self._on_status("The program does not read what is typed; the rest of it is dropped.")
        elif not self.ended:
            self._unread += len(data)
            self._typed.put_nowait(data)

    def resize(self, screen: str, cols: int, rows: int) -> None:
        """The size of the screen looked at last is the size it has."""
        if screen in self._shown:
            self._speaker = screen
        if self._process is not None:
            self._process.resize(min(max(1, cols), LARGEST), min(max(1, rows), LARGEST))


def _ended(how: Exit) -> str:
    if how.error:
        return f"{how.what}: {how.message}"
    return f"by {how.signal}" if how.signal else f"exit code {how.code}"
