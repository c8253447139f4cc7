"""Agents in the dashboard: what their cards show, and what is sent when one acts on one or many."""

from __future__ import annotations

import re

import pages
import pytest
from labs import CHROMIUM
from pages import NOW, Dashboard
from playwright.sync_api import Browser, expect
from swarmpages import agent, box, card, conversation, opened, several, swarm, tell, transcript

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("alpha", r"⟳working1 min \d\d s"),
        ("beta", r"\?waits for you5 min \d\d s"),
        ("gamma", r"↻retrying 2 of 5\d\d s"),
        ("delta", "✓done3 min 05 s"),
        ("epsilon", "✗error3.2 s"),
        ("zeta", "○idle"),
        ("eta", "✗lost"),
        ("theta", "✗ended"),
    ],
)
def test_a_card_tells_the_state_of_its_agent_by_a_sign_and_in_words(
    shown: Dashboard, label: str, told: str
) -> None:
    expect(card(shown, label).locator("header")).to_contain_text(re.compile(told))


def test_a_card_tells_what_its_agent_does_says_and_costs(shown: Dashboard) -> None:
    alpha = card(shown, "alpha")
    for text in (
        "Make the tests",
        "bash  make test",
        "read  src/parser.py",
        "then its tests.",
        "123.5k tokens",
    ):
        expect(alpha).to_contain_text(text)
    expect(alpha.locator("footer")).to_contain_text("$0.42 of $1.00")
    expect(alpha.locator("footer")).to_contain_text("2 queued")
    expect(card(shown, "eta")).to_contain_text("Not heard: connection refused")
    expect(card(shown, "epsilon")).to_contain_text("429: too many requests")


def test_the_name_of_a_model_is_on_one_line_and_whole_in_its_title(shown: Dashboard) -> None:
    name = "acme/a-model-with-a-name-that-is-longer-than-any-card-is-wide-as-some-of-them-are"
    shown.patch({"agents": {"vm-b": {"model": name, "tokens": 123_456}, "vm-f": {"model": "acme/m"}}})
    long = card(shown, "beta").locator(".pi-v-model")
    expect(long).to_have_attribute("title", name)
    height = "it => it.getBoundingClientRect().height"
    assert long.evaluate(height) == card(shown, "zeta").locator(".pi-v-model").evaluate(height)
    inside = "it => it.getBoundingClientRect().right <= it.closest('article').getBoundingClientRect().right"
    assert long.evaluate(inside)


def test_cards_follow_patches(shown: Dashboard) -> None:
    shown.patch({"agents": {"vm-d": {"state": "working", "words": "Once more.", "began": NOW}}})
    expect(card(shown, "delta")).to_contain_text("Once more.")
    expect(card(shown, "delta").locator("header")).to_contain_text("⟳working")
    shown.patch({"agents": {"vm-d": None, "vm-new": agent("delta-2")}})
    expect(card(shown, "delta")).to_have_count(0)
    expect(card(shown, "delta-2")).to_contain_text("○idle")


def test_a_card_is_drawn_again_only_when_its_agent_has_changed(shown: Dashboard) -> None:
    shown.seq += 1
    shown.page.evaluate(
        """([all, seq, now]) => {
          window.drawn = 0;
          Object.defineProperty(all.agents["vm-a"], "task", { get: () => `drawn ${++window.drawn}` });
          window.deliver({ kind: "snapshot", seq, now, all });
        }""",
        [swarm(several()), shown.seq, NOW],
    )
    task = card(shown, "alpha").locator(".pi-v-task")
    expect(task).to_contain_text("drawn")
    drawn = task.inner_text()
    for number in range(5):
        shown.patch({"agents": {"vm-d": {"words": f"Line {number}"}}, "sums": {"tokens": number}})
    expect(card(shown, "delta")).to_contain_text("Line 4")
    expect(card(shown, "alpha").locator("header")).not_to_contain_text("1 min 15 s")  # but for its clock
    assert task.inner_text() == drawn


def test_a_few_agents_need_no_filter_and_many_are_filtered_by_state(shown: Dashboard) -> None:
    states = shown.page.get_by_role("group", name="Show by state")
    expect(states).to_have_count(0)
    more = {f"vm-{number}": agent(f"more-{number}") for number in range(10)}
    shown.patch({"agents": more})
    states.get_by_role("button", name="idle 11").click()
    expect(shown.page.get_by_role("article")).to_have_count(11)
    states.get_by_role("button", name="working 1").click()
    expect(shown.page.get_by_role("article")).to_have_count(1)
    shown.patch({"agents": {"vm-a": {"state": "done"}}})
    expect(shown.page.get_by_text("None is in that state now.")).to_be_visible()
    states.get_by_role("button", name="All").click()
    expect(shown.page.get_by_role("article")).to_have_count(18)


