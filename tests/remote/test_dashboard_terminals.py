"""Terminals that a dashboard opens: one for a machine, until it is ended there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loopback import Loopback
from machines import Reached

from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.views.dashboard.terminals import Terminals


class Session:
    """One that has that machine alone."""

    def __init__(self, machine: Reached) -> None:
        self.machine = machine

    async def vm(self, id: str) -> Reached:
        return self.machine


async def test_one_that_is_ended_is_hung_up_on_and_the_next_is_another(
    own_server: Loopback, connect: Callable[..., Connection]
) -> None:
    session: Any = Session(Reached(connect(own_server)))
    terminals = Terminals(session)
    first = await terminals.open("vm-1")
    assert await terminals.open("vm-1") is first
    await terminals.end("vm-1")
    assert first.terminal.ended
    assert first.comm is None  # shown no more
    await terminals.end("vm-1")
    assert await terminals.open("vm-1") is not first
    await terminals.close()
