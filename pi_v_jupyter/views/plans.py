"""How far agents are with their plans: the steps, which are done, and what it took. HTML and text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pi_v_jupyter.names import shown
from pi_v_jupyter.texts import short
from pi_v_jupyter.views.tables import with_code
from pi_v_jupyter.views.telling import clock, money

if TYPE_CHECKING:
    from pi_v_jupyter.plan.steps import Plan
    from pi_v_jupyter.swarm.planning import Progress

ICONS = {"planning": "⟳", "planned": "○", "working": "⟳", "stopped": "⊘", "done": "✓"}
DONE, NEXT, LEFT = "✓", "▸", "○"
WORDS = 200  # characters of a step
FILES = 5  # that are named
NO_PLANS = "No plans.  `%%task LABEL --plan` has an agent make one."


def _head(progress: Progress) -> str:
    """Such as "⟳ ann: working on its plan, 1 of 3 steps done"; what one may type is between backquotes."""
    label, plan = shown(progress.label), progress.plan
    how_far = f", {plan.done} of {len(plan.steps)} steps done" if plan is not None else ""
    said = {
        "planning": f"planning; it may only look{how_far}",
        "planned": f"it has a plan{how_far}. `%plan run {label}` has it carried out",
        "working": f"working on its plan{how_far}",
        "stopped": f"stopped{how_far}. `%plan run {label}` has it go on",
        "done": f"its plan is done{how_far}",
    }[progress.stage]
    if plan is None and progress.stage != "planning":
        said = "it has no plan"
    return f"{ICONS[progress.stage]} {label}: {said}"


def _steps(plan: Plan, *, working: bool) -> Iterator[str]:
    for step in plan.steps:
        icon = DONE if step.done else NEXT if working and step == plan.next else LEFT
        yield f"{icon} {step.number}. {short(step.text, WORDS)}"


def _below(progress: Progress) -> Iterator[str]:
    """What it took, and what is wrong, if anything."""
    if progress.trouble:
        label = shown(progress.label)
        yield f"! No new plan: {progress.trouble}. `%%task {label} --plan` asks again"
    if progress.cost or progress.seconds:
        parts = [money(progress.cost), clock(progress.seconds)]
        files = progress.files
        if files:
            named = ", ".join(short(path) for path in files[:FILES])
            parts.append(f"{len(files)} file{'' if len(files) == 1 else 's'}: {named}")
            parts[-1] += ", …" if len(files) > FILES else ""
        yield "  ".join(parts)


def progress_text(progress: Progress) -> str:
    """How far one is."""
    steps = _steps(progress.plan, working=progress.stage == "working") if progress.plan is not None else ()
    return "\n".join([_head(progress), *(f"    {line}" for line in [*steps, *_below(progress)])])


def progress_html(progress: Progress) -> str:
    """The same as a list."""
    lines = ""
    if progress.plan is not None:
        steps = _steps(progress.plan, working=progress.stage == "working")
        items = "".join(f"<li>{with_code(line)}</li>" for line in steps)
        lines = f'<ul style="list-style: none; margin: 0.2em 0; padding-left: 1.5em">{items}</ul>'
    below = "".join(f"<p>{with_code(line)}</p>" for line in _below(progress))
    return f"<div><p>{with_code(_head(progress))}</p>{lines}{below}</div>"


def progresses_text(all_of_them: Sequence[Progress]) -> str:
    """Of several."""
    return "\n\n".join(map(progress_text, all_of_them)) or NO_PLANS


def progresses_html(all_of_them: Sequence[Progress]) -> str:
    """The same as lists."""
    return "".join(map(progress_html, all_of_them)) or f"<p>{with_code(NO_PLANS)}</p>"


def bundle(progress: Progress) -> dict[str, str]:
    """Both."""
    return {"text/plain": progress_text(progress), "text/html": progress_html(progress)}