def test_many_are_told_at_once_and_what_is_told_is_kept_until_it_has_arrived(shown: Dashboard) -> None:
    for label in ("alpha", "zeta"):
        shown.page.get_by_label(f"Select {label}").check()
    box(shown).fill("Look at the logs too.")
    box(shown).press("Enter")
    assert shown.intents == [("steer", {"agents": ["vm-a", "vm-f"], "text": "Look at the logs too."})]
    shown.answer("zeta could not be told.", ok=False, hint="`%vers swarm status` looks again.")
    expect(shown.page.get_by_text("zeta could not be told.")).to_be_visible()
    expect(box(shown)).to_have_value("Look at the logs too.")
    shown.page.get_by_role("button", name="Send").click()
    shown.answer("2 agents were told.")
    expect(box(shown)).to_have_value("")


def test_all_that_are_shown_can_be_selected_aborted_and_restarted(shown: Dashboard) -> None:
    shown.page.get_by_label("Select all").check()
    chosen = shown.page.get_by_role("region", name="Selected agents")
    expect(chosen).to_contain_text("8 selected")
    chosen.get_by_role("button", name="Abort").click()
    assert shown.intents == [("abort", {"agents": ["vm-a", "vm-b", "vm-c"]})]
    chosen.get_by_role("button", name="Clear").click()
    expect(chosen).to_have_count(0)
    shown.page.get_by_label("Select eta").click()
    shown.page.get_by_label("Select theta").click(modifiers=["Shift"])
    expect(chosen).to_contain_text("3 selected")
    shown.page.get_by_label("Select theta").click(modifiers=["Shift"])
    expect(chosen).to_contain_text("2 selected")
    shown.page.get_by_label("Select theta").click(modifiers=["Shift"])
    expect(chosen).to_contain_text("3 selected")
    shown.page.get_by_label("Select gamma").click()
    opened(shown).page.keyboard.press("Escape")  # and they are selected still
    expect(chosen).to_contain_text("2 selected")
    abort = chosen.get_by_role("button", name="Abort")
    expect(abort).to_have_attribute("title", "Nothing is being done that could be aborted.")
    chosen.get_by_role("button", name="Restart").click()
    assert shown.intents[1:] == [("restart", {"agents": ["vm-g", "vm-h"]})]


@pytest.mark.parametrize("button", ["Abort", "Restart", "Tear down…"])
def test_what_has_nothing_to_do_any_more_or_is_gone_is_asked_nothing(shown: Dashboard, button: str) -> None:
    patch = {"agents": {"vm-a": {"state": "done"} if button == "Abort" else None}}
    told = {"kind": "patch", "seq": shown.seq + 1, "now": NOW, "patch": patch}
    it = opened(shown).get_by_role("button", name=button)
    it.evaluate("(it, told) => { deliver(told); it.click() }", told)  # in one frame
    shown.deliver(kind="patch", seq=shown.seq + 1, now=NOW, patch={})
    assert shown.intents == []
    expect(shown.page.get_by_role("dialog")).to_have_count(0)


def test_a_pi_that_is_there_is_restarted_only_when_that_was_asked(shown: Dashboard) -> None:
    opened(shown).get_by_role("button", name="Restart").click()
    expect(shown.page.get_by_role("dialog")).to_contain_text("What alpha does now is broken off.")
    shown.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert shown.intents == []


def test_a_teardown_names_the_agents_their_vms_and_what_came_from_them_first(shown: Dashboard) -> None:
    branch = {"vm-x": {**swarm(several())["machines"]["vm-a"], "label": "alpha-2", "parent": "vm-a"}}
    shown.patch({"machines": {**branch, "vm-f": {"label": "build"}}})
    for label in ("alpha", "zeta"):
        shown.page.get_by_label(f"Select {label}").check()
    tear = shown.page.get_by_role("region", name="Selected agents").get_by_role("button", name="Tear down")
    question = shown.page.get_by_role("dialog", name="Delete 2 agents with their VMs?")
    tear.click()
    for text in (
        "alpha, zeta (VM build), and all that is on their VMs.",
        "Branched or restored from them: alpha-2.",
    ):
        expect(question).to_contain_text(text)
    shown.page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    assert shown.intents == []
    tear.click()
    question.get_by_role("button", name="Delete 2 VMs").click()
    assert shown.intents == [("teardown", {"agents": ["vm-a", "vm-f"]})]


def test_agents_are_spawned_from_a_golden_commit_before_all_others(shown: Dashboard) -> None:
    shown.page.get_by_role("button", name="Spawn…").click()
    form = shown.page.get_by_role("dialog", name="Spawn agents")
    expect(form.get_by_label("Commit").locator("option")).to_have_text(["★ golden", "plain (not golden)"])
    form.get_by_label("Labels").fill("api, docs")
    form.get_by_label("Budget of each").fill("1.5")
    form.get_by_role("button", name="Spawn").click()
    spawned = {"commit": "c-golden", "labels": ["api", "docs"], "budget": 1.5}
    assert shown.intents == [("spawn", spawned)]
    shown.answer("api, docs: ready.")
    shown.page.get_by_role("button", name="Spawn…").click()
    form.get_by_label("How many").fill("3")
    form.get_by_label("Model").fill("acme/small-1")
    expect(form.get_by_label("Model")).to_have_accessible_description(re.compile("ANTHROPIC_API_KEY"))
    form.get_by_role("button", name="Spawn").click()
    assert shown.intents[1:] == [("spawn", {"commit": "c-golden", "n": 3, "model": "acme/small-1"})]


