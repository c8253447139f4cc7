"""The dashboard's forms: what was typed stays until it was done, and what failed is told there. No kernel."""

from __future__ import annotations

import pytest
from labs import CHROMIUM
from pages import AXE, Dashboard
from playwright.sync_api import Locator, expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]


def sent(dash: Dashboard) -> Locator:
    """The form for a new machine, filled in and sent."""
    dash.press("New machine…")
    form = dash.page.get_by_role("dialog", name="New machine")
    form.get_by_label("Name").fill("build")
    form.get_by_label("Memory (MiB)").fill("2048")
    form.get_by_role("button", name="Create").click()
    return form


def test_a_form_stays_until_it_is_answered_and_says_that_it_waits(dash: Dashboard) -> None:
    form = sent(dash)
    button = form.get_by_role("button", name="Working…")
    expect(button).to_have_attribute("aria-disabled", "true")
    button.click(force=True)
    assert dash.intents == [("create", {"name": "build", "mem": 2048})]
    dash.answer("build was made.")
    expect(form).to_have_count(0)
    expect(dash.page.locator(".pi-v-latest")).to_contain_text("build was made.")


def test_a_failure_is_told_in_the_form_which_keeps_what_was_typed(dash: Dashboard) -> None:
    form = sent(dash)
    dash.answer("The name `build` is taken.", ok=False, hint="Choose another.")
    expect(form.get_by_role("alert")).to_have_text("The name build is taken. Choose another.")
    expect(dash.page.locator(".pi-v-failures")).to_have_text("")
    expect(form.get_by_label("Memory (MiB)")).to_have_value("2048")
    dash.shot("form-failed")
    if AXE.exists():
        assert dash.violations() == []
    form.get_by_label("Name").fill("builder")
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_role("alert")).to_have_text("")
    assert dash.intents[1:] == [("create", {"name": "builder", "mem": 2048})]


def test_a_form_that_waits_can_be_closed_and_what_fails_then_is_told_outside(dash: Dashboard) -> None:
    form = sent(dash)
    expect(form.get_by_text("It will be done when the cell has ended")).to_be_visible()
    dash.page.keyboard.press("Escape")
    expect(form).to_have_count(0)
    dash.answer("The platform is full.", ok=False)
    expect(dash.page.locator(".pi-v-failures")).to_contain_text("The platform is full.")
