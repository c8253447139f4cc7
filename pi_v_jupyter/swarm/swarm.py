"""All agents of an account: spawned, found again, given tasks, waited for, torn down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from pi_v_jupyter import names
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import NotFoundError, UnknownAgentError, UnknownCommitError, UsageError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.swarm import identity, models, piconfig, secrets
from pi_v_jupyter.swarm.agent import Agent, Result
from pi_v_jupyter.swarm.intents import Intents
from pi_v_jupyter.swarm.membership import Membership, Records
from pi_v_jupyter.swarm.muster import Members, Muster
from pi_v_jupyter.swarm.provision import Order, Provision, Spawned
from pi_v_jupyter.swarm.registry_service import RegistryService
from pi_v_jupyter.vm import VM

TAG = "golden"
MOST = 20  # agents of an account, unless another number is given
PATIENCE = 15.0  # seconds that finding agents again waits for each
Ending = Literal["finished", "timed out", "waiting for you"]


@dataclass(frozen=True)
class Waited:
    """What a wait came to: its ending, one result per agent, and who had not finished."""

    ending: Ending
    results: tuple[Result, ...]
    unfinished: tuple[str, ...] = ()


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
        Each is given the configuration of pi that this computer's user has, without keys; not if `bare`.

        Raises:
            UsageError: a label cannot be one or is taken, there would be too many agents, or the
                configuration of pi is too large or damaged.
            SettingsError: there is no key.
            UnknownCommitError: there is no such commit.
        """
        if isinstance(commit, str):
            commit = await self._commit(commit)
        chosen = models.named(model) if model is not None else None
        keys = secrets.of_provider(chosen[0] if chosen else "anthropic", key_env)
        await self._room(n, max_vms)
        given = list(labels) or await self.fleet.free_names("agent", n)
        if len(given) != n or len(set(given)) != n:
            raise UsageError(f"{n} agents need {n} labels, each once.", "`--labels a,b,c`, or leave it out.")
        await self._check(given)
        expires = int((datetime.now(UTC) + ttl).timestamp()) if ttl else 0
        config = None if bare else await asyncio.to_thread(piconfig.pack, piconfig.folder())
        order = Order(commit, given, chosen, keys, expires, max_vms, config, budget)
        outcomes = await Provision(self.fleet, self.records, order, Agent).run()
        for outcome in outcomes:
            if outcome.agent is not None:
                self._agents[outcome.agent.vm.id] = outcome.agent
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

    async def _check(self, labels: Sequence[str]) -> None:
        try:
            await self.fleet.check_names(labels)
        except UsageError:
            there = set(await self.labels())
            taken = next((label for label in labels if label in there), None)
            if taken is None:
                raise
            raise UsageError(
                f"There is an agent {taken!r} already.",
                f"Give another label, or `%vers swarm teardown {taken}` deletes it.",
            ) from None

    async def _room(self, n: int, max_vms: int) -> None:
        there = len(await self._muster.members())
        if n < 1:
            raise UsageError("A swarm has one agent at least.", "`-n 1`.")
        if there + n > max_vms:
            raise UsageError(
                f"There are {there} agents, and {n} more would be more than {max_vms}.",
                "`%vers swarm teardown` deletes those there are, `--max-vms` allows more.",
            )

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

        Those whose time is up are deleted, and VMs of a spawn that was cut off before it learnt their ids.
        """
        left = await Intents(self.fleet, self.records).settle()
        if left:
            self.fleet.on_notice(
                f"A spawn was cut off, and may have left {', '.join(vm_id[:8] for vm_id in left)}. "
                "If they are not yours, `%vers rm` deletes them."
            )
        members = await self._muster.members()
        overdue = [(vm, member) for vm, member in members if member.overdue]
        if overdue:
            await self._end(overdue)
        there = [(vm, member) for vm, member in members if not member.overdue]
        await asyncio.gather(*(self._meet(vm, member) for vm, member in there))
        kept = {vm.id for vm, _ in there}
        self._agents = {vm_id: agent for vm_id, agent in self._agents.items() if vm_id in kept}
        return self.known()

    async def _meet(self, vm: VM, member: Membership) -> None:
        agent = self._agents.get(vm.id)
        if agent is None:
            agent = self._agents[vm.id] = Agent(vm, member)
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
        known = {agent.label: agent for agent in self._agents.values()}
        if not wanted or any(label not in known for label in wanted):
            known = {agent.label: agent for agent in await self.agents()}
        for label in wanted:
            if label not in known:
                raise UnknownAgentError(
                    f"There is no agent {names.shown(label)!r}.{names.nearest(label, known)}",
                    "`%vers swarm status` shows them all.",
                )
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
        for no longer when the others have.
        """
        agents = await self._chosen(labels)
        changed = asyncio.Event()
        ends = [agent.listen(lambda _: changed.set()) for agent in agents]
        try:
            async with asyncio.timeout(timeout or None):
                await asyncio.gather(*(agent.attach() for agent in agents), return_exceptions=True)
                while any(agent.busy and agent.state != "waiting" and agent.heard for agent in agents):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            for end in ends:
                end()
        left = [agent for agent in agents if agent.busy]
        asked = all(agent.state == "waiting" for agent in left)
        ending: Ending = "finished" if not left else "waiting for you" if asked else "timed out"
        return Waited(ending, tuple(agent.result() for agent in agents), tuple(agent.label for agent in left))

    @at_home
    async def labels(self) -> list[str]:
        """Those of all agents, told without speaking to any."""
        return sorted(member.agent for _, member in await self._muster.members())

    @at_home
    async def teardown(self, *labels: str) -> list[tuple[str, VersError | None]]:
        """Delete these agents, or all, with their VMs: the label of each, and why it could not be.

        The VMs that they have made go with them, where the platform tells which those are. What could not be
        deleted stays on record, and is shown until it is gone.
        """
        chosen = {agent.vm.id for agent in await self._chosen(labels)} if labels else None
        members = [
            (vm, member) for vm, member in await self._muster.members() if chosen is None or vm.id in chosen
        ]
        return await self._end(members)

    @at_home
    async def made(self, *labels: str) -> list[VM]:
        """The VMs that these agents, or all, have made with their keys, and those that these have made."""
        agents = await self._chosen(labels)
        return [vm for vm, _ in await self._muster.offspring({agent.vm.id for agent in agents})]

    async def _end(self, members: Members) -> list[tuple[str, VersError | None]]:
        """Delete agents, and then what they made: one that is there could make more."""
        makers = {vm.id for vm, _ in members}
        doomed = await self._muster.offspring(makers)
        for vm, member in doomed:  # should this end in between, nothing else would tell whose they were
            self.records.leave(vm.id, member)
        outcomes = await asyncio.gather(*(self._delete(vm, member) for vm, member in members))
        gone = [vm.id for (vm, _), outcome in zip(members, outcomes, strict=True) if outcome is None]
        made = await self._muster.offspring({*gone}) if gone else []
        more = await asyncio.gather(*(self._delete(vm, member) for vm, member in made))
        for vm_id in {vm.id for vm, _ in doomed} - {vm.id for vm, _ in made}:
            self.records.forget(vm_id)
        ended = [*zip([*members, *made], [*outcomes, *more], strict=True)]
        gone += [vm.id for (vm, _), outcome in ended[len(members) :] if outcome is None]
        await self._unregister(gone, {member.swarm for _, member in members})
        return [(member.agent, outcome) for (_, member), outcome in ended]

    async def _delete(self, vm: VM, member: Membership) -> VersError | None:
        self.records.leave(vm.id, member)
        agent = self._agents.get(vm.id)
        if agent is not None:
            await agent.close()
        try:
            with contextlib.suppress(NotFoundError):
                await self.fleet.delete(vm)
        except VersError as error:
            return error
        self.records.forget(vm.id)
        self._agents.pop(vm.id, None)
        await self.registry.remove(vm.id)
        return None

    async def _unregister(self, gone: Sequence[str], roots: set[str]) -> None:
        for vm in await self.fleet.all():
            if gone and vm.id in roots:
                with contextlib.suppress(VersError):  # a registry on a VM that cannot be reached
                    await identity.register(vm, remove=gone)

    async def close(self) -> None:
        """Listen to them no longer. They work on."""
        await asyncio.gather(*(agent.close() for agent in self._agents.values()))
        self._agents.clear()
        await self.registry.close()
