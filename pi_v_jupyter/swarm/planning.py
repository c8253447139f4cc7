"""Plans of agents: carried out, ticked off; and how far each is.

An agent's story tells its plan and what was ticked since, so every kernel knows them, also what came while
none was there. What is kept in the user's state, by agent, is what no story tells: steps that a person wrote,
and what was ticked by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from pi_v_jupyter.errors import AgentError, UsageError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.names import shown
from pi_v_jupyter.plan.steps import Plan, Step, plan_in, plan_of, ticks
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.runs import Run

KIND = "plans"  # in our state
ORDER = "Carry out this plan, one step after the other:"
FILES = 50  # that are named
CHANGING = ("write", "edit")  # tools that change the file they are given
Stage = Literal["planning", "planned", "working", "stopped", "done"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an agent is with its plan.

    `stage`: it is `planning`, has `planned`, is `working` on its steps, has `stopped` before all were done,
    or all are `done`. `plan` is None before the first one. `trouble` says why none came of what it was last
    told to plan. `cost`, in US dollars, and `seconds` are those of carrying out this plan, without other
    tasks it was given; `files` are those that it has written or edited by its own tools in that.
    """

    label: str
    stage: Stage
    plan: Plan | None
    trouble: str = ""
    cost: float = 0.0
    seconds: float = 0.0
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A plan as it was when a person wrote it or ticked a step of it. `since`: the id of the last run before
    what came of it; a plan that the agent made after that has taken its place.
    """

    steps: tuple[tuple[int, str], ...]
    source: str
    since: str
    done: tuple[int, ...] = ()

    @classmethod
    def of(cls, plan: Plan, since: str) -> Kept:
        """That plan, with what is ticked in it."""
        steps = tuple((step.number, step.text) for step in plan.steps)
        return cls(steps, plan.source, since, tuple(step.number for step in plan.steps if step.done))

    @property
    def plan(self) -> Plan:
        """What it was."""
        return Plan(tuple(Step(*step) for step in self.steps), self.source).ticked(self.done)


KEPT = TypeAdapter(Kept)


class Progresses(list[Progress]):
    """Of several agents; shows as their steps in a notebook."""


class Plans:
    """Those of the agents of whichever platform the settings name now.

    `agent.task(prompt, looking=True)` asks for one, or for a better one.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.home = fleet.home

    def of(self, agent: Agent, kept: Mapping[str, str] | None = None) -> Progress | None:
        """How far it is, as far as it was heard; None when there never was a plan, nor is one asked for.

        `kept`: as `kept` has just told it, for who asks about many.
        """
        runs = agent.story.runs
        plan, since = self._plan(agent, kept)
        asked = next((run for run in reversed(runs[since:]) if run.looking), None)
        if plan is None and asked is None:
            return None
        work = [run for run in runs[since:] if _carries_out(run)]
        stage: Stage = "planned"
        if asked is not None and asked.outcome is None:
            stage = "planning"
        elif plan is not None and plan.finished:
            stage = "done"
        elif plan is not None and work:
            stage = "working" if work[-1].outcome is None else "stopped"
        return Progress(
            agent.label,
            stage,
            plan,
            _trouble(asked),
            sum(run.usage.cost for run in work),
            sum(run.seconds or 0.0 for run in work),
            tuple(dict.fromkeys(_changed(work)))[:FILES],
        )

    def kept(self) -> dict[str, str]:
        """What is kept of plans, by the ids of the agents' VMs.

        `of` gives the same as long as this and the agent's news are the same.
        """
        return self._fleet.state.all(self._fleet.settings.base_url, KIND)

    @at_home
    async def run(self, agent: Agent) -> Run | None:
        """Have it carry out what is left of its plan, with all its tools. It goes on when this returns.

        Raises:
            AgentError: it has no plan, nothing of that is left, or it works already.
        """
        await agent.attach()
        plan, _ = self._known(agent)
        if plan.finished:
            label = shown(agent.label)
            raise AgentError(
                f"All steps of {label}'s plan are done.", f"`%%task {label} --plan` has it make another."
            )
        return await agent.task(order(plan))

    @at_home
    async def tick(self, agent: Agent, number: int) -> Progress | None:
        """Step `number` is done, whoever did it.

        Raises:
            AgentError: it has no plan.
            UsageError: that has no such step.
        """
        await agent.attach()
        plan, since = self._known(agent)
        numbers = [step.number for step in plan.steps]
        if number not in numbers:
            raise UsageError(
                f"The plan of {shown(agent.label)} has no step {number}.",
                f"Its steps are {', '.join(map(str, numbers))}.",
            )
        self._keep(agent, Kept.of(plan.ticked([number]), _id_before(agent, since)))
        return self.of(agent)

    @at_home
    async def write(self, agent: Agent, text: str) -> Progress | None:
        """Give it a plan: the steps under `Plan:` in a Markdown text, or else its first numbered list.

        Raises:
            UsageError: there are none in it.
        """
        plan = plan_of(text)
        if plan is None:
            raise UsageError(
                "There are no steps in this text.", "Write them as a numbered list: 1. …, 2. …, a line each."
            )
        await agent.attach()
        self._keep(agent, Kept.of(plan, _id_before(agent, len(agent.story.runs))))
        return self.of(agent)

    def _plan(self, agent: Agent, all_kept: Mapping[str, str] | None = None) -> tuple[Plan | None, int]:
        """Its plan with all that is ticked, and which is the first run behind the one that it is from."""
        runs, kept = agent.story.runs, _read(agent, self.kept() if all_kept is None else all_kept)
        # A story that does not have that run any more began anew after it.
        since = next((at for at, run in enumerate(runs, 1) if kept and run.id and run.id == kept.since), 0)
        plan = kept.plan if kept is not None else None
        for at, run in enumerate(runs[since:], since + 1):
            made = plan_in("\n\n".join(run.answers)) if run.looking and run.outcome == "done" else None
            if made is not None:
                plan, since = made, at
        if plan is None:
            return None, since
        work = [run for run in runs[since:] if not run.looking]
        done = {number for run in work for answer in run.answers for number in ticks(answer)}
        if work and work[-1].outcome is None:
            done |= ticks(agent.story.partial)
        return plan.ticked(done), since

    def _known(self, agent: Agent) -> tuple[Plan, int]:
        """Its plan, as `_plan` has it.

        Raises:
            AgentError: there is none, or it is thought over just now.
        """
        label, told = shown(agent.label), self.of(agent)
        plan, since = self._plan(agent)
        if told is not None and told.stage == "planning":
            raise AgentError(f"{label} is still planning.", f"`%vers swarm wait {label}` waits for it.")
        if plan is None:
            why = f": {told.trouble}" if told is not None else ""
            raise AgentError(f"{label} has no plan{why}.", f"`%%task {label} --plan` asks it for one.")
        return plan, since

    def _keep(self, agent: Agent, kept: Kept) -> None:
        self._fleet.state.set(self._fleet.settings.base_url, KIND, agent.vm.id, KEPT.dump_json(kept).decode())


