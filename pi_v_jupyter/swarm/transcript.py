"""A story to be read: Markdown for a file, HTML for a notebook or a file.

What agents and their tools write is shown and nothing else: in Markdown it stands in fences, for rendered it
could load images from anywhere, or pass for ours; in HTML it is escaped, and there are no scripts. Characters
that would change how the rest is shown are written as escapes.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape

from pi_v_jupyter.swarm.runs import Run, Text, ToolCall, bounded
from pi_v_jupyter.swarm.story import Story

HINT = 80  # characters of a call's first argument beside its name
OPEN = "working"
TITLES = {
    "prompt": "Told",
    "text": "Answer",
    "thinking": "Thoughts",
    "broken": "Answer, broken off",
    "note": "Note",
}
BOX = "white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.2em 0"
BAR = "border-left: 3px solid #4878a8; padding-left: 0.6em; "
FAINT = "opacity: 0.7; "
COLOURS = {"+": "rgba(46, 160, 67, 0.25)", "-": "rgba(248, 81, 73, 0.25)", "@": "rgba(56, 139, 253, 0.2)"}
STYLES = {"prompt": BAR + BOX, "thinking": FAINT + BOX, "broken": FAINT + BOX, "note": FAINT + BOX}

# Control characters but tab and newline, and those by which text runs the other way.
HIDDEN = [
    *range(9),
    *range(11, 32),
    *range(127, 160),
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]
ESCAPES = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in HIDDEN}


def visible(text: str) -> str:
    """`text`, with escapes for what would be obeyed rather than shown."""
    return text.translate(ESCAPES)


def markdown(story: Story, label: str = "agent") -> str:
    """All runs of an agent, in Markdown that every renderer shows alike."""
    parts = [f"# {_code(label)}", _sum(story)]
    for number, run in enumerate(story.runs, 1):
        parts += [f"## Task {number}: {_about(run)}", *_run_markdown(run)]
        if run is story.run and story.partial:
            parts += ["**Answer, so far**", _fence(story.partial)]
        if run.error:
            parts += ["**Error**", _fence(run.error)]
    return "\n\n".join(parts) + "\n"


def html(story: Story, label: str = "agent") -> str:
    """All runs of an agent, as a piece of HTML; tool calls and thoughts are folded."""
    parts = [f"<h3>{_safe(label)}</h3>", f"<p>{_sum(story)}</p>"]
    for number, run in enumerate(story.runs, 1):
        parts += [f"<h4>Task {number}: {_about(run)}</h4>", *map(_step_html, run.steps)]
        if run is story.run and story.partial:
            parts.append(_box(story.partial, FAINT + BOX))
        if run.error:
            parts.append(_box(run.error, "color: #c0392b; " + BOX))
    return '<div class="pi-v-transcript">\n' + "\n".join(parts) + "\n</div>\n"


def page(story: Story, label: str = "agent") -> str:
    """Likewise, as a whole document for a file in UTF-8."""
    head = f'<meta charset="utf-8"><title>{_safe(label)}</title>'
    body = f'<body style="font-family: sans-serif">\n{html(story, label)}</body>'
    return f"<!doctype html>\n<html><head>{head}</head>{body}</html>\n"


def _sum(story: Story) -> str:
    used = story.totals
    model = f" · {_safe(story.model)}" if story.model else ""
    return f"{story.state} · {used.total:,} tokens · ${used.cost:.4f}{model}"


def _about(run: Run) -> str:
    parts = [run.outcome or OPEN]
    if run.began is not None:
        with contextlib.suppress(ValueError, OverflowError, OSError):  # its machine may tell any time
            parts.append(f"{datetime.fromtimestamp(run.began, UTC):%Y-%m-%d %H:%M:%S} UTC")
    parts += [_span(run.seconds), f"{run.usage.total:,} tokens", f"${run.usage.cost:.4f}"]
    return " · ".join(part for part in parts if part)


def _span(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _result(call: ToolCall) -> str:
    how = {None: "not finished", True: "failed", False: ""}[call.failed]
    return " · ".join(part for part in (how, _span(call.seconds)) if part)


def _arguments(call: ToolCall) -> str:
    return json.dumps(call.arguments, indent=2, ensure_ascii=False)


def _run_markdown(run: Run) -> Iterator[str]:
    for step in run.steps:
        if isinstance(step, Text):
            yield f"**{TITLES[step.kind]}**"
            yield _fence(step.text)
            continue
        how = _result(step)
        yield f"**Call of** {_code(step.name)}" + (f" · {how}" if how else "")
        yield _fence(_arguments(step), "json")
        if step.diff:
            yield _fence(step.diff, "diff")
        if shown := step.result or step.progress:
            yield _fence(shown)


def _fence(text: str, language: str = "text") -> str:
    """A fence that nothing within it ends."""
    text = visible(text).removesuffix("\n")
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _code(text: str) -> str:
    text = visible(text).replace("\n", " ").strip() or "?"
    ticks = "`" * (1 + max((len(found) for found in re.findall("`+", text)), default=0))
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def _step_html(step: Text | ToolCall) -> str:
    if isinstance(step, ToolCall):
        return _call_html(step)
    box = _box(step.text, STYLES.get(step.kind, BOX))
    return _folded(TITLES[step.kind], box) if step.kind == "thinking" else box


def _call_html(call: ToolCall) -> str:
    hint = next((value for value in call.arguments.values() if isinstance(value, str)), "")
    hint = bounded(" ".join(hint.split()), 10 * HINT)[:HINT]
    how = _result(call)
    summary = f"<code>{_safe(call.name)}</code> {_safe(hint)}" + (f" · {how}" if how else "")
    boxes = [_box(_arguments(call), FAINT + BOX)]
    if call.diff:
        boxes.append(_diff(call.diff))
    if shown := call.result or call.progress:
        boxes.append(_box(shown, BOX))
    return _folded(summary, "".join(boxes))


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>{body}</details>"


def _diff(diff: str) -> str:
    lines = []
    for line in diff.split("\n"):
        colour = COLOURS.get(line[:1])
        shown = _safe(line)
        lines.append(f'<span style="background: {colour}">{shown}</span>' if colour else shown)
    return f'<pre style="{BOX}">' + "\n".join(lines) + "</pre>"


def _box(text: str, style: str) -> str:
    return f'<pre style="{style}">{_safe(text)}</pre>'


def _safe(text: str) -> str:
    return escape(visible(text))
