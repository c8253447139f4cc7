"""An agent in the dashboard, opened: what was said, what it asks, and what one tells it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from labs import CHROMIUM
from pages import NOW, Dashboard
from playwright.sync_api import expect
from swarmpages import asked, box, card, conversation, opened, step, talk, tell, transcript

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
MANY = [f"choice {number}" for number in range(20)]
ANSWERS = [
    (asked("select", "Which?", "staging", "production"), [("click", "production")], {"option": 1}),
    (asked("select", "Which?", *MANY), [("select", "choice 7"), ("click", "Answer")], {"option": 7}),
    (asked("confirm", "Delete build/?", text="3 files"), [("click", "Yes")], {"confirmed": True}),
    (asked("confirm", "Delete build/?"), [("click", "No")], {"confirmed": False}),
    (asked("input", "Its name?", text="a name"), [("type", "Ada"), ("press", "Enter")], {"value": "Ada"}),
    (
        asked("editor", "Message?", text="Fix"),
        [("type", "Mend\nit"), ("click", "Answer")],
        {"value": "Mend\nit"},
    ),
    (asked("input", "Its name?"), [("click", "Dismiss")], {"cancelled": True}),
]


@pytest.mark.parametrize("where", ["card", "opened"])
@pytest.mark.parametrize(("question", "deeds", "given"), ANSWERS)
def test_a_question_is_answered_where_it_is_seen(
    shown: Dashboard,
    where: str,
    question: dict[str, Any],
    deeds: list[tuple[str, str]],
    given: dict[str, Any],
) -> None:
    shown.patch({"agents": {"vm-b": {"asks": [question]}}})
    form = (opened(shown, "beta") if where == "opened" else card(shown, "beta")).get_by_role("form")
    expect(form).to_contain_text(question["title"])
    if question["method"] == "editor":
        expect(form.locator("[name=value]")).to_have_value(question["text"])
    for deed, what in deeds:
        if deed == "click":
            form.get_by_role("button", name=what).click()
        elif deed == "select":
            form.get_by_role("combobox").select_option(what)
        elif deed == "type":
            form.get_by_role("textbox").fill(what)
        else:
            form.get_by_role("textbox").press(what)
    assert shown.intents == [("answer", {"agent": "vm-b", "dialog": "q1", **given})]
    shown.answer("Answered.")
    shown.patch({"agents": {"vm-b": {"asks": [], "state": "working"}}})
    expect(form).to_have_count(0)


def test_what_is_typed_as_an_answer_outlasts_patches_and_failures(shown: Dashboard) -> None:
    shown.patch({"agents": {"vm-b": {"asks": [asked("input", "Its name?")]}}})
    field = card(shown, "beta").get_by_role("textbox")
    field.fill("Ada")
    shown.patch(
        {
            "agents": {
                "vm-b": {"tokens": 7, "asks": [asked("input", "Its name?"), asked("confirm", "?", id="q2")]}
            }
        }
    )
    expect(field).to_have_value("Ada")
    field.press("Enter")
    shown.answer("It is not heard.", ok=False)
    expect(field).to_have_value("Ada")
    field.press("Enter")
    assert [name for name, _ in shown.intents] == ["answer", "answer"]


def test_an_agent_that_asks_is_opened_with_the_focus_at_its_question(shown: Dashboard) -> None:
    view = opened(shown, "beta")
    expect(view.get_by_role("form").locator("p").first).to_be_focused()  # no key answers it by mistake


def test_what_was_told_of_an_agent_that_was_closed_is_not_taken_for_what_is_told_when_it_is_opened_again(
    shown: Dashboard,
) -> None:
    opened(shown)
    tell(shown, "vm-a", 0, {"runs": {"0": talk(step("text", "one two"))}, "cut": 0})
    late = shown.sent_last("reading")["number"]
    shown.page.get_by_title("Back to all agents").click()
    opened(shown)
    view = shown.sent[0]["view"]
    stale = {"runs": {"0": {"steps": {"0": step("text", "one two three")}}}}
    shown.deliver(kind="transcript", to=view, reading=late, seq=1, now=NOW, patch=stale)
    expect(transcript(shown)).to_have_text("Waiting for what was said…")
    tell(shown, "vm-a", 0, {"runs": {"0": talk(step("text", "all of it"))}, "cut": 0})
    expect(transcript(shown)).to_have_text("all of it")


def test_of_two_answers_that_begin_alike_the_one_that_was_chosen_is_given(shown: Dashboard) -> None:
    alike = asked("select", "Which?", *["the same beginning…"] * 9)
    shown.patch({"agents": {"vm-b": {"asks": [alike]}}})
    view = opened(shown, "beta")
    view.get_by_role("combobox", name="Which?").select_option(index=7)
    view.get_by_role("button", name="Answer").click()
    assert shown.intents[-1] == ("answer", {"agent": "vm-b", "dialog": "q1", "option": 7})


@pytest.mark.parametrize("method", ["confirm", "editor"])
def test_what_is_not_shown_of_a_question_is_said_and_a_text_that_was_cut_is_not_edited(
    shown: Dashboard, method: str
) -> None:
    cut = asked(method, "Run this?", text="rm -rf build", cut=8, whole=False)
    shown.patch({"agents": {"vm-b": {"asks": [cut]}}})
    view = opened(shown, "beta")
    expect(view).to_contain_text("8 characters of it are not shown here. %vers swarm answer beta shows all")
    expect(view.locator(".pi-v-question textarea")).to_have_count(0)


def test_an_opened_agent_shows_all_that_was_said_with_calls_folded(shown: Dashboard) -> None:
    opened(shown)
    assert shown.sent[-1] == {"view": shown.sent[0]["view"], "kind": "reading", "vm": "vm-a", "number": 1}
    tell(shown, "vm-a", 0, conversation())
    said = transcript(shown)
    expect(said.locator("h5")).to_have_text("What I found")
    expect(said.locator("strong", has_text="last line")).to_be_visible()
    expect(said.locator("li", has_text="☑ of the parser")).not_to_have_count(0)
    expect(said.locator(".pi-v-prompt").first).to_contain_text("Make the tests pass.")
    call = said.locator("details", has_text="edit")
    expect(call.locator("summary")).to_contain_text("✓edit src/p.py0.1 s")
    expect(call.get_by_label("What was changed")).to_be_hidden()
    call.locator("summary").click()
    expect(call.locator(".pi-v-diff-added")).to_have_text('+    return text or ""\n')
    expect(call.locator(".pi-v-diff-removed")).to_have_text("-    return text\n")
    expect(said.locator("details", has_text="bash").locator("summary")).to_contain_text("failed4.2 s")


def test_a_line_of_a_change_that_looks_like_the_header_of_one_is_shown_as_what_it_is(
    shown: Dashboard,
) -> None:
    opened(shown)
    changed = "--- a/q.sql\n+++ b/q.sql\n@@ -1,1 +1,1 @@\n--- all of them\n+++ i;\n"
    written = "+++ i;\n+--"
    calls = [
        step("call", "q.sql", name=name, state="ok", diff=diff)
        for name, diff in (("edit", changed), ("write", written))
    ]
    tell(shown, "vm-a", 0, {"cut": 0, "runs": {"0": talk(*calls, outcome="done")}})
    edit, write = (transcript(shown).locator("details", has_text=name) for name in ("edit", "write"))
    expect(edit.locator(".pi-v-diff-where")).to_have_count(3)
    expect(edit.locator(".pi-v-diff-removed")).to_have_text("--- all of them\n")
    expect(edit.locator(".pi-v-diff-added")).to_have_text("+++ i;\n")
    expect(write.locator(".pi-v-diff-added")).to_have_count(2)


def test_text_streams_in_and_the_end_is_followed_unless_somebody_looks_further_up(shown: Dashboard) -> None:
    opened(shown)
    tell(shown, "vm-a", 0, conversation())
    said, to_end = transcript(shown), shown.page.get_by_role("button", name="To the end")
    words = "".join(f"Paragraph {number} of **all**.\n\n" for number in range(40))
    text = "I am reading the docs, and"
    for seq, at in enumerate(range(0, len(words), 50), 1):
        text += words[at : at + 50]
        tell(shown, "vm-a", seq, {"runs": {"1": {"steps": {"2": {"text": text}}}}})
    expect(said.get_by_text("Paragraph 39 of all.")).to_be_in_viewport()
    expect(to_end).to_have_count(0)
    said.hover()
    shown.page.mouse.wheel(0, -600)
    expect(to_end).to_be_visible()
    before = said.evaluate("it => it.scrollTop")
    tell(shown, "vm-a", seq + 1, {"runs": {"1": {"steps": {"2": {"text": text + "\n\nThe end."}}}}})
    expect(said.get_by_text("The end.")).not_to_be_in_viewport()
    assert said.evaluate("it => it.scrollTop") == before
    to_end.click()
    expect(said.get_by_text("The end.")).to_be_in_viewport()
    tell(
        shown, "vm-a", seq + 2, {"runs": {"1": {"steps": {"2": {"text": text + "\n\nThe end.\n\nReally."}}}}}
    )
    expect(said.get_by_text("Really.")).to_be_in_viewport()


def test_what_was_said_earlier_may_come_later_and_stands_above(shown: Dashboard) -> None:
    opened(shown)
    last = {"8": talk(step("prompt", "Go on."), step("text", "Done."))}
    del last["8"]["steps"]["0"]
    tell(shown, "vm-a", 0, {"cut": 7, "runs": last})
    steps = {
        "8": {"steps": {"0": step("prompt", "Go on.")}},
        "7": talk(step("prompt", "Begin."), outcome="done"),
    }
    tell(shown, "vm-a", 1, {"runs": steps})
    said = transcript(shown)
    expect(said).to_contain_text(re.compile("before task 8 is left out.*Begin.*Go on.*Done", re.DOTALL))
    expect(said.get_by_role("region", name="Task 9")).to_contain_text("Done.")


def test_a_free_agent_is_given_a_task_and_a_working_one_is_steered_or_told_what_comes_next(
    shown: Dashboard,
) -> None:
    view = opened(shown, "zeta")
    expect(box(shown)).to_be_focused()
    expect(view.get_by_role("radio")).to_have_count(0)
    shown.page.keyboard.type("First line")
    shown.page.keyboard.press("Shift+Enter")
    shown.page.keyboard.type("second line")
    shown.patch({"agents": {"vm-f": {"tokens": 5}}})
    shown.page.keyboard.press("Enter")
    shown.answer("zeta works.")
    shown.patch({"agents": {"vm-f": {"state": "working", "began": NOW}}})
    expect(view.get_by_role("radio", name="Steer")).to_be_checked()
    box(shown).fill("left")
    box(shown).press("Enter")
    shown.answer("Told.")
    view.get_by_role("radio", name="Follow-up").check()
    box(shown).fill("then rest")
    view.get_by_role("button", name="Send").click()
    view.get_by_role("button", name="Abort").click()
    assert shown.intents == [
        ("task", {"agents": ["vm-f"], "text": "First line\nsecond line"}),
        ("steer", {"agents": ["vm-f"], "text": "left"}),
        ("follow_up", {"agents": ["vm-f"], "text": "then rest"}),
        ("abort", {"agents": ["vm-f"]}),
    ]


def test_when_and_whether_an_agent_is_told_is_described_to_everybody(shown: Dashboard) -> None:
    view = opened(shown)
    for name, told in (
        ("Steer", "It is told once the tools under way have returned"),
        ("Follow-up", "It is told when it has finished what it does"),
    ):
        expect(view.get_by_role("radio", name=name)).to_have_accessible_description(told)
    dismiss = "Leave it unanswered: the agent is told so, and may take it for a No"
    shown.patch({"agents": {"vm-a": {"asks": [asked("confirm", "Sure?")]}}})
    expect(view.get_by_role("button", name="Dismiss")).to_have_accessible_description(dismiss)


def test_an_agent_that_starts_is_told_nothing_until_it_is_ready(shown: Dashboard) -> None:
    shown.patch({"agents": {"vm-f": {"state": "starting"}}})
    expect(card(shown, "zeta")).to_contain_text("…starting")
    for label in ("delta", "zeta"):
        shown.page.get_by_label(f"Select {label}").check()
    expect(shown.page.get_by_text("zeta is starting: it takes a task when it is ready.")).to_be_visible()
    expect(box(shown)).to_have_count(0)
    shown.page.get_by_label("Select delta").uncheck()
    shown.page.get_by_label("Select zeta").uncheck()
    card(shown, "zeta").get_by_role("button", name="zeta", exact=True).click()
    view = shown.page.get_by_role("region", name="Agent zeta")
    expect(view.get_by_role("status")).to_have_text("zeta is starting: it takes a task when it is ready.")
    expect(box(shown)).to_have_count(0)
    view.get_by_role("button", name="Restart").focus()
    shown.patch({"agents": {"vm-f": {"state": "idle"}}})
    expect(box(shown)).to_be_visible()
    expect(view.get_by_role("button", name="Restart")).to_be_focused()
    box(shown).fill("Begin.")
    box(shown).press("Enter")
    assert shown.intents == [("task", {"agents": ["vm-f"], "text": "Begin."})]


def test_nothing_is_sent_where_nothing_is_written_nor_twice(shown: Dashboard) -> None:
    opened(shown)
    box(shown).press("Enter")
    box(shown).fill("  \n ")
    box(shown).press("Enter")
    assert shown.intents == []
    box(shown).fill("once")
    box(shown).press("Enter")
    box(shown).press("Enter")
    assert shown.intents == [("steer", {"agents": ["vm-a"], "text": "once"})]


def test_escape_goes_back_to_the_card_and_what_was_typed_is_still_there_next_time(shown: Dashboard) -> None:
    opened(shown)
    shown.page.keyboard.type("half a thou")
    shown.page.keyboard.press("Escape")
    expect(card(shown, "alpha").get_by_role("button", name="alpha", exact=True)).to_be_focused()
    assert shown.sent[-1]["vm"] == ""
    shown.page.keyboard.press("Enter")
    expect(box(shown)).to_have_value("half a thou")
    shown.page.get_by_role("button", name="← Agents").click()
    expect(card(shown, "alpha").get_by_role("button", name="alpha", exact=True)).to_be_focused()


def test_what_is_being_sent_is_sent_once_also_where_the_agent_is_opened_again_meanwhile(
    shown: Dashboard,
) -> None:
    opened(shown)
    for text, ok, left in (("Look.", False, "Look."), ("Look.", True, "")):
        box(shown).fill(text)
        box(shown).press("Enter")
        shown.page.keyboard.press("Escape")
        opened(shown)
        box(shown).press("Enter")
        expect(shown.page.get_by_role("button", name="Send")).to_have_attribute("title", "It is being sent.")
        shown.answer("alpha", ok=ok)
        expect(box(shown)).to_have_value(left)
    assert shown.intents == [("steer", {"agents": ["vm-a"], "text": "Look."})] * 2


def test_a_question_that_is_being_answered_is_answered_once_wherever_it_is_shown(shown: Dashboard) -> None:
    shown.patch({"agents": {"vm-a": {"asks": [asked("confirm", "Delete build/?")]}}})
    for _ in range(2):
        opened(shown).get_by_role("button", name="Yes").click(
            force=True
        )  # also where it says that it is sent
        shown.page.keyboard.press("Escape")
    card(shown, "alpha").get_by_role("button", name="Yes").click()  # which was there all the time
    assert [name for name, _ in shown.intents] == ["answer"]


def test_an_opened_agent_that_is_deleted_makes_room_for_the_others(shown: Dashboard) -> None:
    view = opened(shown)
    shown.page.evaluate(
        "document.body.append(Object.assign(document.createElement('textarea'), {id: 'cell'}))"
    )
    shown.page.locator("#cell").focus()
    shown.patch({"agents": {"vm-a": None}})
    expect(view).to_have_count(0)
    expect(card(shown, "beta")).to_be_visible()
    expect(shown.page.locator("#cell")).to_be_focused()  # nobody's keys go elsewhere for that


def test_a_page_that_is_left_with_an_agent_open_says_and_draws_nothing_more(shown: Dashboard) -> None:
    opened(shown)
    tell(shown, "vm-a", 0, conversation())
    shown.page.evaluate("window.box = document.querySelector('.pi-v-transcript')")
    shown.page.evaluate("leave()")
    shown.page.evaluate("for (const late of ['scroll', 'toggle']) box.dispatchEvent(new Event(late))")
    shown.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert shown.sent[-1]["kind"] == "left"
    expect(shown.page.locator(".pi-v-dashboard > *")).to_have_count(0)
