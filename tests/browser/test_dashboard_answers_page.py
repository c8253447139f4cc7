"""What the dashboard tells of what was asked for, and of a kernel or a platform that does not answer."""

from __future__ import annotations

import re

import pages
import pytest
from labs import CHROMIUM
from pages import Dashboard, family
from playwright.sync_api import Browser, expect
from swarmpages import event

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]


def test_many_failures_are_dismissed_at_once(dash: Dashboard) -> None:
    all_of_them = dash.page.get_by_role("button", name="Dismiss all")
    for number in range(3):
        expect(all_of_them).to_have_count(int(number > 1))
        dash.press("Run here")
        dash.answer(f"It failed {number}.", ok=False)
    all_of_them.click()
    expect(dash.page.get_by_text("It failed")).to_have_count(0)


def test_when_the_session_is_closed_it_says_so_and_what_was_to_be_done_is_answered(dash: Dashboard) -> None:
    dash.pick("left")
    dash.press("Resume")
    dash.deliver(kind="closed")
    notice = dash.page.locator(".pi-v-notices")
    expect(notice).to_contain_text("The kernel that this was shown by is gone")
    expect(notice).not_to_contain_text("will be done")
    expect(dash.page.locator(".pi-v-failures")).to_contain_text("whether that was done is not known")


def test_a_good_answer_is_told_and_a_bad_one_stays_until_it_is_dismissed(dash: Dashboard) -> None:
    dash.press("Run here")
    latest = dash.page.locator(".pi-v-latest")
    expect(latest).to_contain_text("Run here…")
    dash.answer("Cells run on this computer.")
    expect(latest).to_contain_text("Cells run on this computer.")
    dash.pick("left")
    dash.press("Use")
    dash.answer("left is paused.", ok=False, hint="Resume it: `%vers resume left`.")
    failed = dash.page.locator(".pi-v-failures")
    expect(failed).to_contain_text("left is paused. Resume it: %vers resume left.")
    expect(failed.locator("code")).to_have_text("%vers resume left")
    dash.press("Run here")
    dash.answer("Cells run on this computer.")
    expect(failed).to_contain_text("left is paused.")
    dash.press("Dismiss")
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
    dash.press("Try again")
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
        dash.press("Run here")
        dash.page.clock.run_for(1000)
        expect(notice).to_contain_text("What you asked for will be done when the cell has ended.")
        dash.answer("Cells run on this computer.")
        expect(notice).to_have_text("")
        dash.page.evaluate("window.restart()")
        dash.page.clock.run_for(100)
        expect(notice).to_contain_text("The kernel that this was shown by is gone")
        assert [one["kind"] for one in dash.sent[-2:]] == ["opened", "visible"], "there may be one"
        dash.show(family())
        dash.page.clock.run_for(100)
        expect(notice).to_have_text("")
        dash.page.evaluate("window.kernelGone = true")
        dash.press("Run here")
        dash.page.clock.run_for(100)
        expect(notice).to_contain_text("The kernel that this was shown by is gone")
        expect(dash.page.locator(".pi-v-failures")).to_contain_text("There is no kernel to do that.")


def test_a_failure_is_shown_among_the_events_once_and_above_them_when_they_do_not_tell_it(
    dash: Dashboard,
) -> None:
    failed = dash.page.locator(".pi-v-failures")
    dash.press("Run here")
    dash.answer("It cannot be.", ok=False, noted=True)
    expect(failed.get_by_text("It cannot be.")).to_be_visible()
    events = {"1": event("done", "local", "It cannot be.", "error")}
    dash.patch({"events": events})
    panel = dash.tab("Events")
    expect(panel.get_by_text("It cannot be.")).to_be_visible()
    expect(failed).to_be_hidden()
    panel.get_by_label("Text").fill("something else")
    expect(failed.get_by_text("It cannot be.")).to_be_visible()
    panel.get_by_label("Text").fill("")
    expect(failed).to_be_hidden()
    dash.tab("Machines")
    dash.press("Run here")
    dash.answer("There is no kernel to do that.", ok=False)
    dash.tab("Events")
    expect(failed.get_by_text("There is no kernel to do that.")).to_be_visible()
    expect(failed.get_by_text("It cannot be.")).to_be_hidden()


def test_a_failure_is_dismissed_by_a_button_that_says_what_it_does(dash: Dashboard) -> None:
    for number in range(2):
        dash.press("Run here")
        dash.answer(f"It failed {number}.", ok=False)
    one = dash.page.get_by_role("button", name="Dismiss", exact=True).first
    expect(one).to_have_accessible_description("Do not show this any more")
    expect(dash.page.get_by_role("button", name="Dismiss all")).to_have_accessible_description(
        "Do not show any of these any more"
    )
