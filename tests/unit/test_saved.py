"""What a dashboard leaves in a notebook: tables, changed only when something has happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
from test_tables import HOSTILE, Seen

from pi_v_jupyter.dashboard.shape import Snapshot
from pi_v_jupyter.views.dashboard import output
from pi_v_jupyter.views.saved import Saved, saved_html, saved_text, summary

NOW = 1_800_000_000.0
CONNECTION = {"url": "https://api", "label": "embedded platform", "state": "ok", "reason": "", "remedy": ""}
SUMS = {"agents": 0, "working": 0, "waiting": 0, "tokens": 0, "cost": 0.0, "budget": 0.0}


def machine(name: str = "build", **more: Any) -> dict[str, Any]:
    known = {"name": name, "label": name, "state": "running", "created": NOW - 300}
    known |= {
        "size": "1 vCPU · 512 MB",
        "disk": "",
        "parent": "",
        "active": False,
        "link": "",
        "agent": "",
        "tunnels": [],
    }
    return known | more


def card(label: str = "a", **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"label": label, "state": "idle", "trouble": "", "detail": "", "task": ""}
    known |= {"calls": [], "words": "", "tokens": 0, "cost": 0.0, "budget": 0.0, "began": 0.0, "seconds": 0.0}
    return known | {"queued": 0, "model": "", "asks": []} | more


def process(id: str = "web", **more: Any) -> dict[str, Any]:
    known = {"id": id, "machine": "build", "vm": "v1", "state": "running", "outcome": "running"}
    known |= {"command": "python3 -m http.server", "started": NOW - 60, "ended": 0.0, "cpu": 0.0}
    return known | {"memory": 0, "line": ""} | more


def snapshot(**more: Any) -> Any:
    known: dict[str, Any] = {"connection": CONNECTION | {"checked": NOW}, "machines": {}, "commits": {}}
    return known | {"lost": "", "agents": {}, "sums": SUMS, "processes": {}, "events": {}} | more


def cells(text: str, table: int = 0) -> list[list[str]]:
    """The rows of a table but its head, without empty cells."""
    lines = text.split("\n\n")[1 + table].splitlines()[1:]
    return [[cell.strip() for cell in re.split("  +", line) if cell.strip()] for line in lines]


def test_it_says_where_and_when_this_was() -> None:
    state = snapshot(machines={"v1": machine()})
    head = saved_text(state, NOW).splitlines()[0]
    assert head.startswith("embedded platform · 1 VM, 0 agents, 0 processes · as of 20")
    assert repr(Saved(state, NOW)) == saved_text(state, NOW)
    assert Saved(state, NOW)._repr_html_() == saved_html(state, NOW)


def test_machines_are_told_with_what_they_came_from_oldest_first() -> None:
    parent = "0123456789abcdef"
    state = snapshot(
        machines={
            "younger-one": machine("child", created=NOW - 5, parent=parent, agent="a"),
            parent: machine(active=True, parent="gone-for-long"),
        }
    )
    assert cells(saved_text(state, NOW)) == [
        ["★", "build", "01234567", "running", "5 min", "1 vCPU · 512 MB", "gone-for"],
        ["child", "younger-", "running", "5 s", "1 vCPU · 512 MB", "build", "a"],
    ]


def test_commits_are_told_with_their_tags_and_what_they_came_from_the_latest_of_many() -> None:
    commits = {
        f"{n:04}5678-c": {
            "label": f"c{n}",
            "tags": ["good"] * (n == 39),
            "created": NOW - 60 + n,
            "parent": "v1",
        }
        for n in range(40)
    }
    told = cells(saved_text(snapshot(machines={"v1": machine()}, commits=commits), NOW), 1)
    assert [row[0] for row in told] == [f"c{n}" for n in range(10, 40)]
    assert told[-1] == ["c39", "good", "00395678", "21 s", "build"]


def test_an_agent_at_work_is_told_by_its_task_and_one_that_has_finished_by_its_words() -> None:
    state = snapshot(
        machines={"v1": machine()},
        agents={
            "v1": card("b", state="done", task="Write it", words="So\nwritten.", tokens=1204, seconds=12),
            "v2": card("a", state="working", task="Test it", words="Now I", began=NOW - 65, cost=0.5),
        },
        sums=SUMS | {"agents": 2, "working": 1, "tokens": 1204, "cost": 0.5, "budget": 10.0},
    )
    text = saved_text(state, NOW)
    assert cells(text, 1) == [
        ["⟳", "a", "working", "Test it", "$0.5000", "1 min 05 s"],
        ["✓", "b", "done", "Write it", "written.", "1,204", "12 s"],
    ]
    assert "Agents: 1 at work, 1,204 tokens, $0.5000 of $10.00" in text


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"state": "waiting", "asks": [{"title": "May I?"}]}, "waiting: May I?"),
        ({"state": "working", "trouble": "its VM is away"}, "working: its VM is away"),
        ({"state": "retrying", "detail": "2 of 5"}, "retrying: 2 of 5"),
        ({"state": "error", "detail": "529 overloaded"}, "error: 529 overloaded"),
    ],
)
def test_what_an_agent_waits_for_or_suffers_from_is_told(more: dict[str, Any], told: str) -> None:
    assert told in saved_text(snapshot(agents={"v1": card(**more)}), NOW)


def test_processes_that_run_come_first_and_few_that_have_ended() -> None:
    over = {
        f"v1 {n}": process(f"old-{n}", state="ended", outcome="exit code 0", ended=NOW - n, line=f"line {n}")
        for n in range(30)
    }
    rows = cells(saved_text(snapshot(processes=over | {"v1 web": process()}), NOW))
    assert rows[0] == ["web", "build", "running", "1 min"]
    assert [row[0] for row in rows[1:]] == [f"old-{n}" for n in range(10)]
    assert rows[1][-1] == "line 0"


def test_trouble_with_the_platform_is_told_and_an_account_without_vms() -> None:
    assert "No VMs. `%vers create` makes one." in saved_text(snapshot(), NOW)
    assert "<code>%vers create</code>" in saved_html(snapshot(), NOW)
    trouble = CONNECTION | {"state": "trouble", "reason": "No answer.", "remedy": "`%vers doctor` looks."}
    text = saved_text(snapshot(connection=trouble), NOW)
    assert "✗ No answer. `%vers doctor` looks." in text and "No VMs" not in text
    assert "✗ build, which cells run on, is gone." in saved_text(snapshot(lost="build"), NOW)


def test_nothing_that_machines_or_agents_say_is_markup_or_steers_a_terminal() -> None:
    state = snapshot(
        connection=CONNECTION | {"label": HOSTILE, "state": "trouble", "reason": HOSTILE, "remedy": HOSTILE},
        machines={"v1": machine(HOSTILE, agent=HOSTILE, parent="c"), "v2": machine(parent=HOSTILE)},
        commits={"c": {"label": HOSTILE, "tags": [HOSTILE], "created": NOW, "parent": HOSTILE}},
        agents={
            "v1": card(HOSTILE, state="error", detail=HOSTILE, task=HOSTILE, words=HOSTILE),
            "v2": card(state="waiting", trouble=HOSTILE, asks=[{"title": HOSTILE}]),
        },
        processes={
            "v1 x": process(HOSTILE, machine=HOSTILE, outcome=HOSTILE, command=HOSTILE),
            "v1 y": process(state="ended", line=HOSTILE, ended=NOW),
        },
    )
    seen = Seen(saved_html(state, NOW))
    assert not seen.tags - {
        *("div", "p", "code", "table", "thead", "tbody", "tr", "th", "td", "style", "span")
    }
    text = saved_text(state, NOW)
    assert "\x1b" not in text and len(text.split("\n\n")) == 5, "no line is broken"


def test_a_summary_counts() -> None:
    assert summary(snapshot()) == "0 VMs, 0 agents, 0 processes"
    assert summary(snapshot(agents={"v1": card()}, processes={"v1 web": process()})) == (
        "0 VMs, 1 agent, 1 process"
    )


class Clock:
    """A loop whose time is told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, function: Callable[[], None]) -> SimpleNamespace:
        call = (self.now + delay, function)
        self.calls.append(call)
        return SimpleNamespace(cancel=lambda: self.calls.remove(call))

    def at(self, now: float) -> None:
        """Make the calls that are due by then."""
        self.now = now
        for call in [call for call in self.calls if call[0] <= now]:
            self.calls.remove(call)
            call[1]()


