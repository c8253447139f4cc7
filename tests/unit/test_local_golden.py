"""VMs of the golden image beside those of the default one; machines on paper."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from paper_machines import Daemon, World, live_on_paper, new_daemon

from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.local import base, daemon, image, paths, upkeep
from pi_v_jupyter.local.base import Base
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.image import Image
from pi_v_jupyter.local.problems import NotPossibleError
from pi_v_jupyter.local.record import VMRecord

WANTED = VMConfig(image_name="golden")


class Golden:
    """The golden image of a test, and its base, which counts how often it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = 0
        self.image: Image | None = None

    def build(self, digest: str) -> None:
        """Have another one be in use."""
        for name in (digest, f"base-{digest}"):
            (self.folder / name).mkdir()
        for file in ("root.qcow2", "vmlinuz", "initrd.img"):
            (self.folder / digest / file).write_text("")
        (self.folder / f"base-{digest}" / "disk.qcow2").write_text("")
        (self.folder / f"base-{digest}" / "devices").write_text("devices")
        with (self.folder / f"base-{digest}" / "memory").open("wb") as memory:
            memory.truncate(base.SIZES[image.GOLDEN].memory_mib * 1024**2)
        self.image = Image(self.folder / digest, digest, "r", "bookworm", "6.1", "2026-01-01", image.GOLDEN)

    def current(self, name: str) -> Image | None:
        assert name == image.GOLDEN
        return self.image

    async def ensure(self, of: Image, *_: object) -> Base:
        self.asked += 1
        await asyncio.sleep(0)
        return Base(self.folder / f"base-{of.digest}")


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = live_on_paper(monkeypatch, tmp_path)
    yield world
    world.close()


@pytest.fixture
async def fleet(world: World) -> AsyncIterator[Fleet]:
    made: Daemon = new_daemon(world.folder)
    yield made.fleet
    made.crash()


@pytest.fixture
def golden(world: World, monkeypatch: pytest.MonkeyPatch) -> Golden:
    golden = Golden(world.folder)
    monkeypatch.setattr(image, "current", golden.current)
    monkeypatch.setattr(base, "ensure", golden.ensure)
    return golden


async def new(fleet: Fleet, config: VMConfig) -> VMRecord:
    await fleet.prepare(config)
    vm = fleet.create(config)
    await fleet.started(vm.vm_id)
    return vm


async def test_a_golden_vm_is_a_copy_of_the_golden_base_and_a_default_one_is_not(
    fleet: Fleet, golden: Golden
) -> None:
    golden.build("gold")
    vm, plain = await new(fleet, WANTED), await new(fleet, VMConfig())
    assert vm.layers[:2] == ("ground/gold/root.qcow2", "ground/base-gold/disk.qcow2")
    assert (vm.memory, vm.mem_size_mib) == ("ground/base-gold/memory", 1024)
    assert plain.layers[0] == "ground/image/root.qcow2" and plain.image == "image"


async def test_what_is_made_of_a_golden_vm_outlives_it_and_the_cache(fleet: Fleet, golden: Golden) -> None:
    golden.build("gold")
    vm = await new(fleet, WANTED)
    commit = await fleet.commit(vm.vm_id, name=None, description=None, keep_paused=False)
    await fleet.delete(vm.vm_id)
    shutil.rmtree(golden.folder / "gold")
    shutil.rmtree(golden.folder / "base-gold")
    (restored,) = await fleet.restore(commit.commit_id)
    (branch,) = await fleet.branch(restored.vm_id, 1, keep_paused=False)
    assert {restored.image, branch.image} == {"gold"}
    assert branch.state is VMState.RUNNING


async def test_one_machine_boots_for_many_that_are_asked_for_at_once(fleet: Fleet, golden: Golden) -> None:
    golden.build("gold")
    await asyncio.gather(*(new(fleet, WANTED) for _ in range(4)))
    assert golden.asked == 1


async def test_what_golden_vms_are_made_of_stays_when_the_last_of_them_is_gone(
    fleet: Fleet, golden: Golden
) -> None:
    golden.build("gold")
    await fleet.delete((await new(fleet, WANTED)).vm_id)
    assert (await new(fleet, WANTED)).state is not VMState.DEAD
    assert golden.asked == 1


async def test_another_golden_image_is_taken_from_when_it_is_built(fleet: Fleet, golden: Golden) -> None:
    golden.build("gold")
    before = await new(fleet, WANTED)
    golden.build("newer")
    assert (await new(fleet, WANTED)).image == "newer"
    kept = await fleet.commit(before.vm_id, name=None, description=None, keep_paused=False)
    assert (await fleet.restore(kept.commit_id))[0].image == "gold"


async def test_a_golden_image_that_is_not_built_is_refused_with_what_builds_it(
    fleet: Fleet, golden: Golden
) -> None:
    with pytest.raises(NotPossibleError, match="`pi-v-jupyter image build --golden` builds it"):
        await fleet.prepare(WANTED)
    assert fleet.list() == []


async def test_an_image_of_no_known_name_is_refused_with_those_there_are(fleet: Fleet) -> None:
    with pytest.raises(NotPossibleError, match="Images are 'default' and 'golden'"):
        await fleet.prepare(VMConfig(image_name="gold"))


def test_a_daemon_that_starts_removes_neither_the_golden_image_nor_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(base, "machine_digest", lambda size, accel: f"{size.memory_mib}")
    folder = paths.images_dir() / "gold"
    built = Image(folder, "gold", "r", "bookworm", "6.1", "2026-01-01", image.GOLDEN)
    monkeypatch.setattr(image, "current", lambda name: built)
    for each in (folder, base.where(built, "tcg", None).folder, paths.images_dir() / "old"):
        each.mkdir()
    with upkeep.in_use(*daemon._golden("tcg", None)):
        assert upkeep.remove_unused() == [paths.images_dir() / "old"]
