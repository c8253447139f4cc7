"""Processes and events in the dashboard: what is shown of them, and what is sent when one acts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pages
import pytest
from labs import CHROMIUM
from pages import NOW, Dashboard, family, snapshot
from playwright.sync_api import Browser, Locator, expect
from swarmpages import card, event, process, several, swarm

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
LONG = "python train.py --epochs 20 --data /srv/data/with/a/long/path/data.parquet --out /srv/out"
PROCESSES = {
    "here train": process(
        *("train", "ended"),
        vm="",
        machine="this computer",
        command=LONG,
        started=NOW - 400,
        ended=NOW - 100,
        outcome="exit code 1 after 5 min",
        line="Traceback (most recent call last):",
        cpu=0,
        memory=0,
    ),
    "vm-a web": process("web", tunnels=["8000 → 80"]),
    "vm-b job": process("job", "lost", machine="beta", started=NOW - 9000, memory=0),
}
EVENTS = {
    "9": event("machine", "base", "was branched", at=300),
    "10": event("agent", "alpha", "waits for <b>you</b>", "warning", at=200),
    "11": event("process", "train", "has failed", "error", at=100),
    "12": event("agent", "beta", "has begun to work"),
}


@pytest.fixture
def lists(browser: Browser) -> Iterator[Dashboard]:
    """A dashboard with processes and events."""
    with pages.dashboard(browser) as lists:
        lists.show(snapshot(processes=PROCESSES, events=EVENTS))
        yield lists


def row(lists: Dashboard, id: str) -> Locator:
    """A process's."""
    name = lists.page.get_by_role("rowheader", name=id, exact=True)
    return lists.tab("Processes").get_by_role("row").filter(has=name)


def test_processes_are_shown_with_what_they_do_and_take_those_that_run_first(lists: Dashboard) -> None:
    panel = lists.tab("Processes")
    expect(panel.get_by_role("rowheader")).to_have_text(["web", "train", "job"])
    web = row(lists, "web")
    for text in ("alpha", "⟳running", "http.server", "12 %", "24 MB", "1 h", "Serving HTTP"):
        expect(web).to_contain_text(text)
    expect(row(lists, "train")).to_contain_text("○exit code 1 after 5 min")
    expect(row(lists, "train")).to_contain_text("1 min ago")
    expect(row(lists, "job")).to_contain_text("✗lost")


@pytest.mark.parametrize("width", [1200, 860, 840, 780, 740, 600, 400])
def test_machines_and_processes_are_seen_whole_without_scrolling_sideways(
    browser: Browser, width: int
) -> None:
    machines = family()["machines"]
    machines["vm-base"]["tunnels"] = ["36215 → 8080", "41033 → 22"]
    with pages.dashboard(browser, width=width) as dash:
        dash.show(family() | {"machines": machines, "processes": PROCESSES})
        for tab in ("Machines", "Processes"):
            dash.tab(tab)
            box = dash.page.locator(".pi-v-scroll:visible, .pi-v-processes:visible")
            assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 0
            dash.shot(f"whole-{tab.lower()}-{width}")


def test_a_process_is_stopped_and_forgotten_only_when_that_was_asked(lists: Dashboard) -> None:
    stop = row(lists, "web").get_by_role("button", name="Stop")
    assert "SIGTERM" in (stop.get_attribute("title") or "")
    stop.click()
    assert lists.intents == []
    sure = lists.page.get_by_role("dialog", name="Stop web?")
    expect(sure).to_contain_text("It is on alpha: python -m http.server 8000")
    sure.get_by_role("button", name="Stop").click()
    assert lists.intents == [("stop", {"process": "vm-a web"})]
    forget = row(lists, "train").get_by_role("button", name="Forget")
    question = lists.page.get_by_role("dialog", name="Forget train?")
    forget.click()
    question.get_by_role("button", name="Cancel").click()
    assert len(lists.intents) == 1
    forget.click()
    expect(question).to_contain_text("What it has written on this computer goes with it.")
    question.get_by_role("button", name="Forget").click()
    assert lists.intents[1:] == [("forget", {"process": "here train"})]


def test_a_process_that_is_lost_can_be_stopped_as_what_it_has_started_may_run_on(lists: Dashboard) -> None:
    row(lists, "job").get_by_role("button", name="Stop").click()
    lists.page.get_by_role("dialog", name="Stop job?").get_by_role("button", name="Stop").click()
    assert lists.intents == [("stop", {"process": "vm-b job"})]
    expect(row(lists, "job").get_by_role("button", name="Forget")).to_be_visible()
    expect(row(lists, "train").get_by_role("button", name="Stop")).to_have_count(0)


def test_a_number_that_is_none_is_a_dash_and_all_else_is_shown(lists: Dashboard) -> None:
    lists.patch({"processes": {"vm-a web": {"cpu": "NaN", "memory": "much"}}})
    expect(row(lists, "web")).to_contain_text("Serving HTTP")
    expect(row(lists, "web").get_by_text("—")).to_have_count(2)


def test_a_section_that_cannot_be_drawn_says_so_until_it_can_and_the_others_go_on(lists: Dashboard) -> None:
    lists.show({**swarm(several()), "events": EVENTS})
    panel = lists.tab("Swarm")
    lists.patch({"agents": {"vm-a": {"calls": None}}})
    expect(panel.get_by_role("alert")).to_have_text(re.compile("Swarm cannot be drawn now"))
    expect(lists.tab("Events").get_by_role("listitem")).to_have_count(4)
    lists.tab("Swarm")
    lists.patch({"agents": {"vm-a": {"calls": []}}})
    expect(card(lists, "alpha")).to_be_visible()


