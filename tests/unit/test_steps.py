"""Steps are the numbered list under `Plan:`, and `[DONE:n]` ticks them, however a model writes both."""

from __future__ import annotations

import pytest

from pi_v_jupyter.plan.steps import LONGEST, MOST, Plan, Step, plan_in, plan_of, ticks

TWO = [(1, "Look at it."), (2, "Mend it.")]
LIST = "1. Look at it.\n2. Mend it."


def told(plan: Plan | None) -> list[tuple[int, str]] | None:
    return [(step.number, step.text) for step in plan.steps] if plan is not None else None


@pytest.mark.parametrize(
    "heading",
    [
        *("Plan:\n", "Plan:\n\n", "plan:\n", "## Plan\n", "# Plan:\n\n", "## Plan: mend the parser\n"),
        *(
            "Plan\n====\n",
            "Plan:\n---\n",
            "**Plan:**\n\n",
            "**Plan**\n",
            "**Plan**:\n",
            "__Plan:__\n",
            "## **Plan**\n",
        ),
        *(
            "Plan: as follows\n",
            "I have looked.\nPlan:\n",
            "Plan:\r\n\r\n",
            "Plan:\n\nThis is what I would do:\n\n",
        ),
        *("A line\u2028of two.\n\nPlan:\n", "> Plan: none\n\nPlan:\n"),
    ],
)
def test_a_plan_stands_under_a_line_that_says_so(heading: str) -> None:
    assert told(plan_in(f"I have read it.\n\n{heading}{LIST}\n")) == TWO


@pytest.mark.parametrize(
    "text",
    [
        *("", "Plan:", LIST, f"Planning:\n\n{LIST}", f"Plan\n\n{LIST}", f"The plan:\n\n{LIST}"),
        *("Plan:\n\n- look\n- mend", f"Plan:\n\n## Risks\n\n{LIST}", f"**Plan:**\n\n**Risks**\n\n{LIST}"),
        *(f"```\nPlan:\n{LIST}\n```", "> Plan:\n> 1. Look at it.", f"- Plan:\n\n{LIST}"),
    ],
)
def test_what_is_none_is_not_taken_for_one(text: str) -> None:
    assert plan_in(text) is None


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ("1. Look\n   at it.\n2. Mend\nit.", TWO),
        ("1) Look at it.\n2) Mend it.", TWO),
        ("1. **Look** at _it_.\n2. [Mend](http://x.org) it.", TWO),
        ("1. Run `make  test` in `src`.", [(1, "Run `make test` in `src`.")]),
        ("1. Look at it.\n   1. first a\n   2. then b\n   - or c\n2. Mend it.", TWO),
        ("1. Look at it.\n\n   At all of it.\n\n   ```\n   9. code\n   ```\n\n2. Mend it.", TWO),
        ("1. Look at it.\n- as it is\n2. Mend it.", TWO),
        ("1. Look at it.\n```\nmake\n```\n2. Mend it.", TWO),
        (f"{LIST}\n\nThat would be all:\n\n1. it is not", TWO),
        (f"{LIST}\n\n### Risks\n\n3. none", TWO),
        (f"{LIST}\n\n**Risks**\n\n3. none", TWO),
        ("3. Look at it.\n7. Mend it.", [(3, "Look at it."), (7, "Mend it.")]),
        ("1. Look at it.\n1. Mend it.", TWO),
        ("2. Look at it.\n1. Mend it.", [(2, "Look at it."), (3, "Mend it.")]),
        ("1.\n2. Mend it.", [(1, ""), (2, "Mend it.")]),
    ],
)
def test_steps_are_the_items_of_the_list_as_they_are_numbered(
    written: str, steps: list[tuple[int, str]]
) -> None:
    assert told(plan_in(f"## Plan\n\n{written}")) == steps


def test_the_last_plan_of_a_text_counts() -> None:
    assert told(plan_in(f"Plan:\n1. no\n\nBetter:\n\nPlan:\n{LIST}\n\nThe plan: good.")) == TWO
    assert told(plan_in(f"Plan:\n{LIST}\n\n## Plan\n\nSo it is.")) == TWO, "one without a list is none"


def test_the_markdown_of_a_plan_is_kept_with_what_is_nested() -> None:
    plan = plan_in("Plan:\n\n1. Look.\n   - at `a`\n2. Mend.\n\nThat is all.")
    assert plan is not None and plan.source == "1. Look.\n   - at `a`\n2. Mend."


def test_a_text_that_is_a_plan_needs_no_heading() -> None:
    assert told(plan_of(f"# Monday\n\nWe shall:\n\n{LIST}")) == TWO
    assert told(plan_of(f"1. not this\n\n## Plan\n{LIST}")) == TWO
    assert plan_of("We shall see.") is None


def test_a_plan_and_what_is_looked_at_are_bounded() -> None:
    plan = plan_in("Plan:\n" + "\n".join(f"{number}. {'x' * 3000}" for number in range(1, 3 * MOST)))
    assert plan is None, "its heading is too far from its end"
    plan = plan_in("Plan:\n" + "\n".join(f"{number}. x" for number in range(1, 3 * MOST)))
    assert plan is not None and len(plan.steps) == MOST
    assert told(plan_in(f"{'word ' * LONGEST}\n\nPlan:\n{LIST}")) == TWO


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        *[
            (word, {2})
            for word in ("[DONE:2]", "[done: 2]", "It is so. [DONE:2]", "**[DONE:2]**", "`[DONE:2]`")
        ],
        *[(f"{mark} [DONE:2]", {2}) for mark in ("-", ">", "#", "3.", "<div>")],
        ("[DONE:2] [DONE:2]\n\n[DONE:1]", {1, 2}),
        *[
            (word, set[int]())
            for word in ("", "[DONE]", "[DONE:]", "[DONE:x]", "DONE:2", "[DONE:-2]", "[DONE:2")
        ],
        ("```\n[DONE:2]\n```", set[int]()),
        ("    [DONE:2]", set[int]()),
        ("~~~\n[DONE:2]", set[int]()),
    ],
)
def test_a_mark_ticks_wherever_it_is_said_and_not_where_code_is_shown(text: str, numbers: set[int]) -> None:
    assert ticks(text) == numbers


def test_ticks_may_be_repeated_or_name_no_step() -> None:
    plan = Plan((Step(1, "a"), Step(2, "b"), Step(5, "c")))
    assert (plan.done, plan.finished, plan.next) == (0, False, Step(1, "a"))
    once = plan.ticked([1, 3, 9])
    assert once.steps == (Step(1, "a", done=True), Step(2, "b"), Step(5, "c")) and once.next == Step(2, "b")
    assert once.ticked([1]) == once
    assert once.ticked([2, 5]).finished and once.ticked([2, 5]).next is None
