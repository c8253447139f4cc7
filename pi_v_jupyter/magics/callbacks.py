"""Callbacks of background processes in a notebook: called while cells run, seen to fail in their cells."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

import pi_v_jupyter
from pi_v_jupyter.remote.callbacks import Callbacks

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

BETWEEN = (pi_v_jupyter.__name__, "asyncio", "nest_asyncio2")  # packages that lead to the user's own code


def attach(callbacks: Callbacks, extension: Extension) -> None:
    """Have the callbacks of a session be those of this notebook."""

    def failed(error: BaseException) -> None:
        """In the context of the cell that made it, so that this is shown there."""
        extension.shell.showtraceback((type(error), error, _own(error.__traceback__)))
        print("This callback is not called again.", file=sys.stderr)

    callbacks.post = extension.show
    callbacks.on_failure = failed
    callbacks.on_notice = extension.notice


def _own(trace: TracebackType | None) -> TracebackType | None:
    """From the first frame of the user's on."""
    while trace is not None and trace.tb_next is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).split(".")[0] not in BETWEEN:
            break
        trace = trace.tb_next
    return trace
