"""Branches that planned commands run in, so that whatever they do is done to a machine that is thrown away.

One for each VM, made when it is first needed, made anew when the VM has changed, and deleted at the end. A
branch is on record before it exists: a later kernel finds what a killed one has left, and deletes it.

A platform does not tell that a VM has changed. So the VM is asked what it has written to its disks since it
was started, and how much it holds in memory file systems; what shows in neither, such as another process, is
up to `LONGEST` old in the branch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field

import psutil

from pi_v_jupyter.api.exchange import new_key
from pi_v_jupyter.errors import NotFoundError, SettingsError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.owners import host, runs
from pi_v_jupyter.vm import VM

KIND = "asides"  # in our state, by the key of the call that made one
LONGEST = 30.0  # seconds that a branch is used
# What is written is on its way to the disk for a while; `sync` has it counted. `written`: in sectors.
PROBE = """\
sync
while read -r _ _ disk _ _ _ _ _ _ written _; do
  case $disk in loop*|ram*|zram*) ;; *) echo "$disk $written" ;; esac
done </proc/diskstats
read -r boot </proc/sys/kernel/random/boot_id; echo "$boot"
while read -r name size _; do [ "$name" != Shmem: ] || echo "$size"; done </proc/meminfo
"""
PROBE_TIMEOUT = 20.0  # seconds


@dataclass(frozen=True)
class Record:
    """A branch that is asked for by a call under `key`, of the VM `source`; then also which it is: `made`."""

    key: str
    source: str
    made: str = ""
    host: str = field(default_factory=host)
    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=lambda: psutil.Process().create_time())

    @property
    def left(self) -> bool:
        """Is nobody there any more who would delete it?"""
        return self.host == host() and not runs(self.pid, self.started)

    @property
    def ours(self) -> bool:
        """Was it asked for by this process?"""
        return self.host == host() and self.pid == os.getpid()


@dataclass
class Aside:
    """A branch: `seen` is what its source was like before, `since` when (by time.monotonic)."""

    vm: VM
    record: Record
    seen: str
    since: float
    took: float
    """Seconds until commands could run there."""
    users: int = 0
    stale: bool = False


class Asides:
    """Those of one session. Lives on the fleet's home loop."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._turns: dict[str, asyncio.Lock] = {}
        self._there: list[Aside] = []
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def _platform(self) -> str:
        return self._fleet.settings.base_url

    def of(self, vm: VM) -> Aside | None:
        """The one of a VM, if it has one."""
        return next((each for each in self._there if each.record.source == vm.id and not each.stale), None)

    async def take(self, vm: VM) -> Aside:
        """The branch of a VM as that is now, to be given back by `give_back`."""
        async with self._turns.setdefault(vm.id, asyncio.Lock()):
            seen = (await vm.run(PROBE, cwd="/", timeout=PROBE_TIMEOUT)).stdout
            aside = self.of(vm)
            if aside is not None and not await self._is_fresh(aside, seen):
                self._retire(aside)
                aside = None
            if aside is None:
                aside = await self._make(vm, seen)
                self._there.append(aside)
            aside.users += 1
            return aside

    def give_back(self, aside: Aside) -> None:
        """No command of the one who took it runs there any more."""
        aside.users -= 1
        self._end_if_unused(aside)

    async def _is_fresh(self, aside: Aside, seen: str) -> bool:
        if aside.seen != seen or time.monotonic() - aside.since > LONGEST:
            return False
        try:
            await aside.vm.check()
        except VersError:
            return False
        return True

    async def _make(self, vm: VM, seen: str) -> Aside:
        began = time.monotonic()
        record = Record(new_key(), vm.id)
        await asyncio.to_thread(self._keep, record)
        try:
            branch = await self._fleet.branch_aside(vm, record.key)
            record = Record(record.key, vm.id, branch.id)
            await asyncio.to_thread(self._keep, record)
            await branch.connect()
        except BaseException as error:
            # A refusal before there is one leaves none; a stop may come when there is.
            if record.made or not isinstance(error, VersError):
                self._end(record)
            raise
        return Aside(branch, record, seen, began, time.monotonic() - began)

    def retire(self) -> None:
        """No further command runs in those there are; each is deleted once none does."""
        for aside in tuple(self._there):
            self._retire(aside)

    def _retire(self, aside: Aside) -> None:
        aside.stale = True
        self._end_if_unused(aside)

    def _end_if_unused(self, aside: Aside) -> None:
        if aside.stale and not aside.users and aside in self._there:
            self._there.remove(aside)
            self._end(aside.record)

    def _end(self, record: Record) -> None:
        task = asyncio.create_task(self._delete(record))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def clear(self) -> None:
        """Delete all of this process; what cannot be deleted stays on record."""
        known = {aside.record.key: aside.record for aside in self._there}
        self._there.clear()
        await asyncio.gather(*self._ending)
        with contextlib.suppress(SettingsError):  # those of this session are known without the file
            known |= {record.key: record for record in self._records() if record.ours}
        await self._delete_all([*known.values()])

    async def sweep(self) -> None:
        """Delete those that kernels have left which are no more."""
        await self._delete_all([record for record in self._records() if record.left])

    async def _delete_all(self, records: list[Record]) -> None:
        await asyncio.gather(*map(self._delete, records))

    async def _delete(self, record: Record) -> None:
        try:
            if not record.made:  # nobody has heard the answer: the same call has the same one
                (made,) = await self._fleet.client.branch_vm(record.source, key=record.key)
                record = Record(record.key, record.source, made)
                await asyncio.to_thread(self._keep, record)
            there = {vm.id: vm for vm in await self._fleet.all()}
            if record.made in there:
                await self._fleet.delete(there[record.made])
        except NotFoundError:  # its source is gone, and nothing came of the call
            pass
        except VersError as error:
            self._fleet.on_notice(f"A branch of plan mode could not be deleted, and will be later: {error}")
            return
        with contextlib.suppress(SettingsError):  # it stays on record: a later look finds it gone
            await asyncio.to_thread(self._fleet.state.set, self._platform, KIND, record.key, None)

    def _records(self) -> list[Record]:
        found = []
        for key, text in self._fleet.state.all(self._platform, KIND).items():
            try:
                found.append(Record(**{**json.loads(text), "key": key}))
            except (ValueError, TypeError):  # damaged: it names nothing
                self._fleet.state.set(self._platform, KIND, key, None)
        return found

    def _keep(self, record: Record) -> None:
        self._fleet.state.set(self._platform, KIND, record.key, json.dumps(asdict(record)))
