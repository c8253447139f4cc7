"""What a dashboard is shown: machines, agents and processes, what an agent said, what has happened."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from test_story import NAMES, VERSIONS, records
from test_tables import HOSTILE

from pi_v_jupyter.api.models import CommitInfo, VMInfo
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.dashboard import patches, snapshot
from pi_v_jupyter.dashboard.events import EVENTS, Events, compare
from pi_v_jupyter.dashboard.snapshot import Memo, Snapshots
from pi_v_jupyter.dashboard.transcript import PIECE, RUNS, STEPS, STRIDE, Transcripts, part
from pi_v_jupyter.plan.steps import Plan, Step
from pi_v_jupyter.swarm.agent import BUSY
from pi_v_jupyter.swarm.changes import Death
from pi_v_jupyter.swarm.planning import Progress
from pi_v_jupyter.swarm.runs import SHOWN
from pi_v_jupyter.swarm.story import Story
from pi_v_jupyter.texts import end_begins
from pi_v_jupyter.vm import VM

VM_ID = "aaaa1111-0001"
MADE = datetime(2026, 1, 1, tzinfo=UTC)
LONG = f"{HOSTILE} {'word ' * 20_000}"


def said(text: str, *, tokens: int = 10, cost: float = 0.5, **more: Any) -> dict[str, Any]:
    usage = {"input": tokens, "output": 0, "cacheRead": 0, "cacheWrite": 0, "cost": {"total": cost}}
    message = {"role": "assistant", "content": [{"type": "text", "text": text}], "usage": usage}
    return {"type": "message_end", "message": message | {"stopReason": "stop", "responseId": text[:9]} | more}


def told(text: str, at: int = 0) -> dict[str, Any]:
    message = {"role": "user", "content": [{"type": "text", "text": text}], "timestamp": at}
    return {"type": "message_end", "message": message}


def delta(text: str) -> dict[str, Any]:
    return {"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": text}}


def fed(*given: dict[str, Any], story: Story | None = None) -> Story:
    story = story or Story()
    for record in given:
        story.feed(record)
    return story


def agent(story: Story, label: str = "a", **more: Any) -> Any:
    """What a snapshot sees of one."""
    known: dict[str, Any] = {
        **{"label": label, "story": story, "state": story.state, "busy": story.state in BUSY},
        **{"caught_up": True, "trouble": "", "news": 0, "member": None},
        **{"run": story.runs[-1] if story.runs else None, "vm": SimpleNamespace(id=VM_ID)},
    }
    return SimpleNamespace(**known | more)


def texts(value: Any) -> list[str]:
    """All there are in it."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


# Agents.


def test_a_card_tells_how_far_an_agent_is_with_its_plan() -> None:
    steps = (
        Step(1, "Look\x1b[31m.", done=True),
        Step(4, "word " * 200),
        *[Step(n, "x") for n in range(5, 99)],
    )
    told = snapshot.card(agent(Story()), Progress("a", "working", Plan(steps)))["plan"]
    assert (told["stage"], told["done"], told["total"]) == ("working", 1, len(steps))
    assert told["steps"]["0"] == {"number": 1, "text": "Look.", "done": True}
    assert len(told["steps"]) < len(steps) and len(told["steps"]["1"]["text"]) == snapshot.STEP
    assert snapshot.card(agent(Story()))["plan"]["stage"] == ""
    asked = snapshot.card(agent(Story()), Progress("a", "planned", None, trouble="no steps"))["plan"]
    assert (asked["total"], asked["trouble"]) == (0, "no steps")


