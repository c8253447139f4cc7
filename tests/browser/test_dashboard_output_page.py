"""What commands write, in the dashboard: as it comes, and stopped by whoever has had enough. No kernel."""

from __future__ import annotations

import pytest
from labs import CHROMIUM
from pages import AXE, Dashboard
from playwright.sync_api import Locator, expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]


def begun(dash: Dashboard) -> Locator:
    """A command that runs on base, sent by a key; what it has written."""
    dash.pick("base")
    dash.press("Exec…")
    box = dash.page.get_by_label("Command")
    expect(box).to_have_accessible_description("Ctrl+Enter runs it.")
    box.fill("make")
    box.press("Control+Enter")
    assert dash.intents == [("exec", {"vms": ["vm-base"], "command": "make"})]
    return dash.page.get_by_role("region", name="make on base", exact=True)


def write(dash: Dashboard, text: str) -> None:
    """Have it write this."""
    view = dash.sent[0]["view"]
    dash.deliver(kind="output", to=view, id=1, text=text)


def end(dash: Dashboard, text: str, *, ok: bool = False, stopped: bool = False) -> None:
    """Answer it."""
    view = dash.sent[0]["view"]
    dash.deliver(kind="answer", to=view, id=1, ok=ok, text=text, hint="", stopped=stopped)


def test_what_a_command_writes_is_shown_as_it_comes_and_its_end_below_it(dash: Dashboard) -> None:
    panel = begun(dash)
    written = panel.get_by_role("region", name="Output of make")
    write(dash, "one\n")
    write(dash, "two\n")
    expect(written).to_have_text("one\ntwo\n")
    expect(panel.get_by_role("status")).to_have_text("⟳ It runs…")
    if AXE.exists():
        assert dash.violations() == []
    dash.shot("output-runs")
    end(dash, "one\ntwo\nthree\nIt ended with exit code 2.")
    expect(written).to_have_text("one\ntwo\nthree")
    expect(panel.get_by_role("status")).to_have_text("✗ It ended with exit code 2.")
    dash.shot("output-ended")


def test_the_end_is_followed_unless_one_has_scrolled_and_only_so_much_is_kept(dash: Dashboard) -> None:
    panel = begun(dash)
    written = panel.get_by_role("region", name="Output of make")
    write(dash, "line\n" * 20_000)
    expect(written).to_contain_text("… 34464 characters left out …")
    at_end = "(box) => box.scrollHeight - box.scrollTop - box.clientHeight < 4"
    assert written.evaluate(at_end)
    written.evaluate("(box) => new Promise((done) => { box.onscroll = done; box.scrollTop = 100; })")
    write(dash, "more\n")
    expect(written).to_contain_text("more")
    assert not written.evaluate(at_end)


def test_a_command_is_stopped_by_its_button_and_what_it_has_written_stays(dash: Dashboard) -> None:
    panel = begun(dash)
    write(dash, "one\n")
    panel.get_by_role("button", name="Stop", exact=True).click()
    assert dash.intents[1:] == [("cancel", {"intent": 1})]
    end(dash, "It was stopped.", stopped=True)
    dash.answer("Stopped.")
    expect(panel.get_by_role("status")).to_have_text("⊘ It was stopped.")
    expect(panel.locator(".pi-v-bad")).to_have_count(0)
    dash.shot("output-stopped")
    expect(panel.get_by_role("region", name="Output of make")).to_have_text("one\n")
    panel.get_by_role("button", name="Close the output of make").click()
    expect(panel).to_have_count(0)
    assert len(dash.intents) == 2


def test_closing_what_runs_stops_it(dash: Dashboard) -> None:
    panel = begun(dash)
    close = panel.get_by_role("button", name="Stop and close make")
    expect(close).to_have_attribute("title", "Stop it, and close this")
    close.click()
    assert dash.intents[1:] == [("cancel", {"intent": 1})]


def test_what_may_be_old_looks_so_until_it_is_not(dash: Dashboard) -> None:
    state = dash.page.get_by_role("row", name="Choose base").locator(".pi-v-vm-state > span")
    colour = "(one) => getComputedStyle(one).color"
    alive = state.evaluate(colour)
    dash.patch({"connection": {"state": "trouble", "reason": "It does not answer."}})
    assert state.evaluate(colour) != alive
    if AXE.exists():
        assert dash.violations() == []
    dash.shot("old")
    dash.patch({"connection": {"state": "ok"}})
    assert state.evaluate(colour) == alive
    dash.deliver(kind="closed")
    assert state.evaluate(colour) != alive
    expect(dash.page.get_by_text("The kernel that this was shown by is gone")).to_be_visible()
