"""A terminal in a cell's output: an anywidget that shows a `Terminal`. Pixels and keys are `js/terminal.js`.

What the two sides say, as custom messages, which unlike traits are neither merged nor lost. A view names
itself: a page may have several, and so may other pages. Bytes are buffers of the message.

    to the view                                      from the view
    output  what `Output` says, and bytes            opened {view, have: offset}: send what follows that
    status  {text}: shown beside it                  shown  {view, offset}: all before it is on the screen
                                                     typed  {view, offset: as of `shown`} bytes
                                                     resize {view, cols, rows}
                                                     left   {view}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from pi_v_jupyter.machine import Machine
from pi_v_jupyter.terminal import Output, Terminal
from pi_v_jupyter.views.boxes import give_up_closed

FOLDER = Path(__file__).parent


class TerminalView(anywidget.AnyWidget):
    """Shows a terminal on `machine` that runs `command`; `close()` hangs up."""

    _esm = FOLDER / "terminal.js"
    _css = FOLDER / "terminal.css"
    label = traitlets.Unicode().tag(sync=True)

    def __init__(self, machine: Machine, command: Sequence[str] = ()) -> None:
        self.terminal = Terminal(machine, command, on_output=self._output, on_status=self._status)
        super().__init__(label=f"terminal on {machine.label}")
        # ipykernel 7.4 has what a page says go to the loop that spoke to it last, which a cell may keep busy,
        # or which is gone with another page. Where this is None, it goes to the loop that the page asks for.
        self.comm._reply_subshell_for = None
        self.on_msg(self._received)

    def __repr__(self) -> str:
        return f"{self.label}; it is live only while its kernel runs"

    @property
    def id(self) -> str:
        """What pages know it by; "" once it was closed."""
        return self.model_id or ""

    def close(self) -> None:
        """Hang up on the program (SIGHUP) and be shown no more."""
        self._cross(self.terminal.hang_up)
        super().close()
        give_up_closed()

    def _output(self, output: Output) -> None:
        content = asdict(output)
        data = content.pop("data")  # in the buffer alone
        self.send({"kind": "output", **content}, [data])

    def _status(self, text: str) -> None:
        self.send({"kind": "status", "text": text})

    def _received(self, _: object, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        """On whichever thread the kernel has for it. What no view of ours would say is not heard."""
        terminal = self.terminal
        match content:
            case {"kind": "opened", "view": str(view), "have": int(have)}:
                self._cross(terminal.opened, view, have)
            case {"kind": "shown", "view": str(view), "offset": int(offset)}:
                self._cross(terminal.shown, view, offset)
            case {"kind": "typed", "view": str(view), "offset": int(offset)} if buffers:
                self._cross(terminal.typed, view, offset, bytes(buffers[0]))
            case {"kind": "resize", "view": str(view), "cols": int(cols), "rows": int(rows)}:
                self._cross(terminal.resize, view, cols, rows)
            case {"kind": "left", "view": str(view)}:
                self._cross(terminal.left, view)

    def _cross(self, function: Any, *arguments: Any) -> None:
        try:
            self.terminal.home.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed
            self._status("The extension was unloaded, and the terminal hung up.")
