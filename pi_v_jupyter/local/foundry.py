"""Brings machines up: copies of the base, copies of a snapshot, the ones they were, or booted ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import base as bases
from pi_v_jupyter.local import disks, store, upkeep
from pi_v_jupyter.local import image as images
from pi_v_jupyter.local.base import (
    BOOT_TIMEOUT,
    DEFAULT_SIZE,
    SIZES,
    Base,
    Resident,
    machine_digest,
    personalize,
    set_right,
)
from pi_v_jupyter.local.hardware import Size
from pi_v_jupyter.local.image import DEFAULT, Image
from pi_v_jupyter.local.keys import KeyPair
from pi_v_jupyter.local.machine import Machine
from pi_v_jupyter.local.memory import Pages
from pi_v_jupyter.local.problems import NotPossibleError
from pi_v_jupyter.local.record import VMRecord
from pi_v_jupyter.local.snapshots import Snapshot
from pi_v_jupyter.threads import to_its_end

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What a machine is made of: `layers` and `memory` as in `store`; with None for `devices` it boots."""

    image: str
    layers: tuple[str, ...]
    memory: str
    devices: Path | None = None
    pages: Pages | None = None


@dataclass(frozen=True)
class Ground:
    """What new machines of one image are made of; those of that size are copies of the base."""

    image: Image
    base: Base
    size: Size

    @classmethod
    def kept(cls, image: Image, base: Base, size: Size) -> Ground:
        """The same, with files that stay whatever becomes of the cache."""
        return cls(replace(image, folder=store.keep(image.folder)), Base(store.keep(base.folder)), size)


class Foundry:
    """Makes the machines of one platform. `told` is what the account has in its environment.

    `image` and `base` are the default ones. Others are found when they are asked for; `resident` is for
    their bases.
    """

    def __init__(
        self,
        image: Image,
        base: Base,
        accelerator: str,
        told: Callable[[], dict[str, str]],
        resident: Resident | None = None,
    ) -> None:
        self._grounds = {DEFAULT: Ground.kept(image, base, DEFAULT_SIZE)}
        self._accelerator = accelerator
        self._told = told
        self._resident = resident
        self._preparing = asyncio.Lock()

    @property
    def needs(self) -> set[str]:
        """Names of what every new machine is made of."""
        grounds = self._grounds.values()
        return {store.name_of(each.folder) for ground in grounds for each in (ground.image, ground.base)}

    async def prepare(self, name: str) -> None:
        """Have what `new` needs for the image of that name; the first time, a machine of it boots for that.

        Raises:
            NotPossibleError: that image is not built.
            ImageError: it does not boot.
        """
        if name == DEFAULT:
            return
        async with self._preparing:
            image = await asyncio.to_thread(images.current, name)
            if image is None:
                raise NotPossibleError(
                    f"There is no {name} image on this computer that this release can use.",
                    f"`pi-v-jupyter image build --{name}` builds it.",
                )
            if name in self._grounds and self._grounds[name].image.digest == image.digest:
                return
            with upkeep.in_use(image.folder):
                base = await bases.ensure(image, self._accelerator, self._resident, log.info)
                self._grounds[name] = await asyncio.to_thread(Ground.kept, image, base, SIZES[name])

    def at_once(self, size: Size, name: str) -> bool:
        """Whether a new machine of that size needs no boot."""
        return size == self._grounds[name].size

    def digest(self, size: Size) -> str:
        """Of how a machine of that size is built."""
        return machine_digest(size, self._accelerator)

    def new(self, size: Size, name: str = DEFAULT) -> Material:
        """For a root VM of a prepared image: a copy of its base where that has the size asked for."""
        image, base = self._grounds[name].image, self._grounds[name].base
        disk = store.name_of(image.disk)
        layer = store.name_of(store.new_layer())
        if self.at_once(size, name):
            return Material(
                image.digest,
                (disk, store.name_of(base.disk), layer),
                store.name_of(base.memory),
                base.devices,
            )
        return self._booting(image.digest, (disk, layer), size)

    def copy(self, snapshot: Snapshot) -> Material:
        """For a VM that is what `snapshot` was, with a disk and memory of its own from then on."""
        return self._as_it_was(snapshot, (*snapshot.layers, store.name_of(store.new_layer())))

    def again(self, vm: VMRecord, snapshot: Snapshot | None) -> Material:
        """For a VM that goes on where it was saved, or, where nothing was saved, boots from its disk."""
        if snapshot is None:
            return self._booting(vm.image, vm.layers, vm.size)
        return self._as_it_was(snapshot, vm.layers)

    def _as_it_was(self, snapshot: Snapshot, layers: tuple[str, ...]) -> Material:
        if snapshot.machine != self.digest(snapshot.size):
            log.warning("snapshot %s is of another QEMU or computer: booting", snapshot.snapshot_id)
            return self._booting(snapshot.image, layers, snapshot.size)
        return Material(snapshot.image, layers, snapshot.memory, snapshot.devices, snapshot.pages)

    def _booting(self, image: str, layers: tuple[str, ...], size: Size) -> Material:
        return Material(image, layers, store.name_of(store.blank_memory(size.memory_mib)))

    async def lay(self, layer: Path, below: Path, size: Size) -> None:
        """Make an empty layer over another.

        Raises:
            NoRoomError: the disk is full.
        """
        try:
            await asyncio.to_thread(disks.overlay, layer, below, size.disk_mib)
        except OSError as error:
            if disks.is_full(error):
                raise disks.no_room("another layer of the disk") from None
            raise

    async def start(self, vm: VMRecord, material: Material) -> Machine:
        """A machine for `vm` that stands still, or one that begins to boot.

        Raises:
            OSError: the disk is full.
            PlatformError: QEMU does not start.
        """
        wiring = vm.wiring(restored=material.devices is not None)
        if not wiring.layers[-1].exists():
            await to_its_end(disks.overlay, wiring.layers[-1], wiring.layers[-2], vm.size.disk_mib)
        folder = store.locate(f"ground/{vm.image}")
        image = replace(self._grounds[DEFAULT].image, folder=folder, digest=vm.image)
        running = await Machine.start(image, vm.size, self._accelerator, wiring, name=vm.process_name)
        try:
            if material.devices is not None:
                if material.pages is not None:
                    await to_its_end(material.pages.put, running.pid, wiring.memory)
                await running.load(material.devices)
        except BaseException:
            await running.end()
            raise
        return running

    async def make_own(
        self, vm: VMRecord, running: Machine, *, booted: bool, login: KeyPair, new: bool
    ) -> None:
        """Have the machine, which runs, be `vm` and none else. `new`: its host key is to be one as well."""
        if booted:
            log.info("%s boots: only VMs of the usual size and copies are ready at once", vm.vm_id)
            await running.guest.ask("ping", timeout=BOOT_TIMEOUT)
            await running.guest.ask("grow_disk", timeout=BOOT_TIMEOUT)
        await personalize(
            running.guest,
            name=vm.name,
            login=login,
            host=KeyPair.generate() if new else None,
            env=self._told() if new else {},
        )

    async def set_right(self, running: Machine) -> None:
        """Give a machine that stood still the time, and randomness of its own, if its guest still listens."""
        try:
            await set_right(running.guest)
        except PlatformError as error:  # a guest that broke its agent is a VM all the same
            log.warning("the clock of %d may be late: %s", running.pid, error.message)