class Shown:
    """An output of a dashboard, and what was displayed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state: Snapshot = snapshot(machines={"v1": machine()})
        self.displayed: list[dict[str, Any]] = []
        self.clock = Clock()
        monkeypatch.setattr(output.time, "monotonic", lambda: self.clock.now)
        monkeypatch.setattr(output.time, "time", lambda: NOW + self.clock.now)
        monkeypatch.setattr(output, "display", self._display)
        self.output = output.SavedOutput(lambda: self.state, self.clock)  # type: ignore[arg-type]

    def _display(self, bundle: dict[str, Any], **how: Any) -> None:
        self.displayed.append({**bundle, **how})

    def change(self, **more: Any) -> None:
        self.state = deepcopy(self.state)
        self.state["machines"]["v1"] |= more  # type: ignore[typeddict-item]
        self.output.changed()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(monkeypatch)


def test_what_changes_is_saved_once_in_ten_seconds(shown: Shown) -> None:
    shown.output.show()
    for state in ("pausing", "paused", "resuming"):
        shown.change(state=state)
    shown.clock.at(109.9)
    assert len(shown.displayed) == 1
    shown.clock.at(110)
    first, second = shown.displayed
    assert not first["update"] and second["update"] and first["display_id"] == second["display_id"]
    assert "resuming" in second["text/html"] and "resuming" in second["text/plain"]
    shown.change(state="running")
    shown.clock.at(119)
    assert len(shown.displayed) == 2


def test_the_passing_of_time_is_no_change(shown: Shown) -> None:
    shown.output.show()
    for now in (120, 500, 9000):
        shown.output.changed()
        shown.clock.at(now)
    shown.output.save()
    assert len(shown.displayed) == 1
    shown.change(name="other")
    shown.clock.at(12000)
    assert "3 h" in shown.displayed[-1]["text/plain"], "ages are those of that time"


def test_what_no_cell_has_shown_is_not_saved(shown: Shown) -> None:
    shown.change(state="paused")
    shown.output.save()
    shown.clock.at(1000)
    assert shown.displayed == []


def test_at_the_end_it_is_saved_at_once(shown: Shown) -> None:
    shown.output.show()
    shown.change(state="paused")
    shown.output.save()
    assert "paused" in shown.displayed[-1]["text/html"]
