"""What the dashboard shows of machines and commits, asks before it acts, and says then. No kernel."""

from __future__ import annotations

from typing import Any

import pages
import pytest
from labs import CHROMIUM
from pages import ORDER, Dashboard, machine, snapshot
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]


ACTIONS: list[tuple[list[str], str, dict[str, str], str, tuple[str, dict[str, Any]]]] = [
    (["left"], "Use", {}, "", ("use", {"vm": "vm-left"})),
    (["base", "left"], "Pause", {}, "", ("pause", {"vms": ["vm-base"]})),
    (["base", "left"], "Resume", {}, "", ("resume", {"vms": ["vm-left"]})),
    (["base"], "Branch…", {"Name": "twin", "How many": "2"}, "Branch",
     ("branch", {"vms": ["vm-base"], "n": 2, "name": "twin"})),
    (["base", "left"], "Branch…", {}, "Branch", ("branch", {"vms": ["vm-base", "vm-left"], "n": 1})),
    (["base"], "Commit…", {"Tag": "good"}, "Commit", ("commit", {"vms": ["vm-base"], "tag": "good"})),
    (["base"], "Rename…", {"Name": "root"}, "Rename", ("rename", {"vm": "vm-base", "name": "root"})),
    (["base"], "Tunnel…", {"Port on base": "80"}, "Open", ("tunnel", {"vm": "vm-base", "port": 80})),
    (["first"], "Restore…", {"How many machines": "3"}, "Restore",
     ("restore", {"commit": "c-first", "n": 3})),
    (["first"], "Tag…", {"Tag": "v3"}, "Tag", ("tag", {"commit": "c-first", "tag": "v3"})),
    (["3f9a2c1e"], "Untag v2", {}, "", ("untag", {"tag": "v2"})),
    ([], "Run here", {}, "", ("local", {})),
    ([], "New machine…", {"Name": "big", "Memory (MiB)": "2048"}, "Create",
     ("create", {"name": "big", "mem": 2048})),
    ([], "Close the tunnel 8000 → 80 of base", {}, "", ("close_tunnel", {"vm": "vm-base", "port": 80})),
]  # fmt: skip


@pytest.mark.parametrize(("chosen", "button", "given", "yes", "intent"), ACTIONS)
def test_an_action_asks_what_it_has_to_and_says_what_is_wanted(
    dash: Dashboard,
    chosen: list[str],
    button: str,
    given: dict[str, str],
    yes: str,
    intent: tuple[str, dict[str, Any]],
) -> None:
    dash.pick(*chosen)
    dash.press(button)
    if yes:
        assert dash.intents == []
        dialog = dash.page.get_by_role("dialog")
        for label, value in given.items():
            dialog.get_by_label(label, exact=True).fill(value)
        dialog.get_by_role("button", name=yes, exact=True).click()
        dash.answer("Done.")
        expect(dialog).to_have_count(0)
    assert dash.intents == [intent]


def test_the_name_that_something_has_is_typed_over(dash: Dashboard) -> None:
    dash.pick("base")
    dash.press("Rename…")
    dash.page.keyboard.type("root")
    dash.page.keyboard.press("Enter")
    assert dash.intents == [("rename", {"vm": "vm-base", "name": "root"})]


def test_a_form_that_lacks_something_is_not_sent(dash: Dashboard) -> None:
    dash.pick("base")
    dash.press("Tunnel…")
    dash.press("Open")
    expect(dash.page.get_by_role("dialog")).to_be_visible()
    dash.page.keyboard.press("Escape")
    expect(dash.page.get_by_role("dialog")).to_have_count(0)
    assert dash.intents == []


def test_deleting_tells_what_goes_and_what_came_from_it_and_asks(dash: Dashboard) -> None:
    dash.pick("base", "reviewer-1")
    dash.press("Delete…")
    dialog = dash.page.get_by_role("dialog", name="Delete 2 machines?")
    for told in (
        "base and reviewer-1 go",
        "Cells run on base now",
        "An agent works there: reviewer",
        "left and right",
    ):
        expect(dialog).to_contain_text(told)
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dash.press("Cancel")
    assert dash.intents == []
    dash.press("Delete…")
    dialog.get_by_role("button", name="Delete").click()
    assert dash.intents == [("delete", {"vms": ["vm-base", "vm-review"]})]


def test_what_works_on_branches_that_could_go_too_is_told(dash: Dashboard) -> None:
    dash.patch({"machines": {"vm-base": {"active": False}, "vm-left": {"active": True, "agent": "fixer"}}})
    dash.pick("base")
    dash.press("Delete…")
    dialog = dash.page.get_by_role("dialog", name="Delete base?")
    expect(dialog).to_contain_text("An agent works on those: fixer.")
    expect(dialog).to_contain_text("Cells run on left now.")


