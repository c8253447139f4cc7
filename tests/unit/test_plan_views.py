"""How plan mode and plans of agents read: where commands run; stages, steps, and what it took."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from pi_v_jupyter.plan.mode import Status
from pi_v_jupyter.plan.steps import Plan, Step
from pi_v_jupyter.swarm.planning import Progress
from pi_v_jupyter.views import planmode
from pi_v_jupyter.views.plans import FILES, progress_html, progress_text, progresses_html, progresses_text

TWO = Plan((Step(1, "Look at it", done=True), Step(2, "Mend it"), Step(3, "Try it")))
NONE = "No plans. %%task LABEL --plan has an agent make one."


def words(html: str) -> list[str]:
    """What a browser would show of it, a piece of text each."""
    pieces: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag in ("p", "li"):
                pieces.append("")

        def handle_data(self, data: str) -> None:
            pieces[-1] += data

    reader = Reader()
    reader.feed(html)
    reader.close()
    return [" ".join(piece.split()) for piece in pieces]


def lines(text: str) -> list[str]:
    """The same of a text, without what marks what one may type."""
    return [" ".join(line.replace("`", "").split()) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("stage", "plan", "head", "steps"),
    [
        ("planning", None, "⟳ ann: planning; it may only look", []),
        (
            "planning",
            TWO,
            "⟳ ann: planning; it may only look, 1 of 3 steps done",
            ["✓ 1. Look at it", "○ 2. Mend it", "○ 3. Try it"],
        ),
        ("planned", None, "○ ann: it has no plan", []),
        (
            "planned",
            TWO,
            "○ ann: it has a plan, 1 of 3 steps done. %plan run ann has it carried out",
            ["✓ 1. Look at it", "○ 2. Mend it", "○ 3. Try it"],
        ),
        (
            "working",
            TWO,
            "⟳ ann: working on its plan, 1 of 3 steps done",
            ["✓ 1. Look at it", "▸ 2. Mend it", "○ 3. Try it"],
        ),
        (
            "stopped",
            TWO,
            "⊘ ann: stopped, 1 of 3 steps done. %plan run ann has it go on",
            ["✓ 1. Look at it", "○ 2. Mend it", "○ 3. Try it"],
        ),
        (
            "done",
            TWO.ticked([2, 3]),
            "✓ ann: its plan is done, 3 of 3 steps done",
            ["✓ 1. Look at it", "✓ 2. Mend it", "✓ 3. Try it"],
        ),
    ],
)
def test_each_stage_says_how_far_it_is_and_what_to_type_next(
    stage: Any, plan: Plan | None, head: str, steps: list[str]
) -> None:
    progress = Progress("ann", stage, plan)
    assert lines(progress_text(progress)) == words(progress_html(progress)) == [head, *steps]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, []),
        ({"cost": 0.5}, ["$0.5000", "0.0 s"]),
        ({"seconds": 12.0}, ["12 s"]),
        ({"cost": 0.5, "seconds": 12.0, "files": ("a.py",)}, ["$0.5000", "12 s", "1 file: a.py"]),
        ({"seconds": 12.0, "files": ("a.py", "b.py")}, ["12 s", "2 files: a.py, b.py"]),
        (
            {"seconds": 12.0, "files": tuple("abcde")},
            ["12 s", f"{FILES} files: a, b, c, d, e"],
        ),
        (
            {"seconds": 12.0, "files": tuple("abcdef")},
            ["12 s", "6 files: a, b, c, d, e, …"],
        ),
    ],
)
def test_what_it_took_is_told_as_far_as_it_took_something(more: dict[str, Any], told: list[str]) -> None:
    progress = Progress("ann", "done", TWO.ticked([2, 3]), **more)
    for shown in (lines(progress_text(progress)), words(progress_html(progress))):
        last = shown[4:]
        assert len(last) == bool(told) and all(each in "".join(last) for each in told)
        assert "".join(last).endswith(told[-1] if told else "")


def test_why_no_new_plan_came_is_told_with_how_to_ask_again() -> None:
    progress = Progress("ann", "planned", TWO, trouble="it was aborted")
    told = "! No new plan: it was aborted. %%task ann --plan asks again"
    assert lines(progress_text(progress))[-1] == words(progress_html(progress))[-1] == told


def test_several_follow_each_other_and_none_say_how_to_have_one() -> None:
    two = [Progress("ann", "planning", None), Progress("bob", "planning", None)]
    assert [line for line in lines(progresses_text(two)) if line] == words(progresses_html(two))
    assert lines(progresses_text([])) == words(progresses_html([])) == [NONE]


@pytest.mark.parametrize(
    ("inside", "missing", "branch", "where"),
    [
        ("branch", None, "", "Commands on build run in a branch of it, which is deleted at the end."),
        (
            "branch",
            None,
            "b-1",
            "Commands on build run in a branch of it (b-1), which is deleted at the end.",
        ),
        ("readonly", None, "", "Commands on build see it read-only."),
        ("readonly", "none on this computer", "", "Commands on build see it read-only."),
        (None, "", "", "Commands on build see it read-only."),
        (
            None,
            "no namespaces",
            "",
            "Commands on build are judged by their text alone, for it cannot confine them (no namespaces).",
        ),
    ],
)
def test_plan_mode_says_where_commands_run_and_how_to_leave_it(
    inside: Any, missing: str | None, branch: str, where: str
) -> None:
    status = Status(True, "build", inside, missing, branch)
    (told,) = lines(planmode.status_text(status))
    assert told.startswith("◎ Plan mode:") and told.endswith(f"{where} %plan off ends it.")
    assert "Python that runs in this kernel is not judged." in told
    assert where in planmode.status_html(status) and planmode.BOX in planmode.status_html(status)


def test_plan_mode_that_is_off_says_how_to_go_into_it() -> None:
    status = Status(False, "build", "branch", None, "")
    assert lines(planmode.status_text(status))[0].startswith("Plan mode is off. %plan on has")
    assert planmode.BOX not in planmode.status_html(status)


def test_the_mark_above_a_planned_cell_names_each_machine_and_its_way() -> None:
    marks = [planmode.mark("a", "branch"), planmode.mark("b", "readonly"), planmode.mark("c", None)]
    assert planmode.mark_text(marks) == "◎ plan: a, in a branch; b, read-only; c"
