"""`%vers dashboard`: everything that runs, live in the cell's output. Thin: parse, wait, show."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from pi_v_jupyter.magics.options import HELP

if TYPE_CHECKING:
    from pi_v_jupyter.dashboard.board import Board
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.session import Vers
    from pi_v_jupyter.views.dashboard import DashboardView
    from pi_v_jupyter.views.saved import Saved


@click.command(context_settings=HELP, options_metavar="")
@click.pass_obj
def dashboard(extension: Extension) -> DashboardView | Saved:
    """Show VMs, agents and processes, live, and act from there; in a terminal, show them as tables.

    The same as `%vers` alone. It answers while a cell runs. A notebook keeps its last state as tables.
    """
    return extension.dashboards.show(extension.vers)


class Dashboards:
    """Those of one notebook: a board for each session, and one widget for all outputs that show it."""

    ended = False  # a session may show one again

    def __init__(self, extension: Extension) -> None:
        self._extension = extension
        self._boards: dict[Vers, Board] = {}
        self._views: dict[Vers, DashboardView] = {}

    def show(self, vers: Vers) -> DashboardView | Saved:
        """What a cell shows of that session: a live view where there may be a browser, else tables."""
        from pi_v_jupyter.dashboard.board import Board  # who shows none need not wait for it

        board = self._boards.get(vers)
        if board is None or board.closed:
            board = self._boards[vers] = Board(vers)
            if vers in self._views:
                self._views.pop(vers).close()
        state = self._extension.wait(board.look(), "looking at what there is")
        if not hasattr(self._extension.shell, "kernel"):
            from pi_v_jupyter.views.saved import Saved

            return Saved(state, time.time())
        from pi_v_jupyter.views.dashboard import DashboardView

        if vers not in self._views or self._views[vers].closed:
            self._views[vers] = DashboardView(vers, board)
        return self._views[vers]

    async def close(self) -> None:
        """End all; what they showed last stays as tables."""
        await asyncio.gather(*(view.end() for view in self._views.values() if not view.closed))
        await asyncio.gather(*(board.close() for board in self._boards.values()))

    def put_away(self) -> None:
        """Have no page show one any more; on the kernel's thread."""
        for view in self._views.values():
            view.leave()


COMMANDS = (dashboard,)
