"""Where a planned command runs: in a branch where that is quick, and never in a branch of an agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_fleet_branching import ROOT, URL, Platform

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.errors import ConnectError, SettingsError, UsageError
from pi_v_jupyter.machine import Result
from pi_v_jupyter.plan import asides
from pi_v_jupyter.plan import grounds as module
from pi_v_jupyter.plan.asides import Aside, Record
from pi_v_jupyter.plan.grounds import Grounds
from pi_v_jupyter.session import Vers
from pi_v_jupyter.settings import Settings, state_dir
from pi_v_jupyter.vm import VM


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
async def vers(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Vers]:
    """A session of a platform in memory, in a notebook of a name."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("JPY_SESSION_NAME", "plans.ipynb")
    monkeypatch.setattr(
        "pi_v_jupyter.session.VersClient",
        lambda settings: VersClient(settings, transport=httpx.MockTransport(platform)),
    )
    notices: list[str] = []
    async with Vers(Settings(session={"api_key": "k", "base_url": URL}), on_notice=notices.append) as session:
        session.told = notices  # type: ignore[attr-defined]
        yield session


def branching(monkeypatch: pytest.MonkeyPatch, grounds: Grounds, seconds: float) -> list[str]:
    """Branches take so long; what became of them."""
    done: list[str] = []

    async def take(vm: VM) -> Aside:
        done.append("made")
        return Aside(vm, Record("key", vm.id, "made"), "", 0.0, seconds, users=1)

    monkeypatch.setattr(grounds.asides, "take", take)
    monkeypatch.setattr(grounds.asides, "retire", lambda: done.append("deleted"))
    return done


async def test_a_platform_that_is_slow_at_branches_has_its_vms_seen_read_only_and_says_so(
    vers: Vers, monkeypatch: pytest.MonkeyPatch
) -> None:
    grounds, vm = Grounds(vers.fleet), await vers.vm(ROOT)
    done = branching(monkeypatch, grounds, 2.5)
    assert grounds.way(vm) == "branch"
    assert (await grounds.of(vm)).readonly
    assert done == ["made", "deleted"]
    (told,) = vers.told  # type: ignore[attr-defined]
    assert told.startswith("A branch took 2.5 s:") and "`%plan on --in branch`" in told
    assert (await grounds.of(vm)).readonly and grounds.way(vm) == "readonly"
    assert done == ["made", "deleted"], "it is measured once"


async def test_who_wants_a_branch_has_it_however_long_it_takes(
    vers: Vers, monkeypatch: pytest.MonkeyPatch
) -> None:
    grounds, vm = Grounds(vers.fleet), await vers.vm(ROOT)
    branching(monkeypatch, grounds, 60)
    grounds.inside = "branch"
    assert not (await grounds.of(vm)).readonly


async def test_an_agent_is_not_branched_for_it_would_do_its_task_twice(
    vers: Vers, platform: Platform
) -> None:
    platform.vms[ROOT]["labels"]["pi-v-agent"] = "api"
    grounds = Grounds(vers.fleet)
    vm = await vers.vm(ROOT)
    assert grounds.way(vm) == "readonly"
    grounds.inside = "branch"
    assert grounds.way(vm) == "branch"


async def test_a_notebook_is_in_plan_mode_again_after_its_kernel_was_restarted(vers: Vers) -> None:
    await vers.plan.on("readonly")
    again = Vers(vers.settings)
    async with again:
        assert again.plan.is_on and again.plan.status.on
        await vers.plan.off()
        assert again.plan.is_on, "each kernel has its own; the next one has what was said last"
    async with Vers(vers.settings) as third:
        assert not third.plan.is_on


async def test_there_are_two_ways_and_no_others(vers: Vers) -> None:
    with pytest.raises(UsageError, match=r"branch, readonly"):
        await vers.plan.on("jail")  # type: ignore[arg-type]
    assert not vers.plan.is_on


async def test_only_branches_that_nobody_is_there_for_any_more_are_deleted(
    vers: Vers, platform: Platform
) -> None:
    kept: list[dict[str, Any]] = [
        {
            "key": "dead",
            "source": ROOT,
            "made": platform.make("dddd0001-vm"),
            "pid": 2**22 - 1,
            "started": 1.0,
        },
        {"key": "ours", "source": ROOT, "made": platform.make("dddd0002-vm")},
        {"key": "far", "source": ROOT, "made": platform.make("dddd0003-vm"), "host": "another", "pid": 1},
        {"key": "gone", "source": "aaaa9999-vm", "made": "dddd9999-vm", "pid": 2**22 - 1, "started": 1.0},
    ]
    for each in kept:
        text = json.dumps(vars(Record(**each)))
        await asyncio.to_thread(vers.fleet.state.set, URL, asides.KIND, each["key"], text)
    await asyncio.to_thread(vers.fleet.state.set, URL, asides.KIND, "damaged", "{")
    await vers.plan.sweep()
    assert {vm for vm in platform.vms if vm.startswith("dddd")} == {"dddd0002-vm", "dddd0003-vm"}
    assert set(vers.fleet.state.all(URL, asides.KIND)) == {"ours", "far"}
    await vers.plan.off()
    assert set(vers.fleet.state.all(URL, asides.KIND)) == {"far"}


