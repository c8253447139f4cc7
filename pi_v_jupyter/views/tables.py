"""VMs, results and checks as tables: HTML for a notebook, text for a terminal and for `str`."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from markdown_it import MarkdownIt
from pydantic import BaseModel

from pi_v_jupyter import sizes
from pi_v_jupyter.doctor import Report
from pi_v_jupyter.lineage import origin
from pi_v_jupyter.machine import Result, Results
from pi_v_jupyter.roster import VMs
from pi_v_jupyter.vm import VM

STAR = "★"
LEFT = 'style="text-align: left"'
UNBROKEN = 'style="text-align: left; white-space: nowrap"'
_CODE = MarkdownIt("zero").enable("backticks")
COLUMNS = ("", "name", "id", "state", "age", "size", "parent")


def age(created: datetime, now: datetime | None = None) -> str:
    """How long ago, as `span` tells it."""
    return span(((now or datetime.now(UTC)) - created).total_seconds())


def span(seconds: float) -> str:
    """A time in the largest unit that fits: 12 s, 5 min, 3 h, 4 d."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def size(vm: VM) -> str:
    """Such as "1 vCPU · 512 MB"; empty when the platform has not said."""
    return sizes.machine(vm.info.vcpu_count, vm.info.mem_size_mib)


def row(vm: VM, active: str | None, labels: Mapping[str, str]) -> tuple[str, ...]:
    """One VM under COLUMNS; `labels` says what is called what of all that it may have come from."""
    star = STAR if vm.vm_id == active else ""
    came_from = origin(vm, labels)
    parent = labels.get(came_from, came_from[:8])
    state = f"{vm.state.value}, for plan mode" if vm.aside else vm.state.value
    return star, vm.name, vm.vm_id[:8], state, age(vm.created_at), size(vm), parent


def rows(vms: VMs) -> list[tuple[str, ...]]:
    """All VMs under COLUMNS."""
    labels = {each.id: each.label for each in (*vms, *vms.commits)}
    return [row(vm, vms.active, labels) for vm in vms]


def width(text: str) -> int:
    """Columns of a terminal that `text` fills: an ideograph two, an accent set on a letter none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    table = [header, *rows]
    widths = [max(width(line[i]) for line in table) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell + " " * (room - width(cell)) for cell, room in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def in_html(text: str) -> str:
    """`text` as it is: notebooks take what is between two dollars, or behind a backslash, for a formula,
    where that is in one element.
    """
    return escape(text).replace("\\", "<span>\\</span>").replace("$", "<span>$</span>")


def with_code(text: str) -> str:
    """The same, with what Markdown takes for inline code as code; a backquote of no pair is one."""
    return str(_CODE.renderInline(text)).replace("\\", "<span>\\</span>").replace("$", "<span>$</span>")


def html_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    unbroken: bool = False,
    cell_html: Callable[[str], str] = in_html,
) -> str:
    """A plain table; the front end's own style gives it its looks, but for words set to the right.

    `unbroken`: a cell is one line, however narrow the notebook. `cell_html`: what makes HTML of its text.
    """
    style = UNBROKEN if unbroken else LEFT
    head = "".join(f"<th {style}>{in_html(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td {style}>{cell_html(cell)}</td>" for cell in line) + "</tr>" for line in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def json_text(infos: Sequence[BaseModel]) -> str:
    """A JSON list, a line each; what is not known is left out."""
    return "[" + ",\n ".join(info.model_dump_json(exclude_none=True) for info in infos) + "]"


def vms_text(vms: VMs) -> str:
    """The fleet as text."""
    return text_table(COLUMNS, rows(vms)) if vms else "No VMs.  `%vers create` makes one."


def vms_html(vms: VMs) -> str:
    """The fleet as HTML."""
    if not vms:
        return "<p>No VMs. <code>%vers create</code> makes one.</p>"
    return html_table(COLUMNS, rows(vms))


def vm_line(vm: VM, active: str | None, seconds: float | None = None) -> str:
    """One VM in one line, such as "★ build  b3f1c0de  running  1 vCPU · 512 MB · 0.9 s"."""
    took = f"{seconds:.1f} s" if seconds is not None else ""
    tail = " · ".join(part for part in (size(vm), took) if part)
    star = STAR if vm.vm_id == active else " "
    return f"{star} {'  '.join(part for part in (vm.name, vm.vm_id[:8], vm.state.value, tail) if part)}"


def vm_html(vm: VM, active: str | None) -> str:
    """One VM as HTML."""
    return html_table(COLUMNS, [row(vm, active, {})])


def result_text(result: Result) -> str:
    """How a command ended."""
    how = f"ended by {result.signal}" if result.signal else f"exit code {result.exit_code}"
    return f"{how} after {result.duration:.2f} s"


def results_text(results: Results) -> str:
    """How it ended on each machine."""
    return "\n".join(f"{label}: {result_text(result)}" for label, result in results.items())


def report_text(report: Report) -> str:
    """Checks, one a line, each remedy under its check."""
    lines = []
    for check in report:
        lines.append(f"{'✓' if check.ok else '✗'} {check.what}: {check.found}")
        if check.remedy:
            lines.append(f"    {check.remedy}")
    return "\n".join(lines)


def report_html(report: Report) -> str:
    """The same as a table."""
    lines = [("✓" if check.ok else "✗", check.what, check.found, check.remedy) for check in report]
    return html_table(("", "what", "found", "what to do"), lines)