def test_a_card_tells_what_an_agent_does_and_has_cost() -> None:
    call = {"toolCallId": "1", "toolName": "bash", "args": {"command": "make test"}}
    story = fed(
        {"type": "agent_start"},
        told("Write a README.", 5000),
        delta("I look\nat the "),
        delta("tests"),
        {"type": "tool_execution_start", **call},
        {"type": "queue_update", "steering": ["Go on."], "followUp": ["And then?"]},
    )
    card = snapshot.card(agent(story))
    assert card["state"] == "working" and card["task"] == "Write a README."
    assert card["calls"] == ["bash  make test"] and card["words"] == "I look\nat the tests"
    assert (card["queued"], card["began"], card["seconds"]) == (2, 5.0, 0.0)
    fed(
        said("All done.", tokens=1204, cost=0.25),
        {"type": "agent_end"},
        {"type": "agent_settled"},
        story=story,
    )
    card = snapshot.card(agent(story))
    assert (card["state"], card["words"], card["tokens"], card["cost"]) == ("done", "All done.", 1204, 0.25)


def test_a_card_tells_why_an_agent_is_not_heard_waits_retries_or_failed() -> None:
    assert snapshot.card(agent(Story(), trouble="no pi runs on its VM"))["trouble"] == "no pi runs on its VM"
    begun = ({"type": "agent_start"}, told("Work."))
    retrying = fed(
        *begun, {"type": "auto_retry_start", "attempt": 2, "maxAttempts": 5, "errorMessage": "529"}
    )
    assert snapshot.card(agent(retrying))["detail"] == "2 of 5"
    asks = {
        "type": "extension_ui_request",
        "id": "q",
        "method": "select",
        "title": "Which?",
        "options": ["x"],
    }
    (question,) = snapshot.card(agent(fed(*begun, asks)))["asks"]
    told_of = {"id": "q", "method": "select", "title": "Which?", "text": "", "options": ["x"]}
    assert question == {**told_of, "cut": 0, "more": 0, "whole": True}
    dead = fed(*begun)
    dead.ended(Death(3, None, "pi: out of memory"))
    assert snapshot.card(agent(dead))["detail"] == "pi ended with exit code 3: pi: out of memory"


def test_one_whose_story_is_not_heard_out_yet_is_starting() -> None:
    story = fed({"type": "agent_start"}, told("Work."))
    assert snapshot.card(agent(story, caught_up=False))["state"] == "starting"


def test_whatever_an_agent_writes_its_card_is_short_and_steers_nothing() -> None:
    asks = {"type": "extension_ui_request", "id": "q", "method": "select", "title": LONG, "message": LONG}
    call = {"toolCallId": "1", "toolName": LONG, "args": {"command": LONG}}
    begun = ({"type": "agent_start"}, told(LONG), said(LONG), delta(LONG))
    endless = asks | {"id": LONG}
    story = fed(*begun, {"type": "tool_execution_start", **call}, asks | {"options": [LONG] * 999}, endless)
    card = snapshot.card(agent(story, trouble=LONG, label="a\x1b[31m"))
    for text in texts(card):
        assert all(char.isprintable() or char in "\n\t" for char in text)
    assert len(json.dumps(card)) < 40_000 and len(card["words"]) <= 600 and len(card["task"]) <= 200


def test_words_that_stream_are_told_by_what_was_added() -> None:
    story, cards = fed({"type": "agent_start"}, told("Work.")), []
    for number in range(1000):
        story.feed(delta(f"word {number} "))
        cards.append({"a": snapshot.card(agent(story))})
    sent = sum(len(json.dumps(patches.diff(*pair))) for pair in pairwise(cards))
    assert cards[-1]["a"]["words"].endswith("word 999 ") and 300 <= len(cards[-1]["a"]["words"]) <= 600
    assert sent < 5 * len(story.partial)


