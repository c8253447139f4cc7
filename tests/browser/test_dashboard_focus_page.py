"""Where the keyboard's focus is in the dashboard while things come and go, and what was half typed."""

from __future__ import annotations

from typing import Any

import pages
import pytest
from labs import CHROMIUM
from pages import Dashboard
from playwright.sync_api import expect
from swarmpages import agent, asked, box, card, opened

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
QUESTIONS = [
    asked("confirm", "Delete build/?"),
    asked("select", "Which?", "staging", "production"),
    asked("input", "Its name?"),
]
# Something that scrolls beside the dashboard, on a page that scrolls; and that it has scrolled.
MORE = """document.body.insertAdjacentHTML("beforeend", `<div id="other" style="height: 40px; overflow: auto">
  <p style="height: 900px"></p></div><p style="height: 2000px"></p>`)"""
SCROLL = """new Promise((done) => {
  const other = document.querySelector("#other");
  other.addEventListener("scroll", done, { once: true });
  other.scrollTop = 50;
})"""


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["method"])
def test_a_key_that_is_held_opens_an_agent_and_answers_nothing(
    shown: Dashboard, question: dict[str, Any]
) -> None:
    shown.patch({"agents": {"vm-b": {"asks": [question]}}})
    card(shown, "beta").get_by_role("button", name="beta", exact=True).focus()
    for _ in range(3):
        shown.page.keyboard.down("Enter")
    expect(shown.page.get_by_role("region", name="Agent beta").locator("form :focus")).to_have_count(1)
    for button in shown.page.locator("form").get_by_role("button").all():
        button.focus()
        shown.page.keyboard.down("Enter")
    assert shown.intents == []


def test_a_key_that_is_held_does_not_send_what_was_half_typed(shown: Dashboard) -> None:
    opened(shown, "zeta")
    shown.page.keyboard.type("half a thou")
    shown.page.keyboard.press("Escape")
    for _ in range(3):
        shown.page.keyboard.down("Enter")
    expect(box(shown)).to_have_value("half a thou")
    assert shown.intents == []


def test_a_half_typed_answer_is_there_still_where_the_agent_is_opened_and_when_it_comes_back(
    shown: Dashboard,
) -> None:
    others = {f"vm-{number}": agent(f"agent-{number}") for number in range(10)}
    shown.patch({"agents": {**others, "vm-b": {"asks": [asked("input", "Its name?")]}}})
    shown.page.get_by_role("button", name="waits for you").click()
    card(shown, "beta").get_by_role("textbox").fill("Ad")
    shown.patch({"agents": {"vm-b": {"state": "working"}}})
    expect(card(shown, "beta")).to_have_count(0)
    expect(shown.page.get_by_role("tabpanel", name="Swarm")).to_be_focused()
    shown.patch({"agents": {"vm-b": {"state": "waiting"}}})
    expect(card(shown, "beta").get_by_role("textbox")).to_have_value("Ad")
    field = opened(shown, "beta").get_by_role("form").get_by_role("textbox")
    expect(field).to_have_value("Ad")
    field.press("End")
    field.press_sequentially("a")
    field.press("Enter")
    assert shown.intents == [("answer", {"agent": "vm-b", "dialog": "q1", "value": "Ada"})]


@pytest.mark.parametrize("place", ["box", "button", "menu"])
def test_the_focus_of_a_row_that_goes_is_in_the_next(dash: Dashboard, place: str) -> None:
    dash.page.get_by_label("Choose left", exact=True).focus()
    if place != "box":
        dash.page.get_by_role("button", name="Actions for left").focus()
    if place == "menu":
        dash.page.keyboard.press("Enter")
        expect(dash.page.get_by_role("menuitem").first).to_be_focused()
    dash.patch({"machines": {"vm-left": None}})
    expect(dash.page.get_by_label("Choose first", exact=True)).to_be_focused()


def test_the_focus_of_the_last_row_that_goes_is_in_the_one_before_and_then_in_the_panel(
    dash: Dashboard,
) -> None:
    dash.page.get_by_label("Choose orphan", exact=True).focus()
    dash.patch({"machines": {"vm-orphan": None}})
    expect(dash.page.get_by_label("Choose right", exact=True)).to_be_focused()
    all_that_is_there = pages.family()
    dash.patch({kind: dict.fromkeys(all_that_is_there[kind]) for kind in ("machines", "commits")})
    expect(dash.page.get_by_role("tabpanel", name="Machines")).to_be_focused()


def test_keys_that_went_elsewhere_go_on_there(dash: Dashboard) -> None:
    dash.page.get_by_label("Choose left", exact=True).focus()
    dash.page.mouse.click(999, 759)
    dash.patch({"machines": {"vm-left": None}})
    expect(dash.page.locator("body")).to_be_focused()


def test_a_menu_stays_while_something_else_scrolls_and_goes_with_what_it_hangs_on(dash: Dashboard) -> None:
    dash.page.evaluate(MORE)
    button = dash.page.get_by_role("button", name="Actions for left")
    button.click()
    dash.page.evaluate(SCROLL)
    expect(dash.page.get_by_role("menuitem").first).to_be_focused()
    dash.page.evaluate("scrollTo(0, 20)")
    expect(dash.page.get_by_role("menu")).to_have_count(0)
    expect(button).to_be_focused()
