"""What the dashboard shows of what came from what, and what commits are called. No kernel."""

from __future__ import annotations

import pytest
from labs import CHROMIUM
from pages import ORDER, Dashboard, commit, family, machine, snapshot
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]


def test_each_stands_below_what_it_came_from_oldest_first(dash: Dashboard) -> None:
    assert dash.rows == ORDER
    row = dash.page.get_by_role("row", name="reviewer-1")
    expect(row.get_by_role("rowheader")).to_contain_text("from 3f9a2c1e")
    expect(dash.page.get_by_role("row", name="Choose base").get_by_role("rowheader")).to_contain_text(
        "active"
    )
    dash.page.get_by_role("switch", name="With commits").click()
    assert dash.rows == ["base", "left", "right", "reviewer-1", "orphan"]
    expect(row.get_by_role("rowheader")).to_contain_text("from base")


def test_machines_that_came_from_themselves_are_shown_once(dash: Dashboard) -> None:
    ring = {"a": machine("a", parent="b"), "b": machine("b", parent="a"), "c": machine("c", parent="c")}
    dash.show(snapshot(machines=ring))
    assert sorted(dash.rows) == ["a", "b", "c"]


def test_what_came_from_something_that_is_gone_begins_anew_and_says_so(dash: Dashboard) -> None:
    mark = dash.page.get_by_text("parent gone")
    expect(mark).to_have_count(1)
    expect(mark).to_have_attribute("title", "It came from vm-long-, which is gone")
    orphan = dash.page.get_by_role("row", name="Choose orphan")
    expect(orphan.get_by_role("rowheader")).to_contain_text("parent gone")
    lines = orphan.locator("svg > :not(g)")
    tops = lines.evaluate_all("all => all.map((it) => it.getBBox().y)")
    assert tops and min(tops) > 0, "no line leads to the row above"
    dash.patch({"machines": {"vm-base": None}, "commits": {"c-golden": {"parent": "c-lost-0123456789"}}})
    commit = dash.page.get_by_role("row", name="Choose 3f9a2c1e").get_by_text("parent gone")
    expect(commit).to_have_attribute("title", "It came from c-lost-0, which is gone")
    expect(mark).to_have_count(5)


def test_the_marks_of_the_lineage_are_told_by_their_titles_and_by_a_legend(dash: Dashboard) -> None:
    titles = dash.page.locator("tbody svg title")
    assert titles.all_text_contents() == [
        "A machine that runs; cells run on it",
        "A machine that does not run",
        "A commit",
        "A commit",
        "A machine that runs",
        "A machine that runs",
        "A machine that does not run",
    ]
    legend = dash.page.get_by_role("list", name="Marks of the lineage").get_by_role("listitem")
    expect(legend).to_have_text(["A machine that runs", "A machine that does not run", "A commit"])
    dash.page.get_by_role("switch", name="With commits").click()
    expect(legend).to_have_text(["A machine that runs", "A machine that does not run"])


def test_what_is_meant_by_the_columns_of_state_and_link_is_told(dash: Dashboard) -> None:
    for column, told in (
        ("State", "What a machine does, as the platform tells it"),
        ("Link", "Is the kernel connected to it?"),
    ):
        expect(dash.page.get_by_role("columnheader", name=column)).to_have_attribute("title", told)
    expect(dash.page.get_by_text("lost", exact=True)).to_have_attribute(
        "title", "It does not answer the kernel, which tries again"
    )


def test_a_commit_is_called_the_same_wherever_it_is_named(dash: Dashboard) -> None:
    image = commit("golden", name="with pi", tags=["golden", "v2"], golden=True)
    dash.show(snapshot(commits={"c-1": image}, machines={"vm-1": machine("one", parent="c-1")}))
    assert dash.rows == ["golden", "one"]
    row = dash.page.get_by_role("row", name="Choose golden")
    expect(row.get_by_role("rowheader")).to_have_text("golden with pitag v2")
    expect(dash.page.get_by_role("row", name="Choose one").get_by_role("rowheader")).to_contain_text(
        "from golden"
    )
    dash.pick("golden")
    dash.press("Restore…")
    expect(dash.page.get_by_role("dialog", name="Restore golden")).to_be_visible()
    dash.press("Cancel")
    dash.tab("Swarm")
    dash.press("Spawn…")
    expect(dash.page.get_by_label("Commit").locator("option")).to_have_text(["★ golden"])


def test_deleting_a_commit_tells_what_came_from_it_and_stays(dash: Dashboard) -> None:
    state = family()
    state["machines"]["vm-review"]["parent"] = "c-later"
    state["commits"]["c-later"] = commit("later", created=100, parent="c-golden")
    dash.show(state)
    dash.pick("3f9a2c1e")
    dash.press("Delete…")
    expect(dash.page.get_by_role("dialog")).to_contain_text("What came from it stays: later and reviewer-1.")
    dash.press("Cancel")
    dash.pick("later")
    button = dash.page.get_by_role("button", name="Delete…", exact=True)
    expect(button).to_have_attribute("title", "reviewer-1 came from them: delete that first.")
