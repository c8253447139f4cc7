"""Where planned commands run: in a branch that is thrown away, or on the machine itself, which they see only
read-only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pi_v_jupyter.errors import ConnectError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.plan.asides import Aside, Asides
from pi_v_jupyter.plan.confined import Confinement, Report, Reported
from pi_v_jupyter.vm import VM

Inside = Literal["branch", "readonly"]
INSIDES: tuple[Inside, ...] = ("branch", "readonly")
QUICK = 2.0  # seconds: where a branch takes longer, commands run on the VM itself unless the user wants it so
PROBE_TIMEOUT = 20.0  # seconds
AGENT = "pi-v-agent"  # the label of an agent's VM


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Ground:
    """Where a planned command runs, and how; `leave` is to be called when it has ended."""

    machine: Machine
    readonly: bool = True
    namespaces: bool = True
    leave: Callable[[], object] = _nothing


class Grounds:
    """Those of one session. `inside` is what the user wants; None: whatever the platform is quick at.

    Lives on the fleet's home loop.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.asides = Asides(fleet)
        self.inside: Inside | None = None
        self._slow = False  # has a branch taken too long?
        self.missing: str | None = None  # why there are no namespaces here; "": there are; None: not tried

    def way(self, vm: VM) -> Inside:
        """How commands on a VM will run.

        All that runs there runs on in its branch, and an agent is not to do its task twice.
        """
        if self.inside is not None:
            return self.inside
        agent = AGENT in vm.info.labels or vm.id in self._fleet.state.all(
            self._fleet.settings.base_url, "agents"
        )
        return "readonly" if self._slow or agent else "branch"

    async def of(self, machine: Machine) -> Ground:
        """Where one command is to run now.

        Raises:
            VersError: no branch can be made.
        """
        if not isinstance(machine, VM):
            return Ground(machine, namespaces=await self.confines_here())
        if self.way(machine) == "readonly":
            return Ground(machine)
        aside = await self.asides.take(machine)
        if self.inside is None and aside.took > QUICK:
            self._slow = True
            self.asides.give_back(aside)
            self.asides.retire()
            self._fleet.on_notice(
                f"A branch took {aside.took:.1f} s: planned commands see {machine.label} itself, read-only. "
                "`%plan on --in branch` has each look at a branch."
            )
            return Ground(machine)
        return self._in_branch(aside)

    def _in_branch(self, aside: Aside) -> Ground:
        return Ground(aside.vm, readonly=False, leave=lambda: self.asides.give_back(aside))

    async def confines_here(self) -> bool:
        """Has this computer the namespaces to confine a command with? It is tried, once."""
        if self.missing is None:
            self.missing = await self._tried_here()
        return not self.missing

    async def _tried_here(self) -> str:
        found: list[Report] = []
        task, mark = Confinement(sys.executable, {}, readonly=True).process(
            "true", ["/"], timeout=PROBE_TIMEOUT, stdin=False
        )
        try:
            process = Reported(await self._fleet.here.launch(task), mark, found.append, _nothing)
        except ConnectError as error:
            return error.message
        try:
            await process.wait()
        finally:
            await process.close()
        (report,) = found
        return report.cannot if report.folder != "/" else ""
