"""From one commit to agents that are ready: machines all at once, each told who it is, each with its outcome.

That VMs are asked for is on record before that is done, and each VM before anything is done with it. One that
does not become an agent is on record as to be deleted first: what is not gone then is shown, and a later look
tries again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import AgentEndedError, ApiError, SpawnError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.swarm import identity
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.agentskills import AgentSkills
from pi_v_jupyter.swarm.intents import Choose, Intents
from pi_v_jupyter.swarm.membership import Membership, Records
from pi_v_jupyter.swarm.piconfig import PiConfig
from pi_v_jupyter.swarm.secrets import Secrets
from pi_v_jupyter.swarm.undoing import Undoing
from pi_v_jupyter.threads import to_its_end
from pi_v_jupyter.vm import VM

AT_ONCE = 16  # VMs that are made ready at the same time
READY_TIMEOUT = 240.0  # seconds for one; a pi that starts in an emulated VM takes 35
KEEPS_NO_LABELS = (400, 404, 405, 501)  # answers of a platform that has none


@dataclass(frozen=True)
class Order:
    """What is wanted. `choose` tells the labels; `model` is provider and id; `expires` in seconds since the
    epoch, 0: never."""

    commit: Commit
    choose: Choose
    model: tuple[str, str] | None
    secrets: Secrets
    expires: int
    max_vms: int
    skills: AgentSkills
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
    """One spawn. `make` is called with the VM and the membership of each."""

    fleet: Fleet
    records: Records
    order: Order
    make: Callable[[VM, Membership], Agent]
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _open: dict[str, Membership] = field(default_factory=dict)  # VMs that are neither agents nor gone

    async def run(self) -> list[Spawned]:
        """All of them, in order. Cancelling it deletes what is not ready yet.

        Raises:
            UsageError: these agents cannot be.
            VersError: no VM could be made.
        """
        order, intents = self.order, Intents(self.fleet, self.records)
        try:
            async with intents.asking(order.commit, order.choose) as intent:
                ids = await self.fleet.make_of(order.commit, len(intent.labels), intent.key)
                root, commit = ids[0], order.commit.id
                ready_by = self._ready_by(len(ids))
                members = [
                    Membership(label, root, commit, order.expires, ready_by=ready_by)
                    for label in intent.labels
                ]
                self._open.update(zip(ids, members, strict=True))
                await intents.answered(intent, self._open)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(*each)) for each in zip(ids, members, strict=True)]
        except BaseException:
            await self._give_up()
            raise
        outcomes = [task.result() for task in tasks]
        await self._introduce([outcome.agent for outcome in outcomes if outcome.agent is not None])
        return outcomes

    def _ready_by(self, count: int) -> int:
        """When the last of so many is ready, or was given up."""
        rounds = math.ceil(count / AT_ONCE)
        return math.ceil(self.fleet.client.now() + rounds * READY_TIMEOUT)

    async def _one(self, vm_id: str, member: Membership) -> Spawned:
        async with self._turns:
            try:
                async with asyncio.timeout(READY_TIMEOUT):
                    agent = await self._ready(vm_id, member)
            except TimeoutError:
                error: VersError = SpawnError(
                    f"{member.agent} was not ready after {READY_TIMEOUT:g} s.",
                    "`%vers doctor` looks at the way to its VM.",
                )
            except AgentEndedError as failure:  # whose VM is deleted, with all that it wrote
                error = SpawnError(
                    failure.message,
                    "`--bare` leaves your own configuration of pi out."
                    if self.order.config is not None
                    else "`%vers golden build` makes another image.",
                )
            except VersError as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001  whatever it is, the others go on
                error = SpawnError(
                    f"{member.agent} could not be made: {type(failure).__name__}: {failure}.",
                    "`%vers swarm spawn` makes another.",
                )
                error.__cause__ = failure
            else:
                agent.member = replace(agent.member, ready_by=0)
                await to_its_end(self.records.keep, vm_id, agent.member)
                del self._open[vm_id]
                return Spawned(member.agent, agent)
            await self._undoing.mark({vm_id: member})
            return Spawned(member.agent, None, error, await self._undo(vm_id))

    async def _ready(self, vm_id: str, member: Membership) -> Agent:
        vm = await self.fleet.take_up(vm_id, self.order.commit, member.agent)
        await label(self.fleet, vm, member)
        await vm.connect()
        await identity.introduce(vm, member, self.order.max_vms, self.order.budget)
        await identity.entrust(vm, self.order.secrets)
        await identity.entrust(vm, await self._keys(vm, member.swarm))
        # Before its pi begins a session, which is when that reads them.
        await self.order.skills.give(vm)
        if self.order.config is not None:
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
        await to_its_end(self.records.keep, agent.vm.id, agent.member)
        await label(self.fleet, agent.vm, agent.member)
        await identity.introduce(agent.vm, agent.member, self.order.max_vms, self.order.budget)

    async def _introduce(self, ready: Sequence[Agent]) -> None:
        """Have them know of each other, by the registry of their swarm."""
        if not ready:
            return
        root = ready[0].vm
        try:
            if ready[0].member.swarm != root.id:  # the root did not become one
                await asyncio.gather(*(self._join(agent, root.id) for agent in ready))
            await identity.register(root, add=[identity.entry(agent.vm, agent.member) for agent in ready])
        except Exception as error:  # noqa: BLE001  they are there, and can be spoken to
            self.fleet.on_notice(
                f"The new agents are ready, but do not know of each other, as their registry on {root.label} "
                f"could not be written: {error} `%vers swarm teardown` and a new spawn mend that."
            )

    async def _give_up(self) -> None:
        """Delete those that are not ready. When this is cancelled too, a later look does it."""
        if self._open:
            await self._undoing.mark(dict(self._open))
            await asyncio.gather(*map(self._undo, [*self._open]))

    async def _undo(self, vm_id: str) -> str:
        """Delete it; what became of that, in words."""
        try:
            await self._undoing.delete(vm_id)
            told = "was deleted"
        except VersError as error:
            told = f"could not be deleted: {error.message}"
        del self._open[vm_id]
        return f"its VM {vm_id[:8]} {told}"

    @property
    def _undoing(self) -> Undoing:
        return Undoing(self.fleet, self.records)
