"""A board and its viewers, with a platform in memory: what they are told, and when."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from boards import Page
from flaky import Flaky
from test_fleet_branching import ROOT, URL

from pi_v_jupyter.dashboard import board as boards
from pi_v_jupyter.dashboard import looks, viewers
from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.roster import VMs
from pi_v_jupyter.vm import VM


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
    await page.sees(lambda seen: seen["machines"][ROOT]["size"] == "512 MB")
    silent = platform.make("aaaa9999-0009", mem_size_mib=None)
    for number in range(3):
        platform.make(f"bbbb9999-000{number}")
        await page.sees(lambda seen, number=number: len(seen["machines"]) == 3 + number)
    await page.sees(lambda seen: all(vm["size"] for id, vm in seen["machines"].items() if id != silent))
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
    await later.leave()
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
    assert page.events("machine") == ["new: is there, running, while nobody looked"]
    platform.make("aaaa9999-0010", labels={"name": "next"})
    await page.sees(lambda seen: len(seen["machines"]) == 3)
    assert page.events("machine")[1:] == ["next: is there, running"]


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
    while loop.time() - began < 1.5 or page.seq - seq < 2:
        board._happened("notice", "", "again", "info")
        await asyncio.sleep(0.001)
    assert 1 < page.seq - seq <= 1 + (loop.time() - began) / boards.GAP


def test_a_snapshot_that_took_long_is_followed_by_a_longer_rest() -> None:
    assert [boards.rest(took) for took in (0.0, 0.001, 0.02, 0.05, 9.0)] == [0.1, 0.1, 0.5, 1.25, 1.5]


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


@pytest.mark.parametrize("what", [7, None, [7], {"id": 7}])
async def test_what_names_nothing_that_is_done_stops_nothing_and_is_told_so(page: Page, what: object) -> None:
    assert (await page.act("cancel", intent=what))["text"] == "There is nothing to stop any more."


async def test_a_notice_of_the_session_is_an_event(page: Page, board: Board) -> None:
    board.vers.fleet.on_notice("Something is to be known.")
    await page.sees(lambda seen: seen["events"])
    assert page.events("notice") == [": Something is to be known."]


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


async def test_that_the_machine_that_cells_run_on_is_gone_is_told_until_they_run_elsewhere(
    page: Page, board: Board, platform: Flaky
) -> None:
    await page.sees(lambda seen: seen["here"])
    board.vers.fleet._active = await board.vers.vm(ROOT)
    await page.sees(lambda seen: seen["machines"][ROOT]["active"] and not seen["here"])
    del platform.vms[ROOT]
    await page.sees(lambda seen: seen["lost"] == "build" and not seen["here"])
    assert (await page.act("local"))["ok"]
    await page.sees(lambda seen: seen["here"] and not seen["lost"])


async def test_one_that_was_chosen_elsewhere_than_where_was_looked_is_not_called_gone(
    page: Page, board: Board, platform: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, looking = board.vers.fleet, board._looks
    assert looking is not None
    vm = await board.vers.vm(ROOT)

    async def chosen_meanwhile() -> VMs:
        fleet._active = vm
        return VMs([])

    with monkeypatch.context() as later:
        later.setattr(fleet, "all", chosen_meanwhile)
        await looking._look_for_vms()
        assert looking.lost is None
        await looking._look_for_vms()
        assert board._look(looking)["lost"] == "build"
        fleet._active = None
        assert board._look(looking)["lost"] == ""


async def test_one_that_is_not_found_again_after_a_restart_is_called_gone_by_its_id(
    page: Page, board: Board, platform: Flaky
) -> None:
    board.vers.fleet._missing = URL, ROOT
    await page.sees(lambda seen: not seen["here"])
    assert page.state["lost"] == "", "it is there"
    board.vers.fleet._missing = URL, "eeee0000-1111"
    await page.sees(lambda seen: seen["lost"] == "eeee0000")
    assert (await page.act("local"))["ok"]
    await page.sees(lambda seen: seen["here"] and not seen["lost"])


async def test_one_that_was_not_taken_up_after_a_restart_and_is_deleted_here_is_chosen_no_more(
    page: Page, board: Board
) -> None:
    board.vers.fleet._missing = URL, ROOT
    await page.sees(lambda seen: not seen["here"])
    assert (await page.act("delete", vms=[ROOT]))["text"] == "build: deleted. Cells run on this computer now."
    await page.sees(lambda seen: seen["here"] and not seen["machines"])
    assert page.state["lost"] == ""


async def test_one_that_this_session_deletes_is_not_called_gone(
    page: Page, board: Board, platform: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = asyncio.Event()
    bury = VM._buried

    async def slowly(vm: VM) -> None:
        await held.wait()
        await bury(vm)

    monkeypatch.setattr(VM, "_buried", slowly)
    board.vers.fleet._active = await board.vers.vm(ROOT)
    await page.sees(lambda seen: seen["machines"][ROOT]["active"])
    page.say("intent", id=1, name="delete", args={"vms": [ROOT]})
    await page.sees(lambda seen: not seen["machines"])
    assert (page.state["here"], page.state["lost"]) == (False, "")
    held.set()
    await page.sees(lambda seen: seen["here"])
    assert not board.vers.fleet.leaving


async def test_a_machine_of_another_platform_than_the_one_in_use_is_not_called_gone(
    page: Page, board: Board, platform: Flaky
) -> None:
    board.vers.fleet._active = await board.vers.vm(ROOT)
    board.vers.fleet._active._platform = "https://elsewhere.example/api/v1"
    del platform.vms[ROOT]
    await page.sees(lambda seen: not seen["here"] and not seen["machines"])
    assert page.state["lost"] == ""


async def test_that_plan_mode_is_on_is_told_until_it_is_off(board: Board, page: Page) -> None:
    await board.vers.plan.on()
    await page.sees(lambda seen: seen["looking"])
    await board.vers.plan.off()
    await page.sees(lambda seen: not seen["looking"])
