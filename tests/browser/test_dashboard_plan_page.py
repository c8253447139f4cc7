"""An agent's plan in the dashboard: how far it is on its card, and its steps in its view."""

from __future__ import annotations

import pytest
from labs import CHROMIUM
from pages import Dashboard
from playwright.sync_api import expect
from swarmpages import card, opened, planned

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
STEPS = ("Look at `lines()`.", "Mend <b>it</b>.", "Run the tests.")


def test_a_card_says_how_far_an_agent_is_with_its_plan(shown: Dashboard) -> None:
    expect(card(shown, "alpha").get_by_text("plan")).to_have_count(0)
    shown.patch({"agents": {"vm-a": {"plan": planned("working", *STEPS, done=1)}}})
    count = card(shown, "alpha").get_by_text("plan 1/3", exact=True)
    expect(count).to_have_attribute("title", "Its plan is being carried out")
    shown.patch({"agents": {"vm-a": {"plan": {"done": 2, "steps": {"1": {"done": True}}}}}})
    expect(card(shown, "alpha").get_by_text("plan 2/3", exact=True)).to_be_visible()
    shown.patch({"agents": {"vm-d": {"plan": planned("planning")}}})
    expect(card(shown, "delta").get_by_text("planning", exact=True)).to_be_visible()


def test_its_view_has_the_steps_as_text_and_ticks_them_as_they_are_done(shown: Dashboard) -> None:
    shown.patch({"agents": {"vm-a": {"plan": planned("working", *STEPS, done=1)}}})
    view = opened(shown, "alpha")
    assert shown.violations() == []
    steps = view.get_by_label("Plan of alpha").get_by_role("listitem")
    expect(steps).to_have_text(["✓1. Look at `lines()`.", "▸2. Mend <b>it</b>.", "○3. Run the tests."])
    expect(steps.nth(1)).to_have_attribute("aria-current", "step")
    assert view.get_by_label("Plan of alpha").evaluate("it => it.scrollHeight <= it.clientHeight")
    shown.patch({"agents": {"vm-a": {"plan": {"done": 2, "steps": {"1": {"done": True}}}}}})
    expect(steps.nth(1)).to_have_text("✓2. Mend <b>it</b>.")
    expect(steps.nth(2)).to_have_attribute("aria-current", "step")
    shown.patch({"agents": {"vm-a": {"plan": planned("stopped", *STEPS, done=2, total=60)}}})
    plan = view.get_by_label("Plan of alpha")
    expect(plan).to_contain_text("Plan 2/60 stopped: %plan run goes on")
    expect(plan).to_contain_text("… 57 more")


def test_why_there_is_no_plan_is_said(shown: Dashboard) -> None:
    expect(opened(shown, "alpha").get_by_label("Plan of alpha")).to_have_count(0)
    shown.patch({"agents": {"vm-a": {"plan": planned("planned", trouble="its answer has no steps")}}})
    plan = shown.page.get_by_label("Plan of alpha")
    expect(plan).to_contain_text("there is none")
    expect(plan).to_contain_text("No new plan: its answer has no steps")


def test_plan_mode_is_said_and_its_branches_are_marked(dash: Dashboard) -> None:
    expect(dash.page.get_by_text("Plan mode")).to_have_count(0)
    dash.patch({"looking": True, "machines": {"vm-left": {"aside": True}}})
    expect(dash.page.get_by_role("status").first).to_contain_text(
        "Plan mode: what may do more than look is refused."
    )
    marked = dash.page.get_by_role("row").filter(has_text="plan mode")
    expect(marked).to_have_count(1)
    expect(marked).to_contain_text("left")
    assert dash.violations() == []
    dash.patch({"looking": False})
    expect(dash.page.get_by_text("what may do more than look")).to_have_count(0)