def test_the_log_of_a_process_is_shown_as_text_and_read_again(lists: Dashboard) -> None:
    row(lists, "web").get_by_role("button", name="Log").click()
    log = lists.page.get_by_role("dialog", name="Log of web")
    expect(log.locator("pre")).to_have_text("Reading…")
    lists.answer("line 1\n<img src=x onerror=alert(1)>")
    expect(log.locator("pre")).to_have_text("line 1\n<img src=x onerror=alert(1)>")
    log.get_by_role("button", name="Read again").click()
    lists.answer("line 2")
    expect(log.locator("pre")).to_have_text("line 2")
    assert lists.intents == [("logs", {"process": "vm-a web", "last": 200})] * 2
    lists.page.keyboard.press("Escape")
    expect(log).to_have_count(0)


def test_why_a_log_cannot_be_read_is_told_in_its_place(lists: Dashboard) -> None:
    row(lists, "web").get_by_role("button", name="Log").click()
    lists.answer("alpha does not answer.", ok=False, hint="`%vers doctor` looks for the cause.")
    log = lists.page.get_by_role("dialog", name="Log of web")
    expect(log.get_by_role("alert")).to_have_text("alpha does not answer. %vers doctor looks for the cause.")
    lists.press("Read again")
    lists.answer("line 1")
    expect(log.locator("pre")).to_have_text("line 1")
    expect(log.get_by_role("alert")).to_have_text("")
    lists.page.keyboard.press("Escape")
    expect(lists.page.get_by_text("alpha does not answer.")).to_have_count(0)


def test_a_log_that_comes_after_it_was_closed_opens_nothing(lists: Dashboard) -> None:
    row(lists, "web").get_by_role("button", name="Log").click()
    lists.page.keyboard.press("Escape")
    lists.answer("line 1")
    expect(lists.page.get_by_role("dialog")).to_have_count(0)


def test_a_log_that_is_read_again_stays_where_one_looks_and_at_its_end_if_that_was_there(
    lists: Dashboard,
) -> None:
    row(lists, "web").get_by_role("button", name="Log").click()
    lists.answer("line\n" * 200)
    log = lists.page.get_by_role("dialog", name="Log of web").locator("pre")
    at_end = "it => it.scrollHeight - it.scrollTop - it.clientHeight < 2"
    assert log.evaluate(at_end)
    lists.press("Read again")
    lists.answer("line\n" * 300)
    assert log.evaluate(at_end)
    log.evaluate("it => { it.scrollTop -= 300 }")
    before = log.evaluate("it => it.scrollTop")
    assert before > 0 and not log.evaluate(at_end)
    lists.press("Read again")
    lists.answer("line\n" * 400)
    assert log.evaluate("it => it.scrollTop") == before


def test_where_there_is_no_process_it_is_said_how_one_is_started(lists: Dashboard) -> None:
    lists.show(snapshot())
    expect(lists.tab("Processes").locator("code")).to_have_text("%bg start ID -- COMMAND")


def test_events_are_shown_the_latest_first_with_level_and_time(lists: Dashboard) -> None:
    items = lists.tab("Events").get_by_role("listitem")
    expect(items).to_contain_text(["beta has begun", "train has failed", "<b>you</b>", "base was branched"])
    expect(items.nth(1)).to_contain_text("✗ error")
    expect(items.nth(2)).to_contain_text("▲ warning")
    when = items.first.locator("time")
    expect(when).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect(when).to_have_attribute("title", re.compile("2026"))
    lists.patch({"events": {"9": None, "13": event("notice", "vers", "is slow", at=-1)}})
    expect(items).to_contain_text(["vers is slow", "beta", "train", "alpha"])


def test_events_are_filtered_by_kind_and_by_text(lists: Dashboard) -> None:
    panel = lists.tab("Events")
    items = panel.get_by_role("listitem")
    panel.get_by_label("Kind").select_option("agent")
    expect(items).to_contain_text(["beta", "alpha"])
    panel.get_by_label("Text").fill("WAITS")
    expect(items).to_contain_text(["alpha"])
    expect(panel.get_by_role("status")).to_have_text("1 of 4")
    panel.get_by_label("Text").fill("nothing like it")
    expect(panel.get_by_text("No event is like that.")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 400])
def test_both_can_be_looked_at_by_everybody_in_both_themes_on_any_width(
    browser: Browser, theme: str, width: int
) -> None:
    with pages.dashboard(browser, theme, width) as lists:
        lists.show(snapshot(processes=PROCESSES, events=EVENTS))
        for name in ("Processes", "Events"):
            lists.tab(name)
            lists.shot(f"{name.lower()}-{theme}-{width}")
            assert lists.violations() == []
            assert not lists.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        row(lists, "web").get_by_role("button", name="Log").click()
        lists.answer("line\n" * 100)
        lists.shot(f"log-{theme}-{width}")
        assert lists.violations() == []


def test_machines_that_were_not_looked_at_are_named_and_looked_at_when_one_says_so(lists: Dashboard) -> None:
    machines = {"vm-a": pages.machine("alpha", link="connected"), "vm-b": pages.machine("beta")}
    for processes in (PROCESSES, {}):
        lists.show(snapshot(processes=processes, machines=machines))
        panel = lists.tab("Processes")
        expect(panel).to_contain_text("Not looked at: beta: cells have not run there yet.")
        panel.get_by_role("button", name="Look there too").click()
    assert lists.intents == [("connect", {"vms": ["vm-b"]})] * 2
    lists.patch({"machines": {"vm-b": {"link": "connected"}}})
    expect(panel).not_to_contain_text("Not looked at")
