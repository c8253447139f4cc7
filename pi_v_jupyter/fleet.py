"""All machines of one platform: names, and the one that cells run on."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
import unicodedata
from collections.abc import Callable, Iterable

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VMConfig, VMInfo
from pi_v_jupyter.errors import (
    AmbiguousVMError,
    NotFoundError,
    UnknownVMError,
    UsageError,
    VersError,
    VMGoneError,
)
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.state import State
from pi_v_jupyter.vm import VM

SHORTEST_PREFIX = 4
MOST_ASKED = 32  # VMs whose size is asked for at once


class VMs(list[VM]):
    """A list of VMs that shows as a table in a notebook. `active` is the id of the one cells run on."""

    def __init__(self, vms: Iterable[VM], active: str | None = None) -> None:
        super().__init__(vms)
        self.active = active


class Fleet:
    """The VMs of whichever platform the settings name now."""

    def __init__(
        self,
        client: VersClient,
        settings: Settings,
        state: State,
        home: asyncio.AbstractEventLoop,
        on_notice: Callable[[str], None],
    ) -> None:
        self._client, self._settings, self._state, self._home = client, settings, state, home
        self._on_notice = on_notice
        self._known: dict[tuple[str, str], VM] = {}
        self._active: VM | None = None
        # A notebook finds its VM again after a restart; other kernels have no name to remember it by.
        self._notebook = os.environ.get("JPY_SESSION_NAME", "")
        # Looked for on every platform: this one may be another than the VM's, for as long as that is down.
        self._missing = self._state.where("active", self._notebook) if self._notebook else None

    @property
    def active(self) -> VM | None:
        """The VM cells run on, or None: this machine.

        Raises:
            VMGoneError: this notebook used a VM before its kernel was restarted, which was not found again.
        """
        if self._missing is not None:
            platform, vm_id = self._missing
            raise VMGoneError(
                f"This notebook ran its cells on VM {vm_id[:8]} of {platform}, which was not found again.",
                "`%vers use VM` chooses another, `%vers local` this machine.",
            )
        return self._active

    @property
    def current(self) -> VM | None:
        """The active VM as far as it is known: never raises."""
        return self._active

    @property
    def missing(self) -> bool:
        """Has the VM that this notebook used before a restart not been found (or looked for) yet?"""
        return self._missing is not None

    def known(self) -> list[VM]:
        """The VMs seen so far, without asking: for completion."""
        return [vm for (platform, _), vm in self._known.items() if platform == self._settings.base_url]

    async def all(self) -> VMs:
        """Every VM of the account, oldest first."""
        infos = sorted(await self._client.list_vms(), key=lambda info: info.created_at)
        return VMs(map(self._of, infos), self._active.vm_id if self._active else None)

    async def create(
        self,
        *,
        name: str | None = None,
        vcpu: int | None = None,
        mem: int | None = None,
        disk: int | None = None,
        wait: bool = True,
    ) -> VM:
        """Make a root VM; `mem` and `disk` are in MiB; with `wait`, once it runs.

        Raises:
            UsageError: it cannot be a name, or is taken.
        """
        if name is not None:
            self._check_name(name, await self._client.list_vms())
        config = VMConfig(
            vcpu_count=vcpu, mem_size_mib=mem, fs_size_mib=disk, labels={"name": name} if name else None
        )
        vm_id = await self._client.create_vm(config, wait_boot=wait)
        if name is not None:  # a platform of the older vintage keeps no labels
            self._state.set(self._settings.base_url, "names", vm_id, name)
        return self._of(await self._client.vm_metadata(vm_id))

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
            or [vm for vm in vms if len(name) >= SHORTEST_PREFIX and vm.vm_id.startswith(name.lower())]
        )
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(vm.vm_id[:13] for vm in found[:5])
            raise AmbiguousVMError(f"{len(found)} VMs match {name!r}: {ids}.", "Give more of the id.")
        near = difflib.get_close_matches(name, [vm.name for vm in vms if vm.name], 1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownVMError(f"No VM named {name!r}.{guess}", "`%vers ls` shows them all.")

    async def use(self, vm: VM) -> None:
        """Have cells run on `vm` from now on; connects first, so that a cell does not wait for it.

        Raises:
            ConnectError: it cannot be reached; the active VM stays what it was.
        """
        await vm.check()
        await vm.connect()
        self._active, self._missing = vm, None
        self._remember(vm.vm_id)

    def local(self) -> None:
        """Have cells run on this machine."""
        self._active = self._missing = None
        self._remember(None)

    async def recall(self) -> None:
        """Take up the VM this notebook used before its kernel was restarted."""
        if self._missing is None or self._missing[0] != self._settings.base_url:
            return
        with contextlib.suppress(NotFoundError):  # `active` tells of it, when a cell is to run there
            self._active = self._of(await self._client.vm_status(self._missing[1]))
            self._missing = None

    async def delete(self, vm: VM) -> None:
        """Destroy a VM; cells run on this machine again if it was the active one."""
        try:
            await vm.delete()
        except NotFoundError:
            self._state.forget_vm(self._settings.base_url, vm.vm_id)
        self._known.pop((self._settings.base_url, vm.vm_id), None)
        if self._active is vm:
            self.local()

    async def close(self) -> None:
        """Close every connection; the VMs go on. Cells are refused until a machine is chosen again."""
        if self._active is not None:
            self._missing, self._active = (self._settings.base_url, self._active.vm_id), None
        await asyncio.gather(*(vm.close() for vm in self._known.values()))
        self._known.clear()

    async def learn_sizes(self, vms: VMs) -> None:
        """Ask for the sizes that a list does not tell; of many VMs, of the latest only."""
        unknown = [vm for vm in vms if vm.info.mem_size_mib is None][-MOST_ASKED:]

        async def ask(vm: VM) -> None:
            with contextlib.suppress(VersError):  # it was deleted just now; a size is not worth failing for
                await vm.refresh()

        await asyncio.gather(*map(ask, unknown))

    def _of(self, info: VMInfo) -> VM:
        key = (self._settings.base_url, info.vm_id)
        vm = self._known.get(key)
        if vm is None:
            vm = self._known[key] = VM(
                info, self._client, self._settings, self._state, self._home, self._on_notice
            )
        else:
            vm.learn(info)
        return vm

    def _remember(self, vm_id: str | None) -> None:
        if not self._notebook:
            return
        while before := self._state.where("active", self._notebook):
            self._state.set(before[0], "active", self._notebook, None)
        if vm_id is not None:
            self._state.set(self._settings.base_url, "active", self._notebook, vm_id)

    def _check_name(self, name: str, infos: list[VMInfo]) -> None:
        plain = unicodedata.normalize("NFKC", name) == name  # or two names could look the same
        plain = plain and name[:1].isalnum() and all(c.isalnum() or c in "-_." for c in name)
        if not plain or len(name) > 64:
            raise UsageError(
                f"{name!r} cannot name a VM.",
                "Use letters, digits, '-', '_' and '.', a letter or digit first, at most 64 of them.",
            )
        if any(len(name) >= SHORTEST_PREFIX and info.vm_id.startswith(name.lower()) for info in infos):
            raise UsageError(f"A VM's id begins with {name!r} already.", "Another name avoids that.")
        if any(self._of(info).name == name for info in infos):
            raise UsageError(
                f"There is a VM named {name!r} already.", "`%vers use` takes it, another name avoids it."
            )
