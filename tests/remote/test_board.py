"""A board, and processes on machines of a platform on this one: seen live, and told what to do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest
from boards import Page
from farm import COMMIT, Farm
from running import until

from pi_v_jupyter.dashboard import looks
from pi_v_jupyter.settings import state_dir

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a VM is logged in to as root")


async def test_a_machine_that_cannot_be_reached_holds_nothing_up(page: Page, vms: Farm) -> None:
    vms.unready = 1
    shut = vms.make()
    vms.vms[shut]["labels"] = {"name": "shut", "pi-v-agent": "shut"}
    await page.sees(lambda seen: shut in seen["machines"] and seen["machines"][shut]["agent"] == "shut")
    open_ = vms.make()
    await page.sees(lambda seen: open_ in seen["machines"])
    assert (await page.act("exec", vms=[open_], command="echo hello"))["text"] == "hello"
    seen = await page.sees(lambda seen: seen["agents"].get(shut, {}).get("trouble"))
    assert "refused the login key" in seen["agents"][shut]["trouble"]
    assert seen["machines"][shut]["link"] == "", "there was no connection that could be lost"


async def test_a_command_runs_on_several_and_its_output_is_bounded(page: Page, vms: Farm) -> None:
    a, b = vms.make(), vms.make()
    vms.vms[a]["labels"], vms.vms[b]["labels"] = {"name": "a"}, {"name": "b"}
    told = await page.act("exec", vms=[a, b], command="echo one; basename $HOME")
    assert told == {"ok": True, "text": f"[a]\none\n{a}\n[b]\none\n{b}", "hint": ""}
    await page.sees(lambda seen: f"echo one; basename $HOME on a, b: [a] one {a}" in str(seen["events"]))
    told = await page.act("exec", vms=["ffff", a], command="echo one")
    assert not told["ok"] and told["text"] == "VM ffff is not there any more.\n[a]\none"
    told = await page.act("exec", vms=[a], command="printf '\\033[31mred\\033[0m\\n' >&2; exit 3")
    assert not told["ok"] and told["text"].startswith("red\nexit code 3 on a after ")
    told = await page.act("exec", vms=[a], command="echo first; yes | head -c 10000000; echo last")
    assert told["ok"] and len(told["text"]) < 66_000
    assert told["text"].startswith("first\n") and told["text"].endswith("\nlast")
    assert " characters left out " in told["text"]
    await page.sees(lambda seen: a in seen["machines"] and seen["machines"][a]["link"] == "connected")


async def test_background_processes_are_seen_stopped_read_and_forgotten(page: Page, vms: Farm) -> None:
    a = vms.make()
    vms.vms[a]["labels"] = {"name": "a"}
    vm = await page.board.vers.vm(a)
    await vm.start("echo ready; exec sleep 1000", id="web")
    await page.board.vers.here.start("echo here; exit 2", id="short")
    web, short = f"{a} web", "here short"
    seen = await page.sees(
        lambda seen: (
            seen["processes"].get(web, {}).get("line") == "ready"
            and seen["processes"].get(short, {}).get("state") == "ended"
        )
    )
    shown = seen["processes"][web]
    assert (shown["id"], shown["machine"], shown["vm"], shown["state"]) == ("web", "a", a, "running")
    assert seen["processes"][short]["outcome"] == "exit code 2"
    assert (await page.act("logs", process=short))["text"] == "here\n"
    assert (await page.act("stop", process=web))["text"] == "web on a: ended by SIGTERM."
    await page.sees(lambda seen: seen["processes"][web]["state"] == "ended")
    assert page.events("process")[-1] == "web on a: has ended: ended by SIGTERM"
    assert (await page.act("forget", process=web))["text"] == "web on a is forgotten, log and all."
    assert (await page.act("forget", process=short))["ok"]
    await page.sees(lambda seen: not seen["processes"])


def stops(seen: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that tell of something stopped."""
    return [event for event in seen["events"].values() if event["text"].endswith(": It was stopped.")]


