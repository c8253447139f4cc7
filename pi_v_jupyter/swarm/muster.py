"""Which VMs are agents', whoever has made them, and which VMs those have made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pi_v_jupyter import names
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.swarm import adoption
from pi_v_jupyter.swarm.membership import Membership, Records
from pi_v_jupyter.swarm.registry_service import RegistryService
from pi_v_jupyter.vm import VM

Members = list[tuple[VM, Membership]]


class Muster:
    """Those of whichever platform the settings name now."""

    def __init__(self, fleet: Fleet, registry: RegistryService) -> None:
        self._fleet, self._registry = fleet, registry

    @property
    def records(self) -> Records:
        """The agents' VMs on record here."""
        return Records(self._fleet.state, self._fleet.settings.base_url)

    async def members(self) -> Members:
        """The VMs that are agents', as their labels, our own records or a registry service say."""
        vms, entries = await asyncio.gather(self._fleet.all(), self._registry.entries())
        found = self._recorded(vms)
        known = {vm.id for vm, _ in found}
        told = [
            adoption.Stray(vm, entries[vm.id].metadata.agent, vm.id, entries[vm.id].metadata.commit)
            for vm in vms
            if vm.id in entries and vm.id not in known
        ]
        return await self._enroll(told, found) if told else found

    def _recorded(self, vms: Iterable[VM]) -> Members:
        recorded = self.records.all()
        found = []
        for vm in vms:
            member = recorded.pop(vm.id, None) or Membership.of_labels(vm.info.labels)
            if member is not None:
                found.append((vm, member))
        for vm_id in recorded:  # those are gone
            self.records.forget(vm_id)
        return found

    async def _enroll(self, strays: Iterable[adoption.Stray], known: Members) -> Members:
        """Take those in; all members then."""
        await adoption.enroll(self._fleet, self.records, strays, {member.agent for _, member in known})
        return self._recorded(await self._fleet.all())

    async def adopt(self) -> None:
        """Take in the agents that pi-v has spawned: every VM that runs and is none is looked into."""
        members = await self.members()
        known = {vm.id for vm, _ in members}
        looked = await adoption.look(vm for vm in await self._fleet.all() if vm.id not in known)
        if looked.strays:
            now = await self._enroll(looked.strays, members)
            await self._registry.add((vm.id, member) for vm, member in now if vm.id not in known)
        if looked.shut:
            called = ", ".join(names.shown(vm.label) for vm in looked.shut)
            self._fleet.on_notice(f"Not looked into for agents of pi-v, as not to be reached: {called}.")

    async def offspring(self, makers: set[str]) -> Members:
        """The VMs that those with these ids have made with their keys, and those that these have made."""
        recorded = self.records.all()
        return [
            (
                vm,
                recorded.get(vm.id)
                or Membership(vm.name or vm.id[:8], commit=vm.info.parent_commit_id or ""),
            )
            for vm in await self._fleet.all()
            if vm.id not in makers and makers & {*vm.info.made_by}
        ]
