"""What a notebook around the dashboard hears of its keys and its mouse. No kernel."""

from __future__ import annotations

import pytest
from labs import CHROMIUM
from pages import NOW, Dashboard, snapshot
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
# As JupyterLab's shortcuts hear: before all others, and nothing that comes from where they are suppressed.
HEAR = """window.heard = [];
document.addEventListener("keydown", (event) => {
  if (event.target.closest("[data-lm-suppress-shortcuts]")) return;
  heard.push([event.key, event.ctrlKey, event.keyCode]);
}, true);
document.addEventListener("contextmenu", (event) => heard.push(event.target.nodeName));"""


def test_the_key_that_saves_is_heard_outside_and_no_other_is(dash: Dashboard) -> None:
    dash.page.evaluate(HEAR)
    box = dash.page.get_by_label("Choose base", exact=True)
    for key in ("d", "Control+s", "Control+Shift+s", "b"):
        box.press(key)
    assert dash.page.evaluate("heard") == [["s", True, 83]]


def test_a_right_click_opens_the_notebooks_menu_but_where_one_types(dash: Dashboard) -> None:
    dash.page.evaluate(HEAR)
    dash.page.locator(".pi-v-platform").click(button="right")
    dash.page.get_by_label("Choose base", exact=True).click(button="right")
    dash.press("New machine…")
    dash.page.get_by_label("Name", exact=True).click(button="right")
    expect(dash.page.get_by_role("dialog")).to_be_visible()
    assert len(dash.page.evaluate("heard")) == 1


def test_a_failure_names_its_action_and_is_not_told_twice_beside_the_events(dash: Dashboard) -> None:
    dash.press("Run here")
    dash.answer("It could not.", ok=False, noted=True)
    failed = dash.page.locator(".pi-v-failures")
    expect(failed).to_contain_text("Run here failed: It could not.")
    event = {"at": NOW, "kind": "done", "about": "delete_commits", "text": "Use `rm`.", "level": "error"}
    dash.patch({"events": {"1": event}})
    panel = dash.tab("Events")
    expect(panel.get_by_role("listitem")).to_contain_text("Delete commits failed: Use rm.")
    expect(panel.get_by_role("listitem").locator("code")).to_have_text("rm")
    expect(failed).to_be_hidden()
    dash.tab("Machines")
    expect(failed).to_be_visible()


def test_what_is_chosen_first_is_said_and_a_platform_that_is_away_is_not_called_empty(
    dash: Dashboard,
) -> None:
    expect(dash.page.get_by_text("Choose machines below first")).to_be_visible()
    dash.show(snapshot())
    dash.patch({"connection": {"state": "trouble"}})
    panel = dash.page.get_by_role("tabpanel", name="Machines")
    expect(panel).to_contain_text("Which machines there are is not known")


def test_a_commit_that_machines_came_from_cannot_be_deleted_before_them(dash: Dashboard) -> None:
    dash.pick("3f9a2c1e")
    delete = dash.page.get_by_role("button", name="Delete…", exact=True)
    expect(delete).to_have_attribute("title", "reviewer-1 came from it: delete that first.")
    delete.click(force=True)
    expect(dash.page.get_by_role("dialog")).to_have_count(0)
    dash.patch({"machines": {"vm-review": None}})
    delete.click()
    expect(dash.page.get_by_role("dialog")).to_contain_text("golden and v2")


def test_who_deletes_the_machine_that_cells_run_on_is_told_where_they_run_then(dash: Dashboard) -> None:
    dash.pick("base")
    dash.press("Delete…")
    expect(dash.page.get_by_role("dialog")).to_contain_text("afterwards they run on this computer")


def test_a_tunnel_is_a_link_to_its_port(dash: Dashboard) -> None:
    link = dash.page.get_by_role("link", name="8000 → 80")
    expect(link).to_have_attribute("href", "http://127.0.0.1:8000")
    expect(link).to_have_attribute("rel", "noopener")
    expect(link).to_have_attribute(
        "title", "Port 8000 of the computer that the kernel runs on leads to port 80 of base"
    )
