"""What agents did, as data: runs, their steps, their tool calls, what they cost.

A *run* is everything from a prompt that pi accepted until pi has settled again: retries, compactions and
messages that were queued meanwhile are part of it. Times are seconds since the epoch, by the clock of the
agent's machine; cost is in US dollars.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from pi_v_jupyter.texts import LONGEST, short

SHORT = 2000  # characters of an error, or of a name
SHOWN = 20_000  # characters of a text that is kept only to be shown
MANY = 100  # members of a list or an object likewise
DEEP = 6  # levels of one
TOLD = ("command", "path", "file_path", "pattern", "query", "url")  # arguments that say what a call is about

Outcome = Literal["done", "error", "aborted"]
Kind = Literal["prompt", "text", "thinking", "broken", "note"]

LEFT_OUT = re.compile(r"… \d+ characters left out …")  # a line of what `bounded` returns


def bounded(text: str, limit: int = SHOWN) -> str:
    """`text`, or its beginning and end, with what is left out counted."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def small(value: Any, depth: int = DEEP) -> Any:
    """A JSON value, cut down to what can be shown."""
    if isinstance(value, str):
        return bounded(value)
    if isinstance(value, dict | list) and depth == 0:
        return "…"
    if isinstance(value, dict):
        return {bounded(str(key), 200): small(value[key], depth - 1) for key in list(value)[:MANY]}
    if isinstance(value, list):
        return [small(each, depth - 1) for each in value[:MANY]]
    return value


@dataclass(slots=True)
class Usage:
    """Tokens by kind, and `cost` in US dollars."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: float = 0.0

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input + self.output + self.cache_read + self.cache_write

    def add(self, other: Usage) -> None:
        """Count what `other` counts, too."""
        self.input += other.input
        self.output += other.output
        self.cache_read += other.cache_read
        self.cache_write += other.cache_write
        self.cost += other.cost


@dataclass(slots=True)
class ToolCall:
    """One call of a tool.

    `arguments`, `result`, `progress` and `diff` are cut down to what can be shown; `failed` is None until it
    has ended. `began` is when it was called, or, where nobody saw that happen, when it was asked for.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    result: str = ""
    progress: str = ""
    diff: str = ""
    failed: bool | None = None
    began: float | None = None
    ended: float | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        if self.began is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.began)


@dataclass(slots=True)
class Text:
    """Words within a run.

    `kind`: a `prompt` (what was queued meanwhile, too), a `text` or `thinking` of the model, an answer that
    was `broken` off, or a `note` of what pi did by itself.
    """

    kind: Kind
    text: str


@dataclass(slots=True)
class Run:
    """What came of one prompt. `outcome` is None while it goes on.

    `id` is that of the command which was accepted, empty where an extension began the run. `stop` is pi's
    stopReason of the last message; `error` its message, or how pi ended.
    """

    id: str = ""
    steps: list[Text | ToolCall] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    turns: int = 0
    retries: int = 0
    stop: str = ""
    error: str = ""
    outcome: Outcome | None = None
    looking: bool = False  # might it look only, and plan?
    began: float | None = None
    ended: float | None = None

    @property
    def prompts(self) -> list[str]:
        """What it was told: first the task, then what was queued meanwhile; exact."""
        return [step.text for step in self.steps if isinstance(step, Text) and step.kind == "prompt"]

    @property
    def prompt(self) -> str:
        """Its task; empty until pi has shown it."""
        return next((s.text for s in self.steps if isinstance(s, Text) and s.kind == "prompt"), "")

    @property
    def answer(self) -> str:
        """The last thing the model said, whole and exact; see `answers` for everything it said."""
        return self.answers[-1] if self.answers else ""

    @property
    def calls(self) -> list[ToolCall]:
        """Its tool calls, in the order in which they were asked for."""
        return [step for step in self.steps if isinstance(step, ToolCall)]

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken until its last message."""
        if self.began is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.began)


def about(call: ToolCall, limit: int = LONGEST) -> str:
    """What a call is about, in a line: the argument that says so, or all of them."""
    arguments: dict[str, Any] = call.arguments
    told = [arguments[name] for name in TOLD if isinstance(arguments.get(name), str)]
    return short(told[0] if told else json.dumps(arguments, ensure_ascii=False) if arguments else "", limit)


def call_text(call: ToolCall, limit: int = LONGEST) -> str:
    """Such as "bash  make test"."""
    return f"{short(call.name, 40)}  {about(call, limit)}".rstrip()
