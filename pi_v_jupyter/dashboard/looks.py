"""What a board asks, again and again, for as long as anybody looks: VMs, commits, agents, processes.

Each is asked by a task of its own, so that none waits for another; what cannot be reached holds up nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal
from urllib.parse import urlsplit
from weakref import WeakSet

from pi_v_jupyter.commits import Commit
from pi_v_jupyter.dashboard import snapshot
from pi_v_jupyter.dashboard.shape import Connection
from pi_v_jupyter.errors import SettingsError, VersError
from pi_v_jupyter.fleet import Chosen
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.roster import VMs
from pi_v_jupyter.session import Vers
from pi_v_jupyter.swarm import scripted
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.hearing import PI
from pi_v_jupyter.swarm.membership import Membership
from pi_v_jupyter.vm import VM

log = logging.getLogger("pi_v_jupyter")

VMS = COMMITS = PROCESSES = 1.5  # seconds between two looks, so that what is shown is never older than 2
AGENTS = 30.0  # likewise; those whose VMs have come are looked for at once
LONG = 10  # times as long as it took to ask for commits, they are not asked for again: there may be many
SOON = 5.0  # seconds until they are looked for again while one is not ready or not heard; longer each time
EACH = 0.1  # seconds between two looks for processes, at least, for each machine
SLOWEST = 10.0  # seconds between two looks for VMs while the platform is in trouble
PATIENCE = 5.0  # seconds after which one who has not answered is in trouble
AT_ONCE = 8  # machines whose processes are asked for at once

AGENTS_OWN = (PI, scripted.PROVIDER)  # processes that an agent consists of

Section = Literal["machines", "commits", "agents", "processes"]
Place = tuple[Machine, str]  # a machine, and the id of a process there


class Looks:
    """What was found; `changed` is called when anything may be another."""

    def __init__(self, vers: Vers, changed: Callable[[], object]) -> None:
        self.vers, self._changed = vers, changed
        self.watched = asyncio.Event()
        self.seen: set[Section] = set()  # what was looked for since then
        self.vms: VMs = VMs([])
        self.lost: Chosen | None = None  # what cells are to run on, where the platform has it no more
        self.commits: list[Commit] = []
        self.known: set[Section] = set()  # of which all is found that there was
        self.renamed = False  # may names be others since that was last asked?
        self._processes: dict[Place, BackgroundProcess] = {}
        self._met: WeakSet[VM] = WeakSet()  # those that were connected to, or tried once
        self._sized: set[str] = set()  # ids of VMs whose size was asked for
        self._said: dict[str, str] = {}  # labels of agents, by the ids of their VMs, as the platform has them
        self._enrolled: set[str] = set()  # ids of such VMs, for which was looked
        self._unheard = 0  # how often in a row some agent could not be heard
        self._trouble = 0  # how often in a row the platform did not answer
        self.connection = self._connection("connecting")
        self._wakes: dict[Section | Literal["sizes"], asyncio.Event] = {}
        self._tasks = [
            self._begin("machines", self._look_for_vms),
            self._begin("sizes", self._look_for_sizes),
            self._begin("commits", self._look_for_commits),
            self._begin("agents", self._look_for_agents),
            self._begin("processes", self._look_for_processes),
        ]

    @property
    def agents(self) -> list[Agent]:
        """Those whose VMs are there."""
        there = {vm.id for vm in self.vms}
        return [agent for agent in self.vers.swarm.known() if agent.vm.id in there]

    @property
    def processes(self) -> list[BackgroundProcess]:
        """Those of machines to which there is a connection, or was; what runs an agent is shown as that."""
        agents = self.labels()
        return [
            process
            for (machine, id), process in self._processes.items()
            if not (isinstance(machine, VM) and machine.id in agents and id in AGENTS_OWN)
        ]

    def labels(self) -> dict[str, str]:
        """Those of agents by the ids of their VMs, met or not."""
        return self._said | {agent.vm.id: agent.label for agent in self.agents}

    def watch(self, *, anybody: bool) -> None:
        """Does anybody look? At once, if nobody did before."""
        if not anybody:
            self.watched.clear()
            self.seen.clear()
        elif not self.watched.is_set():
            self.watched.set()
            self.wake()

    def wake(self, *sections: Section) -> None:
        """Look again now, for these, or for all."""
        for name, wake in self._wakes.items():
            if not sections or name in sections:
                wake.set()

    async def once(self) -> None:
        """Look for all of it, now."""
        await self._look_for_vms()
        if self.connection["state"] == "ok":
            rest = self._look_for_sizes, self._look_for_commits, self._look_for_agents
            await asyncio.gather(*map(_leniently, (*rest, self._look_for_processes)))

    async def close(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(
        self, name: Section | Literal["sizes"], look: Callable[[], Awaitable[float]]
    ) -> asyncio.Task[None]:
        wake = self._wakes[name] = asyncio.Event()
        return asyncio.create_task(self._again(look, wake))

    async def _again(self, look: Callable[[], Awaitable[float]], wake: asyncio.Event) -> None:
        while True:
            await self.watched.wait()
            wake.clear()
            try:
                pause = await look()
            except VersError:  # the look for VMs tells of it
                pause = SLOWEST
            except Exception as error:
                log.exception("The dashboard could not look.")
                if look == self._look_for_vms:
                    self._in_trouble(
                        f"They could not be listed: {type(error).__name__}: {error}", "`%vers doctor`"
                    )
                pause = SLOWEST
            self._changed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await wake.wait()

    # VMs, and whether the platform answers.

    async def _look_for_vms(self) -> float:
        why = f"The platform has not answered for {PATIENCE:g} s.", "`%vers doctor` looks for the cause."
        slow = asyncio.get_running_loop().call_later(PATIENCE, self._in_trouble, *why)
        fleet = self.vers.fleet
        chosen = fleet.chosen  # before: what is chosen meanwhile may not be in the answer
        try:
            vms = await fleet.all()
        except VersError as error:
            self._trouble += 1
            self._in_trouble(error.message, error.hint)
            return min(VMS * self._trouble, SLOWEST)
        finally:
            slow.cancel()
        self._trouble = 0
        there = {vm.id for vm in vms}
        came = there ^ {vm.id for vm in self.vms}
        connection = self._connection("ok")
        gone = chosen and chosen.platform == connection["url"] and chosen.vm_id not in there | fleet.leaving
        self.lost = chosen if gone else None
        if connection["url"] != self.connection["url"]:
            self._elsewhere()
        self.vms, self.connection, self.renamed = vms, connection, True
        self._found("machines")
        if came:
            self.wake("commits")
        if any(vm.id not in self._sized for vm in vms):
            self._wakes["sizes"].set()
        told = {vm.id: Membership.of_labels(vm.info.labels) for vm in vms}
        self._said = {id: member.agent for id, member in told.items() if member is not None}
        if self._said.keys() - self._enrolled:
            self._unheard = 0
            self._wakes["agents"].set()
        self._enrolled |= self._said.keys()
        return VMS

    def _found(self, section: Section) -> None:
        self.known.add(section)
        if self.watched.is_set():
            self.seen.add(section)

    def _elsewhere(self) -> None:
        """The settings name another platform by now."""
        self.commits, self._processes = [], {}
        self.known -= {"machines", "commits", "agents"}
        self._sized.clear()
        self._enrolled.clear()
        self.wake("commits", "agents", "processes")

    def _connection(self, state: Literal["connecting", "ok"]) -> Connection:
        url, label = "", "no platform"
        with contextlib.suppress(VersError):  # what is wrong with the settings, a request tells
            url = self.vers.settings.base_url
            label = urlsplit(url).hostname or url
            label = "embedded platform" if self.vers.settings.embedded else label
        return {
            "url": url,
            "label": label,
            "state": state,
            "reason": "",
            "remedy": "",
            "checked": time.time() if state == "ok" else 0.0,
        }

    def _in_trouble(self, reason: str, remedy: str) -> None:
        self.connection = {**self.connection, "state": "trouble", "reason": reason, "remedy": remedy}
        self._changed()

    async def _look_for_sizes(self) -> float:
        """A list tells of no sizes: each VM is asked about once."""
        new = [vm for vm in self.vms if vm.id not in self._sized]
        self._sized.update(vm.id for vm in new)
        if new:
            await self.vers.fleet.learn_sizes(VMs(new), most=len(new))
        return AGENTS

    async def _look_for_commits(self) -> float:
        began = time.perf_counter()
        self.commits = await self.vers.commits()
        self._found("commits")
        return max(COMMITS, LONG * (time.perf_counter() - began))

    async def _look_for_agents(self) -> float:
        """Those that are found are told at once; it may take a while to hear what each has done."""
        try:
            found = await self.vers.swarm.agents()
        except VersError:
            return AGENTS
        self._found("agents")
        unheard = any(not agent.ready or (agent.trouble and agent.state == "starting") for agent in found)
        self._unheard = self._unheard + 1 if unheard else 0
        return min(SOON * self._unheard, AGENTS) if unheard else AGENTS

    # Processes.

    async def _look_for_processes(self) -> float:
        try:
            connected = self.vers.fleet.connected()
        except SettingsError:  # which platform is in use is not known: those of the last are looked at on
            connected = [vm for vm in self.vms if vm.connected]
        machines: list[Machine] = [self.vers.here, *connected]
        active = self.vers.fleet.current
        if active is not None and not active.connected and active not in self._met:
            machines.append(active)  # a kernel that was restarted may have asked it nothing yet
        self._met.update(machine for machine in machines if isinstance(machine, VM))
        turns = asyncio.Semaphore(AT_ONCE)

        async def look(machine: Machine) -> tuple[Machine, list[BackgroundProcess] | None]:
            try:
                async with turns, asyncio.timeout(PATIENCE):
                    return machine, await machine.processes()
            except (VersError, TimeoutError):  # its VM is shown as away
                return machine, None

        found = await asyncio.gather(*map(look, machines))
        found += [(vm, None) for vm in self.vms if snapshot.away(vm) and vm not in machines]
        self._processes = {
            place: process for machine, told in found for place, process in self._told(machine, told)
        }
        self._found("processes")
        return max(PROCESSES, EACH * len(machines))

    def _told(
        self, machine: Machine, told: list[BackgroundProcess] | None
    ) -> list[tuple[Place, BackgroundProcess]]:
        """Its processes; of one that did not answer, as it was. What was seen before is the same object, for
        the load is that since then."""
        if told is None:
            return [(place, each) for place, each in self._processes.items() if place[0] is machine]
        processes = []
        for new in told:
            known = self._processes.get((machine, new.id))
            if known is not None and known.status.run == new.status.run:
                known.measured(new.status)
                new = known
            processes.append(((machine, new.id), new))
        return processes


async def _leniently(look: Callable[[], Awaitable[float]]) -> None:
    """What the platform does not tell is left out."""
    with contextlib.suppress(VersError):
        await look()
