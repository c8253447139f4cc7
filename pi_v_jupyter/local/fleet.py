"""Which VMs there are: creates, lists, deletes them, and takes over those of a daemon that died.

The default size is restored from the `Base` in well under a second; any other size boots. A VM's record
is on disk before its QEMU runs, so nothing can run that is not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import psutil

from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import disks, machine, paths, record
from pi_v_jupyter.local.base import BOOT_TIMEOUT, DEFAULT_SIZE, Base, personalize
from pi_v_jupyter.local.hardware import Size
from pi_v_jupyter.local.image import Image
from pi_v_jupyter.local.keys import KeyPair
from pi_v_jupyter.local.machine import Machine
from pi_v_jupyter.local.record import VMRecord

log = logging.getLogger(__name__)

_AT_ONCE = 4  # starts under way at a time; more would only slow each other down
_OVERHEAD_MIB = 128  # QEMU's own memory beyond the guest's
_SMALLEST_MEMORY_MIB = 128
_IMAGE_NAMES = (None, "default")


class NotPossibleError(PlatformError):
    """A VM of that configuration cannot be; another could."""


class NoRoomError(PlatformError):
    """This computer has no room for the VM now."""


class Fleet:
    """All VMs of one daemon. `on_route(vm_id, port)` is told where a VM's SSH server is, or None."""

    def __init__(
        self,
        image: Image,
        base: Base,
        accelerator: str,
        owner_id: str,
        on_route: Callable[[str, int | None], None],
    ) -> None:
        self._image = image
        self._base = base
        self._accelerator = accelerator
        self.owner_id = owner_id
        self._on_route = on_route
        self._records: dict[str, VMRecord] = {}
        self._machines: dict[str, Machine] = {}
        self._starts: dict[str, asyncio.Task[None]] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._start_slots = asyncio.Semaphore(_AT_ONCE)

    def list(self) -> list[VMRecord]:
        """All VMs, oldest first."""
        return list(self._records.values())

    def get(self, vm_id: str) -> VMRecord | None:
        """The VM of that id."""
        return self._records.get(vm_id)

    def create(self, config: VMConfig) -> VMRecord:
        """Begin a new VM; it is `booting` until `started` returns.

        Raises:
            NotPossibleError, NoRoomError: it cannot be.
        """
        size = _size(config)
        self._check_room(size)
        vm = VMRecord(
            vm_id=str(uuid.uuid4()),
            owner_id=self.owner_id,
            state=VMState.BOOTING,
            created_at=datetime.now(UTC),
            labels=config.labels or {},
            ip="10.0.2.15",
            vcpu_count=size.vcpus,
            mem_size_mib=size.memory_mib,
            fs_size_mib=size.disk_mib,
            image=self._image.digest,
            base=self._base.folder.name,
        )
        login = KeyPair.generate()
        vm.save()
        vm.save_key(login)
        self._records[vm.vm_id] = vm
        self._starts[vm.vm_id] = asyncio.create_task(self._start(vm, size, login))
        return vm

    async def started(self, vm_id: str) -> None:
        """Wait until the VM runs.

        Raises:
            PlatformError: it does not come up.
        """
        start = self._starts.get(vm_id)
        if start is not None:
            await asyncio.shield(start)

    async def delete(self, vm_id: str) -> None:
        """End the VM and remove all that is kept of it."""
        await self._stop(vm_id)
        vm = self._records.pop(vm_id)
        await asyncio.to_thread(vm.remove)
        log.info("%s deleted", vm_id)

    async def end_all(self) -> None:
        """End every VM. Records and disks stay; the next daemon lists them as dead."""
        await asyncio.gather(*(self._stop(vm_id) for vm_id in list(self._records)))
        for vm in self.list():
            self._change(vm.vm_id, state=VMState.DEAD, pid=None, started=None)

    async def adopt(self) -> None:
        """Take over what an earlier daemon left: running VMs go on, others are dead, strays are ended."""
        self._records = {vm.vm_id: vm for vm in record.load_all()}
        await asyncio.gather(*(self._adopt(vm) for vm in self.list()))
        known = {running.pid for running in self._machines.values()}
        for stray in machine.left_over(f"{paths.runtime_dir().name}:", known):
            log.warning("ending QEMU process %d, which belongs to no VM", stray.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                stray.kill()

    async def _adopt(self, vm: VMRecord) -> None:
        if vm.state is not VMState.RUNNING or vm.pid is None or vm.started is None:
            self._change(vm.vm_id, state=VMState.DEAD, pid=None, started=None)
            return
        try:
            running = await Machine.adopt(vm.pid, vm.started, vm.wiring())
            await running.guest.ask("ping", timeout=20)
            await self._take(vm.vm_id, running)
        except PlatformError as error:
            log.info("%s is dead: %s", vm.vm_id, error.message)
            self._change(vm.vm_id, state=VMState.DEAD, pid=None, started=None)
        else:
            log.info("%s goes on", vm.vm_id)

    def _check_room(self, size: Size) -> None:
        # What is being started has not taken its memory yet.
        promised = sum((self._records[vm_id].mem_size_mib or 0) + _OVERHEAD_MIB for vm_id in self._starts)
        free = psutil.virtual_memory().available // 1024**2 - promised
        if size.memory_mib + _OVERHEAD_MIB > free:
            raise NoRoomError(
                f"A VM of {size.memory_mib} MB does not fit: {free} MB of memory are free on this computer.",
                "Delete a VM or ask for a smaller one.",
            )

    async def _start(self, vm: VMRecord, size: Size, login: KeyPair) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with self._start_slots:
                running = await self._bring_up(vm, size, login)
            await self._take(vm.vm_id, running)
        except (PlatformError, OSError) as error:
            log.error("%s did not come up: %s", vm.vm_id, error)  # noqa: TRY400 - the sentence says it all
            self._change(vm.vm_id, state=VMState.DEAD, pid=None, started=None)
            raise
        else:
            log.info("%s runs after %.2f s", vm.vm_id, loop.time() - begun)
        finally:
            del self._starts[vm.vm_id]

    async def _bring_up(self, vm: VMRecord, size: Size, login: KeyPair) -> Machine:
        restored = size == DEFAULT_SIZE
        wiring = vm.wiring(memory_file=self._base.memory if restored else None)
        if restored:
            await asyncio.to_thread(disks.overlay, wiring.disk, self._base.disk, "qcow2")
        else:
            log.info("%s boots: only %s is kept ready", vm.vm_id, DEFAULT_SIZE)
            await asyncio.to_thread(disks.overlay, wiring.disk, self._image.disk, "raw", size.disk_mib)
        running = await Machine.start(
            self._image,
            size,
            self._accelerator,
            wiring,
            name=vm.process_name,
            log=vm.folder / "qemu.log",
        )
        try:
            self._change(vm.vm_id, pid=running.pid, started=running.started)
            if restored:
                await running.load(self._base.devices)
            else:
                await running.guest.ask("ping", timeout=BOOT_TIMEOUT)
                await running.guest.ask("grow_disk", timeout=BOOT_TIMEOUT)
            await personalize(running.guest, name=vm.name, login=login, host=KeyPair.generate())
        except BaseException:
            await running.end()
            raise
        return running

    async def _take(self, vm_id: str, running: Machine) -> None:
        """From here on the VM is reachable and watched."""
        self._on_route(vm_id, await running.ssh_port())
        self._machines[vm_id] = running
        self._change(vm_id, state=VMState.RUNNING, pid=running.pid, started=running.started)
        self._watchers[vm_id] = asyncio.create_task(self._watch(vm_id, running))

    async def _watch(self, vm_id: str, running: Machine) -> None:
        await running.ended()
        log.warning("%s died: its QEMU has ended", vm_id)
        self._on_route(vm_id, None)
        self._machines.pop(vm_id, None)
        self._change(vm_id, state=VMState.DEAD, pid=None, started=None)

    async def _stop(self, vm_id: str) -> None:
        start = self._starts.get(vm_id)
        if start is not None:
            start.cancel()
            await asyncio.wait([start])
        watcher = self._watchers.pop(vm_id, None)
        if watcher is not None:
            watcher.cancel()
        self._on_route(vm_id, None)
        running = self._machines.pop(vm_id, None)
        if running is not None:
            await running.end()

    def _change(self, vm_id: str, **fields: object) -> None:
        changed = self._records[vm_id].model_copy(update=fields)
        self._records[vm_id] = changed
        changed.save()


def _size(config: VMConfig) -> Size:
    """The size asked for. A disk smaller than the image's is not to be had: it gets the image's."""
    if config.image_name not in _IMAGE_NAMES:
        raise NotPossibleError(f"There is no image {config.image_name!r} here.", "The only one is 'default'.")
    size = Size(
        vcpus=config.vcpu_count or DEFAULT_SIZE.vcpus,
        memory_mib=config.mem_size_mib or DEFAULT_SIZE.memory_mib,
        disk_mib=max(config.fs_size_mib or 0, DEFAULT_SIZE.disk_mib),
    )
    processors = os.cpu_count() or 1
    if size.vcpus > processors:
        raise NotPossibleError(
            f"A VM of {size.vcpus} vCPUs cannot be: this computer has {processors} processors."
        )
    if size.memory_mib < _SMALLEST_MEMORY_MIB:
        raise NotPossibleError(
            f"A VM of {size.memory_mib} MB cannot be.", f"It needs {_SMALLEST_MEMORY_MIB} MB at least."
        )
    return size
