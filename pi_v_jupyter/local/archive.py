"""The snapshots of all VMs: taken, kept while something needs them, removed with all that only they need."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.local import record, snapshots, store
from pi_v_jupyter.local.catalog import Catalog
from pi_v_jupyter.local.foundry import Foundry
from pi_v_jupyter.local.record import VMRecord
from pi_v_jupyter.local.roster import Roster
from pi_v_jupyter.local.snapshots import Disk, Snapshot

log = logging.getLogger(__name__)


class Archive:
    """All snapshots of one daemon. What needs a file is a record of a VM or a commit, or whoever holds it."""

    def __init__(self, foundry: Foundry, roster: Roster, catalog: Catalog) -> None:
        self._foundry = foundry
        self._roster = roster
        self._catalog = catalog
        self._snapshots = snapshots.load_all()
        self._tidiers: set[asyncio.Task[None]] = set()
        self._held: Counter[str] = Counter()  # names of files that nothing on record needs yet

    def get(self, snapshot_id: str) -> Snapshot | None:
        """The snapshot of that id."""
        return self._snapshots.get(snapshot_id)

    def latest_commit(self, snapshot: Snapshot) -> str | None:
        """The latest commit in the history of machines made from `snapshot`."""
        if self._catalog.commit(snapshot.snapshot_id) is not None:
            return snapshot.snapshot_id
        source = self._roster.get(snapshot.vm_id)
        return source.last_commit if source is not None else None

    @contextlib.asynccontextmanager
    async def snapshot(self, vm_id: str, *, keep_paused: bool) -> AsyncIterator[Snapshot]:
        """The VM as it is now, kept while it is looked at; records have to name it for it to last."""
        self._roster.machine(vm_id)
        async with self._roster.lock(vm_id):
            running = self._roster.machine(vm_id)
            vm = self._roster.known(vm_id)
            paused = vm.state is VMState.PAUSED
            layer = store.new_layer()
            with self.holding(store.name_of(layer)):
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
            with self._kept(snapshot):
                if keep_paused and not paused:
                    self._roster.stands_still(vm_id)
                if not (keep_paused or paused):
                    # Its clock stood still with it. Nobody waits for that: its agent may be broken.
                    self._in_the_background(self._foundry.set_right(running))
                yield snapshot

    async def save(self, vm: VMRecord) -> None:
        """Put down what the VM is now, on the disk and on its record; it stands still from then on.

        Raises:
            NoRoomError, PlatformError, OSError: it cannot be.
        """
        running = self._roster.machine(vm.vm_id)
        snapshot = await snapshots.take(running, vm, Disk(vm.layers), go_on=False)
        with self._kept(snapshot):
            await asyncio.to_thread(snapshot.write_out)
            self._roster.change(vm.vm_id, saved=snapshot.snapshot_id, saved_state=vm.state)

    @contextlib.contextmanager
    def _kept(self, snapshot: Snapshot) -> Iterator[None]:
        """A new one, from the moment it was taken: whoever sweeps would take it for something left over."""
        self._snapshots[snapshot.snapshot_id] = snapshot
        with self.holding(*snapshot.needs):
            yield

    @contextlib.contextmanager
    def holding(self, *names: str) -> Iterator[None]:
        """Keep these files, which nothing on record needs yet."""
        self._held.update(names)
        try:
            yield
        finally:
            self._held.subtract(names)

    @contextlib.asynccontextmanager
    async def tidying(self) -> AsyncIterator[None]:
        """However it ends, nothing is left that is not needed."""
        try:
            yield
        finally:
            await self.sweep()

    def tidy_up_after(self, starts: Sequence[str]) -> None:
        """Once these VMs are back, what they were saved as may be needed no more."""

        async def tidy_up() -> None:
            async with self.tidying():
                started = (self._roster.started(vm_id) for vm_id in starts)
                await asyncio.gather(*started, return_exceptions=True)

        self._in_the_background(tidy_up())

    def _in_the_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tidiers.add(task)  # the loop alone would let go of it
        task.add_done_callback(self._tidiers.discard)

    async def sweep(self, *, leftovers: bool = False) -> None:
        """Remove the files that nothing needs any more."""
        wanted = self._catalog.commit_ids() | {vm.saved for vm in self._roster.list() if vm.saved is not None}
        unread = any(store.snapshot_folder(each).exists() for each in wanted - self._snapshots.keys())
        if unread or record.unreadable() or self._catalog.unreadable():
            return  # what they need is not known
        names = self._foundry.needs.union(+self._held, *(vm.needs for vm in self._roster.list()))
        for snapshot_id in wanted & self._snapshots.keys():
            names |= self._snapshots[snapshot_id].needs
        unneeded = store.unneeded(names, leftovers=leftovers)
        for path in unneeded:
            log.info("removing %s, which nothing needs", store.name_of(path))
            self._snapshots.pop(path.name, None)
        await asyncio.to_thread(store.remove, [store.set_aside(path) for path in unneeded])