def test_branches_go_too_only_if_one_says_so(dash: Dashboard) -> None:
    dash.pick("base")
    dash.press("Delete…")
    dash.page.get_by_label("Delete those too").check()
    later = machine("later", created=99, parent="vm-base")
    dash.patch({"machines": {"vm-later": later}})  # nobody was asked about this one
    dash.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    assert dash.intents == [("delete", {"vms": ["vm-base", "vm-left", "vm-right"]})]


def test_deleting_commits_tells_which_tags_go_and_asks(dash: Dashboard) -> None:
    dash.patch({"machines": {"vm-review": None}})
    dash.pick("3f9a2c1e")
    dash.press("Delete…")
    dialog = dash.page.get_by_role("dialog", name="Delete 3f9a2c1e?")
    for told in ("golden and v2", "Agents start from 3f9a2c1e"):
        expect(dialog).to_contain_text(told)
    assert dash.intents == []
    dialog.get_by_role("button", name="Delete").click()
    assert dash.intents == [("delete_commits", {"commits": ["c-golden"]})]


def test_what_cannot_be_done_says_why(dash: Dashboard) -> None:
    button = dash.page.get_by_role("button", name="Exec…")
    expect(button).to_have_attribute("title", "Choose machines first.")
    dash.pick("left")
    expect(button).to_have_attribute("title", "Not all of them are running.")
    expect(button).to_have_attribute("aria-disabled", "true")
    button.click(force=True)
    expect(dash.page.get_by_role("dialog")).to_have_count(0)


def test_a_range_and_all_can_be_chosen_by_mouse_and_keys(dash: Dashboard) -> None:
    boxes = dash.page.locator("tbody").get_by_role("checkbox")

    def chosen() -> list[str]:
        return [name for name, box in zip(ORDER, boxes.all(), strict=True) if box.is_checked()]

    dash.pick("left")
    dash.page.get_by_label("Choose reviewer-1").click(modifiers=["Shift"])
    assert chosen() == ORDER[1:5]
    dash.page.get_by_label("Choose 3f9a2c1e").click(modifiers=["Shift"])
    assert chosen() == ORDER[1:3], "Shift goes on from the last click, and does what that click does"
    expect(dash.page.get_by_role("group", name="Actions for 1 commit", exact=True)).to_be_visible()
    everything = dash.page.get_by_label("Choose all")
    everything.click()
    assert chosen() == ORDER
    everything.click()
    assert chosen() == []
    boxes.first.press("Space")
    dash.page.keyboard.press("ArrowDown")
    dash.page.keyboard.press("Shift+ArrowDown")
    expect(dash.page.get_by_label("Choose first")).to_be_focused()
    assert chosen() == ORDER[:3]


def test_what_is_gone_is_not_chosen_any_more(dash: Dashboard) -> None:
    dash.pick("left", "right")
    dash.patch({"machines": {"vm-left": None}})
    expect(dash.page.get_by_role("group", name="Actions for 1 machine", exact=True)).to_be_visible()


@pytest.mark.parametrize("gone", [{"machines": {"vm-left": None}}, {"commits": {"c-first": None}}])
def test_choosing_while_something_that_is_chosen_goes_leaves_the_rest_chosen(
    dash: Dashboard, gone: dict[str, Any]
) -> None:
    """A click draws at once, and what has come meanwhile a moment later."""
    dash.pick("base", "left", "first", "3f9a2c1e")
    patch = {"kind": "patch", "seq": dash.seq + 1, "now": pages.NOW, "patch": gone}
    dash.page.get_by_label("Choose right", exact=True).evaluate(
        "(it, patch) => { deliver(patch); it.click() }", patch
    )
    machines, commits = (2, 2) if "machines" in gone else (3, 1)
    for group in (f"{machines} machines", "1 commit" if commits == 1 else "2 commits"):
        expect(dash.page.get_by_role("group", name=f"Actions for {group}", exact=True)).to_be_visible()
    expect(dash.page.get_by_role("alert")).to_have_count(0)


def test_a_row_has_a_menu_for_it_alone(dash: Dashboard) -> None:
    dash.pick("right")
    menu = dash.page.get_by_label("Actions for left", exact=True)
    menu.focus()
    dash.page.keyboard.press("ArrowDown")
    items = dash.page.get_by_role("menuitem")
    expect(items.first).to_be_focused()
    dash.page.keyboard.press("End")
    expect(items.last).to_be_focused()
    dash.page.keyboard.press("Escape")
    expect(dash.page.get_by_role("menu")).to_have_count(0)
    expect(menu).to_be_focused()
    menu.press("Enter")
    dash.page.keyboard.press("Enter")
    assert dash.intents == [("use", {"vm": "vm-left"})]


