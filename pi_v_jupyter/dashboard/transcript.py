"""What was said to an agent and by it, in the shape of a transcript; texts are bounded."""

from __future__ import annotations

from typing import Any

from pi_v_jupyter.dashboard import shape
from pi_v_jupyter.swarm.runs import SHORT, Run, Text, ToolCall, about, bounded
from pi_v_jupyter.swarm.story import Story
from pi_v_jupyter.texts import harmless, short

RUNS = 20  # the last that are told
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
        "diff": harmless(bounded(step.diff)),
        "state": state,  # type: ignore[typeddict-item]  # one of those three
        "seconds": step.seconds or 0.0,
    }


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
        self._steps: list[tuple[Text | ToolCall, object, shape.Step]] = []

    def shape(self, partial: str, *, going: bool) -> shape.RunShape:
        """As it is now; steps that have not changed are the same objects."""
        before, self._steps = self._steps, []
        for number, step in enumerate(self.run.steps):
            key = (going, step.failed, step.ended, step.progress) if isinstance(step, ToolCall) else None
            known = before[number] if number < len(before) else None
            if known is None or known[0] is not step or known[1] != key:
                known = step, key, step_of(step, going=going)
            self._steps.append(known)
        steps = {str(number): told for number, (_, _, told) in enumerate(self._steps)}
        if partial:
            steps[str(len(steps))] = _step("partial", harmless(bounded(partial)))
        run = self.run
        return {
            "outcome": run.outcome or "",
            "error": harmless(bounded(run.error, SHORT)),
            "tokens": run.usage.total,
            "cost": round(run.usage.cost, 6),
            "seconds": run.seconds or 0.0,
            "steps": steps,
        }


class Transcripts:
    """Tells one story, again and again, to one who reads it."""

    def __init__(self) -> None:
        self._runs: list[_Told] = []

    def of(self, story: Story) -> shape.Transcript:
        """What there is of it now."""
        first = max(0, len(story.runs) - RUNS)
        runs = story.runs[first:]
        known = {id(told.run): told for told in self._runs}
        self._runs = [known.get(id(run)) or _Told(run) for run in runs]
        told = {
            str(number): each.shape(
                story.partial if each.run is story.run else "", going=each.run is story.run
            )
            for number, each in enumerate(self._runs, first)
        }
        return {"runs": told, "cut": first}
