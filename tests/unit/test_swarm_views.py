"""How agents read in tables: what they do, what came of a spawn and a wait, what they cost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from test_tables import HOSTILE, Seen

from pi_v_jupyter.errors import SpawnError
from pi_v_jupyter.swarm.agent import BUSY, Result
from pi_v_jupyter.swarm.changes import Dialog, Retry
from pi_v_jupyter.swarm.provision import Spawned
from pi_v_jupyter.swarm.runs import Run, Text, ToolCall, Usage
from pi_v_jupyter.swarm.swarm import Agents, Spawns, Waited
from pi_v_jupyter.swarm.totals import TotalsTable, totals
from pi_v_jupyter.swarm.workspace import Patch
from pi_v_jupyter.views import patches, transcripts
from pi_v_jupyter.views import swarm as views


def agent(label: str = "a", state: str = "idle", *, runs: tuple[Run, ...] = (), **more: Any) -> Any:
    """What a view sees of one."""
    story: dict[str, Any] = {"runs": list(runs), "partial": "", "calls": [], "dialogs": [], "retry": None}
    story |= {"error": "", "totals": Usage(), "budget": None}
    story |= {key: more.pop(key) for key in list(more) if key in story}
    known: dict[str, Any] = {
        "label": label,
        "state": state,
        "busy": state in BUSY,
        "trouble": "",
        "vm": SimpleNamespace(id="f" * 36),
    }
    return SimpleNamespace(**known | more, story=SimpleNamespace(**story), run=runs[-1] if runs else None)


def run(prompt: str = "Write a README.", **more: Any) -> Run:
    steps: list[Any] = [Text("prompt", prompt)]
    known: dict[str, Any] = {"steps": steps, "usage": Usage(input=1000, output=204, cost=0.0042)}
    return Run(**known | {"began": 10.0, "ended": 22.0} | more)


def row(one: Any) -> list[str]:
    """The cells of its row that are not empty."""
    return cells(views.agents_text(Agents([one])))


def cells(table: str) -> list[str]:
    """Those of its second line that are not empty."""
    return [cell.strip() for cell in table.splitlines()[1].split("  ") if cell.strip()]


def test_a_row_tells_what_an_agent_does_and_has_cost() -> None:
    call = ToolCall("1", "bash", {"command": "make test"})
    busy = agent(
        state="working", runs=(run(answers=["Before."]),), calls=[call], partial="I look\nat the tests"
    )
    assert row(busy) == [
        *("⟳", "a", "working", "Write a README.", "bash make test", "at the tests"),
        *("1,204", "$0.0042", "12 s"),
    ]


@pytest.mark.parametrize(
    ("state", "icon"),
    [
        *(("working", "⟳"), ("done", "✓"), ("error", "✗"), ("lost", "✗"), ("idle", "○"), ("waiting", "?")),
        *(("retrying", "↻"), ("aborted", "⊘"), ("starting", "…"), ("leaving", "✗")),
    ],
)
def test_each_state_has_its_icon(state: str, icon: str) -> None:
    assert row(agent(state=state))[:3] == [icon, "a", state]


def test_an_error_takes_the_place_of_the_last_words() -> None:
    failed = agent(state="error", runs=(run(answers=["Fine so far."], error="529 overloaded"),))
    assert "529 overloaded" in row(failed) and "Fine so far." not in row(failed)
    assert "pi is gone" in row(agent(state="lost", error="pi is gone"))


def test_a_row_tells_which_attempt_is_next_and_why_one_cannot_be_heard() -> None:
    assert "retrying, 2 of 3" in row(agent(state="retrying", retry=Retry(2, 3, 4.0, "529")))
    assert "done, not heard: no way to a" in row(agent(state="done", trouble="no way to a"))


def test_questions_stand_below_the_table_with_how_to_answer() -> None:
    asks = Agents([agent(state="waiting", dialogs=[Dialog("1", "confirm", "May I?")])])
    assert views.agents_text(asks).splitlines()[2] == (
        "? a asks: May I?  `%vers swarm answer a yes` or `%vers swarm answer a no` answers it."
    )
    seen = Seen(views.agents_html(asks))
    assert "? a asks: May I?" in seen.text and {"p", "code", "table"} <= seen.tags


def test_what_an_agent_has_cost_is_told_with_its_budget() -> None:
    held = agent(runs=(run(),), budget=5.0, totals=Usage(cost=4.5))
    assert "$4.50 of $5.00" in row(held)
    table = totals([held, agent("b")])
    assert cells(views.totals_text(table))[-2] == "$4.50 of $5.00"
    assert " of " not in views.totals_text(table).splitlines()[-1]


def test_sums_of_dollars_are_no_formula_in_a_notebook() -> None:
    held = agent(runs=(run(),), budget=5.0, totals=Usage(cost=4.5))
    html = views.agents_html(Agents([held]))
    assert "<span>$</span>4.50 of <span>$</span>5.00" in html and html.count("$") == html.count(
        "<span>$</span>"
    )


def test_no_agents_say_how_to_make_some() -> None:
    assert views.agents_text(Agents()) == "No agents.  `%vers swarm spawn golden -n 3` makes three."
    assert Seen(views.agents_html(Agents())).tags == {"p", "code"}
    assert views.totals_text(TotalsTable()).startswith("No agents.")


def test_a_spawn_tells_what_became_of_each_and_what_was_cleaned_up() -> None:
    spawns = Spawns(
        [Spawned("a", agent()), Spawned("b", None, SpawnError("b was not ready."), "its VM 1 was deleted")]
    )
    lines = views.spawns_text(spawns).splitlines()
    assert lines[1].split() == ["✓", "a", "ffffffff", "idle"]
    assert lines[2].split(maxsplit=2) == ["✗", "b", "b was not ready; its VM 1 was deleted"]
    assert "b was not ready" in Seen(views.spawns_html(spawns)).text


RESULT = Result("a", "done", "One.\nTwo.", "", 0.0042, 1204, 12.0)


@pytest.mark.parametrize(
    ("waited", "told"),
    [
        (Waited("finished", (RESULT,)), "finished"),
        (Waited("finished", ()), "finished: there are no agents"),
        (
            Waited("timed out", (RESULT,), ("a", "b")),
            "timed out: a, b not finished. `%vers swarm wait a b` goes on waiting",
        ),
        (
            Waited("waiting for you", (RESULT,), ("a",)),
            "waiting for you: a. `%vers swarm answer a` shows the question",
        ),
        (
            Waited("not heard", (RESULT,), ("a", "b"), (("b", "no pi runs on its VM"),)),
            "not heard: b (no pi runs on its VM). `%vers swarm status` looks again, "
            "`%vers swarm restart b` starts a pi that has gone",
        ),
    ],
)
def test_a_wait_names_its_ending(waited: Waited, told: str) -> None:
    assert views.waited_text(waited).splitlines()[-1] == told
    assert told.replace("`", "") in Seen(views.waited_html(waited)).text


def test_a_wait_shows_how_each_stands() -> None:
    assert cells(views.waited_text(Waited("finished", (RESULT,)))) == [
        *("✓", "a", "done", "Two.", "1,204", "$0.0042", "12 s")
    ]


def test_a_result_shows_all_the_text() -> None:
    assert views.result_text(RESULT) == "✓ a: done  1,204  $0.0042  12 s\nOne.\nTwo."


def test_totals_have_a_sum() -> None:
    one = agent(runs=(run(turns=2), run(turns=1)), totals=Usage(100, 10, 1, 2, 0.5))
    two = agent("b", runs=(run(steps=[ToolCall("1", "bash")]),), totals=Usage(1000, 20, 3, 4, 1.5))
    table = totals([one, two])
    assert (table.sum.runs, table.sum.turns, table.sum.calls, table.sum.seconds) == (3, 3, 1, 36.0)
    assert one.story.totals.input == 100, "the sum is counted apart"
    assert views.totals_text(table).splitlines()[-1].split() == [
        *("sum", "3", "3", "1", "1,100", "30", "4", "6", "1,140", "$2.00", "36", "s")
    ]


def test_a_long_answer_shows_its_end_and_is_whole_all_the_same() -> None:
    answer = views.Answer("x" * views.SHOWN + "the end")
    assert views.answer_text(answer).startswith("… 7 characters before this\nx")
    assert views.answer_text(answer).endswith("the end") and answer.startswith("xxx")


PATCH = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new <b>\n"


def test_a_patch_is_shown_as_git_shows_it_and_in_the_colours_of_the_theme() -> None:
    patch = Patch("a", PATCH)
    assert patches.patch_text(patch).splitlines()[0] == "a changed 1 file"
    assert "\x1b[32m+new <b>\x1b[0m" in patches.patch_text(patch)
    html = patches.patch_html(patch)
    assert "var(--jp-success-color1" in html and Seen(html).tags == {"p", "pre", "span"}
    assert patches.patch_text(Patch("a", b"")) == "a has changed nothing."


def test_a_large_patch_is_cut_and_says_where_all_of_it_is() -> None:
    patch = Patch("a", PATCH + b"+more\n" * 5000)
    assert len(patches.patch_text(patch).splitlines()) < 1010
    assert "`.text` of this value is all of it" in patches.patch_text(patch)
    assert len(patches.patch_html(patch)) < 300_000


def test_what_agents_say_cannot_become_markup_or_steer_a_terminal() -> None:
    hostile = run(HOSTILE, answers=[HOSTILE], error=HOSTILE)
    call, dialog = (
        ToolCall("1", HOSTILE, {"path": HOSTILE}),
        Dialog("1", "select", HOSTILE, HOSTILE, (HOSTILE,)),
    )
    some = Agents(
        agent(
            HOSTILE, state, runs=(hostile,), calls=[call], dialogs=[dialog], partial=HOSTILE, trouble=HOSTILE
        )
        for state in ("working", "error", "waiting")
    )
    spawns = Spawns([Spawned(HOSTILE, None, SpawnError(HOSTILE), HOSTILE)])
    waited = Waited("timed out", (Result(HOSTILE, "error", HOSTILE, HOSTILE, 0, 0, 0),), (HOSTILE,))
    table = totals(some)
    patch = Patch(HOSTILE, f"+{HOSTILE}\n".encode())
    log = transcripts.Log(HOSTILE, HOSTILE * 50_000, "x" * 999_999, "")
    texts = [
        *(
            views.agents_text(some),
            views.spawns_text(spawns),
            views.waited_text(waited),
            views.totals_text(table),
        ),
        *(
            views.agent_text(some[0]),
            views.result_text(waited.results[0]),
            views.answer_text(views.Answer(HOSTILE)),
        ),
        *(
            patches.patch_text(patch).replace("\x1b[32m", "").replace("\x1b[0m", ""),
            transcripts.log_text(log),
        ),
    ]
    assert not [text for text in texts if "\x1b" in text]
    pages = [
        *(
            views.agents_html(some),
            views.spawns_html(spawns),
            views.waited_html(waited),
            views.totals_html(table),
        ),
        *(patches.patch_html(patch), transcripts.log_html(log)),
    ]
    plain = {"table", "thead", "tbody", "tr", "th", "td", "p", "code", "pre", "span"}
    assert not [page for page in pages if Seen(page).tags - plain]
