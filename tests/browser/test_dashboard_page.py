"""What the dashboard's frame makes of what it is told, and how it looks. No kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pages
import pytest
from labs import CHROMIUM
from pages import AXE, ORDER, Dashboard, family, machine, snapshot
from playwright.sync_api import Browser, expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
CASES = Path(__file__).parents[1] / "unit/dashboard_patches.json"
FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# As when a page is loaded again, which is hidden on its way.
HIDE = """Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
document.dispatchEvent(new Event("visibilitychange"))"""
PATCH_JS = Path(__file__).parents[2] / "js/dashboard/patch.js"


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


@pytest.mark.parametrize("how", ["leave()", "dispatchEvent(new Event('pagehide'))"])
def test_it_says_nothing_after_it_was_left(dash: Dashboard, how: str) -> None:
    dash.page.wait_for_function("sent.some((one) => one.kind === 'visible' && one.visible)")
    dash.page.evaluate(how)
    dash.page.evaluate(HIDE)
    assert [one["kind"] for one in dash.sent if one["kind"] != "opened"] == ["visible", "left"]


def test_a_view_that_is_left_when_its_kernel_is_gone_is_drawn_no_more(dash: Dashboard) -> None:
    dash.page.evaluate("window.root = document.querySelector('.pi-v-dashboard'); kernelGone = true; leave()")
    dash.page.evaluate(FRAMES)
    assert dash.page.evaluate("root.childElementCount") == 0


def test_the_latest_word_on_whether_it_is_seen_counts(browser: Browser) -> None:
    with pages.dashboard(browser) as dash:
        dash.page.wait_for_function("sent.some((one) => one.kind === 'visible')")
        dash.page.evaluate("seen.callback([{ isIntersecting: true }, { isIntersecting: false }])")
        assert [one["visible"] for one in dash.sent if one["kind"] == "visible"] == [True, False]


def test_the_tab_that_was_chosen_is_there_when_the_page_is_loaded_again(dash: Dashboard) -> None:
    dash.tab("Events")
    dash.page.reload()
    dash.page.wait_for_function("window.sent?.length")
    dash.show(family())
    expect(dash.page.get_by_role("tab", name="Events")).to_have_attribute("aria-selected", "true")


def test_a_front_end_that_keeps_nothing_for_its_views_has_tabs_too(browser: Browser) -> None:
    with pages.dashboard(browser) as dash:
        dash.page.evaluate(
            """Object.defineProperty(window, "sessionStorage", { get() { throw new Error("none") } })"""
        )
        dash.show(family())
        expect(dash.tab("Events")).to_be_visible()


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
    for missed in range(2, 30):  # those that follow are no reason to ask again
        gone = {"machines": {"vm-base": None}}
        dash.deliver(kind="patch", seq=dash.seq + missed, now=pages.NOW, patch=gone)
    assert dash.rows == ORDER
    assert asked() == before + 1
    dash.deliver(
        kind="patch", seq=dash.seq, now=pages.NOW, patch={"machines": {"vm-base": None}}
    )  # an old one
    assert dash.rows == ORDER
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
    assert dash.rows == [name]
    assert dash.page.locator(".pi-v-dashboard img").count() == 0


@pytest.mark.parametrize("close", ["Escape", "Cancel"])
def test_focus_goes_back_to_where_a_dialog_was_opened(dash: Dashboard, close: str) -> None:
    menu = dash.page.get_by_label("Actions for left", exact=True)
    menu.click()
    dash.page.get_by_role("menuitem", name="Rename…").click()
    expect(dash.page.get_by_label("Name", exact=True)).to_be_focused()
    if close == "Escape":
        dash.page.keyboard.press(close)
    else:
        dash.press(close)
    expect(menu).to_be_focused()


def test_tabs_are_walked_by_arrow_keys_and_keep_what_was_in_them(dash: Dashboard) -> None:
    dash.pick("left")
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
        dash.pick("right", "first")
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
        dash.press("Run")
        dash.answer("etc\nsrv", ok=False)
        dash.page.get_by_label("Actions for base", exact=True).click()
        dash.page.get_by_role("menuitem", name="Delete…").click()
        check(dash, f"delete-{name}")
        dash.page.keyboard.press("Escape")
        dash.press("New machine…")
        check(dash, f"new-{name}")
        dash.page.keyboard.press("Escape")
        dash.press("Run here")
        dash.answer("It could not be done.", ok=False, hint="Try `%vers doctor`.")
        trouble = {
            "state": "trouble",
            "reason": "The platform does not answer.",
            "remedy": "Start it: `%vers up`.",
        }
        dash.patch(
            {
                "connection": trouble,
                "lost": "base",
                "sums": {"agents": 3, "working": 2, "tokens": 12_345, "cost": 1.2},
            }
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