async def test_what_a_command_writes_is_told_as_it_comes_by_machine_and_it_can_be_stopped(
    page: Page, vms: Farm
) -> None:
    a, b = vms.make(), vms.make()
    await page.act("rename", vm=a, name="one")
    await page.act("rename", vm=b, name="two")
    ticks = "echo $$ > pid; while :; do echo tick; sleep 0.05; done"
    for machines, line in (([a], "tick\ntick\n"), ([a, b], "[two] tick\n")):
        id = 70 + len(machines)
        page.say("intent", id=id, name="exec", args={"vms": machines, "command": ticks})
        await page.until(lambda id=id, line=line: line in page.output(id))
    assert 71 not in page.answers and 72 not in page.answers
    pids = [int((vms.home(each) / "pid").read_text()) for each in (a, b)]
    for id in (71, 72):
        assert (await page.act("cancel", intent=id))["ok"]
        await page.until(lambda id=id: id in page.answers)
        told = page.answers[id]
        assert (told["ok"], told["stopped"], told["text"]) == (False, True, "It was stopped.")
    seen = await page.sees(lambda seen: len(stops(seen)) == 2)
    assert [event["level"] for event in stops(seen)] == ["info", "info"], "it was meant"
    asked = [event["text"].partition(": It was")[0] for event in stops(seen)]
    assert asked == [f"{ticks} on one", f"{ticks} on one, two"]
    for pid in pids:
        await until(lambda pid=pid: not psutil.pid_exists(pid))
    assert (await page.act("cancel", intent=71))["text"] == "There is nothing to stop any more."


async def test_what_a_flood_writes_meanwhile_is_bounded(page: Page, vms: Farm) -> None:
    a = vms.make()
    page.say("intent", id=80, name="exec", args={"vms": [a], "command": "yes | head -c 30000000; echo over"})
    await page.until(lambda: 80 in page.answers)
    pieces = [message["text"] for message in page.messages if message["kind"] == "output"]
    assert all(len(piece) < 17_000 for piece in pieces) and pieces[-1].endswith("over\n")


async def test_tunnels_are_shown_with_their_machine(page: Page, vms: Farm) -> None:
    a = vms.make()
    told = await page.act("tunnel", vm=a, port=80)
    local = told["text"].partition(" ")[0].rpartition(":")[2]
    await page.sees(lambda seen: seen["machines"].get(a, {}).get("tunnels") == [f"{local} → 80"])
    assert (await page.act("close_tunnel", vm=a, port=80))["ok"]
    await page.sees(lambda seen: seen["machines"][a]["tunnels"] == [])


async def test_cells_run_on_what_is_used(page: Page, vms: Farm) -> None:
    a = vms.make()
    assert (await page.act("use", vm=a))["text"] == f"Cells run on {a[:8]}."
    await page.sees(lambda seen: seen["machines"].get(a, {}).get("active"))
    assert (await page.act("local"))["ok"] and page.board.vers.active is None
    await page.sees(lambda seen: not seen["machines"][a]["active"])
    await page.act("use", vm=a)
    assert (await page.act("delete", vms=[a]))["text"] == f"{a[:8]}: deleted. Cells run on this computer now."


async def test_the_processes_of_the_machine_that_cells_run_on_are_shown_before_any_cell_ran(
    page: Page, vms: Farm, open_page: Callable[[], Awaitable[Page]]
) -> None:
    a = vms.make()
    vm = await page.board.vers.vm(a)
    await vm.start("exec sleep 1000", id="web")
    other = await open_page()
    assert (await other.act("connect", vms=[a]))["text"] == f"{a[:8]}: connected."
    await other.sees(lambda seen: f"{a} web" in seen["processes"])
    third = await open_page()
    await third.board.vers.fleet.use(await third.board.vers.vm(a))
    await third.sees(lambda seen: f"{a} web" in seen["processes"])


