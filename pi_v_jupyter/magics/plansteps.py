"""`%plan show`, `run` and `done`, and `%%plan`: what agents have planned, carried out and ticked off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pi_v_jupyter import loops, names
from pi_v_jupyter.errors import UsageError, VersError
from pi_v_jupyter.magics import steps, tasks, words
from pi_v_jupyter.magics.agentnames import AgentName
from pi_v_jupyter.magics.options import HELP
from pi_v_jupyter.views import swarm as views

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.swarm.agent import Agent
    from pi_v_jupyter.swarm.planning import Progress, Progresses

NONE = "No agent has a plan.", "`%%task LABEL --plan` has one make it."
label = click.argument("label", type=AgentName(), required=False)
CELL = click.Command(
    "plan",
    params=[click.Argument(["label"], type=AgentName())],
    callback=lambda label: label,
    context_settings=HELP,
    help="Give an agent the plan in this cell: a numbered list, in Markdown. `%plan run` has it carried out.",
)


@click.command()
@label
@click.pass_obj
def show(extension: Extension, label: str | None) -> Progress | Progresses | None:
    """Show the steps of an agent's plan, and which of them are done; of all plans without a label."""
    from pi_v_jupyter.swarm.planning import Progresses

    plans = extension.vers.swarm.plans
    if label is not None:
        agent = tasks.single(extension, label, "show")
        return plans.of(agent) or Progresses()
    agents, kept = extension.wait(extension.vers.swarm.agents(), "looking for plans"), plans.kept()
    found = (plans.of(agent, kept) for agent in agents)
    return Progresses(progress for progress in found if progress is not None)


@click.command()
@label
@click.option("--wait", is_flag=True, help="Show what it does until it has finished.")
@click.pass_obj
def run(extension: Extension, label: str | None, wait: bool) -> Progress | None:
    """Have an agent carry out what is left of its plan, with all the tools it had before.

    Without a label it is the one agent that has a plan. The cell shows which steps are done as it goes on,
    when it is over, too.
    """
    agent = _one(extension, label, "run")
    swarm, called = extension.vers.swarm, names.shown(agent.label)
    told = extension.vers.callbacks.made(tasks.say)
    screen = loops.Screen()

    async def begin() -> None:
        extension.notices.expect(agent, told)
        try:
            await swarm.plans.run(agent)
        except VersError:
            if not agent.busy:
                extension.notices.forget(agent)
            raise

    async def to_its_end() -> None:
        with extension.notices.waiting([agent]), tasks.Following([agent], screen):
            await begin()
            waited = await swarm.wait(agent.label, timeout=0)
        if waited.ending != "finished":
            screen.call(lambda: print(f"{views.ending_text(waited)}."))

    if wait:
        going_on = tasks.going_on([agent])
        extension.wait(to_its_end(), f"waiting for {called}", going_on, screen=screen, speaks=True)
    else:
        extension.wait(begin(), f"giving {called} its plan")
    steps.show(extension, [agent])
    return extension.quietly(swarm.plans.of(agent))


@click.command()
@click.argument("number", type=int, metavar="N")
@label
@click.pass_obj
def done(extension: Extension, number: int, label: str | None) -> Progress | None:
    """Tick step N of a plan by hand; without a label, of the one plan there is."""
    agent = _one(extension, label, "done")
    return extension.wait(extension.vers.swarm.plans.tick(agent, number), "ticking a step")


def cell_magic(extension: Extension, line: str, body: str) -> Progress | None:
    """`%%plan LABEL` with a body."""
    given = words.run(CELL, "%%plan", words.arguments(line), None)
    if given is None:  # help was asked for, and shown
        return None
    words.encoded(body, "the plan")
    agent = tasks.single(extension, given, "%%plan")
    return extension.wait(extension.vers.swarm.plans.write(agent, body), "reading the plan")


def _one(extension: Extension, label: str | None, command: str) -> Agent:
    """The agent of that label; without one, the only one that has a plan.

    Raises:
        UsageError: none has, or several have.
        UnknownAgentError: there is none of that label.
    """
    if label is not None:
        return tasks.single(extension, label, command)
    swarm = extension.vers.swarm
    agents, kept = extension.wait(swarm.agents(), "looking for plans"), swarm.plans.kept()
    having = [agent for agent in agents if swarm.plans.of(agent, kept) is not None]
    if not having:
        raise UsageError(*NONE)
    if len(having) > 1:
        called = ", ".join(names.shown(agent.label) for agent in having)
        raise UsageError("Several agents have plans.", f"Name one: {called}.")
    return having[0]


COMMANDS: list[click.Command] = [show, run, done]
