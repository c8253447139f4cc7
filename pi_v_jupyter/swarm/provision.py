"""From one commit to agents that are ready: machines all at once, each told who it is, each with its outcome.

That VMs are asked for is on record before that is done, and each VM before anything is done with it. One that
does not become an agent is deleted; what cannot be deleted stays on record, and is shown until it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import ApiError, NotFoundError, SpawnError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.swarm import identity
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.intents import Intents
from pi_v_jupyter.swarm.membership import Membership, Records
from pi_v_jupyter.swarm.piconfig import PiConfig
from pi_v_jupyter.swarm.secrets import Secrets
from pi_v_jupyter.vm import VM

AT_ONCE = 16  # VMs that are made ready at the same time
READY_TIMEOUT = 240.0  # seconds for one; a pi that starts in an emulated VM takes 35
KEEPS_NO_LABELS = (400, 404, 405, 501)  # answers of a platform that has none


@dataclass(frozen=True)
class Order:
    """What is wanted. `model` is provider and id; `expires` in seconds since the epoch, 0: never."""

    commit: Commit
    labels: Sequence[str]
    model: tuple[str, str] | None
    secrets: Secrets
    expires: int
    max_vms: int
    config: PiConfig | None = None
    budget: float | None = None  # US dollars, of each agent


@dataclass(frozen=True)
class Spawned:
    """What became of one: an agent that is idle, or an error and what was cleaned up."""

    label: str
    agent: Agent | None = None
    error: VersError | None = None
    cleaned: str = ""


async def label(fleet: Fleet, vm: VM, member: Membership) -> None:
    """Have the platform tell what a VM is, if it keeps labels."""
    try:
        await fleet.client.label_vm(vm.id, member.labels())
    except ApiError as error:
        if error.status not in KEEPS_NO_LABELS:
            raise


@dataclass
class Provision:
    """One spawn. `made` is called with each agent's VM and membership; `on_progress` with a line of words."""

    fleet: Fleet
    records: Records
    order: Order
    make: Callable[[VM, Membership], Agent]
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def run(self) -> list[Spawned]:
        """All of them, in order. Cancelling it deletes what is not ready yet.

        Raises:
            VersError: no VM could be made.
        """
        order = self.order
        async with Intents(self.fleet, self.records).asking(order.commit, len(order.labels)) as key:
            ids = await self.fleet.make_of(order.commit, len(order.labels), key)
            members = [Membership(label, ids[0], order.commit.id, order.expires) for label in order.labels]
            for vm_id, member in zip(ids, members, strict=True):
                self.records.keep(vm_id, member)
        outcomes = await asyncio.gather(*map(self._one, ids, members))
        ready = [outcome.agent for outcome in outcomes if outcome.agent is not None]
        if ready and ready[0].vm.id != ids[0]:  # the root did not become one
            await asyncio.gather(*(self._join(agent, ready[0].vm.id) for agent in ready))
        if ready:
            await identity.register(
                ready[0].vm, add=[identity.entry(agent.vm, agent.member) for agent in ready]
            )
        return list(outcomes)

    async def _one(self, vm_id: str, member: Membership) -> Spawned:
        async with self._turns:
            try:
                async with asyncio.timeout(READY_TIMEOUT):
                    return Spawned(member.agent, await self._ready(vm_id, member))
            except TimeoutError:
                error: VersError = SpawnError(
                    f"{member.agent} was not ready after {READY_TIMEOUT:g} s.",
                    "`%vers doctor` looks at the way to its VM.",
                )
            except VersError as failure:
                error = failure
            except BaseException:
                await asyncio.shield(self._undo(vm_id, member))
                raise
            return Spawned(member.agent, None, error, await self._undo(vm_id, member))

    async def _ready(self, vm_id: str, member: Membership) -> Agent:
        vm = await self.fleet.take_up(vm_id, self.order.commit, member.agent)
        await label(self.fleet, vm, member)
        await vm.connect()
        await identity.introduce(vm, member, self.order.max_vms, self.order.budget)
        await identity.entrust(vm, self.order.secrets)
        await identity.entrust(vm, await self._keys(vm, member.swarm))
        if self.order.config is not None:  # before its pi begins a session, which is when that reads it
            await self.order.config.give(vm)
        agent = self.make(vm, member)
        await agent.begin(self.order.model)
        return agent

    async def _keys(self, vm: VM, swarm: str) -> Secrets:
        """What it needs to have VMs of its own: a key that is good for those alone, where there are such."""
        endpoint = self.fleet.settings.endpoint()
        own = await self.fleet.client.vm_key(vm.id, self.order.max_vms, swarm)
        if own is not None:
            return Secrets(VERS_API_KEY=own.api_key, VERS_BASE_URL=own.base_url)
        return Secrets(VERS_API_KEY=endpoint.api_key, VERS_BASE_URL=endpoint.base_url)

    async def _join(self, agent: Agent, root: str) -> None:
        agent.member = replace(agent.member, swarm=root)
        self.records.keep(agent.vm.id, agent.member)
        await label(self.fleet, agent.vm, agent.member)
        await identity.introduce(agent.vm, agent.member, self.order.max_vms, self.order.budget)

    async def _undo(self, vm_id: str, member: Membership) -> str:
        """Delete it; what became of that, in words."""
        try:
            with contextlib.suppress(NotFoundError):
                await self.fleet.client.delete_vm(vm_id)
        except VersError as error:
            self.records.leave(vm_id, member)
            return f"its VM {vm_id[:8]} could not be deleted: {error.message}"
        self.records.forget(vm_id)
        return f"its VM {vm_id[:8]} was deleted"
