"""What is done with agents, which intents name by the ids of their VMs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pi_v_jupyter.dashboard import arguments as given
from pi_v_jupyter.dashboard.machineintents import MachineIntents
from pi_v_jupyter.dashboard.outcomes import Answer, Outcome, answer, each
from pi_v_jupyter.errors import UnknownAgentError, UsageError
from pi_v_jupyter.names import shown
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.swarm import TAG
from pi_v_jupyter.texts import short


def _label(agent: Agent) -> str:
    return shown(agent.label)


def _no_agent(vm_id: str) -> UnknownAgentError:
    return UnknownAgentError(f"There is no agent on VM {shown(vm_id[:8])} any more.", "Choose again.")


class AgentIntents(MachineIntents):
    """What is done with them."""

    async def _agents(self, ids: Sequence[str]) -> tuple[list[Agent], list[Outcome]]:
        """Those of these ids, each once, and what is said of others; looked for when one is not known."""
        vms, absent = await self.among(ids)
        known = {agent.vm.id: agent for agent in self.vers.swarm.known() if agent.ready}
        if any(vm.id not in known for vm in vms):
            known = {agent.vm.id: agent for agent in await self.vers.swarm.agents()}
        absent += [Outcome("", error=_no_agent(vm.id)) for vm in vms if vm.id not in known]
        return [known[vm.id] for vm in vms if vm.id in known], absent

    async def _with_agents(self, ids: Sequence[str], act: Callable[[Agent], Awaitable[str]]) -> Answer:
        """Do it with each, and say what came of it; one that has gone meanwhile spares the others."""
        agents, absent = await self._agents(ids)
        return answer([*await each(agents, _label, act), *absent])

    async def _spawn(self, args: given.Spawn) -> Answer:
        spawned = await self.vers.swarm.spawn(
            args.commit or TAG,
            args.n or len(args.labels) or 1,
            labels=args.labels,
            model=args.model,
            budget=args.budget,
        )
        return answer(
            [
                Outcome(shown(each.label), "ready" if each.error is None else each.cleaned, each.error)
                for each in spawned
            ]
        )

    async def _tell(self, args: given.Told, how: Callable[[Agent], Awaitable[object]], word: str) -> Answer:
        async def one(agent: Agent) -> str:
            await how(agent)
            return word

        return await self._with_agents(args.agents, one)

    async def _task(self, args: given.Told) -> Answer:
        return await self._tell(args, lambda agent: agent.task(args.text), "works on it")

    async def _steer(self, args: given.Told) -> Answer:
        return await self._tell(args, lambda agent: agent.steer(args.text), "told")

    async def _follow_up(self, args: given.Told) -> Answer:
        return await self._tell(args, lambda agent: agent.follow_up(args.text), "told; it does this next")

    async def _abort(self, args: given.Agents) -> Answer:
        async def abort(agent: Agent) -> str:
            dropped = await agent.abort()
            return f"stopped; dropped: {'; '.join(map(short, dropped))}" if dropped else "stopped"

        return await self._with_agents(args.agents, abort)

    async def _answer(self, args: given.Reply) -> Answer:
        told: dict[str, Any] = args.model_dump(exclude={"agent", "dialog"}, exclude_none=True)
        if len(told) != 1:
            raise UsageError("An answer is a value, a yes or no, or none at all.", "Give one of them.")
        found, absent = await self._agents([args.agent])
        if not found:
            return answer(absent)
        (agent,) = found
        dialog = next((each for each in agent.story.dialogs if each.id == args.dialog), None)
        if dialog is None:
            raise UsageError(f"{_label(agent)} does not ask that any more.", "Somebody else has answered it.")
        if args.option is not None:  # pi knows only what it offered, which may be longer than what was shown
            if not 0 <= args.option < len(dialog.options):
                raise UsageError(
                    f"{_label(agent)} offers {len(dialog.options)} answers.", "Choose one of them."
                )
            told = {"value": dialog.options[args.option]}
        await agent.answer(args.dialog, **told)
        return Answer(ok=True, text=f"{_label(agent)} was answered.")

    async def _restart(self, args: given.Agents) -> Answer:
        async def restart(agent: Agent) -> str:
            await agent.restart()
            return "started again"

        return await self._with_agents(args.agents, restart)

    async def _teardown(self, args: given.Agents) -> Answer:
        async def teardown() -> Answer:
            vms, absent = await self.among(args.agents, "deleted before")
            outcomes = await self.vers.swarm.teardown(*vms) if vms else []  # without any, of all
            return answer([*(Outcome(shown(label), "deleted", error) for label, error in outcomes), *absent])

        return await self.ending(teardown())
