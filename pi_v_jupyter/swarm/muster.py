"""Which VMs are agents', whoever has made them, and which VMs those have made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pi_v_jupyter import names
from pi_v_jupyter.errors import NotFoundError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.swarm import adoption
from pi_v_jupyter.swarm.membership import Membership, Records, distinct
from pi_v_jupyter.swarm.registry_service import RegistryService
from pi_v_jupyter.vm import VM

Members = list[tuple[VM, Membership]]


class Muster:
    """Those of whichever platform the settings name now."""

    def __init__(self, fleet: Fleet, registry: RegistryService) -> None:
        self._fleet, self._registry = fleet, registry
        self._looked: set[str] = set()  # ids of VMs that the registry named, and that were looked into

    @property
    def records(self) -> Records:
        """The agents' VMs on record here."""
        return Records(self._fleet.state, self._fleet.settings.base_url)

    async def members(self) -> Members:
        """The VMs that are agents', as our own records, their labels or a registry service say.

        What that service says is looked into: a VM is an agent's if it says so itself.
        """
        found, entries = await asyncio.gather(self._there(), self._registry.entries())
        known = self._looked | {vm.id for vm, _ in found}
        told = [vm for vm in await self._fleet.all() if vm.id in entries.keys() - known] if entries else []
        if not told:
            return found
        looked = await adoption.look(told, of_pi_v=False)
        self._looked |= {vm.id for vm in told}
        return await self._enroll(looked.strays) if looked.strays else found

    async def _there(self) -> Members:
        """As our own records and labels say."""
        recorded = self.records.all()  # before the list: what is on record by now is in that, or gone
        vms = await self._fleet.all()
        said = [(vm, recorded.get(vm.id) or Membership.of_labels(vm.info.labels)) for vm in vms]
        found = [(vm, member) for vm, member in said if member is not None]
        await asyncio.gather(*map(self._doubt, recorded.keys() - {vm.id for vm in vms}))
        now = self._fleet.client.now()
        told = distinct([(vm.id, member.at(now)) for vm, member in found], recorded)
        return [(vm, member) for (vm, _), member in zip(found, told, strict=True)]

    async def _doubt(self, vm_id: str) -> None:
        """Forget one that no list has, if the platform says that it is gone."""
        try:
            await self._fleet.client.vm_status(vm_id)
        except NotFoundError:
            self.records.forget(vm_id)
        except VersError:  # the next look asks again
            return

    async def _enroll(self, strays: Iterable[adoption.Stray]) -> Members:
        """Take those in that are none by now; all members then."""
        now = await self._there()
        known = {vm.id for vm, _ in now}
        new = [stray for stray in strays if stray.vm.id not in known]
        await adoption.enroll(self._fleet, self.records, new, {member.agent for _, member in now})
        return await self._there()

    def overdue(self, members: Members) -> Members:
        """Those whose time is up by the platform's clock, if that is on record here or the VM is named so."""
        recorded, now = self.records.all(), self._fleet.client.now()
        return [
            (vm, member)
            for vm, member in members
            if member.overdue(now) and (vm.id in recorded or vm.name == member.agent)
        ]

    async def adopt(self) -> None:
        """Take in the agents that pi-v has spawned: every VM that runs and is none is looked into."""
        self._looked.clear()
        members = await self.members()
        known = {vm.id for vm, _ in members}
        looked = await adoption.look(vm for vm in await self._fleet.all() if vm.id not in known)
        if looked.strays:
            now = await self._enroll(looked.strays)
            await self._registry.add((vm.id, member) for vm, member in now if vm.id not in known)
        if looked.shut:
            called = ", ".join(names.shown(vm.label) for vm in looked.shut)
            self._fleet.on_notice(f"Not looked into for agents of pi-v, as not to be reached: {called}.")

    async def offspring(self, makers: set[str], *, sparing: bool = False) -> Members:
        """The VMs that those with these ids have made with their keys, and those that these have made.

        With `sparing`, without those that are the user's by now.
        """
        recorded = self.records.all()
        vms = [vm for vm in await self._fleet.all() if vm.id not in makers and makers & {*vm.info.made_by}]
        kept = self._users(vms) if sparing else set()
        return [
            (vm, recorded.get(vm.id) or Membership(_called(vm), commit=vm.info.parent_commit_id or ""))
            for vm in vms
            if vm.id not in kept
        ]

    def _users(self, vms: Iterable[VM]) -> set[str]:
        """The ids of those that have a name, which agents' tools give to none, or that cells run on, and of
        what these have made.
        """
        current = self._fleet.current
        used = {*self._fleet.state.all(self._fleet.settings.base_url, "active").values()}
        kept = {vm.id for vm in vms if vm.name or vm.id in used or vm is current}
        return kept | {vm.id for vm in vms if kept & {*vm.info.made_by}}


def _called(vm: VM) -> str:
    return vm.name if names.is_name(vm.name) else vm.id[:8]
