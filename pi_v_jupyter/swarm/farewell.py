"""Agents deleted with their VMs and with what they have made, and what of that stays."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pi_v_jupyter import names
from pi_v_jupyter.errors import NotFoundError, UnknownAgentError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.swarm import identity
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.membership import Membership
from pi_v_jupyter.swarm.muster import Members, Muster
from pi_v_jupyter.swarm.registry_service import RegistryService
from pi_v_jupyter.vm import VM

PATIENCE = 5.0  # seconds for the registry on a VM to be read
LARGEST = 1 << 20  # bytes of it
Outcomes = list[tuple[str, VersError | None]]


@dataclass
class Farewell:
    """The end of some; `agents` are those that are listened to, by the ids of their VMs."""

    fleet: Fleet
    muster: Muster
    registry: RegistryService
    agents: dict[str, Agent]

    async def sweep(self, members: Members) -> Members:
        """Delete those whose time is up, and say so; the members that are left.

        What they have made goes with them, but for what the user has named or uses.
        """
        overdue = self.muster.overdue(members)
        if not overdue:
            return members
        makers = {vm.id for vm, _ in overdue}
        stays = await self.staying(overdue)
        made, doomed = await self.muster.offspring(makers), await self.muster.offspring(makers, sparing=True)
        spared = {vm.id for vm, _ in made} - {vm.id for vm, _ in doomed}
        stays += [vm for vm, _ in made if vm.id in spared]
        outcomes = await self.end(overdue, sparing=True)
        gone = [names.shown(label) for label, error in outcomes if error is None]
        notice = [f"Their time was up: {', '.join(gone)} deleted."] if gone else []
        notice += [
            f"The time of {names.shown(label)} is up, and it could not be deleted: {error}"
            for label, error in outcomes
            if error is not None
        ]
        self.fleet.on_notice(" ".join(notice + ([told_of(stays)] if stays else [])))
        failed = {label for label, error in outcomes if error is not None}
        return [
            (vm, replace(member, leaving=True) if vm.id in makers else member)
            for vm, member in members
            if vm.id not in makers or member.agent in failed
        ]

    async def end(self, members: Members, *, sparing: bool = False) -> Outcomes:
        """Delete agents, and then what they made: one that is there could make more. What came of each.

        `sparing` leaves of the latter what the user has named or uses.
        """
        makers = {vm.id for vm, _ in members}
        doomed = await self.muster.offspring(makers, sparing=sparing)
        for vm, member in doomed:  # should this end in between, nothing else would tell whose they were
            self.muster.records.leave(vm.id, member)
        outcomes = await asyncio.gather(*(self._delete(vm, member) for vm, member in members))
        gone = [vm.id for (vm, _), outcome in zip(members, outcomes, strict=True) if outcome is None]
        made = await self.muster.offspring({*gone}, sparing=sparing) if gone else []
        more = await asyncio.gather(*(self._delete(vm, member) for vm, member in made))
        for vm_id in {vm.id for vm, _ in doomed} - {vm.id for vm, _ in made}:
            self.muster.records.forget(vm_id)
        ended = [*zip([*members, *made], [*outcomes, *more], strict=True)]
        gone += [vm.id for (vm, _), outcome in ended[len(members) :] if outcome is None]
        await self._unregister(gone, {member.swarm for _, member in members})
        return [(member.agent, outcome) for (_, member), outcome in ended]

    async def late(self, vm: VM) -> Outcomes:
        """For a VM that is no agent's: refused, or forgotten where it has gone.

        What one that was known as an agent's had made goes then, but for what the user has named or uses.
        """
        agent = self.agents.get(vm.id)
        label = agent.label if agent is not None else vm.label
        try:
            with contextlib.suppress(NotFoundError):
                await self.fleet.client.vm_status(vm.id)  # a list may not have it yet
                raise UnknownAgentError("It is no agent's VM any more.", "`%vers rm` deletes VMs.")
            self.fleet.check_platform(vm)
            if agent is not None:
                return await self.end([(vm, agent.member)], sparing=True)
            await self.fleet.delete(vm)
        except VersError as error:
            return [(label, error)]
        return [(label, None)]

    async def _delete(self, vm: VM, member: Membership) -> VersError | None:
        self.muster.records.leave(vm.id, member)
        try:
            agent = self.agents.get(vm.id)
            if agent is not None:
                await agent.close()
            with contextlib.suppress(NotFoundError):
                await self.fleet.delete(vm)
        except VersError as error:
            return error
        except asyncio.CancelledError:  # if the platform goes on with it, the record goes with the VM
            self.muster.records.keep(vm.id, member)
            raise
        self.muster.records.forget(vm.id)
        self.agents.pop(vm.id, None)
        await self.registry.remove(vm.id)
        return None

    async def _unregister(self, gone: Sequence[str], roots: set[str]) -> None:
        for vm in await self.fleet.all():
            if gone and vm.id in roots:
                with contextlib.suppress(VersError):  # a registry on a VM that cannot be reached
                    await identity.register(vm, remove=gone)

    async def staying(self, members: Members) -> list[VM]:
        """VMs that these have made, as the registries on their swarms' roots say, and that would stay.

        Where the platform tells who made what, there are none. A registry is written by agents, so nothing
        is deleted for what it says.
        """
        if all("made_by" in info.model_fields_set for info in await self.fleet.client.list_vms()):
            return []
        everyone = await self.muster.members()
        known, doomed = {vm.id for vm, _ in everyone}, {vm.id for vm, _ in members}
        swarms = {member.swarm for _, member in members}
        roots = [vm for vm, _ in everyone if vm.id in swarms]
        told = zip(roots, await asyncio.gather(*map(_registry, roots)), strict=True)
        made = {
            vm_id
            for root, parents in told
            for vm_id in parents
            if root.id in doomed or _below(vm_id, parents, doomed)
        }
        return [vm for vm in await self.fleet.all() if vm.id in made - known]


def told_of(stays: Sequence[VM]) -> str:
    """That those stay, in a sentence."""
    called = ", ".join(names.shown(vm.label) for vm in stays)
    return f"Made by agents, these stay: {called}. `%vers rm` deletes them."


def _below(vm_id: str, parents: Mapping[str, str], makers: set[str]) -> bool:
    seen = set[str]()
    while vm_id in parents and vm_id not in seen:
        seen.add(vm_id)
        vm_id = parents[vm_id]
        if vm_id in makers:
            return True
    return False


async def _registry(root: VM) -> dict[str, str]:
    """The VMs in the registry there, and by which each was made; none when it cannot be read."""
    try:
        async with asyncio.timeout(PATIENCE):
            told = await root.run(f"head -c {LARGEST} ~/.swarm/registry.json")
        return {str(entry["vmId"]): str(entry["parentVmId"]) for entry in json.loads(told.stdout)["vms"]}
    except (VersError, TimeoutError, ValueError, KeyError, TypeError, RecursionError):
        return {}
