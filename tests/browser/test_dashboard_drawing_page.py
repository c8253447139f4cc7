"""When the dashboard is drawn, and what is kept of what is not shown. No kernel."""

from __future__ import annotations

import pytest
from labs import CHROMIUM
from pages import Dashboard
from playwright.sync_api import expect
from swarmpages import several, swarm

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
# Each drawing takes a tenth of a second by this clock.
SLOW = "let now = 0; performance.now = () => (now += 100)"
COUNT = """window.drawn = 0;
const rows = document.querySelector("tbody");
new MutationObserver(() => drawn++).observe(rows, { subtree: true, characterData: true });"""
# No timer ends but by hand.
HOLD = """window.held = new Map();
window.setTimeout = (call) => { const id = Symbol(); held.set(id, call); return id; };
window.clearTimeout = (id) => held.delete(id);"""
LET_GO = "for (const call of [...held.values()]) call()"
FRAMES = "new Promise((end) => requestAnimationFrame(() => requestAnimationFrame(end)))"
REPEAT = """performance.now = () => Date.now();
const tab = document.querySelector("[role=tab]");
const press = () => tab.dispatchEvent(new KeyboardEvent("keydown", { key: "x" }));
setInterval(press, 20);
press();"""
FOUND = "document.querySelector('[role=tabpanel][hidden]').dispatchEvent(new Event('beforematch'))"


def test_what_takes_long_to_be_drawn_is_drawn_more_seldom_and_at_last_as_it_is(dash: Dashboard) -> None:
    dash.page.evaluate(SLOW)
    dash.patch({"machines": {"vm-base": {"label": "first"}}})
    dash.page.evaluate(COUNT)
    for number in range(12):
        dash.patch({"machines": {"vm-base": {"label": f"name {number}"}}})
    expect(dash.page.get_by_text("name 11", exact=True)).to_be_visible()
    assert 0 < dash.page.evaluate("drawn") < 12


def test_what_a_click_does_is_shown_before_what_has_come(dash: Dashboard) -> None:
    page = dash.page
    dash.tab("Events")
    dash.patch({"machines": {"vm-base": {"label": "renamed"}}, "connection": {"label": "another place"}})
    expect(page.get_by_text("another place")).to_be_visible()
    page.evaluate(HOLD)
    dash.tab("Machines")
    page.evaluate(FRAMES)
    assert page.get_by_role("table", name="Machines").is_visible()
    assert page.get_by_text("renamed", exact=True).count() == 0
    page.evaluate(LET_GO)
    expect(page.get_by_text("renamed", exact=True)).to_be_visible()


def test_a_key_that_is_held_does_not_keep_it_from_being_drawn(dash: Dashboard) -> None:
    dash.page.evaluate(REPEAT)
    dash.patch({"machines": {"vm-base": {"label": "renamed"}}})
    expect(dash.page.get_by_text("renamed", exact=True)).to_be_visible()


def test_what_the_browser_finds_in_a_tab_that_is_not_shown_is_shown(dash: Dashboard) -> None:
    dash.tab("Events")
    dash.page.evaluate(FOUND)
    expect(dash.page.get_by_role("tab", name="Machines")).to_have_attribute("aria-selected", "true")
    expect(dash.page.get_by_role("table", name="Machines")).to_be_visible()


def test_cards_are_kept_while_one_of_them_is_open_and_are_up_to_date_after_that(shown: Dashboard) -> None:
    card = shown.page.locator(".pi-v-card").first
    card.evaluate("card => { window.kept = card }")
    card.get_by_title("Open ").click()
    expect(card).to_be_hidden()
    agents = several()
    agents[next(iter(agents))]["task"] = "Something else."
    shown.show(swarm(agents))
    shown.page.get_by_title("Back to all agents").click()
    expect(shown.page.get_by_text("Something else.")).to_be_visible()
    assert shown.page.locator(".pi-v-card").evaluate_all("cards => cards.includes(kept)")
