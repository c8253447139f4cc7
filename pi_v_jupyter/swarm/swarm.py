"""All agents of an account: spawned, found again, given tasks, waited for, torn down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from pi_v_jupyter import names
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import UnknownAgentError, UnknownCommitError, UsageError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.swarm import agentskills, identity, models, piconfig, secrets
from pi_v_jupyter.swarm.agent import Agent, Result
from pi_v_jupyter.swarm.farewell import Farewell, Outcomes, told_of
from pi_v_jupyter.swarm.hearing import LET_GO
from pi_v_jupyter.swarm.intents import Intents
from pi_v_jupyter.swarm.membership import Membership, Records
from pi_v_jupyter.swarm.muster import Members, Muster
from pi_v_jupyter.swarm.planning import Plans
from pi_v_jupyter.swarm.provision import Order, Provision, Spawned
from pi_v_jupyter.swarm.registry_service import RegistryService
from pi_v_jupyter.swarm.room import Room
from pi_v_jupyter.swarm.undoing import Undoing
from pi_v_jupyter.vm import VM

TAG = "golden"
MOST = 20  # agents of an account, unless another number is given
PATIENCE = 15.0  # seconds that finding agents again waits for each
Ending = Literal["finished", "timed out", "waiting for you", "not heard"]


@dataclass(frozen=True)
class Waited:
    """What a wait came to: its ending, one result per agent, and who had not finished.

    `unheard`: those of them of which nothing more would have been heard, each with why.
    """

    ending: Ending
    results: tuple[Result, ...]
    unfinished: tuple[str, ...] = ()
    unheard: tuple[tuple[str, str], ...] = ()


class Agents(list[Agent]):
    """A list of agents that shows as a table in a notebook."""


class Spawns(list[Spawned]):
    """The outcomes of a spawn, which show as a table in a notebook.

    `brought`: what agents were given of the user's own configuration of pi, in words.
    """

    brought: tuple[str, ...] = ()

    @property
    def agents(self) -> Agents:
        """Those that are ready."""
        return Agents(each.agent for each in self if each.agent is not None)


class Swarm:
    """The agents of whichever platform the settings name now. An agent's label is its VM's name."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.home = fleet.home
        self.registry = RegistryService(fleet.settings, fleet.on_notice)
        self._muster = Muster(fleet, self.registry)
        self._agents: dict[str, Agent] = {}  # by the id of the VM
        self.plans = Plans(fleet)
        self._farewell = Farewell(fleet, self._muster, self.registry, self._agents)

    @property
    def records(self) -> Records:
        """The agents' VMs on record here."""
        return self._muster.records

    def known(self) -> Agents:
        """Those seen so far, without asking."""
        return Agents(sorted(self._agents.values(), key=lambda agent: agent.label))

    @at_home
    async def spawn(
        self,
        commit: Commit | str = TAG,
        n: int = 1,
        *,
        labels: Sequence[str] = (),
        model: str | None = None,
        key_env: str | None = None,
        max_vms: int = MOST,
        ttl: timedelta | None = None,
        bare: bool = False,
        budget: float | None = None,
    ) -> Spawns:
        """Make `n` agents of a golden commit, all at once; what became of each.

        `model` is PROVIDER/ID; its key is read from the variable `key_env`, or the provider's usual one.
        `max_vms` bounds the agents of the account; after `ttl` any session may delete them. An agent whose
        session has cost `budget`, in US dollars, asks before it goes on.
        Each is given this computer's configuration of pi, without files named as keys are; not if `bare`.

        Raises:
            UsageError: a label cannot be one or is taken, there would be too many agents, a limit is out of
                bounds, or the configuration of pi is too large or damaged.
            SettingsError: there is no key.
            UnknownCommitError: there is no such commit.
        """
        identity.check_limits(max_vms, budget)
        if isinstance(commit, str):
            commit = await self._commit(commit)
        chosen = models.named(model) if model is not None else None
        keys = secrets.of_provider(chosen[0] if chosen else "anthropic", key_env)
        room = await self._room(n, labels, max_vms)
        expires = int(self.fleet.client.now() + ttl.total_seconds()) if ttl else 0
        config = None if bare else await asyncio.to_thread(piconfig.pack, piconfig.folder())
        documents = await asyncio.to_thread(agentskills.pack)
        order = Order(commit, room.choose, chosen, keys, expires, max_vms, documents, config, budget)
        outcomes = await Provision(self.fleet, self.records, order, Agent).run()
        for outcome in outcomes:
            if outcome.agent is not None:
                before = self._agents.get(outcome.agent.vm.id)
                self._agents[outcome.agent.vm.id] = outcome.agent
                if before is not None:  # somebody has looked while it was made
                    await before.close()
        await self.registry.add(
            (each.agent.vm.id, each.agent.member) for each in outcomes if each.agent is not None
        )
        spawns = Spawns(outcomes)
        spawns.brought = config.contents if config is not None else ()
        return spawns

    async def _commit(self, name: str) -> Commit:
        try:
            return await self.fleet.commits.find_anyhow(name)
        except UnknownCommitError:
            if name != TAG:
                raise
            raise UnknownCommitError(
                f"There is no golden image: no commit has the tag {TAG}.", "`%vers golden build` makes one."
            ) from None

    async def _room(self, n: int, labels: Sequence[str], max_vms: int) -> Room:
        if n < 1:
            raise UsageError("A swarm has one agent at least.", "`-n 1`.")
        if labels and (len(labels) != n or len(set(labels)) != n):
            raise UsageError(f"{n} agents need {n} labels, each once.", "`--labels a,b,c`, or leave it out.")
        members = {vm.id: member.agent for vm, member in await self._muster.members()}
        vms = await self.fleet.all()
        room = Room(n, labels, max_vms, members, [vm.id for vm in vms], {vm.name for vm in vms})
        room.choose({}, ())  # what is clear already is told at once
        return room

    @at_home
    async def discover(self) -> Agents:
        """All agents, as `agents` has them, and those that pi-v has spawned, which are ours from now on.

        Every VM that runs and is none is looked into for that.
        """
        await self._muster.adopt()
        return await self.agents()

    @at_home
    async def agents(self) -> Agents:
        """All agents of the account, whoever spawned them, by label: found again where need be.

        Those whose time is up are deleted. VMs that may be of a spawn which was cut off are told of.
        """
        await Undoing(self.fleet, self.records).retry()
        left = await Intents(self.fleet, self.records).settle()
        if left:
            self.fleet.on_notice(
                "A spawn was cut off, and may have left VMs that have no name. If these are not yours, "
                f"`%vers rm {' '.join(vm_id[:8] for vm_id in left)}` deletes them."
            )
        there = await self._farewell.sweep(await self._muster.members())
        await asyncio.gather(*(self._meet(vm, member) for vm, member in there))
        for vm_id in self._agents.keys() - {vm.id for vm, _ in there}:
            await self._agents.pop(vm_id).close()
        return self.known()

    async def _meet(self, vm: VM, member: Membership) -> None:
        agent = self._agents.get(vm.id)
        if agent is None:
            agent = self._agents[vm.id] = Agent(vm, member)
        if agent.ready:  # what was on record before it was so
            member = replace(member, ready_by=0)
        agent.member = member
        with contextlib.suppress(VersError, TimeoutError):  # the agent tells why it is not heard
            async with asyncio.timeout(PATIENCE):
                await agent.attach()

    @at_home
    async def agent(self, label: str) -> Agent:
        """The agent of that label.

        Raises:
            UnknownAgentError: there is none.
        """
        (found,) = await self._chosen([label])
        return found

    async def _chosen(self, labels: Iterable[str]) -> Agents:
        """Those of these labels, or all; looked for on the platform when one is not known."""
        wanted = list(dict.fromkeys(labels))
        known = {agent.label: agent for agent in self._agents.values() if agent.ready}
        if not wanted or any(label not in known for label in wanted):
            known = {agent.label: agent for agent in await self.agents()}
        for label in wanted:
            if label not in known:
                raise _unknown(label, known)
        return Agents(known[label] for label in wanted or sorted(known))

    @at_home
    async def chosen(self, *labels: str) -> Agents:
        """The agents of these labels; without any, all there are.

        Raises:
            UnknownAgentError: there is none of a label.
        """
        return await self._chosen(labels)

    @at_home
    async def wait(self, *labels: str, timeout: float = 300.0) -> Waited:
        """Until each of these agents, or all, has nothing to do; `timeout` in seconds, 0 for any time.

        One that was given no task has finished; one that waits for an answer of yours has not, and is waited
        for no longer when the others have. Nor is one that is not heard: it cannot be, or was deleted,
        restarted or closed meanwhile.
        """
        agents = await self._chosen(labels)
        changed = asyncio.Event()
        ends = [agent.listen(lambda _: changed.set()) for agent in agents]
        late = False
        try:
            async with asyncio.timeout(timeout or None):
                await asyncio.gather(*(agent.attach() for agent in agents), return_exceptions=True)
                while any(agent.busy and agent.state != "waiting" and agent.listened_to for agent in agents):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            late = True
        finally:
            for end in ends:
                end()
        left = [agent for agent in agents if agent.busy]
        unheard = tuple((agent.label, agent.trouble or LET_GO) for agent in left if not agent.listened_to)
        ending: Ending = "finished"
        if left:
            ending = "timed out" if late else "not heard" if unheard else "waiting for you"
        results = tuple(agent.result() for agent in agents)
        return Waited(ending, results, tuple(agent.label for agent in left), unheard)

    @at_home
    async def labels(self) -> list[str]:
        """Those of all agents, told without speaking to any."""
        return sorted(await self.machines())

    @at_home
    async def machines(self, *labels: str) -> dict[str, VM]:
        """The VMs of these agents, or of all, by label; told without speaking to any.

        Raises:
            UnknownAgentError: there is none of a label.
        """
        members = sorted(await self._members(labels), key=lambda each: each[1].agent)
        return {member.agent: vm for vm, member in members}

    async def _members(self, agents: Collection[str | VM]) -> Members:
        """Those of these labels, and those of these VMs that are agents', or all."""
        members = await self._muster.members()
        if not agents:
            return members
        ids = {each.id for each in agents if isinstance(each, VM)}
        labels, there = {each for each in agents if not isinstance(each, VM)}, {it.agent for _, it in members}
        for label in labels - there:
            raise _unknown(label, there)
        return [(vm, member) for vm, member in members if vm.id in ids or member.agent in labels]

    @at_home
    async def teardown(self, *agents: str | VM | Agent) -> Outcomes:
        """Delete these agents, or all, with their VMs: the label of each, and why it could not be.

        One that is named by its label is whichever has that now: it may pass to another when one has gone.

        The VMs that they have made go with them, where the platform tells which those are. Where only the
        registry on a VM of theirs does, they stay, and a notice names them. What could not be deleted stays
        on record, and is shown until it is gone.

        Raises:
            UnknownAgentError: there is none of a label.
        """
        named = [each.vm if isinstance(each, Agent) else each for each in agents]
        members = await self._members(named)
        stays = await self._farewell.staying(members) if members else []
        outcomes = await self._farewell.end(members)
        if stays:
            self.fleet.on_notice(told_of(stays))
        ended = {vm.id for vm, _ in members}
        others = {each.id: each for each in named if isinstance(each, VM) and each.id not in ended}
        for vm in others.values():
            outcomes += await self._farewell.late(vm)
        return outcomes

    @at_home
    async def made(self, *agents: str | VM) -> tuple[list[VM], list[VM]]:
        """The VMs that these agents, or all, have made, and those that these have made: those that a teardown
        deletes with them, and those that it leaves.
        """
        members = await self._members(agents)
        going = await self._muster.offspring({vm.id for vm, _ in members})
        return [vm for vm, _ in going], await self._farewell.staying(members)

    async def close(self) -> None:
        """Listen to them no longer. They work on."""
        await asyncio.gather(*(agent.close() for agent in self._agents.values()))
        self._agents.clear()
        await self.registry.close()


def _unknown(label: str, known: Iterable[str]) -> UnknownAgentError:
    return UnknownAgentError(
        f"There is no agent {names.shown(label)!r}.{names.nearest(label, known)}",
        "`%vers swarm status` shows them all.",
    )
