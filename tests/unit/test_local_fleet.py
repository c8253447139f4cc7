"""What becomes of VMs when something goes wrong with them; real fleets, of machines on paper."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from paper_machines import LIMITS, Daemon, PaperMachine, World, live_on_paper, new_daemon

from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import disks, kept, memory, paths, record, snapshots, store
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.memory import Pages
from pi_v_jupyter.local.problems import ConflictError, NoRoomError, NotPossibleError, UnknownError
from pi_v_jupyter.local.record import VMRecord
from pi_v_jupyter.local.snapshots import Snapshot

RUNNING, PAUSED, DEAD = VMState.RUNNING, VMState.PAUSED, VMState.DEAD


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = live_on_paper(monkeypatch, tmp_path)
    yield world
    world.close()


@pytest.fixture
async def daemon(world: World) -> AsyncIterator[Daemon]:
    daemon = new_daemon(world.folder)
    yield daemon
    daemon.crash()


@pytest.fixture
def fleet(daemon: Daemon) -> Fleet:
    return daemon.fleet


async def new(fleet: Fleet) -> str:
    """The id of a VM that runs."""
    vm = fleet.create(VMConfig())
    await fleet.started(vm.vm_id)
    return vm.vm_id


async def commit(fleet: Fleet, vm_id: str, **options: Any) -> str:
    """The id of a new commit."""
    options = {"name": None, "description": None, "keep_paused": False, **options}
    return (await fleet.commit(vm_id, **options)).commit_id


def states(fleet: Fleet) -> dict[str, VMState]:
    return {vm.vm_id: vm.state for vm in fleet.list()}


def of(fleet: Fleet, vm_id: str) -> VMRecord:
    vm = fleet.get(vm_id)
    assert vm is not None
    return vm


def fails(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def full(number: int = errno.ENOSPC) -> OSError:
    return OSError(number, os.strerror(number))


def files() -> set[str]:
    """What there is besides the records."""
    return {
        store.name_of(path)
        for room in ("layers", "snapshots")
        for path in paths.platform_dir().glob(f"{room}/*")
    }


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("written", ["id_ed25519", "vm.json"])
async def test_nothing_is_kept_of_a_vm_that_the_disk_has_no_room_to_record(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, written: str, number: int
) -> None:
    writes = kept.write_private

    def write(path: Path, text: str) -> None:
        if path.name == written:
            raise full(number)
        writes(path, text)

    monkeypatch.setattr(kept, "write_private", write)
    with pytest.raises(NoRoomError, match="The disk is full: "):
        fleet.create(VMConfig())
    assert fleet.list() == []
    assert list(paths.vms_dir().iterdir()) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (full(), NoRoomError),
        (full(errno.EACCES), PlatformError),
        (PlatformError("No."), PlatformError),
        (RuntimeError("unforeseen"), RuntimeError),
    ],
)
async def test_no_vm_boots_for_ever(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[Exception]
) -> None:
    monkeypatch.setattr(disks, "overlay", fails(error))
    vm = fleet.create(VMConfig())
    with pytest.raises(told):
        await fleet.started(vm.vm_id)
    assert states(fleet) == {vm.vm_id: DEAD}


async def test_a_vm_is_dead_even_where_the_disk_has_no_room_to_say_so(
    world: World, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = fleet.create(VMConfig())
    monkeypatch.setattr(kept, "write_private", fails(full()))
    with pytest.raises(NoRoomError):
        await fleet.started(vm.vm_id)
    assert states(fleet) == {vm.vm_id: DEAD}
    assert world.alive() == {}  # its process could not be put on record, and was ended


async def test_a_vm_deleted_before_its_start_began_takes_no_room(fleet: Fleet) -> None:
    for _ in range(2):
        vm = fleet.create(VMConfig())
        waiting = asyncio.create_task(fleet.started(vm.vm_id))
        await fleet.delete(vm.vm_id)
        with pytest.raises(UnknownError):
            await waiting
    assert list(paths.vms_dir().iterdir()) == []
    assert files() == set()


@pytest.mark.parametrize(
    "config",
    [
        VMConfig(fs_size_mib=1024**2 + 1),
        VMConfig(labels={str(number): "" for number in range(65)}),
        VMConfig(labels={"name": "a" * 257}),
        VMConfig(labels={"a" * 257: ""}),
        VMConfig.model_construct(labels={"name": "\ud800"}),
    ],
)
async def test_what_is_beyond_measure_is_refused(fleet: Fleet, config: VMConfig) -> None:
    with pytest.raises(NotPossibleError):
        fleet.create(config)
    assert fleet.list() == []


async def test_what_a_paused_or_dead_vm_cannot_do_is_said_with_what_to_do(
    daemon: Daemon, fleet: Fleet
) -> None:
    vm_id = await new(fleet)
    await fleet.set_state(vm_id, PAUSED)
    assert daemon.routes == {}
    with pytest.raises(ConflictError, match=r"is paused.*Resume it first"):
        fleet.guest(vm_id)
    with pytest.raises(ConflictError, match="is paused"):
        await fleet.grow_disk(vm_id, 5000)
    daemon.machine(vm_id).kill()
    while of(fleet, vm_id).state is not DEAD:
        await asyncio.sleep(0)
    for work in (
        commit(fleet, vm_id),
        fleet.branch(vm_id, 1, keep_paused=False),
        fleet.set_state(vm_id, PAUSED),
    ):
        with pytest.raises(ConflictError, match=r"is dead.*Bring it back with state Running"):
            await work


async def test_nobody_is_resumed_because_its_guest_is_deaf(
    world: World, daemon: Daemon, fleet: Fleet
) -> None:
    vm_id = await new(fleet)
    await fleet.set_state(vm_id, PAUSED)
    world.failing = {"time": 0}
    await fleet.set_state(vm_id, RUNNING)
    assert states(fleet) == {vm_id: RUNNING}
    assert daemon.routes.keys() == {vm_id}


async def test_a_vm_whose_guest_is_deaf_comes_back_with_all_it_had(world: World, fleet: Fleet) -> None:
    vm_id = await new(fleet)
    await fleet.end()
    world.failing = {"time": 0, "ping": 0}
    daemon = new_daemon(world.folder)
    await daemon.fleet.begin()
    await daemon.fleet.started(vm_id)
    assert states(daemon.fleet) == {vm_id: RUNNING}
    daemon.crash()


async def test_one_vm_that_cannot_be_taken_over_neither_ends_nor_keeps_back_another(
    world: World, daemon: Daemon
) -> None:
    for _ in range(2):
        await new(daemon.fleet)
    daemon.crash()
    world.failing = {"adopt": 1}
    later = new_daemon(world.folder)
    await later.fleet.begin()
    assert sorted(states(later.fleet).values()) == [RUNNING, VMState.UNKNOWN]
    assert len(world.alive()) == 2
    later.crash()
    world.failing = {}
    last = new_daemon(world.folder)
    await last.fleet.begin()
    assert [*states(last.fleet).values()] == [RUNNING, RUNNING]
    for vm in last.fleet.list():
        await last.fleet.delete(vm.vm_id)
    assert world.alive() == {}


async def test_a_vm_whose_process_id_is_another_process_by_now_is_dead(world: World, daemon: Daemon) -> None:
    vm_id = await new(daemon.fleet)
    daemon.crash()
    vm = of(daemon.fleet, vm_id)
    other = psutil.Process()
    vm.model_copy(update={"pid": other.pid}).save()
    later = new_daemon(world.folder)
    await later.fleet.begin()
    assert [(each.state, each.pid, each.reason) for each in later.fleet.list()] == [
        (DEAD, None, "Its QEMU ended while the platform was down.")
    ]
    assert world.alive() == {}  # a stray, as nobody knows of it


async def test_nothing_is_swept_away_while_a_record_cannot_be_read(world: World, daemon: Daemon) -> None:
    fleet = daemon.fleet
    kept_id, other_id = await new(fleet), await new(fleet)
    daemon.crash()
    (paths.vms_dir() / kept_id / "vm.json").write_text("{")
    before = files()
    later = new_daemon(world.folder)
    await later.fleet.begin()
    await later.fleet.delete(other_id)
    assert files() == before
    assert record.unreadable() == {kept_id}
    assert len(world.alive()) == 1
    later.crash()


async def test_a_snapshot_that_cannot_be_read_stays_for_its_commit(world: World, daemon: Daemon) -> None:
    commit_id = await commit(daemon.fleet, await new(daemon.fleet))
    daemon.crash()
    (store.snapshot_folder(commit_id) / "snapshot.json").write_text("{}")
    later = new_daemon(world.folder)
    await later.fleet.begin()
    for vm in later.fleet.list():
        await later.fleet.delete(vm.vm_id)
    assert f"snapshots/{commit_id}" in files()
    with pytest.raises(UnknownError):
        await later.fleet.restore(commit_id)


async def test_a_commit_that_cannot_be_recorded_leaves_nothing(fleet: Fleet) -> None:
    vm_id = await new(fleet)
    with pytest.raises(NotPossibleError, match="name"):
        await commit(fleet, vm_id, name="a" * 1000)
    assert [name for name in files() if name.startswith("snapshots/")] == []
    assert of(fleet, vm_id).last_commit is None


@pytest.mark.parametrize(
    ("owner", "step"), [(Pages, "take"), (Pages, "lay_on"), (Snapshot, "save"), (memory, "write_out")]
)
async def test_a_commit_for_which_the_disk_has_no_room_leaves_the_vm_as_it_was(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    fleet = daemon.fleet
    vm_id = await new(fleet)
    daemon.machine(vm_id).tell("plant", token=1, pages=32)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, fails(full()))
        with pytest.raises(NoRoomError, match="disk is full"):
            await commit(fleet, vm_id)
    assert states(fleet) == {vm_id: RUNNING}
    assert not await daemon.machine(vm_id).is_paused()
    assert files() == {name for name in of(fleet, vm_id).layers if name.startswith("layers/")}
    assert await commit(fleet, vm_id)


async def test_where_a_process_may_not_be_read_its_machine_writes_its_memory(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pages, "take", fails(PermissionError(errno.EPERM, "no")))
    fleet = daemon.fleet
    vm_id = await new(fleet)
    daemon.machine(vm_id).tell("plant", token=7, pages=1)
    (child,) = await fleet.restore(await commit(fleet, vm_id))
    assert daemon.machine(child.vm_id).tell("found", below=20)["memory"] == [7]
    assert child.memory.startswith("snapshots/")
    assert [path.name for path in store.locate(child.memory).parent.glob("memory.*")] == []


async def test_one_thing_at_a_time_is_done_with_a_vm_so_that_commits_have_an_order(fleet: Fleet) -> None:
    vm_id = await new(fleet)
    made = await asyncio.gather(*(commit(fleet, vm_id) for _ in range(4)))
    (newest,) = set(made) - {fleet.catalog.commit(each).grandparent_commit_id for each in made}  # type: ignore[union-attr]
    assert len(fleet.catalog.parents(newest)) == 3
    assert of(fleet, vm_id).last_commit == newest


async def test_all_branches_are_made_or_none(world: World, fleet: Fleet) -> None:
    vm_id = await new(fleet)
    world.failing = {"configure": 2}
    with pytest.raises(PlatformError, match="No configure"):
        await fleet.branch(vm_id, 4, keep_paused=False)
    assert states(fleet) == {vm_id: RUNNING}
    assert len(world.alive()) == 1
    assert files() == {of(fleet, vm_id).layers[-1]}


async def test_a_branch_that_fails_leaves_no_disk_that_was_being_made(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm_id = await new(fleet)
    over, disks_begun = threading.Event(), itertools.count()

    def overlay(path: Path, under: Path, size_mib: int) -> None:
        if next(disks_begun) == 0:
            over.wait(0.5)  # the other has failed by then; nobody may be told so while this goes on
            path.write_text("")
        else:
            raise PlatformError("No overlay.")

    monkeypatch.setattr(disks, "overlay", overlay)
    branching = asyncio.create_task(fleet.branch(vm_id, 2, keep_paused=False))
    branching.add_done_callback(lambda _: over.set())
    with pytest.raises(PlatformError, match="No overlay"):
        await branching
    await asyncio.get_running_loop().shutdown_default_executor()
    assert states(fleet) == {vm_id: RUNNING}
    assert files() == {of(fleet, vm_id).layers[-1]}


async def test_a_branch_that_is_deleted_while_it_is_made_takes_the_others_with_it(
    world: World, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm_id = await new(fleet)
    reached = asyncio.Event()

    async def never(self: PaperMachine, devices: Path) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(PaperMachine, "load", never)
    branching = asyncio.create_task(fleet.branch(vm_id, 2, keep_paused=False))
    await reached.wait()
    await fleet.delete(fleet.list()[-1].vm_id)
    with pytest.raises(UnknownError):
        await branching
    assert states(fleet) == {vm_id: RUNNING}
    assert len(world.alive()) == 1


async def test_more_branches_than_there_is_room_for_are_none(fleet: Fleet) -> None:
    vm_id = await new(fleet)
    with pytest.raises(NoRoomError, match=f"{LIMITS.vms} VMs"):
        await fleet.branch(vm_id, LIMITS.vms, keep_paused=False)
    outcomes = await asyncio.gather(
        *(fleet.branch(vm_id, LIMITS.vms - 2, keep_paused=False) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(outcome, NoRoomError) for outcome in outcomes) == 1
    assert len(fleet.list()) == LIMITS.vms - 1


async def test_files_of_a_commit_stay_while_it_is_being_restored(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm_id = await new(fleet)
    commit_id = await commit(fleet, vm_id)
    restoring = asyncio.create_task(fleet.restore(commit_id))
    await asyncio.sleep(0)
    with pytest.raises(ConflictError, match="is needed by VM"):
        await fleet.delete_commit(commit_id)
    await fleet.delete(vm_id)
    (child,) = await restoring
    assert states(fleet) == {child.vm_id: RUNNING}


async def test_after_a_commit_is_deleted_its_vm_comes_from_the_one_before(fleet: Fleet) -> None:
    vm_id = await new(fleet)
    first, second = await commit(fleet, vm_id), await commit(fleet, vm_id)
    with pytest.raises(ConflictError):
        await fleet.delete_commit(first)
    await fleet.delete_commit(second)
    assert of(fleet, vm_id).last_commit == first
    third = await commit(fleet, vm_id)
    assert [each.commit_id for each in fleet.catalog.parents(third)] == [first]


async def test_one_vm_that_cannot_be_saved_keeps_no_other_from_it(
    world: World, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = await new(daemon.fleet), await new(daemon.fleet)
    takes = snapshots.take

    async def take(running: Any, vm: VMRecord, *rest: Any, **options: Any) -> Snapshot:
        if vm.vm_id == bad:
            raise NoRoomError("The disk is full.")
        return await takes(running, vm, *rest, **options)

    monkeypatch.setattr(snapshots, "take", take)
    await daemon.fleet.end()
    assert len(world.alive()) == 1, "what could not be saved goes on"
    later = new_daemon(world.folder)
    await later.fleet.begin()
    await later.fleet.started(good)
    assert states(later.fleet) == {good: RUNNING, bad: RUNNING}
    later.crash()


async def test_what_a_vm_is_saved_as_is_not_swept_while_it_is_written_out(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = daemon.fleet
    vm_id, other = await new(fleet), await new(fleet)
    writing, swept = threading.Event(), threading.Event()
    write_out = Snapshot.write_out

    def write_out_late(snapshot: Snapshot) -> None:
        writing.set()
        assert swept.wait(10)
        write_out(snapshot)

    monkeypatch.setattr(Snapshot, "write_out", write_out_late)
    ending = asyncio.create_task(fleet.end())
    assert await asyncio.to_thread(writing.wait, 10)
    await fleet._archive.sweep()  # as a request that fails now does
    swept.set()
    await ending
    assert of(fleet, vm_id).saved is not None
    assert of(fleet, other).saved is not None


async def test_a_commit_that_cannot_be_kept_leaves_the_vm_as_it_was(daemon: Daemon) -> None:
    vm_id = await new(daemon.fleet)
    with pytest.raises(NotPossibleError, match="A name of 300 characters"):
        await daemon.fleet.commit(vm_id, name="x" * 300, description=None, keep_paused=True)
    assert states(daemon.fleet) == {vm_id: RUNNING}


async def test_vms_in_the_making_do_not_keep_the_others_from_being_saved(
    world: World, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm_id = await new(daemon.fleet)
    reached = asyncio.Event()

    async def never(self: PaperMachine, devices: Path) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(PaperMachine, "load", never)
        branching = asyncio.create_task(daemon.fleet.branch(vm_id, 2, keep_paused=False))
        await reached.wait()
        await daemon.fleet.end()
        with pytest.raises(UnknownError):
            await branching
    assert world.alive() == {}
    later = new_daemon(world.folder)
    await later.fleet.begin()
    await later.fleet.started(vm_id)
    assert states(later.fleet) == {vm_id: RUNNING}
    later.crash()


async def test_what_a_commit_is_made_of_is_all_written_out(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: set[Path] = set()
    writes = memory.write_out

    def write_out(path: Path) -> None:
        written.add(path)
        writes(path)

    (child,) = await fleet.branch(await new(fleet), 1, keep_paused=False)
    monkeypatch.setattr(memory, "write_out", write_out)
    commit_id = await commit(fleet, child.vm_id)
    snapshot = snapshots.load_all()[commit_id]
    assert {*map(store.locate, snapshot.layers), store.locate(snapshot.memory), snapshot.devices} <= written
