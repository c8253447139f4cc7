"""`%vers swarm`: agents on VMs of their own. Thin: parse, wait, show."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pi_v_jupyter import loops, names
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import UsageError, VersError
from pi_v_jupyter.magics import swarmfiles, tasks
from pi_v_jupyter.magics.agentnames import AgentList, AgentName, AgentNames, Lifetime, NewLabels
from pi_v_jupyter.magics.options import HELP, Seconds
from pi_v_jupyter.magics.parameters import CommitName
from pi_v_jupyter.magics.tasks import chosen, going_on, shown, single
from pi_v_jupyter.texts import short
from pi_v_jupyter.views import swarm as views
from pi_v_jupyter.views import telling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.swarm.agent import Agent
    from pi_v_jupyter.swarm.swarm import Agents, Spawns, Waited
    from pi_v_jupyter.swarm.totals import TotalsTable
    from pi_v_jupyter.vm import VM

MOST = 20  # agents of an account, unless more are allowed
PATIENCE = 300.0  # seconds
FRESH = "; pi-v's pi kept no session: a new one has its place, which knows nothing of what was said before"
some_or_all = click.argument("labels", nargs=-1, type=AgentNames(), metavar="[LABEL…]")
some = click.argument("labels", nargs=-1, required=True, type=AgentNames(), metavar="LABEL…")


@click.group(context_settings=HELP, invoke_without_command=True)
@click.pass_context
def swarm(context: click.Context) -> Any:
    """Coding agents, each on a VM of its own: make them, give them tasks, see what they do.

    They go on when the notebook ends, and are found again; `teardown` deletes them.
    """
    if context.invoked_subcommand is None:
        return context.invoke(status)
    return None


@swarm.command()
@click.argument("commit", type=CommitName(), default="golden")
@click.option(
    "-n", "count", type=click.IntRange(min=1), metavar="N", help="How many; else 1, or one a label."
)
@click.option(
    "--labels", type=NewLabels(), metavar="A,B,…", help="What to call them; else agent-1, agent-2, …"
)
@click.option(
    "--model",
    metavar="PROVIDER/ID",
    help="Which model, else the golden image's; scripted/rehearsal needs no key.",
)
@click.option(
    "--key-env",
    metavar="NAME",
    help="The variable that has the model's key; else its provider's usual one, such as ANTHROPIC_API_KEY.",
)
@click.option(
    "--max-vms",
    type=click.IntRange(1, 1000),
    default=MOST,
    show_default=True,
    metavar="N",
    help="How many agents there may be in all.",
)
@click.option(
    "--ttl", type=Lifetime(), metavar="4h", help="After that, any session may delete them; else never."
)
@click.option("--bare", is_flag=True, help="Without your own configuration of pi.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="USD",
    help="What each may cost before it stops and asks; else any sum.",
)
@click.pass_obj
def spawn(
    extension: Extension,
    commit: str,
    count: int | None,
    labels: str | None,
    model: str | None,
    key_env: str | None,
    max_vms: int,
    ttl: timedelta | None,
    bare: bool,
    budget: float | None,
) -> Spawns:
    """Make agents of COMMIT, a golden image, all at once; without it, of the one with the tag golden.

    The key of their model is taken from ANTHROPIC_API_KEY, or the variable that is usual with another
    provider. What does not become an agent is deleted. They have your skills, settings, instructions and
    extensions of pi, from ~/.pi/agent; not files named as keys are.
    """
    called = [label.strip() for label in labels.split(",")] if labels else []
    number = count or len(called) or 1
    spawns = extension.wait(
        extension.vers.swarm.spawn(
            extension.held(commit, Commit) or commit,
            number,
            labels=called,
            model=model,
            key_env=key_env,
            max_vms=max_vms,
            ttl=ttl,
            bare=bare,
            budget=budget,
        ),
        f"making {number} agent{'' if number == 1 else 's'} of {commit}",
        "Those that were not ready are deleted: `%vers swarm status` shows which are there.",
    )
    shown(extension, spawns)
    failed = [each.error for each in spawns if each.error is not None]
    if failed and not spawns.agents:
        raise failed[0]
    return spawns


@swarm.command()
@click.argument("labels", type=AgentList(), metavar="LABEL[,LABEL…|*]")
@click.argument("prompt", nargs=-1, required=True, metavar="PROMPT")
@click.option("--wait", is_flag=True, help="Show what they do until they have finished.")
@click.option("--plan", is_flag=True, help="Have them look only, and say in steps what they would do.")
@click.option("--steer", is_flag=True, help="Tell those that work, once their tools have returned.")
@click.option("--follow-up", is_flag=True, help="Have those that work do it when they have finished.")
@click.pass_obj
def task(
    extension: Extension,
    labels: str,
    prompt: Sequence[str],
    wait: bool,
    plan: bool,
    steer: bool,
    follow_up: bool,
) -> Agents | Waited:
    """Give agents something to do, as `%%task` does; `*` is all of them."""
    return tasks.task(extension, [labels], " ".join(prompt), tasks.How(wait, steer, follow_up, plan))


@swarm.command()
@click.pass_obj
def status(extension: Extension) -> Agents:
    """Show what all agents do, and have done."""
    return extension.wait(extension.vers.swarm.agents(), "looking at the agents")


@swarm.command()
@click.pass_obj
def discover(extension: Extension) -> Agents:
    """Find all agents again, whichever notebook or pi-v has made them, with what they have done so far."""
    agents = extension.wait(extension.vers.swarm.discover(), "looking for agents")
    print(f"{len(agents)} agent{'' if len(agents) == 1 else 's'} found.")
    return agents


@swarm.command()
@click.argument("label", type=AgentName())
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="The last N characters only.")
@click.pass_obj
def read(extension: Extension, label: str, tail: int | None) -> views.Answer:
    """Show what an agent has answered to its last task, or has so far."""
    agent = single(extension, label, "read")
    result = agent.result()
    text = "\n\n".join(filter(None, (result.text, agent.story.partial)))
    if not text:
        why = f"\n    {short(result.error, 400)}" if result.error else ""
        print(f"{views.agent_text(agent)}; it has answered nothing.{why}")
        return extension.quietly(views.Answer())
    return views.Answer(text[-tail:] if tail else text)


@swarm.command()
@some_or_all
@click.option(
    "--timeout",
    type=Seconds(min=0),
    default=PATIENCE,
    show_default=True,
    metavar="S",
    help="Seconds to wait; 0: any.",
)
@click.pass_obj
def wait(extension: Extension, labels: Sequence[str], timeout: float) -> Waited:
    """Wait until agents have finished; without labels, all of them.

    It ends `finished`, `timed out`, `waiting for you` when all that are left ask something, or `not heard`
    when nothing more will be heard of some that are left. The stop button ends the wait, not the agents.
    """
    agents = chosen(extension, labels)
    called = ", ".join(names.shown(agent.label) for agent in agents)
    screen = loops.Screen()

    async def follow() -> Waited:
        with tasks.Following(agents, screen, milestones=True):
            return await extension.vers.swarm.wait(*(agent.label for agent in agents), timeout=timeout)

    waited = extension.wait(follow(), f"waiting for {called}", going_on(agents), screen=screen)
    return shown(extension, waited)


@swarm.command()
@some
@click.pass_obj
def abort(extension: Extension, labels: Sequence[str]) -> Agents:
    """Have agents stop what they do, and forget what was to be next."""
    agents = chosen(extension, labels)

    async def stop(agent: Agent) -> str:
        queued = await agent.abort()
        dropped = f"; dropped: {'; '.join(short(text) for text in queued)}" if queued else ""
        return f"{views.agent_text(agent)}{dropped}"

    return _each(extension, agents, stop, "aborting")


@swarm.command()
@some
@click.pass_obj
def restart(extension: Extension, labels: Sequence[str]) -> Agents:
    """Start the pi of agents anew, in the session in which it was."""

    async def begin(agent: Agent) -> str:
        told = FRESH if agent.adopted else ""
        await agent.restart()
        return f"{views.agent_text(agent)}{told}"

    return _each(extension, chosen(extension, labels), begin, "restarting")


def _each(
    extension: Extension, agents: Agents, work: Callable[[Agent], Awaitable[str]], doing: str
) -> Agents:
    """Do it with all of them at once; a line of each, and the first error."""
    called = ", ".join(names.shown(agent.label) for agent in agents)

    async def all_of_them() -> list[str | BaseException]:
        return await asyncio.gather(*map(work, agents), return_exceptions=True)

    outcomes = extension.wait(all_of_them(), f"{doing} {called}")
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for outcome in outcomes:
        if outcome not in failed[:1]:
            print(outcome)
    if failed:
        raise failed[0]
    return extension.quietly(agents)


@swarm.command()
@click.argument("label", type=AgentName())
@click.argument("reply", nargs=-1, metavar="[ANSWER]")
@click.option("--cancel", is_flag=True, help="Leave the question without an answer.")
@click.pass_obj
def answer(extension: Extension, label: str, reply: Sequence[str], cancel: bool) -> Agent:
    """Answer what an agent asks: yes or no, the number of an option, or a text; without one, show it.

    Of several questions, the oldest is answered.
    """
    agent = single(extension, label, "answer")
    dialogs = agent.story.dialogs
    if not dialogs:
        raise UsageError(
            f"{names.shown(agent.label)} asks nothing: {agent.state}.", "`%vers swarm status` shows who does."
        )
    if not reply and not cancel:
        print(telling.question_text(agent.label, dialogs[0]), end="")
        return extension.quietly(agent)
    given = telling.reply(dialogs[0], " ".join(reply), cancel=cancel)
    extension.wait(agent.answer(dialogs[0].id, **given), f"answering {names.shown(agent.label)}")
    print(views.agent_text(agent))
    return extension.quietly(agent)


@swarm.command()
@some_or_all
@click.pass_obj
def stats(extension: Extension, labels: Sequence[str]) -> TotalsTable:
    """Show what agents have used in all: tokens, US dollars, time; of each, and the sum."""
    from pi_v_jupyter.swarm.totals import totals

    return totals(chosen(extension, labels))


@swarm.command()
@some_or_all
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def teardown(extension: Extension, labels: Sequence[str], force: bool) -> None:
    """Delete agents with their VMs, all that is on these, and the VMs they have made; without labels, all."""
    doomed: dict[str, VM] = extension.wait(
        extension.vers.swarm.machines(*tasks.split(labels)), "looking for agents"
    )
    if not doomed:
        print("There are no agents.")
        return
    called = ", ".join(map(names.shown, doomed))
    if not force:
        made: tuple[list[VM], list[VM]] = extension.wait(
            extension.vers.swarm.made(*doomed.values()), "looking for what they have made"
        )
        extension.ask(telling.farewell_text(doomed, *made), "%vers swarm teardown -f")
    outcomes: list[tuple[str, VersError | None]] = extension.wait(
        extension.vers.swarm.teardown(*doomed.values()),
        f"deleting {called}",
        "The platform may delete them all the same: `%vers swarm status` shows which are left.",
    )
    gone = [names.shown(label) for label, error in outcomes if error is None]
    if gone:
        print(f"Deleted {', '.join(gone)}.")
    failed = [(label, error) for label, error in outcomes if error is not None]
    for label, error in failed[1:]:
        print(f"{names.shown(label)} is still there: {error}")
    if failed:
        raise failed[0][1]


for command in swarmfiles.COMMANDS:
    swarm.add_command(command)