@pytest.mark.parametrize("most", [2, 10, 600])
def test_the_end_of_a_text_is_never_longer_than_wanted_nor_less_than_half(most: int) -> None:
    for length in range(3 * most):
        shown = length - end_begins(length, most)
        assert min(length, most // 2) <= shown <= most


def test_an_agents_card_is_made_again_only_when_there_is_news() -> None:
    one, made = agent(fed({"type": "agent_start"})), []
    memo = Memo[Any]()

    def cards() -> Any:
        return memo.all([("x", (one.news,), lambda: made.append(1) or {"number": len(made)})])["x"]

    first = cards()
    assert cards() is first and len(made) == 1
    one.news += 1
    assert cards() == {"number": 2}


def test_sums_are_of_all_and_a_budget_only_where_each_has_one() -> None:
    story = fed({"type": "agent_start"}, told("Work."), said("Fine.", tokens=7, cost=0.5))
    story.budget = 2.0
    cards = [snapshot.card(agent(story)), snapshot.card(agent(story))]
    assert snapshot.sums(cards) == {
        **{"agents": 2, "working": 2, "waiting": 0, "tokens": 14, "cost": 1.0, "budget": 4.0}
    }
    cards[0] = {**cards[0], "budget": 0.0}
    assert snapshot.sums(cards)["budget"] == 0.0 and snapshot.sums([])["budget"] == 0.0


# Machines and commits.


def vm(**more: Any) -> Any:
    fields = {"vm_id": VM_ID, "state": "running", "created_at": MADE, "labels": {"name": "build"}}
    family: Any = SimpleNamespace(
        settings=SimpleNamespace(base_url="u"),
        state=SimpleNamespace(get=lambda *_: None),
        **{name: Mock() for name in ("client", "home", "on_notice", "callbacks")},
    )
    return VM(VMInfo.model_validate(fields | more), family)


def test_a_machine_stands_under_the_nearest_of_its_origins_that_is_there() -> None:
    one = vm(parent_commit_id="hidden-commit", grandparent_vm_id="parent-vm", mem_size_mib=512)
    there = {"parent-vm"}
    told = snapshot.machine(one, "", active=True, there=there)
    assert (told["parent"], told["name"], told["mem"], told["vcpu"]) == ("parent-vm", "build", 512, 0)
    assert told["active"] and told["link"] == "" and told["created"] == MADE.timestamp()
    assert snapshot.machine(one, "", active=False, there=set())["parent"] == "hidden-commit"


def test_a_commit_is_golden_by_its_tag_or_by_what_it_says_of_itself() -> None:
    def commit(description: str, *tags: str) -> bool:
        info = CommitInfo(commit_id="c" * 36, created_at=MADE, description=description)
        return snapshot.commit(Commit(info, tags), set())["golden"]

    assert commit("", "golden") and commit("hot; pi 0.87.1; node 22.1")
    assert not commit("mine", "gold")


# What has happened.


def seen(**sections: Any) -> Any:
    connection = {"url": "u", "label": "here", "state": "ok", "reason": "", "remedy": "", "checked": 0.0}
    empty: dict[str, Any] = {"machines": {}, "commits": {}, "agents": {}, "processes": {}, "events": {}}
    return empty | {"connection": connection | sections.pop("connection", {})} | sections


ALL = ("machines", "commits", "agents", "processes")
VM_SEEN = {"label": "build", "name": "build", "state": "running", "link": "connected"}
CARD: dict[str, Any] = {"label": "a", "state": "working", "detail": "", "asks": []}


@pytest.mark.parametrize(
    ("section", "before", "after", "events"),
    [
        ("agents", {"1": CARD}, {"1": CARD | {"state": "done"}}, [("agent", "a", "done", "info")]),
        ("agents", {"1": CARD}, {"1": CARD | {"state": "starting"}}, []),
        ("agents", {"1": CARD | {"state": "starting"}}, {"1": CARD}, []),
        ("agents", {}, {"1": CARD}, []),
        (
            "agents",
            {"1": CARD},
            {"1": CARD | {"state": "waiting", "asks": [{"title": "Sure?"}]}},
            [("agent", "a", "waiting: Sure?", "warning")],
        ),
        ("machines", {"1": VM_SEEN | {"label": "aaaa1111", "name": ""}}, {"1": VM_SEEN}, []),
        (
            "machines",
            {"1": VM_SEEN | {"label": "old", "name": "old"}},
            {"1": VM_SEEN | {"link": "away"}},
            [
                ("machine", "build", "was called old before", "info"),
                ("machine", "build", "its connection is lost", "warning"),
            ],
        ),
        ("commits", {}, {"1": {"label": "c"}}, [("commit", "c", "was made", "info")]),
        ("commits", {"1": {"label": "c"}}, {}, [("commit", "c", "is gone", "info")]),
    ],
)
def test_what_has_happened_is_what_is_another(section: str, before: Any, after: Any, events: Any) -> None:
    old, new = seen(**{section: before}), seen(**{section: after})
    assert [*compare(old, new, ALL)] == events
    assert [*compare(old, new, ())] == [], "what is found later was there before"


def test_a_process_that_ends_is_an_event() -> None:
    runs = {"id": "web", "machine": "build", "state": "running", "outcome": "running"}
    over = runs | {"state": "ended", "outcome": "exit code 1"}
    assert [*compare(seen(processes={"x": runs}), seen(processes={"x": over}), ALL)] == [
        ("process", "web on build", "has ended: exit code 1", "warning")
    ]
    assert [*compare(seen(processes={"x": runs}), seen(), ALL)] == []


def test_another_platform_is_no_trouble_of_this_one() -> None:
    away = {"state": "trouble", "reason": "It refused."}
    assert [*compare(seen(), seen(connection=away), ALL)] == [("connection", "here", "It refused.", "error")]
    assert [*compare(seen(connection=away), seen(connection={"url": "other"}), ALL)] == []


def test_only_the_last_events_are_kept_and_their_numbers_go_on() -> None:
    events = Events()
    for number in range(EVENTS + 5):
        events.add(float(number), "notice", "", LONG if number == 0 else str(number))
    assert len(events.all) == EVENTS and next(iter(events.all)) == "6"
    assert [*events.all.values()][-1]["text"] == str(EVENTS + 4)


# Transcripts.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_transcript_told_bit_by_bit_is_the_one_told_at_once(version: str, name: str) -> None:
    story, transcripts, told = Story(), Transcripts(), {}
    for record in records(version, name):
        story.feed(record)
        told = patches.apply(told, json.loads(json.dumps(patches.diff(told, transcripts.of(story)))))
    assert told == Transcripts().of(story)
    assert len(told["runs"]) == len(story.runs)
    for run, shown in zip(story.runs, told["runs"].values(), strict=True):
        assert shown["outcome"] == (run.outcome or "") and len(shown["steps"]) >= len(run.steps)


def test_a_transcript_tells_prompts_calls_with_their_diffs_and_what_is_being_written() -> None:
    about = {"toolCallId": "1", "toolName": "write"}
    result = {"content": [{"type": "text", "text": "wrote it"}], "details": {"patch": "+new"}}
    story = fed(
        {"type": "agent_start"},
        told("Write."),
        {"type": "tool_execution_start", **about, "args": {"path": "x", "content": "new"}},
    )
    running = Transcripts().of(story)["runs"]["0"]["steps"]["1"]
    assert (running["kind"], running["name"], running["text"]) == ("call", "write", "x")
    assert running["state"] == "running"
    fed({"type": "tool_execution_end", **about, "result": result}, delta("And **now**"), story=story)
    steps = Transcripts().of(story)["runs"]["0"]["steps"]
    assert [step["kind"] for step in steps.values()] == ["prompt", "call", "partial"]
    assert (steps["1"]["state"], steps["1"]["result"], steps["1"]["diff"]) == ("ok", "wrote it", "+new")
    assert steps["2"]["text"] == "And **now**"


def test_the_last_runs_are_told_and_their_texts_are_bounded_and_harmless() -> None:
    story = Story()
    for number in range(RUNS + 3):
        fed(
            {"type": "agent_start"},
            told(f"{number} {LONG}", number),
            said(f"{number} {LONG}"),
            {"type": "agent_end"},
            {"type": "agent_settled"},
            story=story,
        )
    transcript = Transcripts().of(story)
    assert transcript["cut"] == 3 and [*transcript["runs"]] == [str(n) for n in range(3, RUNS + 3)]
    for text in texts(transcript):
        assert len(text) < SHOWN + 100 and all(char.isprintable() or char in "\n\t" for char in text)


def test_a_long_transcript_is_told_piece_by_piece_the_latest_first() -> None:
    story = Story()
    for number in range(5):
        fed({"type": "agent_start"}, told(f"Task {number}.", number), story=story)
        fed(*(said(f"{number}-{at} {'word ' * 2000}") for at in range(20)), story=story)
        fed({"type": "agent_end"}, {"type": "agent_settled"}, story=story)
    whole = Transcripts().of(story)
    seen: dict[str, Any] = {}
    sizes = []
    while patch := patches.diff(seen, whole):
        sent = part(patch)
        sizes.append(len(json.dumps(sent)))
        seen = patches.apply(seen, sent)
        if len(sizes) == 1:
            assert [*seen["runs"]] == ["4"] and "20" in seen["runs"]["4"]["steps"]
    assert seen == whole and len(sizes) > 10 and max(sizes) < PIECE + 15_000


def test_the_last_steps_are_told_however_many_there_are_and_the_first_go_many_at_once() -> None:
    story, transcripts, told_so_far = fed({"type": "agent_start"}, told("Work.")), Transcripts(), {}
    firsts = set()
    for number in range(3 * STEPS):
        fed(said(f"Step {number}."), story=story)
        now = transcripts.of(story)
        told_so_far = patches.apply(told_so_far, json.loads(json.dumps(patches.diff(told_so_far, now))))
        run = now["runs"]["0"]
        assert [*run["steps"]] == [str(n) for n in range(run["cut"], number + 2)]
        assert len(run["steps"]) <= STEPS
        firsts.add(run["cut"])
    assert told_so_far == now and firsts == {*range(0, max(firsts) + 1, STRIDE)}
    assert max(firsts) > STEPS


def test_of_many_runs_the_last_steps_are_told() -> None:
    story = Story()
    for number in range(3):
        fed({"type": "agent_start"}, told(f"Task {number}.", number), story=story)
        fed(*(said(f"{number}-{at}") for at in range(STEPS // 2 + STRIDE - 1)), story=story)
        fed({"type": "agent_end"}, {"type": "agent_settled"}, story=story)
    told_now = Transcripts().of(story)
    assert told_now["cut"] == 1 and [*told_now["runs"]] == ["1", "2"]
    assert told_now["runs"]["1"]["cut"] > 0 and told_now["runs"]["2"]["cut"] == 0
    assert sum(len(run["steps"]) for run in told_now["runs"].values()) <= STEPS


def test_runs_that_are_over_are_not_made_again() -> None:
    begun = ({"type": "agent_start"}, told("Work."), said("Done."), {"type": "agent_end"})
    story, transcripts = fed(*begun, {"type": "agent_settled"}), Transcripts()
    first = transcripts.of(story)["runs"]["0"]["steps"]["0"]
    fed({"type": "agent_start"}, told("More.", 1), story=story)
    assert transcripts.of(story)["runs"]["0"]["steps"]["0"] is first


def test_snapshots_of_things_that_have_not_changed_are_the_same_objects() -> None:
    snapshots, one, busy = Snapshots(), vm(), agent(fed({"type": "agent_start"}))
    plans: Any = Mock(**{"of.return_value": None, "kept.return_value": ""})

    def make() -> Any:
        about: dict[str, Any] = {"active": None, "labels": {}, "plans": plans}
        return snapshots.make(seen()["connection"], [one], [], [busy], [], {}, **about)

    first, second = make(), make()
    assert second["machines"][VM_ID] is first["machines"][VM_ID]
    assert second["agents"][VM_ID] is first["agents"][VM_ID]
    plans.of.return_value = Progress("a", "planned", Plan((Step(1, "Look."),)))
    assert make()["agents"][VM_ID] is first["agents"][VM_ID], "nothing was heard that could have changed it"
    plans.kept.return_value = "written"
    assert make()["agents"][VM_ID]["plan"]["total"] == 1
    snapshots.renew()
    assert make()["machines"][VM_ID] is first["machines"][VM_ID], "its name was read again, and is the same"
