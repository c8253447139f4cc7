"""What happened: found by comparing two snapshots, and what is told by others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Literal, NamedTuple

from pi_v_jupyter.dashboard.shape import Event, Snapshot
from pi_v_jupyter.texts import short

EVENTS = 300  # the last that are kept
LONGEST = 400  # characters of one

Kind = Literal["machine", "commit", "agent", "process", "connection", "done", "notice"]
Level = Literal["info", "warning", "error"]
LEVELS: dict[str, Level] = {"error": "error", "lost": "error", "waiting": "warning", "retrying": "warning"}
QUIET = ("starting", "")  # states of an agent that are no news: it is looked for
UNSEEN = "while nobody looked"


class Found(NamedTuple):
    """What has happened. `at` is in seconds since the epoch; 0: that is not known."""

    kind: Kind
    about: str
    text: str
    level: Level = "info"
    at: float = 0.0


def compare(old: Snapshot, new: Snapshot, known: Collection[str], seen: Collection[str]) -> Iterator[Found]:
    """What has happened in between. `known`: the sections of which the old one knew all there was: whatever
    comes up in another one was there before. `seen`: those that it had as they were at its time; what has
    happened in another one may be long ago.
    """
    if new["connection"]["url"] != old["connection"]["url"]:
        return  # another platform has all of its own
    yield from _connection(old, new)
    for section, look in SECTIONS.items():
        if section in known:
            for found in look(old, new):
                dated = section in seen or found.at
                yield found if dated else found._replace(text=f"{found.text}, {UNSEEN}")


def _connection(old: Snapshot, new: Snapshot) -> Iterator[Found]:
    before, after = old["connection"], new["connection"]
    if after["state"] == before["state"]:
        return
    if after["state"] == "trouble":
        yield Found("connection", after["label"], after["reason"], "error")
    elif before["state"] == "trouble":
        yield Found("connection", after["label"], "The platform answers again.", "info")


def _machines(old: Snapshot, new: Snapshot) -> Iterator[Found]:
    for id, vm in new["machines"].items():
        before = old["machines"].get(id)
        if before is None:
            yield Found("machine", vm["label"], f"is there, {vm['state']}", "info")
            continue
        if vm["label"] != before["label"] and before["name"]:  # new ones are named a moment later
            yield Found("machine", vm["label"], f"was called {before['label']} before", "info")
        if vm["state"] != before["state"]:
            level: Level = "error" if vm["state"] == "dead" else "info"
            yield Found("machine", vm["label"], f"{before['state']} → {vm['state']}", level)
        if vm["link"] != before["link"] and "away" in (vm["link"], before["link"]):
            if vm["link"] == "away":
                yield Found("machine", vm["label"], "its connection is lost", "warning")
            elif vm["link"] == "connected":
                yield Found("machine", vm["label"], "is connected again", "info")
    for id, vm in old["machines"].items():
        if id not in new["machines"]:
            yield Found("machine", vm["label"], "is gone", "info")


def _commits(old: Snapshot, new: Snapshot) -> Iterator[Found]:
    for id, commit in new["commits"].items():
        if id not in old["commits"]:
            yield Found("commit", commit["label"], "was made", "info")
    for id, commit in old["commits"].items():
        if id not in new["commits"]:
            yield Found("commit", commit["label"], "is gone", "info")


def _agents(old: Snapshot, new: Snapshot) -> Iterator[Found]:
    for id, agent in new["agents"].items():
        before = old["agents"].get(id)
        state = agent["state"]
        if before is None or state == before["state"] or {state, before["state"]} & {*QUIET}:
            continue
        asks = agent["asks"][0]["title"] if state == "waiting" and agent["asks"] else ""
        why = "" if state == "aborted" else agent["detail"] or asks
        yield Found("agent", agent["label"], f"{state}: {why}" if why else state, LEVELS.get(state, "info"))


def _processes(old: Snapshot, new: Snapshot) -> Iterator[Found]:
    for id, process in new["processes"].items():
        before = old["processes"].get(id)
        about = f"{process['id']} on {process['machine']}"
        if before is not None and before["state"] == "running" and process["state"] != "running":
            fine = process["outcome"] == "exit code 0"
            level: Level = "info" if fine else "warning"
            yield Found("process", about, f"has ended: {process['outcome']}", level, process["ended"])


SECTIONS: dict[str, Callable[[Snapshot, Snapshot], Iterator[Found]]] = {
    "machines": _machines,
    "commits": _commits,
    "agents": _agents,
    "processes": _processes,
}


class Events:
    """Those that are kept, the oldest first."""

    def __init__(self) -> None:
        self.all: dict[str, Event] = {}
        self._count = 0

    def found(self, several: Collection[Found]) -> None:
        """These, which were found now, in the order in which they have happened."""
        now = time.time()
        for each in sorted(several, key=lambda each: each.at or now):
            self.add(min(each.at or now, now), each.kind, each.about, each.text, each.level)

    def add(self, at: float, kind: Kind, about: str, text: str, level: Level = "info") -> None:
        """One more; `at` is in seconds since the epoch."""
        self._count += 1
        kept = [*self.all.items()][1 - EVENTS :]
        told: Event = {
            "at": at,
            "kind": kind,
            "about": short(about, LONGEST),
            "text": short(text, LONGEST),
            "level": level,
        }
        self.all = dict([*kept, (str(self._count), told)])
