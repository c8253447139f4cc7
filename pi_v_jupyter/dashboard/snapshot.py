"""The state of a session's objects in the shape of a snapshot; nothing is asked here. All texts are bounded.

What has not changed is the same object as before, so that a difference is found at once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Generic, TypeVar

from pi_v_jupyter import golden, lineage, sizes
from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.dashboard import shape
from pi_v_jupyter.errors import VersError
from pi_v_jupyter.names import shown
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.changes import Dialog
from pi_v_jupyter.swarm.planning import Plans, Progress
from pi_v_jupyter.swarm.runs import call_text
from pi_v_jupyter.texts import end_begins, harmless, last_line, short
from pi_v_jupyter.vm import VM

TASK = CALL = LINE = 200  # characters at most
STEP, STEPS = 300, 50  # of a step, and of a plan that is shown
OPTION = 300  # of one that a question offers
WORDS = 600  # of what an agent says
ERROR = 400
ID = 100  # of a question: one that is longer is none of pi's
COMMAND = 400
QUESTION = 10_000  # of the text of a question
CALLS, ASKS, OPTIONS = 4, 5, 60  # of an agent, and of a question
HERE = "here"  # in place of a VM's id
OVER = ("error", "lost", "aborted")  # states that have a reason

log = logging.getLogger("pi_v_jupyter")
T = TypeVar("T")


class Memo(Generic[T]):
    """What was made of things, by their ids; made again when a key is another."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[object, T | None]] = {}
        self._failed: set[str] = set()  # ids of which nothing could be made, and that was logged

    def all(self, things: Iterable[tuple[str, object, Callable[[], T]]]) -> dict[str, T]:
        """What is made of these: id, key and maker of each. Others are forgotten.

        One of which nothing can be made is as it was, or left out: the rest is shown.
        """
        before, self._made = self._made, {}
        for id, key, make in things:
            known = before.get(id)
            if known is None or known[0] != key:
                made = known[1] if known is not None else None
                try:
                    new = make()
                except Exception:
                    if id not in self._failed:
                        log.exception("The dashboard cannot show %s as it is.", id)
                    self._failed.add(id)
                else:
                    made = made if made == new else new
                    self._failed.discard(id)
                known = key, made
            self._made[id] = known
        return {id: made for id, (_, made) in self._made.items() if made is not None}

    def clear(self) -> None:
        """Make all of them again, the next time."""
        self._made = {id: (None, made) for id, (_, made) in self._made.items()}


def away(vm: VM) -> bool:
    """Is it to be connected, and is not?"""
    return vm.away and vm.state is not VMState.PAUSED


def tunnels(vm: VM) -> list[str]:
    """Such as "8000 → 80": a port of this computer, and where on the VM it leads."""
    return [f"{tunnel.local_port} → {tunnel.remote_port}" for tunnel in vm.tunnels]


def machine(vm: VM, agent: str, *, active: bool, there: Collection[str]) -> shape.Machine:
    """A VM; `there`: the ids of what it may have come from."""
    info = vm.info
    return {
        "name": vm.name,
        "label": vm.label,
        "state": vm.state.value,
        "created": vm.created_at.timestamp(),
        "size": sizes.machine(info.vcpu_count, info.mem_size_mib),
        "disk": sizes.mebibytes(info.fs_size_mib) if info.fs_size_mib else "",
        "parent": lineage.origin(vm, there),
        "active": active,
        "link": "connected" if vm.connected else "away" if away(vm) else "",
        "agent": agent,
        "tunnels": tunnels(vm),
        "aside": vm.aside,
    }


def commit(item: Commit, there: Collection[str]) -> shape.Commit:
    """A commit; `there`: the ids of what it may have been made of."""
    return {
        "label": short(item.label, LINE),
        "name": short(item.name, LINE),
        "tags": list(item.tags),
        "created": item.created_at.timestamp(),
        "parent": lineage.origin(item, there),
        "golden": golden.TAG in item.tags or golden.read(item) is not None,
    }


def sound(id: str) -> bool:
    """May that be told to pages as it is? An agent's machine can write any."""
    return len(id) <= ID and id.isprintable()


def asked(dialog: Dialog) -> shape.Asked:
    """A question."""
    text = harmless(dialog.text[:QUESTION])
    return {
        "id": dialog.id,
        "method": dialog.method,
        "title": short(dialog.title, ERROR),
        "text": text,
        "options": [short(option, OPTION) for option in dialog.options[:OPTIONS]],
        "cut": max(0, len(dialog.text) - QUESTION),
        "more": max(0, len(dialog.options) - OPTIONS),
        "whole": text == dialog.text,
    }


def plan(progress: Progress | None) -> shape.AgentPlan:
    """What an agent has planned."""
    if progress is None:
        return {"stage": "", "trouble": "", "done": 0, "total": 0, "steps": {}}
    steps = progress.plan.steps if progress.plan is not None else ()
    return {
        "stage": progress.stage,
        "trouble": short(progress.trouble, ERROR),
        "done": sum(step.done for step in steps),
        "total": len(steps),
        "steps": {
            str(at): {"number": step.number, "text": short(step.text, STEP), "done": step.done}
            for at, step in enumerate(steps[:STEPS])
        },
    }


