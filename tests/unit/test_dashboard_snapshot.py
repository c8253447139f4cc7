"""What a dashboard is shown of machines, commits and agents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from tellings import LONG, delta, fed, said, texts, told

from pi_v_jupyter.api.models import CommitInfo, VMInfo
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.dashboard import patches, snapshot
from pi_v_jupyter.dashboard.snapshot import Memo, Snapshots
from pi_v_jupyter.plan.steps import Plan, Step
from pi_v_jupyter.swarm.agent import BUSY
from pi_v_jupyter.swarm.changes import Death
from pi_v_jupyter.swarm.planning import Progress
from pi_v_jupyter.swarm.story import Story
from pi_v_jupyter.texts import end_begins
from pi_v_jupyter.vm import ASIDE, VM

VM_ID = "aaaa1111-0001"

MADE = datetime(2026, 1, 1, tzinfo=UTC)


def agent(story: Story, label: str = "a", **more: Any) -> Any:
    """What a snapshot sees of one."""
    known: dict[str, Any] = {
        **{"label": label, "story": story, "state": story.state, "busy": story.state in BUSY},
        **{"caught_up": True, "trouble": "", "news": 0, "member": None},
        **{"run": story.runs[-1] if story.runs else None, "vm": SimpleNamespace(id=VM_ID)},
    }
    return SimpleNamespace(**known | more)


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
    unsayable = asks | {"id": "\ud800"}
    many = asks | {"options": [LONG] * 999}
    story = fed(*begun, {"type": "tool_execution_start", **call}, many, endless, unsayable)
    card = snapshot.card(agent(story, trouble=LONG, label="a\x1b[31m"))
    for text in texts(card):
        assert all(char.isprintable() or char in "\n\t" for char in text)
    assert [ask["id"] for ask in card["asks"]] == ["q"]
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
    assert (told["parent"], told["name"], told["size"], told["disk"]) == (
        "parent-vm",
        "build",
        "512 MB",
        "",
    )
    assert told["active"] and told["link"] == "" and told["created"] == MADE.timestamp()
    assert snapshot.machine(one, "", active=False, there=set())["parent"] == "parent-vm"
    assert (
        not told["aside"]
        and snapshot.machine(vm(labels={ASIDE: "1"}), "", active=False, there=there)["aside"]
    )


def test_a_commit_is_golden_by_its_tag_or_by_what_it_says_of_itself() -> None:
    def commit(description: str, *tags: str) -> bool:
        info = CommitInfo(commit_id="c" * 36, created_at=MADE, description=description)
        return snapshot.commit(Commit(info, tags), set())["golden"]

    assert commit("", "golden") and commit("hot; pi 0.87.1; node 22.1")
    assert not commit("mine", "gold")


def test_snapshots_of_things_that_have_not_changed_are_the_same_objects() -> None:
    snapshots, one, busy = Snapshots(), vm(), agent(fed({"type": "agent_start"}))
    connection: Any = {"state": "ok"}
    plans: Any = Mock(**{"of.return_value": None, "kept.return_value": {}})

    def make() -> Any:
        about: dict[str, Any] = {"active": None, "labels": {}, "plans": plans, "looking": False}
        about |= {"here": True, "lost": ""}
        return snapshots.make(connection, [one], [], [busy], [], {}, **about)

    first, second = make(), make()
    assert second["machines"][VM_ID] is first["machines"][VM_ID]
    assert second["agents"][VM_ID] is first["agents"][VM_ID]
    plans.of.return_value = Progress("a", "planned", Plan((Step(1, "Look."),)))
    assert make()["agents"][VM_ID] is first["agents"][VM_ID], "nothing was heard that could have changed it"
    plans.kept.return_value = {VM_ID: "written"}
    assert make()["agents"][VM_ID]["plan"]["total"] == 1
    plans.of.assert_called_with(busy, {VM_ID: "written"})
    snapshots.renew()
    assert make()["machines"][VM_ID] is first["machines"][VM_ID], "its name was read again, and is the same"
