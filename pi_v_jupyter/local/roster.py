"""Which VMs there are and what runs each: starts, stops and watches them, takes over a dead daemon's.

A VM's record is on disk before its QEMU runs, so nothing can run that is not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence

import psutil

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import paths, processes, record
from pi_v_jupyter.local.foundry import Foundry, Material
from pi_v_jupyter.local.keys import KeyPair
from pi_v_jupyter.local.machine import Machine
from pi_v_jupyter.local.problems import ConflictError, UnknownError
from pi_v_jupyter.local.record import VMRecord
from pi_v_jupyter.local.starts import Starts

log = logging.getLogger(__name__)

_PING_TIMEOUT = 3.0  # for an answer that only the log is interested in


class Roster:
    """All VMs of one daemon.

    `on_route(vm_id, port)` is told where a VM's SSH server is, or None; `connect(vm_id)` gives QEMU's two
    ends of its way to the outside (`Sieve`).
    """

    def __init__(
        self,
        foundry: Foundry,
        on_route: Callable[[str, int | None], None],
        connect: Callable[[str], tuple[socket.socket, socket.socket]],
    ) -> None:
        self._foundry = foundry
        self._on_route = on_route
        self._connect = connect
        self._records: dict[str, VMRecord] = {}
        self._machines: dict[str, Machine] = {}
        self._starts = Starts(self.bury)
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def list(self) -> list[VMRecord]:
        """All VMs, oldest first."""
        return sorted(self._records.values(), key=lambda vm: vm.created_at)

    def get(self, vm_id: str) -> VMRecord | None:
        """The VM of that id."""
        return self._records.get(vm_id)

    def known(self, vm_id: str) -> VMRecord:
        """The VM of that id.

        Raises:
            UnknownError: there is none.
        """
        vm = self._records.get(vm_id)
        if vm is None:
            raise UnknownError(f"There is no VM {vm_id}.")
        return vm

    def starting(self) -> Sequence[VMRecord]:
        """Those that are being made."""
        return [self._records[vm_id] for vm_id in self._starts.under_way()]

    def machine(self, vm_id: str) -> Machine:
        """What runs the VM, or holds it while it is paused.

        Raises:
            UnknownError, ConflictError: there is no such VM, or nothing runs it.
        """
        vm = self.known(vm_id)
        running = self._machines.get(vm_id)
        if running is None:
            raise ConflictError(f"VM {vm.called} is {vm.state.value}.", _NEXT_STEP.get(vm.state, ""))
        return running

    def lock(self, vm_id: str) -> asyncio.Lock:
        """Held by whoever changes what the VM does."""
        return self._locks.setdefault(vm_id, asyncio.Lock())

    def change(self, vm_id: str, **fields: object) -> VMRecord:
        """Change the VM's record, on disk too."""
        changed = self._records[vm_id].model_copy(update=fields)
        changed.save()
        self._records[vm_id] = changed
        return changed

    def add(self, vm: VMRecord, material: Material, login: KeyPair, *, new: bool) -> None:
        """Put a VM on record and begin to make it; `started` waits for it. `new`: it is no copy.

        Raises:
            NoRoomError: the disk is full.
        """
        try:
            vm.save_key(login)  # first: a VM on record has its key
            vm.save()
        except BaseException:
            vm.remove()
            raise
        self._records[vm.vm_id] = vm
        self._starts.begin(vm.vm_id, lambda: self._make(vm.vm_id, material, login, new=new))

    def start_again(self, vm_id: str, material: Material, state: VMState) -> None:
        """Begin to bring back a VM that nothing runs, to `state`; `started` waits for it."""
        vm = self.change(vm_id, state=VMState.BOOTING, memory=material.memory, reason=None)
        login = KeyPair.load(vm.private_key())
        self._starts.begin(vm_id, lambda: self._bring_back(vm_id, material, login, state))

    async def started(self, vm_id: str) -> None:
        """Wait until the VM runs.

        Raises:
            PlatformError: it does not come up.
            UnknownError: it was ended while it was being made.
        """
        await self._starts.wait(vm_id)

    async def pause(self, vm_id: str) -> None:
        """Have the VM stand still."""
        await self.machine(vm_id).pause()
        self.stands_still(vm_id)

    def stands_still(self, vm_id: str) -> None:
        """Take note that the VM was paused."""
        self._on_route(vm_id, None)
        self.change(vm_id, state=VMState.PAUSED)

    async def resume(self, vm_id: str) -> None:
        """Have a VM that stands still run."""
        running = self.machine(vm_id)
        await self._wake(vm_id, running)
        self._on_route(vm_id, await running.ssh_port())
        self.change(vm_id, state=VMState.RUNNING)

    async def _wake(self, vm_id: str, running: Machine) -> None:
        await running.go_on()
        try:
            await self._foundry.set_right(running)
        except PlatformError as error:  # a guest that broke its agent is a VM all the same
            log.warning("%s does not have the time: %s", vm_id, error.message)

    async def stop(self, vm_id: str) -> None:
        """End what runs the VM, or its making."""
        await self._starts.stop(vm_id)
        watcher = self._watchers.pop(vm_id, None)
        if watcher is not None:
            watcher.cancel()
        self._on_route(vm_id, None)
        running = self._machines.pop(vm_id, None)
        vm = self._records[vm_id]
        if running is not None:
            await running.end()
        elif vm.pid is not None and vm.started is not None:
            await asyncio.to_thread(processes.kill, vm.pid, vm.started)  # it could not be taken over

    async def let_go(self, vm_id: str) -> None:
        """Leave the VM to itself, as it was."""
        await self.set_straight(vm_id)
        watcher = self._watchers.pop(vm_id, None)
        if watcher is not None:
            watcher.cancel()
        self._on_route(vm_id, None)
        running = self._machines.pop(vm_id, None)
        if running is not None:
            await running.leave()

    async def remove(self, vm_id: str) -> None:
        """End the VM and forget it."""
        await self.stop(vm_id)
        vm = self._records.pop(vm_id)
        self._locks.pop(vm_id, None)
        await asyncio.to_thread(vm.remove)
        log.info("%s deleted", vm_id)

    def bury(self, vm_id: str, why: str) -> None:
        """From here on the VM is dead, even where there is no room to write that down."""
        log.warning("%s is dead: %s", vm_id, why)
        fields = {"state": VMState.DEAD, "pid": None, "started": None, "reason": why}
        try:
            self.change(vm_id, **fields)
        except PlatformError as error:
            log.warning("that could not be written down: %s", error.message)
            self._records[vm_id] = self._records[vm_id].model_copy(update=fields)

    async def adopt(self) -> None:
        """Take over what an earlier daemon left: running VMs go on, strays are ended.

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
        for stray in processes.left_over(f"{paths.runtime_dir().name}:", spared):
            if unreadable and processes.name_of(stray).startswith(unreadable):
                log.warning("QEMU process %d is of a VM whose record cannot be read: it goes on", stray.pid)
                continue
            log.warning("ending QEMU process %d, which belongs to no VM", stray.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                stray.kill()

    async def _adopt(self, vm: VMRecord) -> None:
        runs = vm.pid is not None and vm.started is not None and processes.is_there(vm.pid, vm.started)
        woken = runs and vm.state is VMState.BOOTING and vm.saved_state is not None  # it only lacked the time
        if vm.saved is not None or not (woken or vm.state in _ALIVE):
            # One that was saved has not run since; one in the making has not been anybody's.
            if runs:
                processes.kill(vm.pid or 0, vm.started or 0.0)
            if vm.saved is not None:
                self.change(vm.vm_id, pid=None, started=None)
            elif vm.state is not VMState.DEAD:
                self.bury(vm.vm_id, "The platform ended while it was being made.")
            return
        if not runs:
            self.bury(vm.vm_id, "Its QEMU ended while the platform was down.")
            return
        running = await Machine.adopt(vm.pid or 0, vm.started or 0.0, vm.wiring(restored=True))
        self._machines[vm.vm_id] = running
        await self.set_straight(vm.vm_id)
        paused = vm.state is VMState.PAUSED
        if not paused:
            try:
                await running.guest.ask("ping", timeout=_PING_TIMEOUT)
            except PlatformError as error:  # a guest that is busy, or broke its agent, is a VM all the same
                log.warning("%s: %s", vm.vm_id, error.message)
        await running.let_out(*self._connect(vm.vm_id))
        await self._take(vm.vm_id, running, VMState.PAUSED if paused else VMState.RUNNING)
        log.info("%s goes on", vm.vm_id)

    async def set_straight(self, vm_id: str) -> None:
        """Have record and machine agree, where something failed between the two. A VM that ended is left."""
        running, vm = self._machines.get(vm_id), self._records[vm_id]
        if running is None or not running.runs():
            return
        layer = (await running.layer()).name
        at = [name.rpartition("/")[2] for name in vm.layers].index(layer)
        self.change(vm_id, layers=vm.layers[: at + 1])
        if vm.state is not VMState.PAUSED and await running.is_paused():
            await running.go_on()

    async def _make(self, vm_id: str, material: Material, login: KeyPair, *, new: bool) -> None:
        running = await self._start(vm_id, material)
        try:
            booted = material.devices is None
            if not booted:
                await running.go_on()
            vm = self._records[vm_id]
            await self._foundry.make_own(vm, running, booted=booted, login=login, new=new)
            await self._take(vm_id, running, VMState.RUNNING)
        except BaseException:
            await self._undo(vm_id, running)
            raise

    async def _bring_back(self, vm_id: str, material: Material, login: KeyPair, state: VMState) -> None:
        running = await self._start(vm_id, material)
        try:
            if material.devices is None:
                vm = self._records[vm_id]
                await self._foundry.make_own(vm, running, booted=True, login=login, new=False)
                state = VMState.RUNNING
            elif state is VMState.RUNNING:
                self.change(vm_id, saved=None)  # once it has run it is not what was saved
                await self._wake(vm_id, running)
            self.change(vm_id, saved=None)
            await self._take(vm_id, running, state)
        except BaseException:
            await self._undo(vm_id, running)
            raise

    async def _start(self, vm_id: str, material: Material) -> Machine:
        running = await self._foundry.start(self._records[vm_id], material)
        try:
            self.change(vm_id, pid=running.pid, started=running.started)
            await running.let_out(*self._connect(vm_id))
        except BaseException:
            await running.end()  # what is not on record must not run
            raise
        return running

    async def _undo(self, vm_id: str, running: Machine) -> None:
        self._on_route(vm_id, None)
        self._machines.pop(vm_id, None)
        await running.end()

    async def _take(self, vm_id: str, running: Machine, state: VMState) -> None:
        """From here on the VM is watched, and reachable if it runs."""
        if state is VMState.RUNNING:
            self._on_route(vm_id, await running.ssh_port())
        self._machines[vm_id] = running
        self.change(vm_id, state=state, pid=running.pid, started=running.started, reason=None)
        self._watchers[vm_id] = asyncio.create_task(self._watch(vm_id, running))

    async def _watch(self, vm_id: str, running: Machine) -> None:
        await running.ended()
        self._on_route(vm_id, None)
        self._machines.pop(vm_id, None)
        self.bury(vm_id, "Its QEMU has ended.")
        await running.end()  # what is left of it: our ends of its sockets


_ALIVE = (VMState.RUNNING, VMState.PAUSED, VMState.UNKNOWN)
_NEXT_STEP = {
    VMState.BOOTING: "Try again when it runs.",
    VMState.RUNNING: "It is being ended.",
    VMState.DEAD: "Bring it back with state Running: it boots from its disk; or restore its last commit.",
}
