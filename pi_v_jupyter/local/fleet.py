"""What is done with VMs: made, branched, committed, restored, paused, deleted. The API is its words.

One thing at a time is done with a VM; many VMs at once.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import access, capacity, requests
from pi_v_jupyter.local.archive import Archive
from pi_v_jupyter.local.capacity import Limits
from pi_v_jupyter.local.catalog import Catalog
from pi_v_jupyter.local.commits import LONGEST_DESCRIPTION, LONGEST_NAME, CommitRecord, check_text
from pi_v_jupyter.local.foundry import Foundry, Material
from pi_v_jupyter.local.guestlink import GuestLink
from pi_v_jupyter.local.hardware import Size
from pi_v_jupyter.local.keys import KeyPair
from pi_v_jupyter.local.problems import ConflictError, NotPossibleError, UnknownError
from pi_v_jupyter.local.record import VMRecord
from pi_v_jupyter.local.roster import Roster
from pi_v_jupyter.local.snapshots import Snapshot

log = logging.getLogger(__name__)

_GROW_TIMEOUT = 300.0


class Fleet:
    """All VMs and commits of one daemon."""

    def __init__(
        self, foundry: Foundry, roster: Roster, catalog: Catalog, limits: Limits, owner_id: str
    ) -> None:
        self.catalog = catalog
        self.owner_id = owner_id
        self._foundry = foundry
        self._roster = roster
        self._limits = limits
        self._archive = Archive(foundry, roster, catalog)

    def list(self) -> list[VMRecord]:
        """All VMs, oldest first."""
        return self._roster.list()

    def get(self, vm_id: str) -> VMRecord | None:
        """The VM of that id."""
        return self._roster.get(vm_id)

    async def started(self, vm_id: str) -> None:
        """Wait until the VM runs.

        Raises:
            PlatformError: it does not come up.
        """
        await self._roster.started(vm_id)

    def guest(self, vm_id: str) -> GuestLink:
        """The line to our agent in the VM, which runs.

        Raises:
            UnknownError, ConflictError: there is no such VM, or it does not run.
        """
        self._needs_to_run(vm_id)
        return self._roster.machine(vm_id).guest

    async def prepare(self, config: VMConfig) -> None:
        """Have what `create` needs for that; the first VM of an image may take as long as a boot.

        Raises:
            NotPossibleError, ImageError: it cannot be.
        """
        await self._foundry.prepare(requests.image_of(config))

    def create(self, config: VMConfig) -> VMRecord:
        """Begin a new root VM, of an image that is prepared; it is `booting` until `started` returns.

        Raises:
            NotPossibleError, NoRoomError: it cannot be.
        """
        size = requests.size_of(config)
        requests.check_labels(config.labels or {})
        name = requests.image_of(config)
        self._check_room(size, boots=not self._foundry.at_once(size, name))
        return self._add(self._foundry.new(size, name), size, labels=config.labels or {}, new=True)

    async def delete(self, vm_id: str) -> None:
        """End the VM and remove all that only it needs.

        Raises:
            UnknownError: there is no such VM.
        """
        self._roster.known(vm_id)
        if not await self._forget(vm_id):
            self._roster.known(vm_id)  # somebody was quicker
        await self._archive.sweep()

    async def _forget(self, vm_id: str) -> bool:
        """End the VM; whether it was there."""
        async with self._roster.lock(vm_id):
            there = self._roster.get(vm_id) is not None
            if there:
                await self._roster.remove(vm_id)
            return there

    async def set_state(self, vm_id: str, state: VMState) -> None:
        """Pause the VM or have it run. A dead one is brought back: it boots from its disk.

        Raises:
            UnknownError, ConflictError, NoRoomError: it cannot be now.
        """
        self._roster.known(vm_id)
        async with self._roster.lock(vm_id):
            vm = self._roster.known(vm_id)
            if vm.state is state:
                return
            if vm.state is VMState.DEAD and state is VMState.RUNNING:
                self._bring_back(vm, state)
                self._archive.tidy_up_after([vm_id])
            elif state is VMState.PAUSED:
                self._needs_to_run(vm_id)
                await self._roster.pause(vm_id)
            else:
                await self._roster.resume(vm_id)
        await self._roster.started(vm_id)

    async def commit(
        self, vm_id: str, *, name: str | None, description: str | None, keep_paused: bool
    ) -> CommitRecord:
        """Keep what the VM is now, from which others can be restored at any time.

        Raises:
            UnknownError, ConflictError, NotPossibleError, NoRoomError: it cannot be now.
        """
        check_text("name", name or "", LONGEST_NAME)
        check_text("description", description or "", LONGEST_DESCRIPTION)
        async with (
            self._archive.tidying(),
            self._archive.snapshot(vm_id, keep_paused=keep_paused) as snapshot,
        ):
            await asyncio.to_thread(snapshot.write_out)
            commit = self.catalog.add(
                CommitRecord(
                    commit_id=snapshot.snapshot_id,
                    name=name or "",
                    description=description,
                    created_at=snapshot.created_at,
                    owner_id=self.owner_id,
                    parent_vm_id=vm_id,
                    grandparent_commit_id=self._roster.known(vm_id).last_commit,
                    made_by=access.makers(),
                )
            )
            self._roster.change(vm_id, last_commit=commit.commit_id)
        return commit

    async def branch(self, vm_id: str, count: int, *, keep_paused: bool) -> Sequence[VMRecord]:
        """New VMs that are what this one is now; they run when this returns.

        Raises:
            UnknownError, ConflictError, NoRoomError, PlatformError: all or none: then none was made.
        """
        self._check_room(self._roster.known(vm_id).size, count)
        access.claim(count, self.list())
        async with (
            self._archive.tidying(),
            self._archive.snapshot(vm_id, keep_paused=keep_paused) as snapshot,
        ):
            return await self._copies(snapshot, count)

    async def restore(self, commit_id: str, count: int = 1) -> Sequence[VMRecord]:
        """New VMs that are what was committed; they run when this returns.

        Raises:
            UnknownError, NoRoomError, PlatformError: all or none: then none was made.
        """
        snapshot = self._archive.get(commit_id)
        commit = self.catalog.commit(commit_id)
        if commit is None or snapshot is None:
            raise UnknownError(f"There is no commit {commit_id}.")
        access.claim(count, self.list(), commit)
        async with self._archive.tidying():
            with self._archive.holding(*snapshot.needs):
                return await self._copies(snapshot, count)

    async def delete_commit(self, commit_id: str) -> None:
        """Forget a commit.

        Raises:
            UnknownError, ConflictError: there is none, or something needs it.
        """
        commit = self.catalog.commit(commit_id)
        self.catalog.remove(commit_id, self._made_from)
        async with self._archive.tidying():
            for vm in self.list():
                if commit is not None and vm.last_commit == commit_id:
                    self._roster.change(vm.vm_id, last_commit=commit.grandparent_commit_id)

    async def grow_disk(self, vm_id: str, fs_size_mib: int) -> None:
        """Make the disk of a running VM, and the file system on it, larger.

        Raises:
            UnknownError, ConflictError, NotPossibleError, NoRoomError: it cannot be now.
        """
        self._needs_to_run(vm_id)
        async with self._roster.lock(vm_id):
            vm = self._needs_to_run(vm_id)
            if fs_size_mib <= vm.size.disk_mib:
                raise NotPossibleError(
                    f"The disk has {vm.size.disk_mib} MB and cannot become {fs_size_mib} MB.",
                    "A disk can only grow.",
                )
            requests.check_size(Size(vm.size.vcpus, vm.size.memory_mib, fs_size_mib), vm.size.disk_mib)
            others = [each for each in self.list() if each.vm_id != vm_id]
            self._check_room(Size(0, 0, fs_size_mib), vms=others)
            running = self._roster.machine(vm_id)
            await running.grow_disk(fs_size_mib)
            self._roster.change(vm_id, fs_size_mib=fs_size_mib)
            await running.guest.ask("grow_disk", timeout=_GROW_TIMEOUT)

    def label(self, vm_id: str, labels: dict[str, str], *, replace: bool) -> VMRecord:
        """Add labels to a VM, or replace all it has.

        Raises:
            UnknownError, NotPossibleError: it cannot be.
        """
        vm = self._roster.known(vm_id)
        wanted = labels if replace else vm.labels | labels
        requests.check_labels(wanted)
        return self._roster.change(vm_id, labels=wanted)

    def unlabel(self, vm_id: str, name: str) -> VMRecord:
        """Take a label from a VM.

        Raises:
            UnknownError: there is no such VM, or it has no such label.
        """
        vm = self._roster.known(vm_id)
        if name not in vm.labels:
            raise UnknownError(f"VM {vm.called} has no label {name}.")
        return self._roster.change(vm_id, labels={k: v for k, v in vm.labels.items() if k != name})

    async def begin(self) -> None:
        """Take over what an earlier daemon left, and begin to bring back what it saved."""
        await self._roster.adopt()
        for vm in self.list():
            if vm.saved is not None:
                try:
                    self._bring_back(vm, vm.saved_state or VMState.RUNNING)
                except PlatformError as error:
                    self._roster.bury(vm.vm_id, error.message)
        await self._archive.sweep(leftovers=True)
        self._archive.tidy_up_after([vm.vm_id for vm in self._roster.starting()])

    async def end(self) -> None:
        """Save every VM and end what runs it; `begin` of the next daemon brings them back.

        One that cannot be saved goes on without us, for that daemon to take over.
        """
        done: set[str] = set()
        while vms := [vm.vm_id for vm in self.list() if vm.vm_id not in done]:  # a branch may still make some
            put_away = await asyncio.gather(*map(self._put_away, vms), return_exceptions=True)
            for vm_id, outcome in zip(vms, put_away, strict=True):
                if isinstance(outcome, BaseException):
                    log.error("%s could not be put away", vm_id, exc_info=outcome)
            done.update(vms)

    async def _put_away(self, vm_id: str) -> None:
        vm = self._roster.get(vm_id)
        if vm is not None and vm.saved_state is not None:
            # It may be on its way back: it is no more what was saved, and not yet what can be saved.
            with contextlib.suppress(PlatformError):
                await self._roster.started(vm_id)
        async with self._roster.lock(vm_id):
            vm = self._roster.get(vm_id)
            if vm is None:
                return
            if vm.state in (VMState.RUNNING, VMState.PAUSED):
                try:
                    await self._archive.save(vm)
                except (PlatformError, OSError) as error:
                    log.warning("%s could not be saved, and goes on: %s", vm_id, error)
                    await self._roster.let_go(vm_id)
                    return
            await self._roster.stop(vm_id)
            if self._roster.get(vm_id) is not None:  # else it was in the making, and who made it undid it
                self._roster.change(vm_id, pid=None, started=None)

    def _bring_back(self, vm: VMRecord, state: VMState) -> None:
        saved = self._archive.get(vm.saved or "")
        material = self._foundry.again(vm, saved)
        others = [each for each in self.list() if each.vm_id != vm.vm_id]
        self._check_room(vm.size, boots=material.devices is None, vms=others)
        self._roster.start_again(vm.vm_id, material, state)

    def _needs_to_run(self, vm_id: str) -> VMRecord:
        vm = self._roster.known(vm_id)
        if vm.state is VMState.PAUSED:
            raise ConflictError(f"VM {vm.called} is paused.", "Resume it first.")
        self._roster.machine(vm_id)
        return vm

    def _check_room(
        self, size: Size, count: int = 1, *, boots: bool = False, vms: Sequence[VMRecord] | None = None
    ) -> None:
        there = self.list() if vms is None else vms
        capacity.check_room(self._limits, there, self._roster.starting(), size, count=count, boots=boots)

    def _add(
        self,
        material: Material,
        size: Size,
        *,
        labels: dict[str, str],
        new: bool,
        parent: Snapshot | None = None,
    ) -> VMRecord:
        vm = VMRecord(
            vm_id=str(uuid.uuid4()),
            owner_id=self.owner_id,
            state=VMState.BOOTING,
            created_at=datetime.now(UTC),
            labels=labels,
            ip="10.0.2.15",
            vcpu_count=size.vcpus,
            mem_size_mib=size.memory_mib,
            fs_size_mib=size.disk_mib,
            parent_commit_id=parent.snapshot_id if parent else None,
            grandparent_vm_id=parent.vm_id if parent else None,
            image=material.image,
            machine=self._foundry.digest(size),
            last_commit=self._archive.latest_commit(parent) if parent else None,
            made_by=access.claim(1, self.list()),
            layers=material.layers,
            memory=material.memory,
        )
        self._roster.add(vm, material, KeyPair.generate(), new=new)
        return vm

    async def _copies(self, snapshot: Snapshot, count: int) -> Sequence[VMRecord]:
        boots = snapshot.machine != self._foundry.digest(snapshot.size)
        self._check_room(snapshot.size, count, boots=boots)
        made: list[VMRecord] = []
        try:
            for _ in range(count):
                made.append(
                    self._add(
                        self._foundry.copy(snapshot), snapshot.size, labels={}, new=False, parent=snapshot
                    )
                )
            async with asyncio.TaskGroup() as group:
                for vm in made:
                    group.create_task(self._roster.started(vm.vm_id))
        except BaseException as error:
            await asyncio.gather(*(self._forget(vm.vm_id) for vm in made))
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise
        return [self._roster.known(vm.vm_id) for vm in made]

    def _made_from(self, commit_id: str) -> builtins.list[str]:
        return [f"VM {vm.called}" for vm in self.list() if vm.parent_commit_id == commit_id]
