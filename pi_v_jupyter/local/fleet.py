"""What is done with VMs: made, branched, committed, restored, paused, deleted. The API is its words.

One thing at a time is done with a VM; many VMs at once.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from datetime import UTC, datetime

from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import access, capacity, record, requests, snapshots, store
from pi_v_jupyter.local.base import DEFAULT_SIZE
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
from pi_v_jupyter.local.snapshots import Disk, Snapshot

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
        self._snapshots = snapshots.load_all()
        self._tidiers: set[asyncio.Task[None]] = set()
        self._held: Counter[str] = Counter()  # names of files that nothing on record needs yet

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

    def create(self, config: VMConfig) -> VMRecord:
        """Begin a new root VM; it is `booting` until `started` returns.

        Raises:
            NotPossibleError, NoRoomError: it cannot be.
        """
        size = requests.size_of(config)
        requests.check_labels(config.labels or {})
        self._check_room(size, boots=size != DEFAULT_SIZE)
        return self._add(self._foundry.new(size), size, labels=config.labels or {}, new=True)

    async def delete(self, vm_id: str) -> None:
        """End the VM and remove all that only it needs.

        Raises:
            UnknownError: there is no such VM.
        """
        self._roster.known(vm_id)
        if not await self._forget(vm_id):
            self._roster.known(vm_id)  # somebody was quicker
        await self._sweep()

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
                self._tidy_up_after([vm_id])
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
        async with self._tidying(), self._snapshot(vm_id, keep_paused=keep_paused) as snapshot:
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
        async with self._tidying(), self._snapshot(vm_id, keep_paused=keep_paused) as snapshot:
            return await self._copies(snapshot, count)

    async def restore(self, commit_id: str, count: int = 1) -> Sequence[VMRecord]:
        """New VMs that are what was committed; they run when this returns.

        Raises:
            UnknownError, NoRoomError, PlatformError: all or none: then none was made.
        """
        snapshot = self._snapshots.get(commit_id)
        commit = self.catalog.commit(commit_id)
        if commit is None or snapshot is None:
            raise UnknownError(f"There is no commit {commit_id}.")
        access.claim(count, self.list(), commit)
        async with self._tidying():
            with self._holding(*snapshot.needs):
                return await self._copies(snapshot, count)

    async def delete_commit(self, commit_id: str) -> None:
        """Forget a commit.

        Raises:
            UnknownError, ConflictError: there is none, or something needs it.
        """
        commit = self.catalog.commit(commit_id)
        self.catalog.remove(commit_id, self._made_from)
        async with self._tidying():
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
        await self._sweep(leftovers=True)
        self._tidy_up_after([vm.vm_id for vm in self._roster.starting()])

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
                    running = self._roster.machine(vm_id)
                    snapshot = await snapshots.take(running, vm, Disk(vm.layers), go_on=False)
                    # As in `_snapshot`: a request that fails now sweeps.
                    self._snapshots[snapshot.snapshot_id] = snapshot
                    with self._holding(*snapshot.needs):
                        await asyncio.to_thread(snapshot.write_out)
                        self._roster.change(vm_id, saved=snapshot.snapshot_id, saved_state=vm.state)
                except (PlatformError, OSError) as error:
                    log.warning("%s could not be saved, and goes on: %s", vm_id, error)
                    await self._roster.let_go(vm_id)
                    return
            await self._roster.stop(vm_id)
            if self._roster.get(vm_id) is not None:  # else it was in the making, and who made it undid it
                self._roster.change(vm_id, pid=None, started=None)

    def _bring_back(self, vm: VMRecord, state: VMState) -> None:
        saved = self._snapshots.get(vm.saved or "")
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
            last_commit=self._latest(parent) if parent else None,
            made_by=access.claim(1, self.list()),
            layers=material.layers,
            memory=material.memory,
        )
        self._roster.add(vm, material, KeyPair.generate(), new=new)
        return vm

    def _latest(self, snapshot: Snapshot) -> str | None:
        """The latest commit in the history of machines made from `snapshot`."""
        if self.catalog.commit(snapshot.snapshot_id) is not None:
            return snapshot.snapshot_id
        source = self._roster.get(snapshot.vm_id)
        return source.last_commit if source is not None else None

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

    @contextlib.asynccontextmanager
    async def _snapshot(self, vm_id: str, *, keep_paused: bool) -> AsyncIterator[Snapshot]:
        """The VM as it is now, kept while it is looked at; records have to name it for it to last."""
        self._roster.machine(vm_id)
        async with self._roster.lock(vm_id):
            running = self._roster.machine(vm_id)
            vm = self._roster.known(vm_id)
            paused = vm.state is VMState.PAUSED
            layer = store.new_layer()
            with self._holding(store.name_of(layer)):
                disk = Disk(vm.layers, layer, stacked=store.is_large(store.locate(vm.layers[-1])))
                try:
                    if disk.stacked:
                        # On record before it is there: a daemon that dies meanwhile finds either, and asks.
                        self._roster.change(vm_id, layers=(*vm.layers, store.name_of(layer)))
                        await self._foundry.lay(layer, store.locate(vm.layers[-1]), vm.size)
                    snapshot = await snapshots.take(running, vm, disk, go_on=not (paused or keep_paused))
                except BaseException:
                    await self._roster.set_straight(vm_id)
                    raise
                # Nothing is awaited until it is held: whoever sweeps would take it for something left over.
                self._snapshots[snapshot.snapshot_id] = snapshot
            with self._holding(*snapshot.needs):
                if keep_paused and not paused:
                    self._roster.stands_still(vm_id)
                if not (keep_paused or paused):
                    # Its clock stood still with it. Nobody waits for that: its agent may be broken.
                    self._in_the_background(self._foundry.set_right(running))
                yield snapshot

    def _tidy_up_after(self, starts: Sequence[str]) -> None:
        """Once these VMs are back, what they were saved as may be needed no more."""

        async def tidy_up() -> None:
            async with self._tidying():
                started = (self._roster.started(vm_id) for vm_id in starts)
                await asyncio.gather(*started, return_exceptions=True)

        self._in_the_background(tidy_up())

    def _in_the_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tidiers.add(task)  # the loop alone would let go of it
        task.add_done_callback(self._tidiers.discard)

    @contextlib.asynccontextmanager
    async def _tidying(self) -> AsyncIterator[None]:
        """However it ends, nothing is left that is not needed."""
        try:
            yield
        finally:
            await self._sweep()

    @contextlib.contextmanager
    def _holding(self, *names: str) -> Iterator[None]:
        """Keep these files, which nothing on record needs yet."""
        self._held.update(names)
        try:
            yield
        finally:
            self._held.subtract(names)

    def _made_from(self, commit_id: str) -> builtins.list[str]:
        return [f"VM {vm.called}" for vm in self.list() if vm.parent_commit_id == commit_id]

    async def _sweep(self, *, leftovers: bool = False) -> None:
        """Remove the files that nothing needs any more."""
        wanted = self.catalog.commit_ids() | {vm.saved for vm in self.list() if vm.saved is not None}
        unread = any(store.snapshot_folder(each).exists() for each in wanted - self._snapshots.keys())
        if unread or record.unreadable() or self.catalog.unreadable():
            return  # what they need is not known
        names = self._foundry.needs.union(+self._held, *(vm.needs for vm in self.list()))
        for snapshot_id in wanted & self._snapshots.keys():
            names |= self._snapshots[snapshot_id].needs
        unneeded = store.unneeded(names, leftovers=leftovers)
        for path in unneeded:
            log.info("removing %s, which nothing needs", store.name_of(path))
            self._snapshots.pop(path.name, None)
        await asyncio.to_thread(store.remove, [store.set_aside(path) for path in unneeded])
