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
_LARGEST_DISK_MIB = 1024**2
_MOST_LABELS = 64
_LONGEST_LABEL = 256
_PING_TIMEOUT = 3.0  # for an answer that only the log is interested in
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
        _check_labels(config.labels or {})
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
        try:
            vm.save()
            vm.save_key(login)
        except BaseException as error:
            vm.remove()
            if disks.is_full(error):
                raise _disk_full() from None
            raise
        self._records[vm.vm_id] = vm
        start = asyncio.create_task(self._start(vm, size, login))
        self._starts[vm.vm_id] = start
        # Not in the task itself: one that is cancelled before its first step never runs.
        start.add_done_callback(lambda _: self._starts.pop(vm.vm_id))
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
            self._bury(vm.vm_id)

    async def adopt(self) -> None:
        """Take over what an earlier daemon left: running VMs go on, others are dead, strays are ended.

        A VM that runs and cannot be taken over is `unknown`; the next daemon tries again.
        """
        self._records = {vm.vm_id: vm for vm in record.load_all()}
        vms = self.list()
        outcomes = await asyncio.gather(*(self._adopt(vm) for vm in vms), return_exceptions=True)
        for vm, outcome in zip(vms, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                log.error("%s could not be taken over", vm.vm_id, exc_info=outcome)
                self._records[vm.vm_id] = vm.model_copy(update={"state": VMState.UNKNOWN})
        spared = {vm.pid for vm in self.list() if vm.pid is not None}
        unreadable = tuple(f"{paths.runtime_dir().name}:{vm_id}" for vm_id in record.unreadable())
        for stray in machine.left_over(f"{paths.runtime_dir().name}:", spared):
            if unreadable and machine.name_of(stray).startswith(unreadable):
                log.warning("QEMU process %d is of a VM whose record cannot be read: it goes on", stray.pid)
                continue
            log.warning("ending QEMU process %d, which belongs to no VM", stray.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                stray.kill()

    async def _adopt(self, vm: VMRecord) -> None:
        ran = vm.state in (VMState.RUNNING, VMState.UNKNOWN)
        if not ran or vm.pid is None or vm.started is None or not machine.is_there(vm.pid, vm.started):
            log.info("%s is dead", vm.vm_id)
            self._bury(vm.vm_id)
            return
        running = await Machine.adopt(vm.pid, vm.started, vm.wiring())
        try:
            await running.guest.ask("ping", timeout=_PING_TIMEOUT)
        except PlatformError as error:  # a guest that is busy, or broke its agent, is a VM all the same
            log.warning("%s: %s", vm.vm_id, error.message)
        await self._take(vm.vm_id, running)
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
                await self._bring_up(vm, size, login)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                log.error("%s did not come up: %s", vm.vm_id, error)  # noqa: TRY400 - the sentence says all
            self._bury(vm.vm_id)
            if disks.is_full(error):
                raise _disk_full() from None
            if isinstance(error, OSError):
                raise PlatformError(f"The VM cannot be started: {error.strerror}.") from error
            raise
        else:
            log.info("%s runs after %.2f s", vm.vm_id, loop.time() - begun)

    async def _bring_up(self, vm: VMRecord, size: Size, login: KeyPair) -> None:
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
            await self._take(vm.vm_id, running)
        except BaseException:
            self._on_route(vm.vm_id, None)
            self._machines.pop(vm.vm_id, None)
            await running.end()
            raise

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
        self._bury(vm_id)

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
        vm = self._records[vm_id]
        if running is not None:
            await running.end()
        elif vm.pid is not None and vm.started is not None:
            await asyncio.to_thread(machine.kill, vm.pid, vm.started)  # it could not be taken over

    def _bury(self, vm_id: str) -> None:
        """From here on the VM is dead, even where there is no room to write that down."""
        try:
            self._change(vm_id, state=VMState.DEAD, pid=None, started=None)
        except OSError as error:
            log.warning("%s is dead, which could not be written down: %s", vm_id, error.strerror)

    def _change(self, vm_id: str, **fields: object) -> None:
        changed = self._records[vm_id].model_copy(update=fields)
        self._records[vm_id] = changed
        changed.save()


def _disk_full() -> NoRoomError:
    return NoRoomError(
        f"The disk is full: there is no room for a VM in {paths.vms_dir()}.",
        "Delete a VM or free some space, then try again.",
    )


def _check_labels(labels: dict[str, str]) -> None:
    if len(labels) > _MOST_LABELS:
        raise NotPossibleError(f"A VM cannot have {len(labels)} labels.", f"It has {_MOST_LABELS} at most.")
    for text in (*labels.keys(), *labels.values()):
        if len(text) > _LONGEST_LABEL:
            raise NotPossibleError(
                f"A label of {len(text)} characters cannot be.", f"It has {_LONGEST_LABEL} at most."
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotPossibleError("A label is no valid Unicode text.", "Send it as UTF-8.") from None


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
    if size.disk_mib > _LARGEST_DISK_MIB:
        raise NotPossibleError(
            f"A disk of {size.disk_mib} MB cannot be.", f"It has {_LARGEST_DISK_MIB} MB at most."
        )
    if size.memory_mib < _SMALLEST_MEMORY_MIB:
        raise NotPossibleError(
            f"A VM of {size.memory_mib} MB cannot be.", f"It needs {_SMALLEST_MEMORY_MIB} MB at least."
        )
    return size
