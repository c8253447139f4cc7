"""What agents have used in all their runs: tokens, US dollars, time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.runs import Usage


@dataclass(frozen=True)
class Totals:
    """What one agent, or several, have used; `seconds` is the time that their runs took, summed up.

    `budget`: US dollars that an agent may cost; None: as much as it wants, or as is not known.
    """

    label: str
    runs: int = 0
    turns: int = 0
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    budget: float | None = None


class TotalsTable(list[Totals]):
    """One entry an agent, which show as a table in a notebook."""

    @property
    def sum(self) -> Totals:
        """Of all of them."""
        usage = Usage()
        for each in self:
            usage.add(each.usage)
        return Totals(
            "sum",
            sum(each.runs for each in self),
            sum(each.turns for each in self),
            sum(each.calls for each in self),
            usage,
            sum(each.seconds for each in self),
        )


def totals(agents: Iterable[Agent]) -> TotalsTable:
    """What each has used, as its story tells so far."""
    table = TotalsTable()
    for agent in agents:
        runs = agent.story.runs
        usage = Usage()
        usage.add(agent.story.totals)
        table.append(
            Totals(
                agent.label,
                len(runs),
                sum(run.turns for run in runs),
                sum(len(run.calls) for run in runs),
                usage,
                sum(run.seconds or 0.0 for run in runs),
                agent.story.budget,
            )
        )
    return table
