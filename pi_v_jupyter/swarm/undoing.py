"""VMs of a spawn that did not become agents: on record as leaving until they are deleted.

Whatever ends that (another stop, a platform that refuses), they are shown, and a later look goes on with it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from pi_v_jupyter.errors import NotFoundError, SettingsError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.swarm import membership
from pi_v_jupyter.swarm.membership import Membership, Records
from pi_v_jupyter.threads import to_its_end

KIND = "undone"  # in our state: the ids of those VMs


@dataclass(frozen=True)
class Undoing:
    """Those of one platform."""

    fleet: Fleet
    records: Records

    async def mark(self, doomed: Mapping[str, Membership]) -> None:
        """Put on record that these are to go."""
        with contextlib.suppress(SettingsError):  # that is no reason to keep them
            await to_its_end(self._mark, doomed)

    def _mark(self, doomed: Mapping[str, Membership]) -> None:
        with self.fleet.state.changing(self.fleet.settings.base_url) as known:
            for vm_id, member in doomed.items():
                text = json.dumps(asdict(replace(member, leaving=True)))
                known.setdefault(membership.KIND, {})[vm_id] = text
                known.setdefault(KIND, {})[vm_id] = member.agent

    async def delete(self, vm_id: str) -> None:
        """Have one go, and put on record that it has.

        Raises:
            VersError: the platform does not do that.
        """
        with contextlib.suppress(NotFoundError):
            await self.fleet.client.delete_vm(vm_id)
        with contextlib.suppress(SettingsError):  # a later look sees that it is gone
            await to_its_end(self._forget, vm_id)

    def _forget(self, vm_id: str) -> None:
        with self.fleet.state.changing(self.fleet.settings.base_url) as known:
            for kind in (membership.KIND, KIND):
                known.get(kind, {}).pop(vm_id, None)

    async def retry(self) -> None:
        """Delete those that are left, but for what somebody has named otherwise or runs cells on by now.

        Raises:
            VersError: the platform cannot be asked.
        """
        state, url = self.fleet.state, self.fleet.settings.base_url
        undone = state.all(url, KIND)
        if not undone:
            return
        there = {vm.id: vm for vm in await self.fleet.all()}
        used = {*state.all(url, "active").values(), *(vm.id for vm in [self.fleet.current] if vm)}
        for vm_id, agent in undone.items():
            if vm_id not in there:
                await to_its_end(self._forget, vm_id)
            elif vm_id not in used and there[vm_id].name in ("", agent):
                with contextlib.suppress(VersError):  # it is shown as leaving
                    await self.delete(vm_id)
