"""Plan mode, in sentences: that it is on, where commands run, and the mark above what they show."""

from __future__ import annotations

from collections.abc import Iterable

from pi_v_jupyter.names import shown
from pi_v_jupyter.plan.grounds import Inside
from pi_v_jupyter.plan.mode import Status
from pi_v_jupyter.views.tables import in_html, with_code

WAYS: dict[Inside, str] = {"branch": "in a branch", "readonly": "read-only"}
GREY = "color: var(--jp-ui-font-color2, gray); font-size: 85%"
BOX = "border-left: 4px solid var(--jp-warn-color1, orange); padding: 0.2em 0.8em"


def status_text(status: Status) -> str:
    """Such as "◎ Plan mode: `%vm`, … look only. …"; what one may type is between backquotes."""
    if not status.on:
        return "Plan mode is off.  `%plan on` has `%vm`, `%vers`, `%bg` and `%%task` look only."
    return (
        "◎ Plan mode: `%vm`, `%vers`, `%bg`, `%%task` and routed cells look only; what may do more is "
        f"refused. Python that runs in this kernel is not judged. {_where(status)} `%plan off` ends it."
    )


def _where(status: Status) -> str:
    machine = shown(status.machine)
    if status.inside == "branch":
        named = f" ({shown(status.branch)})" if status.branch else ""
        return f"Commands on {machine} run in a branch of it{named}, which is deleted at the end."
    if status.inside == "readonly":
        return f"Commands on {machine} see it read-only."
    if status.missing:
        return (
            f"Commands on {machine} are judged by their text alone, for it cannot confine them "
            f"({status.missing})."
        )
    return f"Commands on {machine} see it read-only."


def status_html(status: Status) -> str:
    """The same, which catches the eye while it is on."""
    text = with_code(status_text(status))
    return f'<div style="{BOX}">{text}</div>' if status.on else f"<p>{text}</p>"


def mark(machine: str, way: Inside | None) -> str:
    """Of one machine, such as "build, in a branch"."""
    return f"{shown(machine)}, {WAYS[way]}" if way else shown(machine)


def mark_text(marks: Iterable[str]) -> str:
    """What stands above the output of a planned cell."""
    return f"◎ plan: {'; '.join(marks)}"


def mark_html(marks: Iterable[str]) -> str:
    """The same, in the grey of what is not the cell's own output."""
    return f'<span style="{GREY}">{in_html(mark_text(marks))}</span>'
