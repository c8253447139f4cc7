"""Which VMs a platform has, by what names, and how there come to be more of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping

from pi_v_jupyter import names
from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.exchange import tag_name
from pi_v_jupyter.api.models import VMConfig, VMInfo
from pi_v_jupyter.commits import ABSENT, Catalog, Commit
from pi_v_jupyter.errors import AmbiguousVMError, ApiError, UnknownCommitError, UnknownVMError, VersError
from pi_v_jupyter.machine import Here
from pi_v_jupyter.places import Find, Places
from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.resident import Legacy
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.state import State
from pi_v_jupyter.vm import ASIDE, VM

MOST_ASKED = 32  # VMs whose size is asked for at once
NO_LABELS: Mapping[str, str] = {}


class VMs(list[VM]):
    """A list of VMs that shows as a table in a notebook. `active` is the id of the one cells run on.

    `commits`: those that VMs may have come from, for it to say which.
    """

    def __init__(self, vms: Iterable[VM], active: str | None = None, commits: Iterable[Commit] = ()) -> None:
        super().__init__(vms)
        self.active, self.commits = active, [*commits]


class Roster:
    """The VMs of whichever platform the settings name now."""

    def __init__(
        self,
        client: VersClient,
        settings: Settings,
        state: State,
        home: asyncio.AbstractEventLoop,
        on_notice: Callable[[str], None],
        callbacks: Callbacks | None = None,
    ) -> None:
        self.client, self.settings, self.state, self.home = client, settings, state, home
        self.on_notice = on_notice
        self.commits = Catalog(client)
        self.callbacks = callbacks or Callbacks(home)
        self.here = Here(home)
        self.here.background.callbacks = self.callbacks
        self._known: dict[tuple[str, str], VM] = {}
        self._active: VM | None = None

    @property
    def current(self) -> VM | None:
        """The VM cells run on as far as it is known: never raises."""
        return self._active

    def known(self) -> list[VM]:
        """The VMs seen so far, without asking: for completion."""
        return [vm for (platform, _), vm in self._known.items() if platform == self.settings.base_url]

    def connected(self) -> list[VM]:
        """Those to which this session has a connection that stands now."""
        return [vm for vm in self.known() if vm.connected]

    async def all(self) -> VMs:
        """Every VM of the account, oldest first."""
        infos = sorted(await self.client.list_vms(), key=lambda info: info.created_at)
        return VMs(map(self._of, infos), self._active.vm_id if self._active else None)

    async def create(
        self,
        *,
        name: str | None = None,
        vcpu: int | None = None,
        mem: int | None = None,
        disk: int | None = None,
        image: str | None = None,
        wait: bool = True,
    ) -> VM:
        """Make a root VM; `mem` and `disk` are in MiB; with `wait`, once it runs.

        `image` names one of the platform's.

        Raises:
            UsageError: it cannot be a name, or is taken.
        """
        if name is not None:
            names.check(name, *await self._taken())
        config = VMConfig(
            vcpu_count=vcpu,
            mem_size_mib=mem,
            fs_size_mib=disk,
            image_name=image,
            labels={"name": name} if name else None,
        )
        vm_id = await self.client.create_vm(config, wait_boot=wait)
        vm = await self._new(vm_id)
        if name is not None and vm.name != name:  # a platform of the older vintage keeps no labels
            self.state.set(self.settings.base_url, "names", vm_id, name)
        return vm

    async def branch(self, vm: VM, count: int, name: str | None) -> VMs:
        """Fork a VM; see `VM.branch`."""
        taken, ids = await self._taken()
        if name is None:
            given = names.free(vm.label, count, taken, ids)
        else:
            given = names.numbered(name, count)
            for one in given:
                names.check(one, taken, ids)
        made = await asyncio.gather(*map(self._new, await self.client.branch_vm(vm.vm_id, count)))
        for child in made:
            child.inherit(vm.legacy, vm.pinned(vm.vm_id))
        await asyncio.gather(*map(self._call, made, given))
        return VMs(made, self._active.vm_id if self._active else None)

    async def branch_aside(self, vm: VM, key: str) -> VM:
        """A branch that nobody is to work on, marked as such; `key` is the call's idempotency key."""
        (vm_id,) = await self.client.branch_vm(vm.vm_id, key=key)
        child = await self._new(vm_id)
        child.inherit(vm.legacy, vm.pinned(vm.vm_id))
        (name,) = await self.free_names(f"{vm.label}-plan", 1)
        await self._call(child, name, {ASIDE: vm.vm_id})
        return child

    def places(self, nearest: VM | None = None, find: Find | None = None) -> Places:
        """What words such as `build:/srv` stand for in a copy; `:/srv` is on `nearest`, or the active VM."""
        return Places(find or self.find, nearest or self._active or self.here, self.here)

    async def commit(
        self, vm: VM, *, name: str | None, description: str | None, tag: str | None, keep_paused: bool
    ) -> Commit:
        """Keep a VM as it is now; see `VM.commit`."""
        if tag is not None:
            tag_name(tag)
        commit_id = await self.client.commit_vm(
            vm.vm_id, name=name, description=description, keep_paused=keep_paused
        )
        platform = self.settings.base_url
        self.state.set(platform, "host_keys", commit_id, vm.pinned(vm.vm_id))
        self.state.set(platform, "sessions", commit_id, vm.legacy.dump())
        if tag is not None:
            await self.commits.tag(tag, commit_id)
        if keep_paused:
            vm.learn(await self.client.vm_status(vm.vm_id))
            await vm.let_go()
        return await self.commits.find_anyhow(commit_id, made_of=vm.vm_id)

    async def restore(self, commit: Commit | str, count: int, name: str | None = None) -> VMs:
        """New VMs that go on from a commit; see `Vers.restore`."""
        if isinstance(commit, str):
            commit = await self.commits.find_anyhow(commit)
        if name is None:
            given = await self.free_names(self._name_after(commit), count)
        else:
            given = names.numbered(name, count)
            await self.check_names(given)
        made_ids = await self.make_of(commit, count)
        made = await asyncio.gather(
            *(self.take_up(vm_id, commit, each) for vm_id, each in zip(made_ids, given, strict=True))
        )
        return VMs(made, self._active.vm_id if self._active else None)

    async def make_of(self, commit: Commit, count: int, key: str | None = None) -> list[str]:
        """Have the platform make VMs of a commit, at once, all or none; their ids, to be taken up.

        `key` is the call's idempotency key.
        """
        if count == 1:
            return [await self.client.restore_commit(commit.id, key)]
        return await self.client.restore_copies(commit.id, count, key)

    async def take_up(self, vm_id: str, commit: Commit, name: str) -> VM:
        """A VM that was made of a commit just now, named."""
        vm = await self._new(vm_id)
        platform = self.settings.base_url
        vm.inherit(
            Legacy.load(self.state.get(platform, "sessions", commit.id)),
            self.state.get(platform, "host_keys", commit.id),
        )
        await self._call(vm, name)
        return vm

    async def free_names(self, stem: str, count: int) -> list[str]:
        """The first `count` of STEM-1, STEM-2, … that no VM has."""
        return names.free(stem, count, *await self._taken())

    async def check_names(self, given: Iterable[str]) -> None:
        """Refuse what cannot name new VMs.

        Raises:
            UsageError: one cannot be a name, or is taken.
        """
        taken, ids = await self._taken()
        for one in given:
            names.check(one, taken, ids)

    async def rename(self, vm: VM, name: str) -> None:
        """Give a VM another name; see `VM.rename`."""
        if name != vm.name:
            names.check(name, *await self._taken())
            await self._call(vm, name)

    async def tag(self, name: str, commit: Commit | str | None) -> Commit:
        """Tag a commit; without one, the last of the active VM."""
        if isinstance(commit, str):
            commit = await self.commits.find(commit)
        elif commit is None:
            vm = await self.find(".")
            commit = await self.commits.last_of(vm.vm_id)
            if commit is None:
                raise UnknownCommitError(
                    f"{vm.label} has no commit.", f"`%vers commit --tag {name}` makes one and tags it."
                )
        await self.commits.tag(name, commit.id)
        return await self.commits.find(commit.id)

    async def forget_commit(self, commit: Commit) -> None:
        """Remove a commit, and what is kept for it here."""
        await self.client.delete_commit(commit.id)
        for kind in ("host_keys", "sessions"):
            self.state.set(self.settings.base_url, kind, commit.id, None)

    async def find(self, name: str) -> VM:
        """The VM of that id, unique id prefix (4 characters or more) or name; `.` is the active one.

        Raises:
            UnknownVMError, AmbiguousVMError: none, or several.
        """
        if name == ".":
            if self._active is None:
                raise UnknownVMError("No VM is active.", "`%vers use VM` makes one so.")
            return self._active
        vms = await self.all()
        found = (
            [vm for vm in vms if vm.vm_id == name]
            or [vm for vm in vms if name and vm.name == name]
            or [vm for vm in vms if len(name) >= names.SHORTEST_PREFIX and vm.vm_id.startswith(name.lower())]
        )
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(vm.vm_id[:13] for vm in found[:5])
            raise AmbiguousVMError(f"{len(found)} VMs match {name!r}: {ids}.", "Give more of the id.")
        guess = names.nearest(name, [vm.name for vm in vms])
        raise UnknownVMError(f"No VM named {name!r}.{guess}", "`%vers ls` shows them all.")

    async def learn_sizes(self, vms: VMs, most: int = MOST_ASKED) -> None:
        """Ask for sizes and parents, which a list does not tell; of many VMs, of the latest `most` only."""
        unknown = [vm for vm in vms if vm.info.mem_size_mib is None][-most:]
        turns = asyncio.Semaphore(MOST_ASKED)

        async def ask(vm: VM) -> None:
            async with turns:
                with contextlib.suppress(VersError):  # it was deleted just now; that is not worth failing for
                    await vm.refresh()

        await asyncio.gather(*map(ask, unknown))

    async def _taken(self) -> tuple[set[str], list[str]]:
        """The names and the ids of all VMs."""
        vms = await self.all()
        return {vm.name for vm in vms}, [vm.vm_id for vm in vms]

    def _name_after(self, commit: Commit) -> str:
        origin = self._known.get((self.settings.base_url, commit.info.parent_vm_id or ""))
        wanted = (*commit.tags, commit.name, origin.name if origin else "")
        return next(filter(names.is_name, wanted), commit.id[:8])

    async def _new(self, vm_id: str) -> VM:
        """A VM that was made just now; its size is told by one answer, its labels by another."""
        status, metadata = await asyncio.gather(self.client.vm_status(vm_id), self.client.vm_metadata(vm_id))
        vm = self._of(status)
        vm.learn(metadata)
        return vm

    async def _call(self, vm: VM, name: str, labels: Mapping[str, str] = NO_LABELS) -> None:
        """Name it: by a label, which all see, or where the platform keeps none, in our own state.

        With other `labels`, where it keeps them.
        """
        platform, given = self.settings.base_url, {**labels, "name": name}
        try:
            await self.client.label_vm(vm.vm_id, given)
        except ApiError as error:
            if error.status not in (400, *ABSENT):
                raise
            self.state.set(platform, "names", vm.vm_id, name)
        else:
            self.state.set(platform, "names", vm.vm_id, None)
            vm.learn(vm.info.model_copy(update={"labels": {**vm.info.labels, **given}}))

    def _of(self, info: VMInfo) -> VM:
        key = (self.settings.base_url, info.vm_id)
        vm = self._known.get(key)
        if vm is None:
            vm = self._known[key] = VM(info, self)
        else:
            vm.learn(info)
        return vm
