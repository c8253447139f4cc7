"""A machine as it once was: memory, devices and disk, from which any number of others can be made.

One is taken while the machine stands still for some hundredths of a second. It never changes; those made
from it share its memory and its disk, and write what is theirs elsewhere. Commits are snapshots with a
record that a user sees; a branch of a running VM is made from one without.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from pi_v_jupyter.api.models import Model, Moment
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import disks, memory, store
from pi_v_jupyter.local.hardware import Size
from pi_v_jupyter.local.machine import Machine
from pi_v_jupyter.local.memory import Pages
from pi_v_jupyter.local.record import VMRecord
from pi_v_jupyter.settings import write_private

log = logging.getLogger(__name__)

# Fewer written pages are put into each machine made from the snapshot, which takes less time and space
# than a memory of its own; of more it gets one, which those machines share.
FEW_BYTES = 48 * 1024**2


@dataclass(frozen=True)
class Disk:
    """How one disk becomes that of a machine that goes on and that of its snapshot.

    `layers` are the machine's until then. A `new` layer goes on top of them where `stacked`: the last of them
    changes no more, and takes part in both. Otherwise it is a copy of the last, for the snapshot; that
    keeps disks of few layers, and takes as long as the last is large. None: the machine does not go on.
    """

    layers: tuple[str, ...]
    new: Path | None = None
    stacked: bool = False

    @property
    def kept(self) -> tuple[str, ...]:
        """The layers of the snapshot."""
        if self.new is None or self.stacked:
            return self.layers
        return (*self.layers[:-1], store.name_of(self.new))

    async def divide(self, running: Machine) -> None:
        """Part the two, while the machine stands still."""
        if self.new is not None and self.stacked:
            await running.put_layer(self.new)
        elif self.new is not None:
            await asyncio.to_thread(memory.duplicate, store.locate(self.layers[-1]), self.new)


class Snapshot(Model):
    """What there is of it. All files are named as in `store`.

    `machine` is a digest of how the machine is built: one built otherwise cannot take up its state.
    `memory` is a root, on top of which come its own written pages, if it has them apart.
    """

    snapshot_id: str
    vm_id: str
    created_at: Moment
    vcpu_count: int
    mem_size_mib: int
    fs_size_mib: int
    image: str
    machine: str
    layers: tuple[str, ...]
    memory: str
    has_pages: bool

    @property
    def folder(self) -> Path:
        """Its own files."""
        return store.snapshot_folder(self.snapshot_id)

    @property
    def size(self) -> Size:
        """How large the machine is."""
        return Size(self.vcpu_count, self.mem_size_mib, self.fs_size_mib)

    @property
    def devices(self) -> Path:
        """The state of everything that is neither memory nor disk."""
        return self.folder / "devices"

    @property
    def pages(self) -> Pages | None:
        """What was written on top of `memory`."""
        return _pages(self.folder) if self.has_pages else None

    @property
    def needs(self) -> set[str]:
        """Names of all files without which it is nothing."""
        return {store.name_of(self.folder), f"ground/{self.image}", self.memory, *self.layers}

    def save(self, folder: Path) -> None:
        """Write the record; a folder without one is no snapshot."""
        write_private(folder / "snapshot.json", self.model_dump_json(indent=1))

    def write_out(self) -> None:
        """Have it on the disk, so that it outlives a power failure.

        Raises:
            NoRoomError, PlatformError: it cannot be written.
        """
        # Those under its own too: what came of a branch was written out by nobody.
        below = map(store.locate, (*self.layers, self.memory))
        try:
            for path in (*self.folder.iterdir(), *below, self.folder, self.folder.parent):
                memory.write_out(path)
        except OSError as error:
            raise _failure(error) from error


def load_all() -> dict[str, Snapshot]:
    """The snapshots on disk, by id; those that cannot be read are left as they are."""
    found = {}
    for snapshot_id in store.snapshot_ids():
        file = store.snapshot_folder(snapshot_id) / "snapshot.json"
        try:
            found[snapshot_id] = Snapshot.model_validate(json.loads(file.read_text()))
        except (OSError, ValueError, RecursionError, ValidationError) as error:
            log.warning("%s cannot be read, and is left as it is: %s", file, type(error).__name__)
    return found


async def take(running: Machine, vm: VMRecord, disk: Disk, *, go_on: bool) -> Snapshot:
    """What `vm` is at this moment. It stands still meanwhile, and afterwards unless it is to `go_on`.

    Raises:
        NoRoomError: the disk is full. The VM is as it was.
        PlatformError: QEMU could not do it.
    """
    snapshot_id = str(uuid.uuid4())
    folder = store.snapshot_folder(snapshot_id)
    unfinished = folder.with_name(folder.name + store.UNFINISHED)
    root = store.locate(vm.memory)
    try:
        unfinished.mkdir(mode=0o700)
        await running.pause()
        try:
            whole = await _copy_machine(running, root, vm.size, unfinished)
            await disk.divide(running)
        finally:
            if go_on:
                await running.go_on()
        has_pages = await asyncio.to_thread(_finish, root, unfinished, whole)
        snapshot = Snapshot(
            snapshot_id=snapshot_id,
            vm_id=vm.vm_id,
            created_at=datetime.now(UTC),
            vcpu_count=vm.size.vcpus,
            mem_size_mib=vm.size.memory_mib,
            fs_size_mib=vm.size.disk_mib,
            image=vm.image,
            machine=vm.machine,
            layers=disk.kept,
            memory=vm.memory if has_pages else f"{store.name_of(folder)}/memory",
            has_pages=has_pages,
        )
        snapshot.save(unfinished)
        unfinished.rename(folder)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError):
            raise _failure(error) from error
        raise
    return snapshot


def _failure(error: OSError) -> PlatformError:
    if disks.is_full(error):
        return disks.no_room("a snapshot")
    return PlatformError(f"The snapshot cannot be written: {error.strerror}.")


async def _copy_machine(running: Machine, root: Path, size: Size, folder: Path) -> list[Path] | None:
    """Save the devices, and of the memory the written pages, or all of it: then the files it is in."""
    await running.save_devices(folder / "devices")
    try:
        await asyncio.to_thread(_pages(folder).take, running.pid, root)
    except (PermissionError, FileNotFoundError):  # not on this system: QEMU itself has to write it
        return await running.save_memory(folder, size)
    return None


def _finish(root: Path, folder: Path, whole: list[Path] | None) -> bool:
    """Make the memory one that machines can be made from; whether it is kept as pages."""
    pages, own = _pages(folder), folder / "memory"
    if whole is not None:
        memory.join(whole, own)
        for part in whole:
            part.unlink()
    elif pages.content.stat().st_size > FEW_BYTES:
        pages.lay_on(root, own)
    else:
        own = pages.content
    if own is not pages.content:
        pages.content.unlink(missing_ok=True)
        pages.index.unlink(missing_ok=True)
    return own is pages.content


def _pages(folder: Path) -> Pages:
    return Pages(folder / "pages", folder / "pages.index")