def _read(agent: Agent, kept: Mapping[str, str]) -> Kept | None:
    text = kept.get(agent.vm.id)
    try:
        return KEPT.validate_json(text) if text else None
    except ValidationError:  # damaged: steps can be written again
        return None


def _carries_out(run: Run) -> bool:
    """Was it begun by `order`? One whose prompt was not heard yet may be."""
    return not run.looking and run.prompt[: len(ORDER)] in ("", ORDER)


def order(plan: Plan) -> str:
    """What an agent is told that is to carry out a plan."""
    done = [str(step.number) for step in plan.steps if step.done]
    left = f"\n\nDone already: {', '.join(done)}." if done else ""
    return (
        f"{ORDER}\n\n{plan.source}{left}\n\n"
        "As soon as a step is done, and you have tried what you made, say so on a line of its own, [DONE:n] "
        "with its number for n, before you begin the next. A step that you could not do gets no such line: "
        "say why."
    )


def _id_before(agent: Agent, at: int) -> str:
    """The id of the last run before that which has one: those of extensions have none."""
    return next((run.id for run in reversed(agent.story.runs[:at]) if run.id), "")


def _trouble(asked: Run | None) -> str:
    """Why no plan came of what it was last told to plan."""
    if asked is None or asked.outcome is None:
        return ""
    if asked.outcome != "done":
        return f"what it was told to plan ended as {asked.outcome}"
    return "its answer has no numbered steps under a line that says `Plan:`"


def _changed(work: Sequence[Run]) -> Iterator[str]:
    """The files that its own tools have changed, as it called them."""
    for run in work:
        for call in run.calls:
            path = call.arguments.get("path")
            if call.name in CHANGING and call.failed is False and isinstance(path, str):
                yield path
