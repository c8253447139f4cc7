"""The dashboard in a cell's output: an anywidget that shows a `Board`. Pixels and clicks are `js/dashboard/`.

What the two sides say is in `pi_v_jupyter/dashboard`, and goes as custom messages, which unlike traits are
neither merged nor lost. A cell that shows it has two outputs: the widget, and below it tables of the same,
which a front end shows in its place where the widget cannot live (`views/saved.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anywidget
from IPython.display import display

from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.session import Vers
from pi_v_jupyter.views.boxes import give_up_closed
from pi_v_jupyter.views.dashboard.output import SavedOutput
from pi_v_jupyter.views.saved import summary
from pi_v_jupyter.views.terminal import TerminalView
from pi_v_jupyter.vm import VM

WHILE = 2.0  # seconds
FOLDER = Path(__file__).parent


class Carrier:
    """What a board takes for a viewer: carries messages to the pages that show a widget.

    What pages say may wait for the cell that runs, where the front end has no subshells.
    """

    def __init__(self, view: DashboardView) -> None:
        self._view = view
        self._heard = time.monotonic()
        self._knocks = False
        try:
            self._kernel: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # nobody says anything where there is none
            self._kernel = None

    def send(self, message: dict[str, Any]) -> None:
        """On the home loop."""
        self._view.send(message)
        if message["kind"] in ("snapshot", "patch"):
            self._view.output.changed()

    def heard_until(self) -> float:
        """On the home loop; by time.monotonic()."""
        if self._kernel is None or self._kernel.is_closed():
            return time.monotonic()
        if not self._knocks:
            self._knocks = True
            self._kernel.call_soon_threadsafe(self._kernel.call_later, WHILE, self._free)
        return self._heard

    def screen(self, vm: VM) -> TerminalView:
        """On the home loop."""
        return TerminalView(vm)

    def _free(self) -> None:
        """On the kernel's loop, which was free for a while: what waited for it has come."""
        self._heard, self._knocks = time.monotonic(), False


class DashboardView(anywidget.AnyWidget):
    """Shows what a session's board tells, in any number of outputs; `close()` ends it, and what it opened."""

    _esm = FOLDER / "dashboard.js"
    _css = FOLDER / "dashboard.css"

    def __init__(self, vers: Vers, board: Board) -> None:
        super().__init__()
        # As in `views/terminal`: what a page says goes to the loop that it asks for.
        self.comm._reply_subshell_for = None
        self._home, self._board = vers.home, board
        self.output = SavedOutput(lambda: board.state, vers.home)
        self._carrier = Carrier(self)
        board.attach(self._carrier)
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_msg(self._received)

    @property
    def closed(self) -> bool:
        """Is it shown no more?"""
        return self.comm is None

    def __repr__(self) -> str:
        how = "it was closed" if self.closed else "it is live only while its kernel runs"
        return f"dashboard: {summary(self._board.state)}; {how}"

    def _ipython_display_(self) -> None:
        if not self.closed:
            self._board.attach(self._carrier)  # it may have been given up as one that cannot be told
            bundle = self._repr_mimebundle_()
            assert bundle is not None  # noqa: S101  it has a view
            data, metadata = bundle
            # Empty HTML: front ends without widgets show the tables below, and nothing here.
            display({**data, "text/html": ""}, metadata=metadata, raw=True)
        self.output.show()

    def close(self) -> None:
        """Be shown no more; what it has opened is closed. On the kernel's thread."""
        self._cross(lambda: self._start(self.end()))
        self.leave()

    def leave(self) -> None:
        """Be shown no more, where it has ended; on the kernel's thread, as boxes that held it are changed."""
        super().close()
        give_up_closed()

    async def end(self) -> None:
        """Close what it has opened, and tell it nothing more; on the session's home loop."""
        self.output.save()
        await self._board.part(self._carrier)

    def _received(self, _: object, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        """On whichever thread the kernel has for it."""
        if isinstance(content, dict):
            self._board.receive(self._carrier, content)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cross(self, function: Any, *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: the extension was unloaded, and this with it
            self._home.call_soon_threadsafe(function, *arguments)
