"""What was said to an agent and by it, in the shape of a transcript; texts are bounded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from pi_v_jupyter.dashboard import shape
from pi_v_jupyter.swarm.runs import LEFT_OUT, SHORT, Run, Text, ToolCall, about, bounded
from pi_v_jupyter.swarm.story import Story
from pi_v_jupyter.texts import harmless, short

RUNS = 20  # the last that are told
STEPS, STRIDE = 400, 50  # the last steps of all runs that are told, and so many are left out at once
ARGUMENTS = 2000  # characters of them
PIECE = (
    60_000  # characters that are told at once, about: ten of these a second, and the page goes on answering
)


def step_of(step: Text | ToolCall, *, going: bool) -> shape.Step:
    """A part of a run; `going`: does the run go on?"""
    if isinstance(step, Text):
        return _step(step.kind, harmless(bounded(step.text)))
    running = "running" if going else ""
    state = {None: running, True: "failed", False: "ok"}[step.failed]
    return {
        "kind": "call",
        "text": about(step, ARGUMENTS),
        "name": short(step.name, 40),
        "result": harmless(bounded(step.result or step.progress)),
        "diff": harmless(bounded(step.diff) or (_written(step) if state in ("running", "ok") else "")),
        "state": state,  # type: ignore[typeddict-item]  # one of those three
        "seconds": step.seconds or 0.0,
    }


def _written(call: ToolCall) -> str:
    """What pi's `write` writes, as lines that are added: it tells of no difference. It is bounded already."""
    content = call.arguments.get("content")
    if call.name != "write" or not isinstance(content, str) or not content:
        return ""
    lines = content.removesuffix("\n").split("\n")
    return "\n".join(line if LEFT_OUT.fullmatch(line) else f"+{line}" for line in lines)


def _step(kind: str, text: str) -> shape.Step:
    return {
        "kind": kind,  # type: ignore[typeddict-item]  # one of the model's
        "text": text,
        "name": "",
        "result": "",
        "diff": "",
        "state": "",
        "seconds": 0.0,
    }


def part(patch: dict[str, Any]) -> dict[str, Any]:
    """As much of a patch of a transcript as is told at once, the latest first."""
    wanted: dict[str, Any] = patch.get("runs", {})
    runs, left = {}, PIECE
    for number in sorted(wanted, key=int, reverse=True):
        run = wanted[number]
        if run is None or "steps" not in run:
            runs[number] = run
            continue
        steps = {}
        for step in sorted(run["steps"], key=int, reverse=True):
            if left <= 0:
                break
            steps[step] = run["steps"][step]
            left -= _weight(steps[step])
        runs[number] = {**run, "steps": dict(reversed(steps.items()))}
        if left <= 0:
            break
    return {**patch, "runs": dict(reversed(runs.items()))} if wanted else patch


def _weight(step: dict[str, Any] | None) -> int:
    """Characters of it, about."""
    return 100 + sum(len(str(value)) for value in (step or {}).values())


class _Told:
    """One run, as it was told last."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._steps: dict[int, tuple[Text | ToolCall, object, shape.Step]] = {}  # by their numbers

    def shape(self, partial: str, first: int, *, going: bool) -> shape.RunShape:
        """As it is now, from step `first` on; steps that have not changed are the same objects."""
        run = self.run
        before, self._steps = self._steps, {}
        for number, step in enumerate(itertools.islice(run.steps, first, None), first):
            key = (going, step.failed, step.ended, step.progress) if isinstance(step, ToolCall) else None
            known = before.get(number)
            if known is None or known[0] is not step or known[1] != key:
                known = step, key, step_of(step, going=going)
            self._steps[number] = known
        steps = {str(number): told for number, (_, _, told) in self._steps.items()}
        if partial:
            steps[str(len(run.steps))] = _step("partial", harmless(bounded(partial)))
        return {
            "outcome": run.outcome or "",
            "error": harmless(bounded(run.error, SHORT)),
            "tokens": run.usage.total,
            "cost": round(run.usage.cost, 6),
            "seconds": run.seconds or 0.0,
            "steps": steps,
            "cut": first,
        }


class Transcripts:
    """Tells one story, again and again, to one who reads it."""

    def __init__(self) -> None:
        self._runs: list[_Told] = []

    def of(self, story: Story) -> shape.Transcript:
        """What there is of it now."""
        firsts = _window([len(run.steps) for run in story.runs[-RUNS:]])
        first = len(story.runs) - len(firsts)
        known = {id(told.run): told for told in self._runs}
        self._runs = [known.get(id(run)) or _Told(run) for run in story.runs[first:]]
        told = {}
        for number, (each, step) in enumerate(zip(self._runs, firsts, strict=True), first):
            going = each.run is story.run
            told[str(number)] = each.shape(story.partial if going else "", step, going=going)
        return {"runs": told, "cut": first}


def _window(counts: Sequence[int]) -> list[int]:
    """The first step that is told of each run, for the last runs; `counts`: how many each has."""
    firsts: list[int] = []
    left = STEPS
    for count in reversed(counts):
        if firsts and left <= 0:
            break
        first = math.ceil(max(0, count - left) / STRIDE) * STRIDE
        firsts.append(min(first, count))
        left -= count - firsts[-1]
    return firsts[::-1]
