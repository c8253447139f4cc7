"""Background processes, as lines and tables: HTML for a notebook, text everywhere."""

from __future__ import annotations

from pi_v_jupyter import texts
from pi_v_jupyter.names import shown
from pi_v_jupyter.remote.background import GRACE, BackgroundProcess, BackgroundProcesses
from pi_v_jupyter.views.files import amount
from pi_v_jupyter.views.tables import html_table, span, text_table

COLUMNS = ("id", "where", "state", "pid", "uptime", "CPU", "memory", "last line")
ENDED = 10  # that have ended are in a table
LONGEST = 60  # characters of a last line


def state(process: BackgroundProcess) -> str:
    """Such as "running", "exit code 2 ✗", "ended by SIGKILL"; and what troubles it."""
    code = process.exit_code if process.state != "running" else None
    mark = "" if code is None else " ✗" if code else " ✓"
    trouble = f" ({shown(process.status.trouble)})" if process.status.trouble else ""
    return f"{process.outcome}{mark}{trouble}"


def last_line(process: BackgroundProcess) -> str:
    """As a terminal would show it last: without what steers that, and what `\\r` has overwritten."""
    return texts.last_line(process.status.last_line, LONGEST)


def _row(process: BackgroundProcess) -> tuple[str, ...]:
    runs = process.state == "running"
    return (
        process.id,
        process.machine.label,
        state(process),
        str(process.pid) if runs else "",
        span(process.status.uptime),
        f"{process.cpu_percent:.0f} %" if runs else "",
        amount(process.status.memory) if runs else "",
        last_line(process),
    )


def _rows(processes: BackgroundProcesses) -> tuple[list[tuple[str, ...]], str]:
    """What runs, then what has ended last; and, in words, how much more has ended."""
    alive = [process for process in processes if process.alive]
    over = sorted((each for each in processes if not each.alive), key=_ended, reverse=True)
    more = len(over) - ENDED
    words = f"{more} more have ended; `%bg rm --all` forgets them." if more > 0 else ""
    return [_row(process) for process in (*alive, *over[:ENDED])], words


def _ended(process: BackgroundProcess) -> float:
    return process.status.ended or process.status.started


def process_text(process: BackgroundProcess) -> str:
    """One of them in a line."""
    pid = f"  pid {process.pid}" if process.state == "running" else ""
    return f"{process.id} on {process.machine.label}: {state(process)}{pid}"


def processes_text(processes: BackgroundProcesses) -> str:
    """Processes as text."""
    if not processes:
        return "No background processes.  `%bg start ID -- COMMAND` starts one."
    rows, more = _rows(processes)
    return text_table(COLUMNS, rows) + (f"\n{more}" if more else "")


def processes_html(processes: BackgroundProcesses) -> str:
    """Processes as a table."""
    if not processes:
        return "<p>No background processes. <code>%bg start ID -- COMMAND</code> starts one.</p>"
    rows, more = _rows(processes)
    return html_table(COLUMNS, rows, unbroken=True) + (f"<p>{more}</p>" if more else "")


def started_text(process: BackgroundProcess) -> str:
    """Such as "▶ web  pid 812 on build"."""
    return f"▶ {process.id}  pid {process.pid} on {process.machine.label}"


def ended_text(process: BackgroundProcess) -> str:
    """How one has ended."""
    if process.state == "ended" and process.signal:
        return f"{process.id} on {process.machine.label} was ended by {process.signal}"
    return f"{process.id} on {process.machine.label} has ended: {state(process)}"


def stopped_text(process: BackgroundProcess, asked: str) -> str:
    """How one was stopped by the signal `asked`, such as "SIGTERM"."""
    took, outcome = process.stopped_by, process.outcome
    if took is None:
        how = " (it ended before that could be sent)"
    elif took != asked:
        how = f" ({asked} was not enough: it took {took} after {GRACE:g} s)"
    else:
        how = "" if process.signal == took else f" (it took {took})"
    return f"{process.id} on {process.machine.label}: {outcome}{how}."
