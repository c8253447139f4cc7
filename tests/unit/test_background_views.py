"""How background processes read, whatever they are called and write."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from test_tables import HOSTILE, Seen

from pi_v_jupyter.remote.background import BackgroundProcess, BackgroundProcesses, Status
from pi_v_jupyter.views import background as views


def process(**known: Any) -> BackgroundProcess:
    status: dict[str, Any] = {
        **{"id": "web", "run": "1", "command": "serve", "cwd": "/", "state": "running", "pid": 812},
        **{"minder": 811, "minder_began": "5", "started": 0.0, "begin": 0, "end": 0},
    }
    place: Any = SimpleNamespace(machine=SimpleNamespace(label="build"))
    return BackgroundProcess(place, Status(**(status | known)))


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({}, "running"),
        ({"state": "ended", "code": 0}, "exit code 0 ✓"),
        ({"state": "ended", "code": 2}, "exit code 2 ✗"),
        ({"state": "ended", "signal": "SIGKILL"}, "ended by SIGKILL"),
        ({"state": "lost"}, "lost"),
        ({"trouble": "No space left"}, "running (No space left)"),
    ],
)
def test_a_state_is_told_with_how_it_ended_and_what_troubles_it(known: dict[str, Any], told: str) -> None:
    assert views.state(process(**known)) == told


def test_a_row_has_what_a_process_takes_while_it_runs() -> None:
    shown = views.processes_text(
        BackgroundProcesses(
            [
                process(uptime=120.0, cpu=60.0, memory=20_200_000, last_line="ready"),
                process(id="old", state="ended", code=0, uptime=5.0, cpu=2.0, memory=1),
            ]
        )
    ).splitlines()
    assert shown[1].split() == [
        "web",
        "build",
        "running",
        "812",
        "2",
        "min",
        "50",
        "%",
        "20.2",
        "MB",
        "ready",
    ]
    assert shown[2].split() == ["old", "build", "exit", "code", "0", "✓", "5", "s"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("10 %\r20 %\r", "20 %"),
        ("\x1b]0;title\x07text", "text"),
        ("a\tb\x07", "a   b\N{REPLACEMENT CHARACTER}"),
        ("x" * 99, "x" * 59 + "…"),
    ],
)
def test_a_last_line_is_as_a_terminal_would_leave_it(line: str, told: str) -> None:
    assert views.last_line(process(last_line=line)) == told


def test_what_a_machine_says_cannot_become_markup_or_steer_a_terminal() -> None:
    hostile = process(last_line=HOSTILE, trouble=HOSTILE)
    seen = Seen(views.processes_html(BackgroundProcesses([hostile])))
    assert seen.tags <= {"table", "thead", "tbody", "tr", "th", "td", "span"}
    text = views.processes_text(BackgroundProcesses([hostile]))
    assert "\x1b" not in text and len(text.splitlines()) == 2
    assert "\x1b" not in views.process_text(hostile)


def test_no_processes_say_how_to_start_one() -> None:
    assert "`%bg start ID -- COMMAND`" in views.processes_text(BackgroundProcesses())
    assert Seen(views.processes_html(BackgroundProcesses())).tags == {"p", "code"}


def test_a_table_has_what_runs_and_then_the_last_that_have_ended() -> None:
    over = [process(id=f"old{n}", state="ended", code=0, ended=float(n)) for n in range(13)]
    lines = views.processes_text(BackgroundProcesses([*over, process(id="runs")])).splitlines()
    assert [line.split()[0] for line in lines[1:12]] == ["runs", *(f"old{n}" for n in range(12, 2, -1))]
    assert lines[12] == "3 more have ended; `%bg rm --all` forgets them."


@pytest.mark.parametrize(
    ("known", "asked", "told"),
    [
        ({"signal": "SIGTERM", "stopped_by": "SIGTERM"}, "SIGTERM", "ended by SIGTERM."),
        ({"code": 0, "stopped_by": "SIGINT"}, "SIGINT", "exit code 0 (it took SIGINT)."),
        (
            {"signal": "SIGKILL", "stopped_by": "SIGKILL"},
            "SIGTERM",
            "ended by SIGKILL (SIGTERM was not enough: it took SIGKILL after 5 s).",
        ),
        ({"code": 1}, "SIGTERM", "exit code 1 (it ended before that could be sent)."),
    ],
)
def test_a_stop_tells_which_signal_it_took(known: dict[str, Any], asked: str, told: str) -> None:
    assert views.stopped_text(process(state="ended", **known), asked) == f"web on build: {told}"
