"""What viewers of a board want done, with a platform in memory: it is done, and they are answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from boards import Page
from flaky import Flaky
from test_fleet_branching import ROOT, URL

from pi_v_jupyter.dashboard import board as boards
from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.session import Vers


def named(seen: dict[str, Any]) -> set[str]:
    return {vm["name"] for vm in seen["machines"].values()}


async def test_machines_are_made_branched_kept_restored_and_deleted(page: Page, platform: Flaky) -> None:
    assert await page.act("create", name="b") == {"ok": True, "text": "b was made.", "hint": ""}
    await page.sees(lambda seen: len(seen["machines"]) == 2)
    b, _ = page.named("b")
    told = await page.act("branch", vms=[ROOT, b], n=2)
    assert told["text"] == "build: branched as build-1, build-2. b: branched as b-1, b-2."
    await page.sees(lambda seen: named(seen) == {"build", "build-1", "build-2", "b", "b-1", "b-2"})
    assert page.named("b-1")[1]["parent"] == b
    told = await page.act("commit", vms=[b], tag="good")
    assert told["text"] == "b: kept as good."
    seen = await page.sees(lambda seen: seen["commits"])
    ((commit, about),) = seen["commits"].items()
    assert (about["tags"], about["parent"]) == (["good"], b)
    assert (await page.act("restore", commit=commit, n=2))["text"] == "good-1, good-2: restored."
    await page.sees(lambda seen: {"good-1", "good-2"} < named(seen))
    assert page.named("good-2")[1]["parent"] == commit
    assert (await page.act("tag", commit=commit, tag="better"))["ok"]
    assert (await page.act("untag", tag="good"))["ok"]
    await page.sees(lambda seen: seen["commits"][commit]["tags"] == ["better"])
    platform.needed = commit
    assert "is needed" in (await page.act("delete_commits", commits=[commit]))["text"]
    assert platform.tags == {"better": commit}, "what was not deleted keeps its tags"
    platform.needed = ""
    gone = [b, page.named("b-1")[0]]
    assert (await page.act("delete", vms=gone))["text"].endswith(": deleted.")
    await page.sees(lambda seen: named(seen) == {"build", "build-1", "build-2", "b-2", "good-1", "good-2"})
    assert (await page.act("delete_commits", commits=[commit]))["text"] == "better: deleted."
    assert platform.tags == {}
    await page.sees(lambda seen: not seen["commits"])
    assert not [event for event in page.events("machine") if "before" in event]


async def test_several_are_paused_at_once_and_what_is_in_the_way_of_one_is_told(
    page: Page, platform: Flaky
) -> None:
    dead = platform.make("aaaa9999-0009", labels={"name": "b"}, state="dead")
    told = await page.act("pause", vms=[ROOT, dead])
    assert not told["ok"] and told["text"].startswith("build: paused. b: It is dead")
    seen = await page.sees(lambda seen: seen["machines"][ROOT]["state"] == "paused")
    assert seen["machines"][ROOT]["link"] == ""
    assert (await page.act("resume", vms=[ROOT]))["text"] == "build: goes on."
    assert page.events("done")[0].startswith("pause: build: paused.")


async def test_an_intent_is_heard_at_once_and_done_though_its_view_goes(page: Page, platform: Flaky) -> None:
    platform.silent = asyncio.Event()
    page.say("intent", id=7, name="create", args={"name": "b"})
    await page.until(lambda: any(message["kind"] == "heard" for message in page.messages))
    assert 7 not in page.answers
    await page.leave()
    platform.silent.set()
    other = Page(page.board, "other")
    other.open()
    await other.sees(lambda seen: len(seen["machines"]) == 2)


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("fly", {}, "There is no intent 'fly'."),
        ("pauze", {}, "There is no intent 'pauze'. Did you mean 'pause'?"),
        ("pause", {}, "`pause` needs `vms`, which is empty."),
        ("pause", {"vms": []}, "`pause` cannot be done: vms: List should have at least 1 item"),
        ("pause", {"vms": "a"}, "`pause` cannot be done: vms: Input should be a valid list."),
        ("pause", {"vms": [ROOT], "now": 1}, "`pause` cannot be done: now: Extra inputs are not permitted."),
        ("pause", {"vms": ["ffff"]}, "VM ffff is not there any more."),
        ("branch", {"vms": [ROOT], "n": 1000}, "`branch` cannot be done: n: Input should be less than"),
        ("branch", {"vms": [ROOT], "n": "2"}, "`branch` cannot be done: n: Input should be a valid integer."),
        ("create", {"name": "no name"}, "'no name' cannot name a VM."),
        ("rename", {"vm": ROOT, "name": "x" * 9999}, "`rename` cannot be done: name: String should have"),
        ("tunnel", {"vm": ROOT, "port": 0}, "0 is no port."),
        ("stop", {"process": "web"}, "`stop` cannot be done: process: String should match"),
        ("answer", {"agent": ROOT, "dialog": "1"}, "An answer is a value, a yes or no, or none at all."),
        ("task", {"agents": [ROOT], "text": "Do it."}, f"There is no agent on VM {ROOT[:8]} any more."),
        ("close_tunnel", {"vm": ROOT, "port": 80}, "No tunnel leads to port 80 of build."),
    ],
)
async def test_what_cannot_be_done_is_answered_in_a_sentence(
    page: Page, name: str, args: dict[str, Any], text: str
) -> None:
    told = await page.act(name, **args)
    assert not told["ok"] and told["text"].startswith(text)


async def test_a_failure_that_nobody_foresaw_is_answered_and_logged(
    page: Page, board: Board, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Vers, "create", fail)
    told = await page.act("create")
    assert not told["ok"] and told["text"] == "create failed: ZeroDivisionError: by zero"
    assert "The intent create failed." in caplog.text


@pytest.mark.parametrize(
    "message", [{}, {"kind": "opened"}, {"kind": 1, "view": "x"}, {"kind": "intent", "view": "x", "id": "1"}]
)
async def test_what_no_view_would_say_is_not_heard(page: Page, message: dict[str, Any]) -> None:
    page.board.receive(page, message)
    assert (await page.act("check"))["text"] == "The platform answers: it has 1 VM."


async def test_one_intent_is_done_once_and_no_more_than_a_hundred_at_a_time(
    page: Page, platform: Flaky, board: Board
) -> None:
    platform.silent = asyncio.Event()
    for id in [*range(1000, 1000 + boards.MOST + 1), 1000]:
        page.say("intent", id=id, name="check", args={})
    await page.until(lambda: 1000 + boards.MOST in page.answers)
    assert page.answers[1000 + boards.MOST]["text"] == "100 things are being done."
    assert (await page.act("cancel", intent=1001))["ok"], "one of them can be stopped"
    platform.silent.set()
    await page.until(lambda: len(page.answers) == boards.MOST + 2)
    answers = [message["id"] for message in page.messages if message["kind"] == "answer"]
    assert len(answers) == len({*answers})


async def test_one_that_has_gone_meanwhile_spares_the_others(page: Page) -> None:
    """Somebody else deleted it, or another dashboard did."""
    told = await page.act("pause", vms=["ffff", ROOT])
    assert (told["ok"], told["text"]) == (False, "build: paused. VM ffff is not there any more.")
    told = await page.act("exec", vms=["ffff", "eeee"], command="true")
    assert told["text"] == "VM ffff is not there any more.\nVM eeee is not there any more."
    await page.sees(lambda _: any(told.startswith("exec: ") for told in page.events("done")))
    assert page.events("done")[-1].startswith("exec: true: VM ffff is not there any more.")
    told = await page.act("delete", vms=["ffff", ROOT, "eeee"])
    assert (told["ok"], told["text"]) == (True, "build: deleted. ffff, eeee: deleted before.")


async def test_the_active_one_that_has_gone_meanwhile_is_deleted_for_this_notebook_too(
    page: Page, platform: Flaky, board: Board
) -> None:
    fleet = board.vers.fleet
    vm = fleet._active = await board.vers.vm(ROOT)
    fleet.state.set(URL, "host_keys", ROOT, "key")
    del platform.vms[ROOT]
    told = await page.act("delete", vms=[ROOT])
    assert (told["ok"], told["text"]) == (True, "build: deleted. Cells run on this computer now.")
    assert fleet.current is None and vm not in fleet.known()
    assert fleet.state.get(URL, "host_keys", ROOT) is None


async def test_an_answer_says_whether_it_is_an_event_which_tells_what_to_do_as_well(page: Page) -> None:
    await page.act("check")
    await page.act("pause", vms=["ffff"])
    await page.act("cancel", intent=1)
    assert [told["noted"] for told in page.answers.values()] == [False, True, False]
    await page.sees(lambda seen: "pause" in str(seen["events"]))
    assert page.events("done") == ["pause: VM ffff is not there any more. Choose again."]