def test_a_row_whose_machine_has_just_gone_offers_nothing(dash: Dashboard) -> None:
    view, seq = dash.sent[0]["view"], dash.seq + 1
    gone = {
        "kind": "patch",
        "to": view,
        "seq": seq,
        "now": pages.NOW,
        "patch": {"machines": {"vm-left": None}},
    }
    failures: list[str] = []
    dash.page.on(
        "console", lambda message: failures.append(message.text) if message.type == "error" else None
    )
    menu = dash.page.get_by_label("Actions for left", exact=True)
    menu.evaluate("(it, gone) => { deliver(gone); it.click() }", gone)  # in one frame
    expect(menu).to_have_count(0)
    expect(dash.page.get_by_role("menuitem")).to_have_count(0)
    expect(dash.page.get_by_label("Choose first", exact=True)).to_be_visible()
    assert failures == []


def test_the_output_of_a_command_is_shown_until_it_is_closed(dash: Dashboard) -> None:
    dash.pick("base", "right")
    dash.press("Exec…")
    dash.page.get_by_label("Command").fill("make test")
    dash.press("Run")
    assert dash.intents == [("exec", {"vms": ["vm-base", "vm-right"], "command": "make test"})]
    panel = dash.page.get_by_role("region", name="make test on base and right")
    expect(panel).to_be_visible()
    dash.answer("[base]\n<b>ok</b>\n[right]\nmake: *** no", ok=False, hint="Look at `make`.")
    expect(panel).to_contain_text("<b>ok</b>")
    expect(panel.get_by_role("status")).to_have_text("✗ Failed. Look at make.")
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_have_count(0)


def test_a_machine_has_one_terminal_which_stays_until_it_is_ended(dash: Dashboard) -> None:
    dash.page.add_style_tag(content="div:has(> [aria-label='widget model-7']) { height: 400px }")
    dash.pick("base")
    for _ in range(2):
        dash.press("Terminal")
        dash.answer("model-7")
    assert dash.intents == [("terminal", {"vm": "vm-base"})] * 2
    box = dash.page.get_by_label("widget model-7")
    expect(box).to_have_count(1)
    expect(box).to_be_focused()
    expect(dash.page.get_by_role("region", name="Terminal on base")).to_be_in_viewport(ratio=1)
    box.fill("still here")
    dash.tab("Events")
    dash.tab("Machines")
    expect(box).to_have_value("still here")
    dash.press("End the terminal on base")
    expect(box).to_have_count(0)
    assert dash.intents[2:] == [("close_terminal", {"vm": "vm-base"})]


@pytest.mark.parametrize("place", ["a cell", "Choose left"])
def test_a_terminal_that_comes_late_takes_no_keys_from_where_one_has_gone_on(
    dash: Dashboard, place: str
) -> None:
    dash.page.evaluate(
        "document.body.append(Object.assign(document.createElement('textarea'), {ariaLabel: 'a cell'}))"
    )
    dash.pick("base")
    for _ in range(2):
        dash.press("Terminal")
        dash.page.get_by_label(place, exact=True).focus()
        dash.answer("model-7")
        expect(dash.page.get_by_label("widget model-7")).to_be_visible()
        dash.page.evaluate("new Promise((done) => setTimeout(done))")
        expect(dash.page.get_by_label(place, exact=True)).to_be_focused()


def test_a_machine_that_cells_run_on_and_that_is_gone_is_told_with_the_way_out(dash: Dashboard) -> None:
    here = dash.page.get_by_role("tabpanel", name="Machines").get_by_role("button", name="Run here")
    dash.show(snapshot(machines={"vm-base": machine("base")}))
    expect(here).to_be_disabled()
    dash.patch({"here": False, "lost": "build"})
    expect(here).to_be_enabled()
    notice = dash.page.locator(".pi-v-notice")
    expect(notice).to_contain_text("build, which cells run on, is gone: cells are refused until")
    notice.get_by_role("button", name="Run here").click()
    assert dash.intents == [("local", {})]
    dash.patch({"here": True, "lost": ""})
    expect(notice).to_have_count(0)


def test_without_machines_there_is_a_sentence_and_a_button(dash: Dashboard) -> None:
    dash.show(snapshot())
    panel = dash.page.get_by_role("tabpanel", name="Machines")
    expect(panel).to_contain_text("No machines yet. Cells run on this computer.")
    panel.locator(".pi-v-empty").get_by_role("button", name="New machine…").click()
    expect(dash.page.get_by_role("dialog", name="New machine")).to_be_visible()
