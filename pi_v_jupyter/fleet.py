"""All machines of one platform: the one that cells run on, and what came from what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pi_v_jupyter import names
from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import (
    NotFoundError,
    SettingsError,
    UnknownCommitError,
    UnknownVMError,
    VersError,
    VMGoneError,
)
from pi_v_jupyter.lineage import Facts, Lineage, descendants, facts, lineage
from pi_v_jupyter.remote import openssh
from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.openssh import SSHConfig
from pi_v_jupyter.remote.pins import mismatch
from pi_v_jupyter.remote.tunnel import Tunnels
from pi_v_jupyter.roster import Roster, VMs
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.state import State
from pi_v_jupyter.vm import VM


class Chosen(NamedTuple):
    """A VM that cells are to run on; `label` is what it is called."""

    platform: str
    vm_id: str
    label: str


class Fleet(Roster):
    """The VMs of a platform, the one that cells run on, and what came from what."""

    def __init__(
        self,
        client: VersClient,
        settings: Settings,
        state: State,
        home: asyncio.AbstractEventLoop,
        on_notice: Callable[[str], None],
        callbacks: Callbacks | None = None,
    ) -> None:
        super().__init__(client, settings, state, home, on_notice, callbacks)
        self.leaving: set[str] = set()  # ids of VMs that are being deleted
        self._notebook = self.state.notebook
        # Looked for on every platform: this one may be another than the VM's, for as long as that is down.
        self._missing = self.state.where("active", self._notebook) if self._notebook else None

    @property
    def active(self) -> VM | None:
        """The VM cells run on, or None: this computer.

        Raises:
            VMGoneError: this notebook used a VM before its kernel was restarted, which was not found again.
        """
        if self._missing is not None:
            platform, vm_id = self._missing
            raise VMGoneError(
                f"This notebook ran its cells on VM {vm_id[:8]} of {platform}, which was not found again.",
                "`%vers use VM` chooses another, `%vers local` this computer.",
            )
        return self._active

    @property
    def missing(self) -> bool:
        """Has the VM that this notebook used before a restart not been found (or looked for) yet?"""
        return self._missing is not None

    @property
    def chosen(self) -> Chosen | None:
        """What cells are to run on, whether it is found or not; None: this computer."""
        if self._missing is not None:
            platform, vm_id = self._missing
            return Chosen(platform, vm_id, vm_id[:8])
        vm = self._active
        return Chosen(vm.platform, vm.id, vm.label) if vm is not None else None

    async def listed(self) -> VMs:
        """Every VM of the account, oldest first, with its size and what it came from."""
        vms = await self.all()
        await self.learn_sizes(vms)
        if any(vm.info.parent_commit_id for vm in vms):
            with contextlib.suppress(VersError):  # VMs are worth a list without the names of commits
                vms.commits = await self.commits.all()
        return vms

    async def lineage(self) -> Lineage:
        """All VMs and commits, under what they came from."""
        vms = await self._with_parents()
        return lineage(vms, await self.commits.all(), vms.active)

    async def facts(self, what: VM | Commit | str) -> Facts:
        """All that is known of a VM or a commit; of that name, a VM goes before a commit.

        Raises:
            UnknownVMError, UnknownCommitError, …: neither has that name.
        """
        item = await self._either(what) if isinstance(what, str) else what
        if isinstance(item, VM):
            await item.refresh()
        return facts(item, await self._with_parents(), await self.commits.all())

    async def _either(self, name: str) -> VM | Commit:
        try:
            return await self.find(name)
        except UnknownVMError as error:
            if name == ".":
                raise
            no_vm = error
        try:
            return await self.commits.find(name)
        except UnknownCommitError as no_commit:
            raise (no_commit if names.GUESS in no_commit.message else no_vm) from None

    async def descendants(self, vms: Iterable[VM]) -> VMs:
        """The VMs that came from these, at whatever remove."""
        everyone = await self._with_parents()
        return VMs(descendants(vms, everyone), everyone.active)

    async def _with_parents(self) -> VMs:
        vms = await self.all()
        await self.learn_sizes(vms, most=len(vms))
        return vms

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
        """Have cells run on this computer."""
        self._active = self._missing = None
        self._remember(None)

    async def recall(self) -> None:
        """Take up the VM this notebook used before its kernel was restarted."""
        missing = self._missing
        if missing is None or missing[0] != self.settings.base_url:
            return
        with contextlib.suppress(NotFoundError):  # `active` tells of it, when a cell is to run there
            found = self._of(await self.client.vm_status(missing[1]))
            if self._missing == missing:  # or the user has chosen meanwhile
                self._active, self._missing = found, None

    async def delete(self, vm: VM) -> None:
        """Destroy a VM; cells run on this computer again if it was the active one.

        Raises:
            UnknownVMError: it is of another platform than the one in use.
        """
        self.leaving.add(vm.id)
        try:
            await self._delete(vm)
        finally:
            self.leaving.discard(vm.id)

    async def _delete(self, vm: VM) -> None:
        try:
            await vm.delete()
        except NotFoundError:
            self.check_platform(vm)
            with contextlib.suppress(SettingsError):  # it is no more all the same
                self.state.forget_vm(vm.platform, vm.vm_id)
        self._known.pop((vm.platform, vm.vm_id), None)
        await asyncio.to_thread(openssh.forget, vm.platform, vm.vm_id)
        if self._active is vm or self._missing == (vm.platform, vm.vm_id):
            with contextlib.suppress(SettingsError):  # it is no more all the same
                self.local()

    def check_platform(self, vm: VM) -> None:
        """Tell a VM that is gone from one that the platform in use does not know, for it is of another.

        Raises:
            UnknownVMError: it is of another.
        """
        if vm.platform != self.settings.base_url:
            raise UnknownVMError(
                f"VM {vm.label} is of {vm.platform}, which is not the platform in use.",
                "Choose that platform first.",
            )

    def tunnels(self) -> Tunnels:
        """Those that are open, in the order of their local ports."""
        found = [tunnel for vm in list(self._known.values()) for tunnel in vm.tunnels]
        return Tunnels(sorted(found, key=lambda tunnel: tunnel.local_port))

    async def ssh_config(self, vms: Sequence[VM], *, write: bool) -> SSHConfig:
        """A configuration of OpenSSH for these VMs; see `Vers.ssh_config`."""
        logins = await asyncio.gather(*map(self._login, dict.fromkeys(vms)))
        if not write:
            return await asyncio.to_thread(openssh.make, logins)
        there = await asyncio.gather(*map(self._address, await self.all()))
        return await asyncio.to_thread(openssh.write, logins, there, self.settings.base_url)

    async def _login(self, vm: VM) -> openssh.Login:
        """What it takes to log in; the host key is the one the VM has proven to have, and the pinned one."""
        host_key = (await vm.ssh()).get_server_host_key()
        assert host_key is not None  # noqa: S101  only Kerberos does without
        fingerprint, known = host_key.get_fingerprint(), vm.pinned(vm.vm_id)
        if known not in (None, fingerprint):
            raise mismatch(vm.vm_id, fingerprint, known)
        kind, key, *_ = host_key.export_public_key().decode().split()
        return openssh.Login(await self._address(vm), await vm.private_key(), f"{kind} {key}")

    async def _address(self, vm: VM) -> openssh.Address:
        return openssh.Address(self.settings.base_url, vm.vm_id, vm.name, *await vm.address())

    async def let_go(self) -> None:
        """The platform saves its VMs and ends: close every connection, and end nothing over there."""
        await asyncio.gather(*(vm.let_go() for vm in self._known.values()))

    async def close(self) -> None:
        """Close every connection; the VMs go on. Cells are refused until a machine is chosen again."""
        if self._active is not None:
            self._missing, self._active = (self._active.platform, self._active.vm_id), None
        await asyncio.gather(*(vm.close() for vm in self._known.values()))
        self._known.clear()

    def _remember(self, vm_id: str | None) -> None:
        if not self._notebook:
            return
        while before := self.state.where("active", self._notebook):
            self.state.set(before[0], "active", self._notebook, None)
        if vm_id is not None:
            self.state.set(self.settings.base_url, "active", self._notebook, vm_id)
