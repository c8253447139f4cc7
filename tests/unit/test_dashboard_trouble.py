"""What a board shows when its platform is away or another, or when something cannot be shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from boards import Page
from flaky import Flaky
from test_fleet_branching import ROOT

from pi_v_jupyter.dashboard import looks, snapshot
from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.settings import state_dir


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


async def test_an_embedded_platform_that_was_ended_elsewhere_is_told_with_the_remedy(
    page: Page, board: Board
) -> None:
    board.vers.settings.session["platform"] = "embedded"
    seen = await page.sees(lambda seen: seen["connection"]["state"] == "trouble")
    assert seen["connection"]["reason"] == "The embedded platform is no longer up."
    assert "%vers up" in seen["connection"]["remedy"]
    assert seen["machines"], "what was known stays"
    assert (await board.look())["machines"]


async def test_a_damaged_state_file_does_not_stop_what_is_told(page: Page, platform: Flaky) -> None:
    file = state_dir() / "state.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{")
    platform.away = True
    seen = await page.sees(lambda seen: seen["connection"]["state"] == "trouble")
    assert seen["machines"], "what was known stays"


async def test_a_platform_that_does_not_answer_is_in_trouble_too(
    page: Page, platform: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "PATIENCE", 0.05)
    platform.silent = asyncio.Event()
    seen = await page.sees(lambda seen: seen["connection"]["state"] == "trouble")
    assert seen["connection"]["reason"] == "The platform has not answered for 0.05 s."
    platform.silent.set()
    await page.sees(lambda seen: seen["connection"]["state"] == "ok")


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
