"""Terminals that a dashboard opens: one for a machine, until it is ended there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from loopback import Loopback
from machines import Reached

from pi_v_jupyter.dashboard.terminals import Terminals
from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.views.terminal import TerminalView
from pi_v_jupyter.vm import VM


async def test_one_that_is_ended_is_hung_up_on_and_the_next_is_another(
    own_server: Loopback, connect: Callable[..., Connection]
) -> None:
    made: list[TerminalView] = []

    def make(vm: Any) -> TerminalView:
        made.append(TerminalView(vm))
        return made[-1]

    machine: Any = Reached(connect(own_server))
    machine.id = "vm-1"
    terminals, vm = Terminals(make), cast(VM, machine)
    for _ in range(2):
        assert await terminals.open(vm) is made[0]
    await terminals.end(vm.id)
    assert made[0].terminal.ended
    assert made[0].comm is None  # shown no more
    await terminals.end(vm.id)
    assert await terminals.open(vm) is made[1]
    await terminals.close()
    assert made[1].terminal.ended
    with pytest.raises(UsageError, match="was closed"):
        await terminals.open(vm)
