"""Agents as tables: what they do, what came of a spawn or a wait, what they cost. HTML and text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pi_v_jupyter.names import shown
from pi_v_jupyter.swarm.runs import call_text
from pi_v_jupyter.texts import harmless, short, tail
from pi_v_jupyter.views.tables import html_table, in_html, text_table, with_code
from pi_v_jupyter.views.telling import ICONS, answering, clock, money, run_text

if TYPE_CHECKING:
    from pi_v_jupyter.swarm.agent import Agent, Result
    from pi_v_jupyter.swarm.swarm import Agents, Spawns, Waited
    from pi_v_jupyter.swarm.totals import Totals, TotalsTable

COLUMNS = ("", "agent", "state", "task", "doing", "last words", "tokens", "cost", "time")
SPAWN_COLUMNS = ("", "agent", "VM", "what became of it")
RESULT_COLUMNS = ("", "agent", "state", "answer", "tokens", "cost", "time")
TOTALS_COLUMNS = (
    *("agent", "runs", "turns", "tools", "input", "output", "cache read", "cache write"),
    *("tokens", "cost", "time"),
)
WIDE = 48  # characters of a text in a table
SHOWN = 100_000  # characters of an answer in a cell
NO_AGENTS = "No agents.", "%vers swarm spawn golden -n 3", "makes three."


class Answer(str):
    """All that an agent has said, exactly; a cell shows it harmless, and bounded."""

    __slots__ = ()


def state_text(agent: Agent) -> str:
    """Such as "working", or why it cannot be heard."""
    if agent.trouble:
        return f"{agent.state}, not heard: {short(agent.trouble, WIDE)}"
    retry = agent.story.retry
    if retry is not None and agent.state == "retrying":
        return f"retrying, {retry.attempt} of {retry.most}"
    return agent.state


def _row(agent: Agent) -> tuple[str, ...]:
    run, story = agent.run, agent.story
    calls = story.calls if agent.busy else []
    said = story.partial or (run.answer if run else "")
    words = tail(said, WIDE)
    if agent.state in ("error", "lost"):
        words = short((run.error if run else "") or story.error, WIDE)
    return (
        ICONS.get(agent.state, "○"),
        shown(agent.label),
        state_text(agent),
        short(run.prompt, WIDE) if run else "",
        "; ".join(short(call_text(call), WIDE) for call in calls[:2]),
        words,
        f"{run.usage.total:,}" if run else "",
        _cost(agent),
        clock(run.seconds) if run else "",
    )


def _cost(agent: Agent) -> str:
    """Of its last run; where there is a budget, of all, as that is."""
    story = agent.story
    if story.budget is not None:
        return _of(story.totals.cost, story.budget)
    return money(agent.run.usage.cost) if agent.run else ""


def _of(cost: float, budget: float | None) -> str:
    """Such as "$0.0042", or "$0.0042 of $5.00"."""
    return money(cost) if budget is None else f"{money(cost)} of {money(budget)}"


def _questions(agents: Agents) -> list[tuple[str, str]]:
    """What agents ask, in words, and how to answer it."""
    return [
        (f"{shown(agent.label)} asks: {short(dialog.title)}", answering(agent.label, dialog))
        for agent in agents
        for dialog in agent.story.dialogs[:1]
    ]


def agents_text(agents: Agents) -> str:
    """Agents as text."""
    if not agents:
        return f"{NO_AGENTS[0]}  `{NO_AGENTS[1]}` {NO_AGENTS[2]}"
    asked = "".join(f"\n? {question}  {how}" for question, how in _questions(agents))
    return text_table(COLUMNS, [*map(_row, agents)]) + asked


def agents_html(agents: Agents) -> str:
    """Agents as a table, with what they ask below it."""
    if not agents:
        return f"<p>{NO_AGENTS[0]} <code>{NO_AGENTS[1]}</code> {NO_AGENTS[2]}</p>"
    asked = "".join(f"<p>? {in_html(question)} {with_code(how)}</p>" for question, how in _questions(agents))
    return html_table(COLUMNS, [*map(_row, agents)], unbroken=True) + asked


def agent_text(agent: Agent) -> str:
    """One agent in a line: "✓ a: done  1,204 tokens  $0.0042  12 s"."""
    line = f"{ICONS.get(agent.state, '○')} {shown(agent.label)}: {state_text(agent)}"
    if agent.run is None or not agent.run.usage.total:
        return line
    return f"{line}  {run_text(agent.run, agent.state).partition('  ')[2]}"


def _spawn_rows(spawns: Spawns) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for each in spawns:
        if each.agent is not None:
            rows.append(("✓", shown(each.label), each.agent.vm.id[:8], each.agent.state))
        else:
            why = "; ".join(
                filter(None, (each.error.message.rstrip(".") if each.error else "", each.cleaned))
            )
            rows.append(("✗", shown(each.label), "", short(why, 400)))
    return rows


def _brought(spawns: Spawns) -> list[str]:
    """What they have of the user's own configuration of pi, in a sentence."""
    return [f"With your pi's {', '.join(spawns.brought)}."] if spawns.brought and spawns.agents else []