def reached(monkeypatch: pytest.MonkeyPatch, connect: Callable[[VM], Awaitable[None]]) -> None:
    """VMs say that nothing has changed, and are reached by `connect`."""

    async def run(vm: VM, *rest: Any, **more: Any) -> Result:
        return Result(0, None, b"", b"", 0.0)

    async def check(vm: VM) -> None:
        pass

    monkeypatch.setattr(VM, "run", run)
    monkeypatch.setattr(VM, "check", check)
    monkeypatch.setattr(VM, "connect", connect)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """VMs are reached at once."""

    async def connect(vm: VM) -> None:
        pass

    reached(monkeypatch, connect)


def branches(platform: Platform) -> set[str]:
    return {vm for vm in platform.vms if vm.startswith("bbbb")}


async def until_gone(platform: Platform, which: set[str]) -> None:
    async with asyncio.timeout(20):
        while branches(platform) & which:
            await asyncio.sleep(0.01)


async def test_a_branch_that_cannot_be_reached_is_not_left_until_the_end(
    vers: Vers, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: set[str] = set()

    async def connect(vm: VM) -> None:
        made.update(branches(platform))
        raise ConnectError("It does not answer.", "Wait.")

    reached(monkeypatch, connect)
    with pytest.raises(ConnectError):
        await Grounds(vers.fleet).of(await vers.vm(ROOT))
    assert made
    await until_gone(platform, made)


async def test_a_stop_while_a_branch_is_made_leaves_none(
    vers: Vers, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = asyncio.Event()

    async def connect(vm: VM) -> None:
        connecting.set()
        await asyncio.Event().wait()

    reached(monkeypatch, connect)
    taking = asyncio.create_task(Grounds(vers.fleet).of(await vers.vm(ROOT)))
    await connecting.wait()
    made = branches(platform)
    assert made
    taking.cancel()
    await until_gone(platform, made)


@pytest.mark.usefixtures("at_once")
async def test_a_branch_is_deleted_though_what_is_on_record_cannot_be_read(
    vers: Vers, platform: Platform
) -> None:
    grounds = Grounds(vers.fleet)
    (await grounds.of(await vers.vm(ROOT))).leave()
    made = branches(platform)
    assert made
    (state_dir() / "state.json").write_text("{")
    await grounds.asides.clear()
    assert not branches(platform) & made
    assert vers.told == []  # type: ignore[attr-defined]


@pytest.mark.usefixtures("at_once")
async def test_plan_mode_that_cannot_be_put_on_record_as_off_leaves_no_branch(
    vers: Vers, platform: Platform
) -> None:
    await vers.plan.on("branch")
    (await vers.plan._grounds.of(await vers.vm(ROOT))).leave()
    made = branches(platform)
    assert made
    (state_dir() / "state.json").write_text("{")
    with pytest.raises(SettingsError):
        await vers.plan.off()
    assert not branches(platform) & made


@pytest.mark.usefixtures("at_once")
async def test_a_branch_that_stays_because_its_platform_was_ended_is_told_of(vers: Vers) -> None:
    grounds = Grounds(vers.fleet)
    (await grounds.of(await vers.vm(ROOT))).leave()
    vers.settings.session["platform"] = "embedded"
    await grounds.asides.clear()
    (told,) = vers.told  # type: ignore[attr-defined]
    assert told.startswith("A branch of plan mode could not be deleted, and will be later: The embedded")
    await vers.plan.off()
    assert len(vers.told) == 1, "there is nothing else to tell of"  # type: ignore[attr-defined]


@pytest.mark.usefixtures("at_once")
async def test_a_slow_branch_does_not_take_that_of_another_vm_from_a_command(
    vers: Vers, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    grounds = Grounds(vers.fleet)
    quick = await grounds.of(await vers.vm(ROOT))
    kept = branches(platform)
    monkeypatch.setattr(module, "QUICK", -1.0)
    assert (await grounds.of(await vers.vm(platform.make("aaaa1111-0002")))).readonly
    await until_gone(platform, branches(platform) - kept)
    assert branches(platform) == kept
    quick.leave()
    await until_gone(platform, kept)