def card(agent: Agent, progress: Progress | None = None) -> shape.AgentCard:
    """An agent, as its story tells; `progress`: with its plan."""
    story, run = agent.story, agent.run
    state = agent.state if agent.caught_up or agent.trouble else "starting"
    detail = ""
    if state == "retrying" and story.retry is not None:
        detail = f"{story.retry.attempt} of {story.retry.most}"
    elif state in OVER:
        detail = short(story.error, ERROR)
    said = story.partial_end(WORDS)
    if not said and run is not None:
        said = run.answer[end_begins(len(run.answer), WORDS) :]
    used = story.totals
    return {
        "label": shown(agent.label),
        "state": state,
        "trouble": short(agent.trouble, ERROR),
        "detail": detail,
        "task": short(run.prompt, TASK) if run else "",
        "calls": [call_text(call, CALL) for call in story.calls[:CALLS]],
        "words": harmless(said),
        "tokens": used.total,
        "cost": round(used.cost, 6),
        "budget": story.budget or 0.0,
        "began": (run.began or 0.0) if run else 0.0,
        "seconds": (run.seconds or 0.0) if run and story.run is None else 0.0,
        "queued": len(story.steering) + len(story.follow_up),
        "model": short(story.model, LINE),
        "plan": plan(progress),
        "asks": [asked(dialog) for dialog in story.dialogs[:ASKS] if sound(dialog.id)],
    }


def sums(cards: Collection[shape.AgentCard]) -> shape.Sums:
    """Of all of them."""
    budgets = [each["budget"] for each in cards]
    return {
        "agents": len(cards),
        "working": sum(each["state"] in ("working", "retrying") for each in cards),
        "waiting": sum(each["state"] == "waiting" for each in cards),
        "tokens": sum(each["tokens"] for each in cards),
        "cost": round(sum(each["cost"] for each in cards), 6),
        "budget": sum(budgets) if all(budgets) else 0.0,
    }


def process(item: BackgroundProcess) -> shape.Process:
    """A background process."""
    status, vm = item.status, item.machine if isinstance(item.machine, VM) else None
    runs = item.state == "running"
    trouble = f" ({short(status.trouble, LINE)})" if status.trouble else ""
    return {
        "id": item.id,
        "machine": shown(item.machine.label),
        "vm": vm.id if vm is not None else "",
        "state": "running" if runs else "lost" if item.state == "lost" else "ended",
        "outcome": f"{item.outcome}{trouble}",
        "command": short(status.command, COMMAND),
        "started": status.started,
        "ended": status.ended or 0.0,
        "cpu": round(item.cpu_percent, 1) if runs else 0.0,
        "memory": status.memory if runs else 0,
        "line": last_line(status.last_line, LINE),
    }


def place(item: BackgroundProcess) -> str:
    """The id of a process in a snapshot."""
    return f"{item.machine.id if isinstance(item.machine, VM) else HERE} {item.id}"


class Snapshots:
    """Makes one after the other."""

    def __init__(self) -> None:
        self._machines = Memo[shape.Machine]()
        self._commits = Memo[shape.Commit]()
        self._cards = Memo[shape.AgentCard]()
        self._processes = Memo[shape.Process]()
        self._kept: dict[str, str] = {}  # of plans

    def renew(self) -> None:
        """Names may be others by now: these are read from a file."""
        self._machines.clear()
        self._processes.clear()

    def make(
        self,
        connection: shape.Connection,
        vms: Sequence[VM],
        commits: Sequence[Commit],
        agents: Sequence[Agent],
        processes: Sequence[BackgroundProcess],
        events: dict[str, shape.Event],
        *,
        active: VM | None,
        labels: dict[str, str],
        plans: Plans,
        looking: bool,
        here: bool,
        lost: str,
    ) -> shape.Snapshot:
        """All of it. `labels`: those of agents, by the ids of VMs; the rest is as in what is made."""
        there = {*(vm.id for vm in vms), *(each.id for each in commits)}
        with contextlib.suppress(VersError):  # `connection` tells what is wrong; what was known stays
            self._kept = plans.kept()

        def of_vm(vm: VM) -> tuple[str, object, Callable[[], shape.Machine]]:
            agent = labels.get(vm.id, "")
            came_from = lineage.origin(vm, there)
            key = (vm.info, vm.connected, vm.away, vm is active, agent, came_from, tunnels(vm))
            return vm.id, key, lambda: machine(vm, shown(agent), active=vm is active, there=there)

        def of_commit(item: Commit) -> tuple[str, object, Callable[[], shape.Commit]]:
            key = (item, lineage.origin(item, there))
            return item.id, key, lambda: commit(item, there)

        def of_agent(agent: Agent) -> tuple[str, object, Callable[[], shape.AgentCard]]:
            key = (
                id(agent.story),
                agent.news,
                agent.caught_up,
                agent.trouble,
                agent.member,
                self._kept.get(agent.vm.id),
            )
            return agent.vm.id, key, lambda: card(agent, plans.of(agent, self._kept))

        def of_process(item: BackgroundProcess) -> tuple[str, object, Callable[[], shape.Process]]:
            key = (item.status, item.cpu_percent, item.machine.info if isinstance(item.machine, VM) else None)
            return place(item), key, lambda: process(item)

        cards = self._cards.all(map(of_agent, agents))
        return {
            "connection": connection,
            "looking": looking,
            "here": here,
            "lost": lost,
            "machines": self._machines.all(map(of_vm, vms)),
            "commits": self._commits.all(map(of_commit, commits)),
            "agents": cards,
            "sums": sums(cards.values()),
            "processes": self._processes.all(map(of_process, processes)),
            "events": events,
        }
