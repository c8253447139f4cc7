"""What a dashboard showed, as tables: for a notebook without its kernel, and where no widget can be shown.

A snapshot in HTML and in text. What changes with every breath of a machine is left out, so that a notebook is
changed only when something has happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pi_v_jupyter.dashboard.shape import AgentCard, Commit, Machine, Process, Snapshot
from pi_v_jupyter.names import shown
from pi_v_jupyter.texts import short, tail
from pi_v_jupyter.views.swarm import WIDE
from pi_v_jupyter.views.tables import STAR, html_table, span, text_table, with_code
from pi_v_jupyter.views.telling import ICONS, clock, money

MACHINES = ("", "name", "id", "state", "age", "size", "parent", "agent")
COMMITS = ("commit", "tags", "id", "age", "parent")
AGENTS = ("", "agent", "state", "task", "last words", "tokens", "cost", "time")
PROCESSES = ("id", "where", "state", "time", "last line")
ENDED = 10  # processes that have ended are told
KEPT = 30  # commits are, the latest
BUSY = ("starting", "working", "retrying", "waiting", "leaving")  # an agent that goes on says more soon
NO_MACHINES = "No VMs. `%vers create` makes one."

# What holds the outputs of a cell in JupyterLab, VS Code and nbclassic.
_CELL = ":is(.jp-OutputArea, .cell_container, .output_wrapper)"
# The table gives way to a dashboard that lives, and takes the place of one that has not heard from a kernel,
# and of what JupyterLab says in place of one ("Error displaying widget"): that output has no element.
STYLE = (
    f"{_CELL}:has(.pi-v-live) .pi-v-saved, "
    f"{_CELL}:has(.pi-v-saved) .pi-v-dashboard:not(.pi-v-live), "
    ".jp-OutputArea-child:has(+ .jp-OutputArea-child .pi-v-saved) > .jp-OutputArea-output:not(:has(*)) "
    "{ display: none; } "
    ".pi-v-saved { overflow-x: auto; }"
)

Table = tuple[Sequence[str], list[tuple[str, ...]]]


@dataclass(frozen=True)
class Saved:
    """A snapshot as it was at `at`, in seconds since the epoch; a cell shows it as tables."""

    state: Snapshot
    at: float

    def __repr__(self) -> str:
        return saved_text(self.state, self.at)

    def _repr_html_(self) -> str:
        return saved_html(self.state, self.at)


def saved_text(state: Snapshot, at: float) -> str:
    """As text, for a terminal."""
    told = [text_table(header, rows) for header, rows in _tables(state, at)]
    return "\n\n".join(["\n".join(_lines(state, at)), *told])


def saved_html(state: Snapshot, at: float) -> str:
    """As HTML that hides itself where the dashboard it is kept for lives, but for a sanitizer."""
    # Where there is much to read it is broken into lines: nothing scrolls in what nbconvert makes.
    told = [
        html_table(header, rows, unbroken=header in (MACHINES, COMMITS))
        for header, rows in _tables(state, at)
    ]
    lines = "".join(f"<p>{with_code(line)}</p>" for line in _lines(state, at))
    return f'<div class="pi-v-saved">{lines}{"".join(told)}<style>{STYLE}</style></div>'


def summary(state: Snapshot) -> str:
    """Such as "2 VMs, 1 agent, 3 processes"."""
    counted = (
        ("VM", "VMs", "machines"),
        ("agent", "agents", "agents"),
        ("process", "processes", "processes"),
    )
    counts = [(len(state[key]), one, many) for one, many, key in counted]  # type: ignore[literal-required]
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)


def _lines(state: Snapshot, at: float) -> list[str]:
    """Where and when this was; what is wrong, and what there is none of."""
    connection, sums = state["connection"], state["sums"]
    when = datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    where = shown(connection["label"] or connection["url"])
    lines = [" · ".join(filter(None, (where, summary(state), f"as of {when}")))]
    if connection["state"] == "trouble":
        reason = shown(connection["reason"]).rstrip(".")
        lines.append(f"✗ {reason}. {shown(connection['remedy'])}".rstrip())
    elif connection["state"] == "ok" and not state["machines"]:
        lines.append(NO_MACHINES)
    if state["lost"]:
        lines.append(
            f"✗ {shown(state['lost'])}, which cells run on, is gone. `%vers local` has them run here."
        )
    if sums["agents"]:
        cost = f"{money(sums['cost'])} of {money(sums['budget'])}" if sums["budget"] else money(sums["cost"])
        lines.append(f"Agents: {sums['working']} at work, {sums['tokens']:,} tokens, {cost}")
    return lines


def _tables(state: Snapshot, at: float) -> list[Table]:
    """Those that are not empty."""
    machines = sorted(state["machines"].items(), key=lambda each: (each[1]["created"], each[0]))
    commits = sorted(state["commits"].items(), key=lambda each: (each[1]["created"], each[0]))
    agents = sorted(state["agents"].values(), key=lambda card: card["label"])
    alive = [process for process in state["processes"].values() if process["state"] != "ended"]
    over = [process for process in state["processes"].values() if process["state"] == "ended"]
    alive.sort(key=lambda process: (process["machine"], process["id"]))
    over.sort(key=lambda process: process["ended"], reverse=True)
    tables: list[Table] = [
        (MACHINES, [_machine(vm, machine, state, at) for vm, machine in machines]),
        (COMMITS, [_commit(id, commit, state, at) for id, commit in commits[-KEPT:]]),
        (AGENTS, [_agent(card, at) for card in agents]),
        (PROCESSES, [_process(process, at) for process in (*alive, *over[:ENDED])]),
    ]
    return [table for table in tables if table[1]]


def _machine(vm: str, machine: Machine, state: Snapshot, at: float) -> tuple[str, ...]:
    return (
        STAR if machine["active"] else "",
        shown(machine["name"]),
        vm[:8],
        machine["state"],
        span(at - machine["created"]),
        machine["size"],
        _origin(machine["parent"], state),
        shown(machine["agent"]),
    )


def _commit(id: str, commit: Commit, state: Snapshot, at: float) -> tuple[str, ...]:
    return (
        shown(commit["label"]),
        ", ".join(map(shown, commit["tags"])),
        id[:8],
        span(at - commit["created"]),
        _origin(commit["parent"], state),
    )


def _origin(parent: str, state: Snapshot) -> str:
    """What something came from, as it is called; its id if it is gone."""
    came_from = state["machines"].get(parent) or state["commits"].get(parent)
    return shown(came_from["label"]) if came_from else parent[:8]


def _agent(card: AgentCard, at: float) -> tuple[str, ...]:
    busy = card["state"] in BUSY
    doing = card["asks"][0]["title"] if card["asks"] else card["trouble"] or card["detail"]
    goes_on = busy and card["began"]
    return (
        ICONS.get(card["state"], "○"),
        shown(card["label"]),
        ": ".join(filter(None, (card["state"], short(doing, WIDE)))),
        short(card["task"], WIDE),
        "" if busy else tail(card["words"], WIDE),
        f"{card['tokens']:,}" if card["tokens"] else "",
        money(card["cost"]) if card["cost"] else "",
        clock(at - card["began"] if goes_on else card["seconds"] or None),
    )


def _process(process: Process, at: float) -> tuple[str, ...]:
    """Without its command: what is saved here goes into a file, and a key may be in that."""
    over = process["state"] == "ended"
    return (
        shown(process["id"]),
        shown(process["machine"]),
        shown(process["outcome"] or process["state"]),
        span((process["ended"] if over else at) - process["started"]),
        tail(process["line"], WIDE) if over else "",
    )