def test_a_number_of_agents_and_labels_are_both_sent_and_stay_when_they_are_refused(
    shown: Dashboard,
) -> None:
    shown.page.get_by_role("button", name="Spawn…").click()
    form = shown.page.get_by_role("dialog", name="Spawn agents")
    form.get_by_label("How many").fill("3")
    form.get_by_label("Labels").fill("api, docs")
    form.get_by_role("button", name="Spawn").click()
    assert shown.intents == [("spawn", {"commit": "c-golden", "n": 3, "labels": ["api", "docs"]})]
    shown.answer("3 agents need 3 labels, each once.", ok=False)
    expect(form.get_by_role("alert")).to_contain_text("3 agents need 3 labels")
    expect(form.get_by_label("Labels")).to_have_value("api, docs")


def test_where_no_commit_is_golden_it_is_said_how_there_comes_to_be_one(shown: Dashboard) -> None:
    shown.show(swarm({}, commits={}))
    expect(shown.page.get_by_text("No agents.")).to_be_visible()
    expect(shown.page.locator("code", has_text="%vers golden build")).to_be_visible()
    spawn = shown.page.get_by_role("button", name="Spawn…")
    expect(spawn).to_have_attribute("aria-disabled", "true")
    spawn.click(force=True)
    expect(shown.page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 400])
def test_agents_can_be_looked_at_by_everybody_in_both_themes_on_any_width(
    browser: Browser, theme: str, width: int
) -> None:
    with pages.dashboard(browser, theme, width) as shown:
        shown.show(swarm(several()))
        shown.tab("Swarm")
        shown.shot(f"swarm-{theme}-{width}")
        assert shown.violations() == []
        shown.page.get_by_label("Select alpha").check()
        assert shown.violations() == []
        assert not overflows(shown)
        for button, dialog in (("Spawn…", "Spawn agents"), ("Tear down…", "Delete 1 agent with its VM?")):
            shown.page.get_by_role("button", name=button).click()
            expect(shown.page.get_by_role("dialog", name=dialog)).to_be_visible()
            shown.shot(f"{dialog.split()[0].lower()}-{theme}-{width}")
            assert shown.violations() == []
            shown.page.keyboard.press("Escape")
        opened(shown)
        tell(shown, "vm-a", 0, conversation())
        shown.shot(f"agent-{theme}-{width}")
        for each in transcript(shown).locator("summary").all():
            each.click()
        shown.shot(f"agent-unfolded-{theme}-{width}")
        assert shown.violations() == []
        assert not overflows(shown)


def overflows(shown: Dashboard) -> bool:
    """Has one to scroll sideways to see all?"""
    page: bool = shown.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return page


def test_a_hundred_agents_that_change_ten_times_a_second_leave_the_page_as_light_as_it_was(
    browser: Browser,
) -> None:
    agents = {f"vm-{number}": agent(f"agent-{number}", "working", began=NOW) for number in range(100)}
    with pages.dashboard(browser) as shown:
        shown.show(swarm(agents))
        shown.tab("Swarm")
        cdp = shown.page.context.new_cdp_session(shown.page)

        def heap() -> float:
            """Of the page, in MB."""
            cdp.send("HeapProfiler.collectGarbage")
            used: float = cdp.send("Runtime.getHeapUsage")["usedSize"]
            return used / 1e6

        shown.page.evaluate(LOAD, [shown.seq, 50, NOW])
        shown.page.wait_for_function("loaded.done")
        before = heap()
        shown.page.evaluate(LOAD, [shown.seq + 50, 200, NOW])
        checks = shown.page.get_by_label("Select agent-5", exact=True)
        clicks = 0
        while not shown.page.evaluate("loaded.done"):
            checks.set_checked(clicks % 2 == 0)  # which it answers by being so
            clicks += 1
        after = heap()
        assert clicks > 0
        expect(card(shown, "agent-99")).to_contain_text("words 249")
        assert after < before + 5


# `count` patches of all agents, ten a second.
LOAD = """([seq, count, now]) => {
  const loaded = (window.loaded = { done: false });
  const end = seq + count;
  const beat = setInterval(() => {
    const agents = {};
    const told = { words: `some words ${seq}`, tokens: seq * 1000, cost: seq / 1000 };
    for (let number = 0; number < 100; number++) {
      agents[`vm-${number}`] = { ...told, calls: [`bash  ${seq}`] };
    }
    window.deliver({ kind: "patch", seq: ++seq, now, patch: { agents } });
    if (seq < end) return;
    clearInterval(beat);
    loaded.done = true;
  }, 100);
}"""
