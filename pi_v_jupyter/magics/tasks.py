"""`%%task` and `%vers swarm task`: agents are given something to do, and seen doing it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click
from IPython.display import display

from pi_v_jupyter import loops, names
from pi_v_jupyter.errors import UsageError, VersError
from pi_v_jupyter.magics import examples, steps, words
from pi_v_jupyter.magics.agentnames import AgentNames
from pi_v_jupyter.magics.options import HELP
from pi_v_jupyter.magics.output import CellOutput
from pi_v_jupyter.swarm.changes import Change, DialogAsked, RetryStarted, RunEnded, RunStarted
from pi_v_jupyter.views import swarm as views
from pi_v_jupyter.views.telling import Telling

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.swarm.agent import Agent
    from pi_v_jupyter.swarm.swarm import Agents, Waited

T = TypeVar("T")
WIDEST = 2000  # characters of a line of one of several agents; what is longer goes on in the next
EXCLUSIVE = ("plan", "steer", "follow_up")  # ways of giving a task
MILESTONES = (RunStarted, RunEnded, DialogAsked, RetryStarted)
HELP_HINT = "`%vers swarm task --help` says more."  # IPython refuses a cell of `%%task --help` and no more
LABELS = click.Argument(["labels"], nargs=-1, required=True, type=AgentNames(), metavar="LABEL…")
OPTIONS = [
    click.Option(["--wait"], is_flag=True, help="Show what they do until they have finished."),
    click.Option(["--plan"], is_flag=True, help="Have them look only, and say in steps what they would do."),
    click.Option(["--steer"], is_flag=True, help="Tell those that work, once their tools have returned."),
    click.Option(["--follow-up"], is_flag=True, help="Have those that work do it when they have finished."),
]
CELL = click.Command(
    "task",
    params=[LABELS, *OPTIONS],
    callback=lambda **given: given,
    context_settings=HELP,
    help="Give agents this cell as their task; `*` is all of them. They go on when the notebook ends, and "
    "this cell is told when they have finished, have failed, or ask something.",
)


@dataclass(frozen=True)
class How:
    """How a task is given."""

    wait: bool = False
    steer: bool = False
    follow_up: bool = False
    plan: bool = False

    async def give(self, agent: Agent, prompt: str) -> None:
        """To one."""
        if self.plan:
            await agent.task(prompt, looking=True)
        elif self.steer:
            await agent.steer(prompt)
        elif self.follow_up:
            await agent.follow_up(prompt)
        else:
            await agent.task(prompt)


def cell_magic(extension: Extension, line: str, body: str) -> Agents | Waited | None:
    """`%%task LABEL …` with a body."""
    try:
        given = words.run(CELL, "%%task", words.arguments(line), None)
    except UsageError as error:
        raise UsageError(error.message, HELP_HINT) from None
    if not isinstance(given, dict):  # help was asked for, and shown
        return None
    extension.vers.plan.check("%%task", given)
    return task(extension, given.pop("labels"), body, How(**given))


def task(extension: Extension, listed: Sequence[str], prompt: str, how: How) -> Agents | Waited:
    """Give it to the agents that are listed; with `wait`, show what they do.

    Raises:
        UsageError: there is no prompt, or no agent.
        AgentError: an agent refused; all others were given it.
    """
    given = [f"--{name.replace('_', '-')}" for name in EXCLUSIVE if getattr(how, name)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other.", HELP_HINT)
    if not prompt.strip():
        raise UsageError("There is nothing to do.", "The task is the cell below `%%task LABEL`.")
    words.encoded(prompt, "the task")
    agents = chosen(extension, listed)
    if how.steer or how.follow_up:
        for agent in agents:
            if not agent.busy:
                print(f"{names.shown(agent.label)} has nothing to do: it is given this as a new task.")
    called = ", ".join(names.shown(agent.label) for agent in agents)
    told = extension.vers.callbacks.made(say)
    screen = loops.Screen()

    async def give() -> tuple[list[Agent], list[VersError]]:
        outcomes = await asyncio.gather(*(one(agent) for agent in agents))
        failed = [outcome for outcome in outcomes if outcome is not None]
        return [agent for agent, outcome in zip(agents, outcomes, strict=True) if outcome is None], failed

    async def one(agent: Agent) -> VersError | None:
        busy = agent.busy
        extension.notices.expect(agent, told)
        try:
            await how.give(agent, prompt)
        except VersError as error:
            if not busy:
                extension.notices.forget(agent)
            return error
        return None

    async def give_and_follow() -> tuple[Waited | None, list[VersError]]:
        with extension.notices.waiting(agents), Following(agents, screen):
            working, failed = await give()
            if not working:
                return None, failed
            return await extension.vers.swarm.wait(*(agent.label for agent in working), timeout=0), failed

    if how.wait:
        waited, failed = extension.wait(
            give_and_follow(), f"waiting for {called}", going_on(agents), screen=screen, speaks=True
        )
        if waited is not None and waited.ending != "finished":
            print(f"{views.ending_text(waited)}.")
        if how.plan:
            steps.show(extension, agents)
        _raise(failed)
        assert waited is not None  # noqa: S101  or all have failed
        return extension.quietly(waited)
    working, failed = extension.wait(give(), f"giving {called} a task", going_on(agents))
    if how.plan:
        steps.show(extension, working)
    else:
        for agent in working:
            if agent.busy or how.steer or how.follow_up:  # else its end is told here already
                print(views.agent_text(agent))
    _raise(failed)
    return extension.quietly(agents)


def say(text: str) -> None:
    """Print it."""
    print(text)


def chosen(extension: Extension, listed: Iterable[str]) -> Agents:
    """The agents of these labels, with commas or without; all of them where there is `*`, or nothing.

    Raises:
        UsageError: there is none at all.
        UnknownAgentError: there is none of a label.
    """
    labels = split(listed)
    agents = extension.wait(
        extension.vers.swarm.chosen(*labels), f"looking for {', '.join(labels) or 'agents'}"
    )
    if not agents:
        raise UsageError("There are no agents.", "`%vers swarm spawn golden -n 3` makes three.")
    return agents


def single(extension: Extension, listed: str, command: str) -> Agent:
    """The agent that a command is about which takes one, by its label.

    Raises:
        UsageError: several are named, or there is none at all.
        UnknownAgentError: there is none of that label.
    """
    agents = chosen(extension, [listed])
    if len(agents) > 1:
        labels = ", ".join(names.shown(agent.label) for agent in agents)
        raise UsageError(
            f"`{names.shown(listed)}` names several agents; {command} takes one.", f"One of {labels}."
        )
    return agents[0]


def split(listed: Iterable[str]) -> list[str]:
    """The labels in words with commas, each once; none for all.

    Raises:
        UsageError: there are words, and no label in them.
    """
    listed = list(listed)
    labels = [label.strip() for word in listed for label in word.split(",") if label.strip()]
    if listed and not labels:
        raise UsageError(f"{' '.join(listed)!r} names no agent.", "`%vers swarm status` shows them all.")
    return [] if "*" in labels else list(dict.fromkeys(labels))


def shown(extension: Extension, value: T) -> T:
    """Show a value in the cell now, for it may be assigned; the cell does not show it again."""
    display(value)
    return extension.quietly(value)


def going_on(agents: Sequence[Agent]) -> str:
    """What is said when a wait for them is stopped."""
    labels = " ".join(names.shown(agent.label) for agent in agents)
    pronoun, verb = ("It", "goes") if len(agents) == 1 else ("They", "go")
    return (
        f"{pronoun} {verb} on: `%vers swarm wait {labels}` waits again, `%vers swarm abort {labels}` stops."
    )


def _raise(failed: Sequence[VersError]) -> None:
    for error in failed[1:]:
        print(error)
    if failed:
        raise failed[0]


class Following:
    """Shows on `screen` what agents do, within a `with` on the I/O loop; or how they end only."""

    def __init__(self, agents: Sequence[Agent], screen: loops.Screen, *, milestones: bool = False) -> None:
        self._agents, self._milestones = agents, milestones
        self._output = CellOutput(screen, in_order=True)
        self._parts = [Part(agent, self._output, len(agents) > 1) for agent in agents]
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        for agent, part in zip(self._agents, self._parts, strict=True):
            self._ends.callback(agent.listen(partial(self._heard, part)))
        return self

    def _heard(self, part: Part, changes: Iterable[Change]) -> None:
        if self._milestones:
            changes = [change for change in changes if isinstance(change, MILESTONES)]
        part.show(changes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()
        for part in self._parts:
            part.finish()
        self._output.finish()


class Part:
    """What one agent has in the output of a cell: where there are several, lines of its own."""

    def __init__(self, agent: Agent, output: CellOutput, several: bool) -> None:
        begun = agent.busy and agent.run is not None and bool(agent.run.prompt)
        self._telling, self._output = Telling(agent.label, begun=begun), output
        self._label = f"[{names.shown(agent.label)}] " if several else None
        self._open = ""  # a line that has not ended

    def show(self, changes: Iterable[Change]) -> None:
        """Some more of it."""
        text = self._telling.text(changes)
        if self._label is None or not text:
            self._feed(text)
            return
        *lines, self._open = (self._open + text).split("\n")
        while len(self._open) > WIDEST:
            lines.append(self._open[:WIDEST])
            self._open = self._open[WIDEST:]
        self._feed("".join(f"{self._label}{line}\n" for line in lines))

    def finish(self) -> None:
        """A line that never ended is shown too."""
        if self._open:
            self._feed(f"{self._label}{self._open}\n")
            self._open = ""

    def _feed(self, text: str) -> None:
        if text:
            self._output.feed("stdout", text.encode())


COMMANDS: dict[str, Any] = {"%%task": CELL}
for path, command in COMMANDS.items():
    examples.open_help(path, command)
