"""A board, its viewers and what they have done, with a platform in memory."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from boards import Page
from test_fleet_branching import ROOT, URL, Platform

from pi_v_jupyter.api import retries
from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.dashboard import board as boards
from pi_v_jupyter.dashboard import looks, snapshot, viewers
from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.session import Vers
from pi_v_jupyter.settings import Settings


class Flaky(Platform):
    """It can be away, or silent, or slow to tell of commits."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.needed = ""  # the id of a commit that cannot be deleted
        self.silent: asyncio.Event | None = None
        self.slow: asyncio.Event | None = None

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if self.silent is not None:
            await self.silent.wait()
        if self.slow is not None and request.url.path.endswith("/commits"):
            await self.slow.wait()
        if self.away:
            raise httpx.ConnectError("no way", request=request)
        if (
            self.needed
            and request.method == "DELETE"
            and request.url.path.endswith(f"/commits/{self.needed}")
        ):
            return httpx.Response(
                409, json={"error": f"Commit {self.needed} is needed by VM x.", "success": False}
            )
        return self(request)


@pytest.fixture
def platform() -> Flaky:
    return Flaky()


@pytest.fixture
async def start(
    platform: Flaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Board]]:
    """Makes boards, each of a session of its own, as kernels would. They look often."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(looks, "VMS", 0.02)
    monkeypatch.setattr(looks, "SLOWEST", 0.02)
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(
        "pi_v_jupyter.session.VersClient",
        lambda settings: VersClient(settings, transport=httpx.MockTransport(platform.answer)),
    )
    made: list[Board] = []

    def board() -> Board:
        made.append(Board(Vers(Settings(session={"api_key": "k", "base_url": URL}), on_notice=str)))
        return made[-1]

    yield board
    for each in made:
        await each.vers.close()


@pytest.fixture
async def board(start: Callable[[], Board]) -> Board:
    return start()


@pytest.fixture
async def page(board: Board) -> Page:
    """A view that looks, and knows all."""
    page = Page(board)
    page.open()
    await page.sees(lambda seen: seen["machines"] and "commits" in board._known)
    return page


def named(seen: dict[str, Any]) -> set[str]:
    return {vm["name"] for vm in seen["machines"].values()}


# What is seen.


async def test_who_opens_a_board_is_told_at_once_that_it_connects_and_then_what_there_is(
    board: Board,
) -> None:
    page = Page(board)
    page.open()
    await page.until(lambda: page.messages)
    first = page.messages[0]
    assert (first["kind"], first["to"], first["all"]["connection"]["state"]) == (
        "snapshot",
        "page",
        "connecting",
    )
    seen = await page.sees(lambda seen: seen["machines"])
    assert seen["connection"]["state"] == "ok" and seen["connection"]["url"] == URL
    assert seen["machines"][ROOT]["name"] == "build" and page.events() == []


async def test_what_another_kernel_does_is_seen_and_is_an_event(page: Page, platform: Flaky) -> None:
    platform.make("aaaa9999-0009", labels={"name": "new"})
    await page.sees(lambda seen: len(seen["machines"]) == 2)
    platform.vms["aaaa9999-0009"]["state"] = "dead"
    await page.sees(lambda seen: seen["machines"]["aaaa9999-0009"]["state"] == "dead")
    platform.vms["aaaa9999-0009"]["labels"]["name"] = "old"
    await page.sees(lambda seen: seen["machines"]["aaaa9999-0009"]["label"] == "old")
    del platform.vms["aaaa9999-0009"]
    await page.sees(lambda seen: len(seen["machines"]) == 1)
    assert page.events("machine") == [
        "new: is there, running",
        "new: running → dead",
        "old: was called new before",
        "old: is gone",
    ]


async def test_sizes_are_asked_for_once_for_each_vm(page: Page, platform: Flaky) -> None:
    await page.sees(lambda seen: seen["machines"][ROOT]["mem"] == 512)
    silent = platform.make("aaaa9999-0009", mem_size_mib=None)
    for number in range(3):
        platform.make(f"bbbb9999-000{number}")
        await page.sees(lambda seen, number=number: len(seen["machines"]) == 3 + number)
    await page.sees(lambda seen: all(vm["mem"] for id, vm in seen["machines"].items() if id != silent))
    assert {platform.asked.count(f"GET vm/{vm_id}/metadata") for vm_id in platform.vms} == {1}


async def test_two_views_see_the_same_and_one_that_comes_later_all_of_it(
    page: Page, board: Board, start: Callable[[], Board]
) -> None:
    later, elsewhere = Page(board, "later"), Page(start(), "elsewhere")
    for each in (later, elsewhere):
        each.open()
    assert (await page.act("rename", vm=ROOT, name="other"))["ok"]
    for each in (page, later, elsewhere):
        await each.sees(lambda seen: seen["machines"].get(ROOT, {}).get("name") == "other")
    assert later.state["events"] == page.state["events"]
    later.leave()
    assert (await page.act("rename", vm=ROOT, name="third"))["ok"]
    await page.sees(lambda seen: seen["machines"][ROOT]["name"] == "third")
    assert later.state["machines"][ROOT]["name"] == "other", "who has left is told nothing"


async def test_while_all_are_hidden_nothing_is_asked_and_nothing_sent(
    page: Page, board: Board, platform: Flaky
) -> None:
    page.hide()
    await asyncio.sleep(0)
    assert board._looks is not None and not board._looks.watched.is_set()
    await asyncio.sleep(2 * boards.GAP)  # what was under way may come to its end
    asked, told = len(platform.asked), len(page.messages)
    platform.make("aaaa9999-0009", labels={"name": "new"})
    await asyncio.sleep(2 * boards.BEAT)
    assert (len(platform.asked), len(page.messages)) == (asked, told)
    page.say("visible", visible=True)
    await page.sees(lambda seen: len(seen["machines"]) == 2)


async def test_a_view_that_was_hidden_while_others_looked_is_told_all_when_it_looks_again(
    page: Page, board: Board, platform: Flaky
) -> None:
    other = Page(board, "other")
    other.open()
    await other.sees(lambda seen: seen["machines"])
    other.hide()
    await asyncio.sleep(0)
    told = len(other.messages)
    platform.make("aaaa9999-0009")
    await page.sees(lambda seen: len(seen["machines"]) == 2)
    assert len(other.messages) == told
    other.say("visible", visible=True)
    await other.sees(lambda seen: len(seen["machines"]) == 2)
    platform.make("aaaa9999-0010")
    await other.sees(lambda seen: len(seen["machines"]) == 3)


async def test_a_patch_comes_each_beat_though_nothing_has_changed(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "VMS", 3600.0)
    await asyncio.sleep(0.2)
    page.messages.clear()
    await page.until(lambda: len(page.messages) >= 2)
    assert all(message["kind"] == "patch" for message in page.messages)


async def test_no_more_than_ten_patches_a_second_are_sent_however_much_changes(
    page: Page, board: Board, platform: Flaky
) -> None:
    loop, seq = asyncio.get_running_loop(), page.seq
    began = loop.time()
    while loop.time() - began < 1.5:
        board._happened("notice", "", "again", "info")
        await asyncio.sleep(0.001)
    assert 1 < page.seq - seq <= 1 + (loop.time() - began) / boards.GAP


def test_a_snapshot_that_took_long_is_followed_by_a_longer_rest() -> None:
    assert [boards.rest(took) for took in (0.0, 0.001, 0.02, 0.05, 9.0)] == [0.1, 0.1, 0.3, 0.75, 1.5]


async def test_a_view_that_lost_something_is_given_its_last_answers_again(page: Page) -> None:
    await page.act("check")
    given = page.answers.copy()
    page.answers.clear()
    page.say("opened")
    await page.until(lambda: page.answers == given)


async def test_nobody_looks_for_a_page_that_vanished_without_a_word(
    page: Page, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert board._looks is not None
    with monkeypatch.context() as later:
        later.setattr(viewers, "SILENT", 0.0)
        async with asyncio.timeout(10):
            while board._looks.watched.is_set():
                await asyncio.sleep(0.01)
    page.say("visible", visible=True)
    before = page.seq
    await page.until(lambda: page.seq > before + 1)


async def test_a_view_that_lost_a_patch_asks_again_and_has_all(page: Page) -> None:
    before = page.seq
    page.state = {}
    page.say("opened")
    await page.sees(lambda seen: seen["machines"])
    assert page.seq >= before


async def test_while_the_platform_is_away_that_is_told_with_the_remedy_and_it_is_asked_on(
    page: Page, platform: Flaky
) -> None:
    platform.away = True
    seen = await page.sees(lambda seen: seen["connection"]["state"] == "trouble")
    assert "cannot be connected to" in seen["connection"]["reason"]
    assert "%vers doctor" in seen["connection"]["remedy"]
    assert seen["machines"], "what was known stays"
    platform.make("aaaa9999-0009")
    platform.away = False
    seen = await page.sees(lambda seen: seen["connection"]["state"] == "ok" and len(seen["machines"]) == 2)
    assert seen["connection"]["reason"] == ""
    assert [event.rpartition(": ")[2] for event in page.events("connection")][
        -1
    ] == "The platform answers again."


async def test_a_platform_that_does_not_answer_is_in_trouble_too(
    page: Page, platform: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "PATIENCE", 0.05)
    platform.silent = asyncio.Event()
    seen = await page.sees(lambda seen: seen["connection"]["state"] == "trouble")
    assert seen["connection"]["reason"] == "The platform has not answered for 0.05 s."
    platform.silent.set()
    await page.sees(lambda seen: seen["connection"]["state"] == "ok")


async def test_a_notice_of_the_session_is_an_event(page: Page, board: Board) -> None:
    board.vers.fleet.on_notice("Something is to be known.")
    await page.sees(lambda seen: seen["events"])
    assert page.events("notice") == [": Something is to be known."]


async def test_another_platform_is_shown_as_it_is_and_nothing_of_it_is_news(
    page: Page, board: Board, platform: Flaky
) -> None:
    await page.act("commit", vms=[ROOT])
    await page.sees(lambda seen: seen["commits"] and "done" in str(seen["events"]))
    before = page.events()
    platform.make("aaaa9999-0009", labels={"name": "there"})
    del platform.vms[ROOT]
    platform.slow = asyncio.Event()
    board.vers.settings.session["base_url"] = "http://127.0.0.1:8/api/v1"
    seen = await page.sees(lambda seen: [*seen["machines"]] == ["aaaa9999-0009"])
    assert seen["connection"]["url"] == "http://127.0.0.1:8/api/v1" and not seen["commits"]
    platform.slow.set()
    await page.sees(lambda seen: seen["commits"] and {"machines", "commits", "agents"} <= board._known)
    assert page.events() == before


# What is done.


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
    assert (await page.act("restore", commit=commit, n=2))["text"] == "Restored: good-1, good-2."
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
    page.leave()
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


async def test_a_viewer_that_cannot_be_told_is_left_out(
    page: Page, board: Board, platform: Flaky, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Page):
        def send(self, message: dict[str, Any]) -> None:
            raise OSError("gone")

    Broken(board, "broken").open()
    platform.make("aaaa9999-0009")
    await page.sees(lambda seen: len(seen["machines"]) == 2)
    assert caplog.text.count("could not be told") == 1


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


async def test_one_thing_that_cannot_be_shown_does_not_hide_the_others(
    page: Page, platform: Flaky, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = snapshot.machine

    def damaged(vm: Any, *args: Any, **more: Any) -> Any:
        if vm.id == hidden:
            raise OverflowError("That is no time.")
        return machine(vm, *args, **more)

    hidden = platform.make("aaaa8888-0008")
    monkeypatch.setattr(snapshot, "machine", damaged)
    platform.make("aaaa9999-0009")
    await page.sees(lambda seen: len(seen["machines"]) == 2)
    before = page.seq
    await page.until(lambda: page.seq > before + 1)
    assert hidden not in page.state["machines"]
    assert caplog.text.count("cannot show") == 1


async def test_when_the_list_of_machines_cannot_be_understood_the_page_says_so(
    page: Page, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused() -> Any:
        raise PermissionError("The state folder is not yours.")

    monkeypatch.setattr(board.vers.fleet, "all", refused)
    seen = await page.sees(lambda seen: seen["connection"]["state"] == "trouble")
    assert "The state folder is not yours." in seen["connection"]["reason"]


# The end.


async def test_when_its_session_closes_a_board_is_over_and_says_so(
    page: Page, board: Board, platform: Flaky, caplog: pytest.LogCaptureFixture
) -> None:
    platform.silent = asyncio.Event()
    page.say("intent", id=99, name="check", args={})
    await page.until(lambda: any(message["kind"] == "heard" for message in page.messages))
    await board.vers.close()
    platform.silent.set()
    assert board.vers._parts is None, "nothing of it was made again"
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert page.answers[99]["text"] == "It was given up, as this dashboard's session was closed."
    assert page.messages[-1] == {"kind": "closed"}
    gc.collect()
    assert caplog.text == ""


async def test_one_that_was_closed_before_anybody_looked_begins_nothing(board: Board) -> None:
    await board.close()
    page = Page(board)
    page.open()
    assert (await page.act("check"))["text"] == "This dashboard's session was closed."
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_any_thread_may_call_in(board: Board) -> None:
    page = await asyncio.to_thread(Page, board)
    await asyncio.to_thread(page.open)
    await page.sees(lambda seen: seen["machines"])
    await asyncio.to_thread(board.vers.fleet.on_notice, "It is told from elsewhere.")
    await page.sees(lambda seen: "It is told from elsewhere." in str(seen["events"]))
    await asyncio.to_thread(lambda: asyncio.run(board.close()))
    assert board._looks is not None and all(task.done() for task in board._looks._tasks)
