"""The shape of a snapshot, as Python and `js/dashboard` know it. Times are seconds since the epoch.

Whatever there may be many of is an object by id, so that a change of one is a small patch. Empty strings and
zeros stand for what is not known. Text from machines is bounded, and shown as text, never as HTML.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class Connection(TypedDict):
    """How the platform is reached. `remedy` may have `code` in backquotes, as hints of errors do."""

    url: str
    label: str
    """Such as "embedded platform", or the host."""
    state: Literal["connecting", "ok", "trouble"]
    reason: str
    remedy: str
    checked: float
    """When it last answered."""


class Machine(TypedDict):
    """A VM, by its id."""

    name: str
    label: str
    """What it is called: its name, or the first 8 characters of its id."""
    state: str
    """As the API has it: "booting", "running", "paused", "sleeping", "dead"."""
    created: float
    size: str
    """Such as "1 vCPU · 512 MB", and `disk` as "4 GB"; empty when the platform has not said."""
    disk: str
    parent: str
    """The id of the VM or commit it came from; that may be gone."""
    active: bool
    """Do cells run on it?"""
    link: Literal["", "connected", "away"]
    """Is there a connection to it, or was there one that is lost for now?"""
    agent: str
    """The label of the agent on it."""
    tunnels: list[str]
    """Such as "8000 → 80"."""
    aside: bool
    """Is it a branch that plan mode made, and deletes?"""


class Commit(TypedDict):
    """A commit, by its id."""

    label: str
    name: str
    tags: list[str]
    created: float
    parent: str
    """The id of the VM it was made of, or of the commit that came from; that may be gone."""
    golden: bool
    """Is it an image that agents start from?"""


class Asked(TypedDict):
    """A question of an agent that waits for an answer; as pi's extensions ask it."""

    id: str
    method: Literal["select", "confirm", "input", "editor"]
    title: str
    text: str
    """Of an editor, what is in it at first."""
    options: list[str]
    """In their order; an answer names one by its place."""
    cut: int
    """Characters of the text that are left out here."""
    more: int
    """Options that are."""
    whole: bool
    """Is the text here what the agent sent, character by character?"""


class PlanStep(TypedDict):
    """A step of a plan."""

    number: int
    text: str
    done: bool


class AgentPlan(TypedDict):
    """What an agent has planned, and how far it is."""

    stage: Literal["", "planning", "planned", "working", "stopped", "done"]
    """"" for one that has planned nothing; "planning": it may look only."""
    trouble: str
    """Why no plan came of what it was last told to plan."""
    done: int
    total: int
    steps: dict[str, PlanStep]
    """The first of them, by their places as strings, counted up from 0."""


class AgentCard(TypedDict):
    """An agent, by the id of its VM."""

    label: str
    state: str
    """"starting", "idle", "working", "waiting", "retrying", "done", "error", "aborted", "lost", "ended",
    "leaving"."""
    trouble: str
    """Why it is not heard."""
    detail: str
    """Such as "2 of 5" of a retry, or the error it ended with."""
    task: str
    calls: list[str]
    """The tool calls under way, a line each."""
    words: str
    """The end of what it says or has said: a few lines."""
    tokens: int
    cost: float
    """US dollars, of all its runs."""
    budget: float
    """US dollars; 0 without one."""
    began: float
    """When the run that goes on, or the last one, began."""
    seconds: float
    """How long the last run took; 0 while one goes on."""
    queued: int
    """Messages that wait for it."""
    model: str
    plan: AgentPlan
    asks: list[Asked]


class Sums(TypedDict):
    """Of all agents."""

    agents: int
    working: int
    waiting: int
    tokens: int
    cost: float
    budget: float
    """What all may cost together, if each has a budget; else 0."""


class Process(TypedDict):
    """A background process, by "PLACE ID", where PLACE is the id of its VM or "here"."""

    id: str
    machine: str
    """What its machine is called."""
    vm: str
    """Its VM's id; "" for this computer."""
    state: Literal["running", "ended", "lost"]
    outcome: str
    """In words."""
    command: str
    started: float
    ended: float
    cpu: float
    """Percent of one processor."""
    memory: int
    """Bytes."""
    line: str
    """The last it has written."""


class Event(TypedDict):
    """Something that happened, by its number as a string: counted up from 1."""

    at: float
    kind: Literal["machine", "commit", "agent", "process", "connection", "done", "notice"]
    about: str
    """What it is about, as it is called."""
    text: str
    level: Literal["info", "warning", "error"]


class Snapshot(TypedDict):
    """All that a dashboard shows."""

    connection: Connection
    looking: bool
    """Is plan mode on?"""
    here: bool
    """Do cells run on this computer?"""
    lost: str
    """The label of the VM that cells run on, if it is there no more: they are refused then."""
    machines: dict[str, Machine]
    commits: dict[str, Commit]
    agents: dict[str, AgentCard]
    sums: Sums
    processes: dict[str, Process]
    events: dict[str, Event]
    """The last EVENTS of them."""


class Step(TypedDict):
    """A part of a transcript."""

    kind: Literal["prompt", "text", "thinking", "broken", "note", "call", "partial"]
    """`partial`: what has come of the answer that is being written."""
    text: str
    """Markdown of `text` and `partial`; of a call its arguments, in a line."""
    name: str
    """The tool's, of a call; else ""."""
    result: str
    diff: str
    """A unified diff, of calls that change a file; of one that writes it, what it writes as added."""
    state: Literal["", "running", "ok", "failed"]
    seconds: float


class RunShape(TypedDict):
    """A run, from a task to its end."""

    outcome: str
    """"" while it goes on; else "done", "error", "aborted"."""
    error: str
    tokens: int
    cost: float
    seconds: float
    steps: dict[str, Step]
    """By their numbers as strings, counted up from 0."""
    cut: int
    """How many steps before these are left out."""


class Transcript(TypedDict):
    """What was said to an agent and by it."""

    runs: dict[str, RunShape]
    """By their numbers as strings, counted up from 0."""
    cut: int
    """How many earlier runs are left out: the last RUNS are told."""