def spawns_text(spawns: Spawns) -> str:
    """What became of each."""
    return text_table(SPAWN_COLUMNS, _spawn_rows(spawns)) + "".join(f"\n{line}" for line in _brought(spawns))


def spawns_html(spawns: Spawns) -> str:
    """The same as a table."""
    told = "".join(f"<p>{with_code(line)}</p>" for line in _brought(spawns))
    return html_table(SPAWN_COLUMNS, _spawn_rows(spawns)) + told


def result_text(result: Result) -> str:
    """How an agent's last run stands, and all it has answered."""
    (row,) = _result_rows([result])
    head = "  ".join(cell for cell in (f"{row[0]} {row[1]}: {row[2]}", *row[4:]) if cell)
    said = answer_text(Answer(result.error or result.text))
    return f"{head}\n{said}".rstrip()


def _result_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    return [
        (
            ICONS.get(result.state, "○"),
            shown(result.label),
            result.state,
            short(result.error, WIDE) if result.error else tail(result.text, WIDE),
            f"{result.tokens:,}",
            money(result.cost),
            clock(result.seconds),
        )
        for result in results
    ]


def ending_text(waited: Waited) -> str:
    """How a wait ended, in a sentence."""
    who = ", ".join(map(shown, waited.unfinished))
    if waited.ending == "finished":
        return "finished" if waited.results else "finished: there are no agents"
    if waited.ending == "waiting for you":
        return (
            f"waiting for you: {who}. `%vers swarm answer {shown(waited.unfinished[0])}` shows the question"
        )
    if waited.ending == "not heard":
        why = ", ".join(f"{shown(label)} ({short(reason, WIDE)})" for label, reason in waited.unheard)
        whose = " ".join(shown(label) for label, _ in waited.unheard)
        return (
            f"not heard: {why}. `%vers swarm status` looks again, `%vers swarm restart {whose}` "
            "starts a pi that has gone"
        )
    return f"timed out: {who} not finished. `%vers swarm wait {who.replace(',', '')}` goes on waiting"


def waited_text(waited: Waited) -> str:
    """What a wait came to."""
    rows = _result_rows(waited.results)
    return f"{text_table(RESULT_COLUMNS, rows)}\n{ending_text(waited)}" if rows else ending_text(waited)


def waited_html(waited: Waited) -> str:
    """The same as a table."""
    table = html_table(RESULT_COLUMNS, _result_rows(waited.results), unbroken=True)
    return (table if waited.results else "") + f"<p>{with_code(ending_text(waited))}</p>"


def _totals_row(totals: Totals) -> tuple[str, ...]:
    usage = totals.usage
    counts = (totals.runs, totals.turns, totals.calls)
    tokens = (usage.input, usage.output, usage.cache_read, usage.cache_write, usage.total)
    numbers = [f"{number:,}" for number in (*counts, *tokens)]
    return (shown(totals.label), *numbers, _of(usage.cost, totals.budget), clock(totals.seconds))


def totals_text(table: TotalsTable) -> str:
    """What agents have used, and the sum."""
    if not table:
        return f"{NO_AGENTS[0]}  `{NO_AGENTS[1]}` {NO_AGENTS[2]}"
    return text_table(TOTALS_COLUMNS, [*map(_totals_row, [*table, table.sum])])


def totals_html(table: TotalsTable) -> str:
    """The same as a table."""
    if not table:
        return f"<p>{NO_AGENTS[0]} <code>{NO_AGENTS[1]}</code> {NO_AGENTS[2]}</p>"
    return html_table(TOTALS_COLUMNS, [*map(_totals_row, [*table, table.sum])], unbroken=True)


def answer_text(answer: Answer) -> str:
    """As a cell shows it: the end of it, if it is long."""
    text = harmless(answer[-SHOWN:]).strip("\n")
    left = len(answer) - SHOWN
    return f"… {left:,} characters before this\n{text}" if left > 0 else text
