"""What the dashboard shows of what it is told, and what it says when somebody acts. No kernel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pages
import pytest
from labs import CHROMIUM
from pages import AXE, Dashboard, family, machine, snapshot
from playwright.sync_api import Browser, expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
CASES = Path(__file__).parents[1] / "unit/dashboard_patches.json"
PATCH_JS = Path(__file__).parents[2] / "js/dashboard/patch.js"
ORDER = ["base", "left", "first", "3f9a2c1e", "reviewer-1", "right", "orphan"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with pages.chromium() as browser:
        yield browser


@pytest.fixture
def dash(browser: Browser) -> Iterator[Dashboard]:
    """A view that shows a few machines."""
    with pages.dashboard(browser) as dash:
        dash.show(family())
        yield dash


def names(dash: Dashboard) -> list[str]:
    """Those of the rows, top to bottom."""
    return dash.page.locator("tbody .pi-v-name").all_text_contents()


def press(dash: Dashboard, button: str) -> None:
    dash.page.get_by_role("button", name=button, exact=True).click()


def pick(dash: Dashboard, *labels: str) -> None:
    for label in labels:
        dash.page.get_by_label(f"Choose {label}", exact=True).click()


def test_it_waits_for_a_first_snapshot_and_asks_for_it(browser: Browser) -> None:
    with pages.dashboard(browser) as dash:
        expect(dash.page.get_by_role("status")).to_have_text("Waiting for the kernel…")
        assert dash.sent[0]["kind"] == "opened"
        dash.show(family())
        expect(dash.page.get_by_role("table", name="Machines")).to_be_visible()


def test_it_says_that_it_is_seen_and_that_it_is_left(dash: Dashboard) -> None:
    dash.page.wait_for_function("sent.some((one) => one.kind === 'visible' && one.visible)")
    dash.page.evaluate("leave()")
    assert dash.sent[-1]["kind"] == "left"


def test_each_stands_below_what_it_came_from_oldest_first(dash: Dashboard) -> None:
    assert names(dash) == ORDER
    row = dash.page.get_by_role("row", name="reviewer-1")
    expect(row.get_by_role("rowheader")).to_contain_text("from 3f9a2c1e")
    expect(dash.page.get_by_role("row", name="Choose base").get_by_role("rowheader")).to_contain_text(
        "active"
    )
    dash.page.get_by_role("switch", name="With commits").click()
    assert names(dash) == ["base", "left", "right", "reviewer-1", "orphan"]
    expect(row.get_by_role("rowheader")).to_contain_text("from base")


def test_machines_that_came_from_themselves_are_shown_once(dash: Dashboard) -> None:
    ring = {"a": machine("a", parent="b"), "b": machine("b", parent="a"), "c": machine("c", parent="c")}
    dash.show(snapshot(machines=ring))
    assert sorted(names(dash)) == ["a", "b", "c"]


def test_a_patch_changes_what_it_is_about_and_nothing_else(dash: Dashboard) -> None:
    many = {f"vm-{n}": machine(f"m{n}", created=n, link="connected") for n in range(200)}
    dash.show(snapshot(machines=many))
    dash.page.evaluate(
        """window.touched = new Set();
        new MutationObserver((all) => all.forEach(({ target }) => {
          const element = target.nodeType === 1 ? target : target.parentElement;
          touched.add(element.closest("tr")?.dataset.id ?? "not a row");
        })).observe(document.querySelector("table"),
          { subtree: true, childList: true, characterData: true, attributes: true });"""
    )
    dash.patch({"machines": {"vm-77": {"state": "paused", "link": "away"}}})
    expect(dash.page.get_by_role("row", name="m77")).to_contain_text("paused")
    assert dash.page.evaluate("[...touched]") == ["vm-77"]
    dash.patch({"machines": {"vm-77": None}})
    expect(dash.page.get_by_role("tab", name="Machines")).to_have_text("Machines 199")


def test_after_a_lost_patch_it_asks_for_a_snapshot(dash: Dashboard) -> None:
    def asked() -> int:
        return [one["kind"] for one in dash.sent].count("opened")

    before = asked()
    dash.deliver(kind="patch", seq=dash.seq + 2, now=pages.NOW, patch={"machines": {"vm-base": None}})
    assert names(dash) == ORDER
    assert asked() == before + 1
    dash.deliver(
        kind="patch", seq=dash.seq, now=pages.NOW, patch={"machines": {"vm-base": None}}
    )  # an old one
    assert names(dash) == ORDER
    assert asked() == before + 1


@pytest.mark.skipif(not CASES.exists(), reason="there are no cases")
def test_patches_do_in_the_browser_what_they_do_in_the_kernel(dash: Dashboard) -> None:
    source = PATCH_JS.read_text()
    for case in json.loads(CASES.read_text()):
        made = dash.page.evaluate(
            """async ([source, old, patch]) => {
              const script = new Blob([source], { type: "text/javascript" });
              const { apply } = await import(URL.createObjectURL(script));
              const before = JSON.stringify(old);
              const made = apply(old, patch);
              return [made, before === JSON.stringify(old)];
            }""",
            [source, case["old"], case["patch"]],
        )
        assert made == [case["new"], True], case


def test_what_a_machine_is_called_is_text_and_never_html(dash: Dashboard) -> None:
    name = "<img src=x onerror=alert(1)>"
    dash.show(snapshot(machines={"vm": machine(name)}))
    assert names(dash) == [name]
    assert dash.page.locator(".pi-v-dashboard img").count() == 0


ONE = {"left": "vm-left", "base": "vm-base"}
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
    pick(dash, *chosen)
    press(dash, button)
    if yes:
        assert dash.intents == []
        dialog = dash.page.get_by_role("dialog")
        for label, value in given.items():
            dialog.get_by_label(label, exact=True).fill(value)
        dialog.get_by_role("button", name=yes, exact=True).click()
        expect(dialog).to_have_count(0)
    assert dash.intents == [intent]


def test_a_form_that_lacks_something_is_not_sent(dash: Dashboard) -> None:
    pick(dash, "base")
    press(dash, "Tunnel…")
    press(dash, "Open")
    expect(dash.page.get_by_role("dialog")).to_be_visible()
    dash.page.keyboard.press("Escape")
    expect(dash.page.get_by_role("dialog")).to_have_count(0)
    assert dash.intents == []


def test_deleting_tells_what_goes_and_what_came_from_it_and_asks(dash: Dashboard) -> None:
    pick(dash, "base", "reviewer-1")
    press(dash, "Delete…")
    dialog = dash.page.get_by_role("dialog", name="Delete 2 machines?")
    for told in (
        "base and reviewer-1 go",
        "Cells run on base now",
        "An agent works there: reviewer",
        "left and right",
    ):
        expect(dialog).to_contain_text(told)
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    press(dash, "Cancel")
    assert dash.intents == []
    press(dash, "Delete…")
    dialog.get_by_role("button", name="Delete").click()
    assert dash.intents == [("delete", {"vms": ["vm-base", "vm-review"], "branches": False})]


def test_branches_go_too_only_if_one_says_so(dash: Dashboard) -> None:
    pick(dash, "base")
    press(dash, "Delete…")
    dash.page.get_by_label("Delete those too").check()
    dash.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    assert dash.intents == [("delete", {"vms": ["vm-base"], "branches": True})]


def test_deleting_commits_tells_which_tags_go_and_asks(dash: Dashboard) -> None:
    pick(dash, "3f9a2c1e")
    press(dash, "Delete…")
    dialog = dash.page.get_by_role("dialog", name="Delete 3f9a2c1e?")
    for told in ("golden and v2", "Agents start from 3f9a2c1e", "reviewer-1"):
        expect(dialog).to_contain_text(told)
    assert dash.intents == []
    dialog.get_by_role("button", name="Delete").click()
    assert dash.intents == [("delete_commits", {"commits": ["c-golden"]})]


def test_what_cannot_be_done_says_why(dash: Dashboard) -> None:
    button = dash.page.get_by_role("button", name="Exec…")
    expect(button).to_have_attribute("title", "Choose machines first.")
    pick(dash, "left")
    expect(button).to_have_attribute("title", "Not all of them are running.")
    expect(button).to_have_attribute("aria-disabled", "true")
    button.click(force=True)
    expect(dash.page.get_by_role("dialog")).to_have_count(0)


def test_a_range_and_all_can_be_chosen_by_mouse_and_keys(dash: Dashboard) -> None:
    boxes = dash.page.locator("tbody").get_by_role("checkbox")

    def chosen() -> list[str]:
        return [name for name, box in zip(ORDER, boxes.all(), strict=True) if box.is_checked()]

    pick(dash, "left")
    dash.page.get_by_label("Choose reviewer-1").click(modifiers=["Shift"])
    assert chosen() == ORDER[1:5]
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
    pick(dash, "left", "right")
    dash.patch({"machines": {"vm-left": None}})
    expect(dash.page.get_by_role("group", name="Actions for 1 machine", exact=True)).to_be_visible()


def test_a_row_has_a_menu_for_it_alone(dash: Dashboard) -> None:
    pick(dash, "right")
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


@pytest.mark.parametrize("close", ["Escape", "Cancel"])
def test_focus_goes_back_to_where_a_dialog_was_opened(dash: Dashboard, close: str) -> None:
    menu = dash.page.get_by_label("Actions for left", exact=True)
    menu.click()
    dash.page.get_by_role("menuitem", name="Rename…").click()
    expect(dash.page.get_by_label("Name", exact=True)).to_be_focused()
    if close == "Escape":
        dash.page.keyboard.press(close)
    else:
        press(dash, close)
    expect(menu).to_be_focused()


def test_tabs_are_walked_by_arrow_keys_and_keep_what_was_in_them(dash: Dashboard) -> None:
    pick(dash, "left")
    tab = dash.page.get_by_role("tab", name="Machines")
    tab.focus()
    for key, name in [
        ("ArrowRight", "Swarm"),
        ("End", "Events"),
        ("ArrowRight", "Machines"),
        ("ArrowLeft", "Events"),
    ]:
        dash.page.keyboard.press(key)
        expect(dash.page.get_by_role("tab", name=name)).to_be_focused()
        expect(dash.page.get_by_role("tabpanel", name=name)).to_have_count(1)
    dash.page.keyboard.press("Home")
    expect(dash.page.get_by_label("Choose left", exact=True)).to_be_checked()


def test_the_output_of_a_command_is_shown_until_it_is_closed(dash: Dashboard) -> None:
    pick(dash, "base", "right")
    press(dash, "Exec…")
    dash.page.get_by_label("Command").fill("make test")
    press(dash, "Run")
    assert dash.intents == [("exec", {"vms": ["vm-base", "vm-right"], "command": "make test"})]
    panel = dash.page.get_by_role("region", name="make test on base and right")
    expect(panel).to_be_visible()
    dash.answer("[base]\n<b>ok</b>\n[right]\nmake: *** no", ok=False, hint="Look at `make`.")
    expect(panel).to_contain_text("<b>ok</b>")
    expect(panel.get_by_role("status")).to_have_text("✗ Failed. Look at make.")
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_have_count(0)


def test_a_machine_has_one_terminal_which_stays_until_it_is_closed(dash: Dashboard) -> None:
    pick(dash, "base")
    for _ in range(2):
        press(dash, "Terminal")
        dash.answer("model-7")
    assert dash.intents == [("terminal", {"vm": "vm-base"})] * 2
    box = dash.page.get_by_label("widget model-7")
    expect(box).to_have_count(1)
    expect(box).to_be_focused()
    box.fill("still here")
    dash.tab("Events")
    dash.tab("Machines")
    expect(box).to_have_value("still here")
    press(dash, "Close the terminal on base")
    expect(box).to_have_count(0)


def test_a_good_answer_is_told_and_a_bad_one_stays_until_it_is_dismissed(dash: Dashboard) -> None:
    press(dash, "Run here")
    latest = dash.page.locator(".pi-v-latest")
    expect(latest).to_contain_text("local…")
    dash.answer("Cells run on this machine.")
    expect(latest).to_contain_text("Cells run on this machine.")
    pick(dash, "left")
    press(dash, "Use")
    dash.answer("left is paused.", ok=False, hint="Resume it: `%vers resume left`.")
    failed = dash.page.locator(".pi-v-failures")
    expect(failed).to_contain_text("left is paused. Resume it: %vers resume left.")
    expect(failed.locator("code")).to_have_text("%vers resume left")
    press(dash, "Run here")
    dash.answer("Cells run on this machine.")
    expect(failed).to_contain_text("left is paused.")
    press(dash, "Dismiss")
    expect(failed).to_have_text("")


def test_trouble_with_the_platform_is_told_with_its_remedy(dash: Dashboard) -> None:
    trouble = {
        "state": "trouble",
        "reason": "The platform does not answer.",
        "remedy": "Start it: `%vers up`.",
    }
    dash.patch({"connection": trouble})
    notice = dash.page.locator(".pi-v-notices")
    expect(notice).to_contain_text("The platform does not answer.")
    expect(notice.locator("code")).to_have_text("%vers up")
    press(dash, "Try again")
    assert dash.intents == [("check", {})]


def test_a_kernel_that_is_silent_or_gone_is_told_as_such(browser: Browser) -> None:
    with pages.dashboard(browser, clock=True) as dash:
        dash.show(family())
        notice = dash.page.locator(".pi-v-notices")
        dash.page.wait_for_function("sent.some((one) => one.kind === 'visible' && one.visible)")
        dash.page.clock.run_for(8000)
        expect(notice).to_contain_text(re.compile(r"The kernel has been silent for \d+ s"))
        dash.patch({})
        expect(notice).to_have_text("")
        press(dash, "Run here")
        dash.page.clock.run_for(1000)
        expect(notice).to_contain_text("What you asked for will be done when the cell has ended.")
        dash.answer("Cells run on this machine.")
        expect(notice).to_have_text("")
        dash.page.evaluate("window.kernelGone = true")
        press(dash, "Run here")
        dash.page.clock.run_for(100)
        expect(notice).to_contain_text("There is no kernel any more")
        expect(dash.page.locator(".pi-v-failures")).to_contain_text("There is no kernel to do that.")


def test_without_machines_there_is_a_sentence_and_a_button(dash: Dashboard) -> None:
    dash.show(snapshot())
    panel = dash.page.get_by_role("tabpanel", name="Machines")
    expect(panel).to_contain_text("No machines yet: cells run on this computer.")
    panel.locator(".pi-v-empty").get_by_role("button", name="New machine…").click()
    expect(dash.page.get_by_role("dialog", name="New machine")).to_be_visible()


def test_what_agents_have_used_is_told_where_there_are_agents(dash: Dashboard) -> None:
    expect(dash.page.get_by_label("All agents")).to_have_count(0)
    sums = {"agents": 3, "working": 2, "waiting": 1, "tokens": 12_345, "cost": 1.2, "budget": 5}
    dash.patch({"sums": sums})
    expect(dash.page.get_by_label("All agents")).to_have_text("12.3k tokens$1.20 of $5.00")
    expect(
        dash.page.get_by_role("tab", name=re.compile(r"Swarm 3 +2 working +1 waiting for an answer"))
    ).to_be_visible()


@pytest.mark.parametrize("width", [400, 1000])
@pytest.mark.parametrize("theme", ["light", "dark", ""])
def test_it_is_whole_and_accessible_in_each_theme_wide_and_narrow(
    browser: Browser, theme: str, width: int
) -> None:
    name = f"{theme or 'plain'}-{width}"
    with pages.dashboard(browser, theme, width) as dash:
        state = family()
        state["machines"]["vm-left"]["label"] = "a-machine-with-a-very-long-name-" * 3
        dash.show(state)
        pick(dash, "right", "first")
        check(dash, f"machines-{name}")
        boxes = dash.page.evaluate(
            """[...document.querySelectorAll('.pi-v-scroll, .pi-v-dashboard')]
              .map((one) => one.scrollWidth - one.clientWidth)"""
        )
        assert boxes == [0, 0]
        dash.page.get_by_label("Actions for right", exact=True).click()
        check(dash, f"menu-{name}")
        dash.page.get_by_role("menuitem", name="Exec…").click()
        dash.page.get_by_label("Command").fill("ls")
        press(dash, "Run")
        dash.answer("etc\nsrv", ok=False)
        dash.page.get_by_label("Actions for base", exact=True).click()
        dash.page.get_by_role("menuitem", name="Delete…").click()
        check(dash, f"delete-{name}")
        dash.page.keyboard.press("Escape")
        press(dash, "New machine…")
        check(dash, f"new-{name}")
        dash.page.keyboard.press("Escape")
        press(dash, "Run here")
        dash.answer("It could not be done.", ok=False, hint="Try `%vers doctor`.")
        trouble = {
            "state": "trouble",
            "reason": "The platform does not answer.",
            "remedy": "Start it: `%vers up`.",
        }
        dash.patch(
            {"connection": trouble, "sums": {"agents": 3, "working": 2, "tokens": 12_345, "cost": 1.2}}
        )
        check(dash, f"trouble-{name}")
        for section in ("Swarm", "Processes", "Events"):
            dash.tab(section)
            check(dash, f"{section.lower()}-{name}")
        dash.show(snapshot())
        dash.tab("Machines")
        check(dash, f"empty-{name}")


def check(dash: Dashboard, shot: str) -> None:
    """Keep a picture, and let axe-core look."""
    dash.shot(shot)
    if AXE.exists():  # `make widgets` brings it
        assert dash.violations() == []