async def test_when_the_embedded_platform_was_ended_elsewhere_processes_here_are_seen_on(
    page: Page, vms: Farm
) -> None:
    a = vms.make()
    await (await page.board.vers.vm(a)).start("exec sleep 1000", id="web")
    await page.sees(lambda seen: f"{a} web" in seen["processes"])
    page.board.vers.settings.session["platform"] = "embedded"
    await page.sees(lambda seen: seen["connection"]["state"] == "trouble")
    later = await page.board.vers.here.start("exec sleep 1000", id="later")
    try:
        seen = await page.sees(lambda seen: "here later" in seen["processes"])
        assert f"{a} web" in seen["processes"], "what was known stays"
    finally:
        await later.stop()
        await later.remove()


async def test_a_damaged_state_file_does_not_stop_what_is_told_of_processes(page: Page, vms: Farm) -> None:
    a = vms.make()
    vms.vms[a]["labels"] = {"name": "a"}
    await (await page.board.vers.vm(a)).start("exec sleep 1000", id="web")
    await page.sees(lambda seen: f"{a} web" in seen["processes"])
    file = state_dir() / "state.json"
    before = file.read_bytes()
    try:
        file.write_text("{")
        page.board.vers.settings.session["platform"] = "embedded"
        seen = await page.sees(lambda seen: seen["connection"]["state"] == "trouble")
        assert seen["processes"][f"{a} web"]["machine"] == "a"
    finally:
        file.write_bytes(before)


async def test_the_image_that_agents_start_from_is_shown_as_such(page: Page) -> None:
    assert page.state["commits"][COMMIT]["golden"]


async def test_a_connection_that_is_lost_and_comes_back_is_told(page: Page, vms: Farm) -> None:
    a = vms.make()
    vm = await page.board.vers.vm(a)
    await vm.start("exec sleep 1000", id="web")
    await page.sees(lambda seen: seen["machines"].get(a, {}).get("link") == "connected")
    await page.sees(lambda seen: f"{a} web" in seen["processes"])
    vm._open._ssh.abort()
    await page.sees(lambda seen: seen["machines"][a]["link"] == "away")
    board = page.board
    for _ in range(2):
        board._looks.seen.clear()
        board._looks.wake("processes")
        await page.until(lambda: "processes" in board._looks.seen)
        assert page.state["processes"][f"{a} web"]["state"] == "running", "what was known stays"
    assert (await page.act("exec", vms=[a], command="true"))["ok"]
    await page.sees(lambda seen: seen["machines"][a]["link"] == "connected")
    lost, again = page.events("machine")[-2:]
    assert (lost, again) == (f"{a[:8]}: its connection is lost", f"{a[:8]}: is connected again")


async def test_connections_are_made_by_intents_alone(
    page: Page, vms: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "PROCESSES", 0.01)
    a = vms.make()
    await page.sees(lambda seen: a in seen["machines"])
    await asyncio.sleep(0.2)
    assert page.state["machines"][a]["link"] == "" and page.board.vers.fleet.connected() == []


async def test_a_machine_has_one_terminal_until_it_is_ended_there_or_its_page_goes(
    page: Page, vms: Farm
) -> None:
    a = vms.make()
    for _ in range(2):
        assert (await page.act("terminal", vm=a))["text"] == "screen-1"
    (first,) = page.screens
    first.terminal.opened("view", 0)
    first.terminal.typed("view", 0, b"echo $((6 * 7))\n")
    await until(lambda: b"42" in first.told)
    assert (await page.act("close_terminal", vm=a))["ok"] and first.terminal.ended
    assert (await page.act("terminal", vm=a))["text"] == "screen-2"
    await page.leave()
    assert page.screens[1].terminal.ended


async def test_a_terminal_that_cannot_be_opened_is_answered_in_a_sentence(page: Page, vms: Farm) -> None:
    assert (await page.act("terminal", vm="gone"))["text"] == "VM gone is not there any more."
    vms.unready = 1
    told = await page.act("terminal", vm=vms.make())
    assert not told["ok"] and "refused the login key" in told["text"]
