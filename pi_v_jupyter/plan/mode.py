"""Plan mode of one session: what is asked before anything acts, and where planned commands run.

It stands between this package and machines. The user's own Python is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.plan import guard
from pi_v_jupyter.plan.grounds import INSIDES, Grounds, Inside
from pi_v_jupyter.plan.place import Planned, Standing
from pi_v_jupyter.vm import VM

KIND = "plan"  # in our state, by notebook
UNSAID = "auto"  # the value where the user has not said how commands are to run


@dataclass(frozen=True)
class Status:
    """Whether plan mode is on; `machine` is where cells run, `inside` how planned commands do there.

    On this computer `inside` is None. `missing` says why commands are not confined there: "" where they are,
    None where that was not tried. `branch` is what the branch is called that there is now, if any.
    """

    on: bool
    machine: str
    inside: Inside | None
    missing: str | None
    branch: str


class PlanMode:
    """Of one session; `vers.plan`. What waits may be awaited on any loop."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.home = fleet, fleet.home
        self._grounds = Grounds(fleet)
        self._standings: dict[Machine, Standing] = {}
        kept = fleet.state.where(KIND, fleet.state.notebook) if fleet.state.notebook else None
        self._is_on = kept is not None
        self._grounds.inside = next((inside for inside in INSIDES if kept and kept[1] == inside), None)

    @property
    def is_on(self) -> bool:
        """Is it on? Also where an earlier kernel of this notebook has begun it."""
        return self._is_on

    @property
    def status(self) -> Status:
        """As it is now, without asking anybody."""
        vm = self.fleet.current
        aside = self._grounds.asides.of(vm) if vm else None
        return Status(
            self._is_on,
            (vm or self.fleet.here).label,
            self.way(vm or self.fleet.here),
            self._grounds.missing,
            aside.vm.label if aside else "",
        )

    @at_home
    async def on(self, inside: Inside | None = None) -> Status:
        """Look only, until `off`. `inside`: planned commands on VMs run in a "branch" that is deleted, or on
        the VM itself, "readonly"; without it, in a branch where that takes under 2 seconds.

        Raises:
            UsageError: there is no such way.
        """
        if inside is not None and inside not in INSIDES:
            raise UsageError(f"There is no plan mode in {inside!r}.", f"One of {', '.join(INSIDES)}.")
        if self._grounds.inside != inside:
            await self._grounds.asides.clear()
        self._grounds.inside, self._is_on = inside, True
        await asyncio.to_thread(self._remember, inside or UNSAID)
        if self.fleet.current is None:
            await self._grounds.confines_here()
        return self.status

    @at_home
    async def off(self) -> Status:
        """Act again; branches are deleted."""
        self._is_on = False
        self._standings.clear()
        try:
            await asyncio.to_thread(self._remember, None)
        finally:
            await self._grounds.asides.clear()
        return self.status

    def check(self, name: str, given: Mapping[str, Any]) -> None:
        """While it is on, pass what looks only: see `guard`.

        Raises:
            PlanModeError: this may do more.
        """
        if self._is_on:
            guard.check(name, given)

    def way(self, machine: Machine) -> Inside | None:
        """How commands on a machine run while it is on; None on this computer."""
        return self._grounds.way(machine) if isinstance(machine, VM) else None

    def machine(self, machine: Machine, session: str | None = None) -> Machine:
        """The machine as commands are to have it now: itself or, while plan mode is on, one that looks only.

        There, commands begin in the folder of the shell `session`, or in the user's home, each then in the
        folder in which the last one ended.
        """
        if not self._is_on:
            return machine
        return Planned(machine, self._grounds, self._standings, session)

    @at_home
    async def sweep(self) -> None:
        """Delete branches that kernels have left which are no more."""
        await self._grounds.asides.sweep()

    @at_home
    async def close(self) -> None:
        """The session ends: delete its branches. A later kernel of the notebook is in plan mode, too."""
        self._standings.clear()
        await self._grounds.asides.clear()

    def _remember(self, value: str | None) -> None:
        state, notebook = self.fleet.state, self.fleet.state.notebook
        if not notebook:
            return
        while before := state.where(KIND, notebook):
            state.set(before[0], KIND, notebook, None)
        if value is not None:
            state.set(self.fleet.settings.base_url, KIND, notebook, value)
