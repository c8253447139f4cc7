"""One VM: what the platform knows of it, and the connection that commands on it share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, overload

import asyncssh

from pi_v_jupyter import names
from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VMInfo, VMState
from pi_v_jupyter.commits import Catalog, Commit
from pi_v_jupyter.errors import (
    ConflictError,
    NotFoundError,
    SettingsError,
    VersError,
    VMGoneError,
    VMPausedError,
)
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.places import Place, Places
from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.channel import Process, Request
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.remote.copying import Copied, OnProgress
from pi_v_jupyter.remote.kernelhost import KernelHost
from pi_v_jupyter.remote.resident import NO_LEGACY, Legacy, Seat
from pi_v_jupyter.remote.tunnel import Tunnel, check_port
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.state import State

ASIDE = "pi-v-plan"  # the label of a branch that plan mode has made, of which VM


class Family(Protocol):
    """What a VM asks of the fleet it belongs to."""

    client: VersClient
    settings: Settings
    state: State
    home: asyncio.AbstractEventLoop
    on_notice: Callable[[str], None]
    callbacks: Callbacks

    async def branch(self, vm: VM, count: int, name: str | None) -> Sequence[VM]:
        """Fork it."""

    async def commit(
        self, vm: VM, *, name: str | None, description: str | None, tag: str | None, keep_paused: bool
    ) -> Commit:
        """Keep it as it is now."""

    async def rename(self, vm: VM, name: str) -> None:
        """Name it."""

    def places(self, nearest: VM) -> Places:
        """What words stand for in a copy; `:/path` is on `nearest`."""


class VM(KernelHost, Machine):
    """One VM: `id`, `name`, `state`, and what can be done with it.

    All methods may be awaited on any loop; the connection is opened by the first that needs it, and shared.
    """

    def __init__(self, info: VMInfo, family: Family) -> None:
        super().__init__(family.on_notice)
        self.info = info
        self.home = family.home
        self.vm_id = info.vm_id
        self._family = family
        self.background.callbacks = family.callbacks
        self._client, self._settings, self._state = family.client, family.settings, family.state
        self._platform = family.settings.base_url
        self._open: Connection | None = None
        self._legacy = NO_LEGACY
        self._seated = False  # may a later kernel take this session's place?
        self._tunnels: list[Tunnel] = []

    @property
    def id(self) -> str:
        """The platform's id, a UUID."""
        return self.vm_id

    @property
    def platform(self) -> str:
        """Base URL of the API of the platform that has it."""
        return self._platform

    @property
    def name(self) -> str:
        """The name given to it here or by a label; empty when it has none."""
        name = self._state.get(self._platform, "names", self.vm_id) or self.info.labels.get("name", "")
        return names.shown(name)  # anyone with the account's key sets labels

    @property
    def label(self) -> str:
        """What to call it: its name, or the start of its id.

        Where names given here cannot be read, the platform's is its name: what went wrong names it.
        """
        try:
            name = self.name
        except SettingsError:
            name = names.shown(self.info.labels.get("name", ""))
        return name or self.vm_id[:8]

    @property
    def state(self) -> VMState:
        """When last looked at; see `refresh`."""
        return self.info.state

    @property
    def connected(self) -> bool:
        """Has this session a connection to it that stands now?"""
        return self._open is not None and self._open.up

    @property
    def away(self) -> bool:
        """Had this session a connection to it that is lost for now?"""
        return self._open is not None and self._open.lost

    @property
    def aside(self) -> bool:
        """Is it a branch that plan mode has made, and deletes?"""
        return ASIDE in self.info.labels

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return self.info.created_at

    def __repr__(self) -> str:
        return f"<VM {self.label} {self.vm_id[:8]} {self.state.value}>"

    def _connection(self) -> Connection:
        if self._open is None:
            seat = None
            with contextlib.suppress(SettingsError):  # a state that cannot be written keeps nobody away
                self._seated, seat = self._state.claim_seat(self._platform, self.vm_id)
            self._open = Connection(
                *(self, self, self._family.on_notice),
                legacy=self._legacy,
                seat=Seat(*seat) if seat else None,
                on_seat=self._keep_seat,
            )
        return self._open

    def _keep_seat(self, seat: Seat) -> None:
        if self._seated:
            with contextlib.suppress(SettingsError):
                self._state.keep_seat(self._platform, self.vm_id, (seat.client, seat.socket))

    async def launch(self, request: Request) -> Process:
        """Start a command; for those who read its output themselves, on the machine's own loop."""
        if self.info.state is VMState.PAUSED:
            await self.check()
        return await super().launch(request)

    @property
    def legacy(self) -> Legacy:
        """What a clone made of it now holds of this session's connection."""
        return self._open.legacy if self._open is not None else self._legacy

    def inherit(self, legacy: Legacy, fingerprint: str | None) -> None:
        """It is a clone: its shell sessions go on where they were, and its host key is known beforehand."""
        self._legacy = legacy
        if fingerprint is not None:
            self.pin(self.vm_id, fingerprint)

    @at_home
    async def connect(self) -> None:
        """Open the connection now rather than with the first command."""
        if self.state is VMState.PAUSED:
            await self.check()
        await self._connection().open()

    async def ssh(self) -> asyncssh.SSHClientConnection:
        """The SSH connection itself; for those who open channels of their own, on the VM's own loop."""
        await self.connect()
        return await self._connection().ssh()

    @at_home
    async def tunnel(self, port: int, *, local: int = 0) -> Tunnel:
        """Have a port of this computer's loopback lead to `port` of the VM; `local` 0 takes a free one.

        Raises:
            UsageError: there is no such port, or `local` is taken.
            ConnectError: the VM cannot be reached.
        """
        check_port(port)
        check_port(local, least=0)
        await self.connect()
        tunnel = await Tunnel.open(self, port, local, self._family.on_notice)
        self._tunnels = [*self.tunnels, tunnel]
        return tunnel

    @property
    def tunnels(self) -> list[Tunnel]:
        """Those that are open."""
        return [tunnel for tunnel in self._tunnels if not tunnel.closed]

    @at_home
    async def refresh(self) -> VMInfo:
        """Ask the platform what it is like now, sizes included."""
        self.learn(await self._client.vm_metadata(self.vm_id))
        return self.info

    def learn(self, info: VMInfo) -> None:
        """Take in what the platform said; an answer that says less than an earlier one takes nothing away."""
        known = self.info.model_dump(exclude_none=True)
        self.info = VMInfo.model_validate(known | info.model_dump(exclude_none=True, exclude_unset=True))

    @overload
    async def branch(self, n: None = None, *, name: str | None = None) -> VM: ...
    @overload
    async def branch(self, n: int, *, name: str | None = None) -> Sequence[VM]: ...

    async def branch(self, n: int | None = None, *, name: str | None = None) -> VM | Sequence[VM]:
        """Fork it, memory, processes and shell sessions included; the branch, or a list of `n` branches.

        Named `name`, several NAME-1, NAME-2, …; without it after this VM, with the first numbers free.

        Raises:
            UsageError: `name` cannot be a name, or is taken.
        """
        made = await self._branch(1 if n is None else n, name)
        return made[0] if n is None else made

    @at_home
    async def _branch(self, count: int, name: str | None) -> Sequence[VM]:
        return await self._family.branch(self, count, name)

    @at_home
    async def commit(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        tag: str | None = None,
        keep_paused: bool = False,
    ) -> Commit:
        """Keep it as it is now, memory and processes included; with `keep_paused` it is paused then."""
        return await self._family.commit(
            self, name=name, description=description, tag=tag, keep_paused=keep_paused
        )

    @at_home
    async def copy(
        self,
        sources: Place | Sequence[Place],
        target: Place,
        *,
        on_progress: OnProgress = lambda done, total: None,
    ) -> Copied:
        """Copy files and folders; as `Vers.copy`, but that `:/path` is on this VM."""
        return await self._family.places(self).copy(sources, target, on_progress=on_progress)

    @at_home
    async def rename(self, name: str) -> None:
        """Give it another name.

        Raises:
            UsageError: it cannot be a name, or is taken.
        """
        await self._family.rename(self, name)

    @at_home
    async def pause(self) -> None:
        """Have it stand still, memory and processes kept, until `resume`. Commands under way wait."""
        await self._set_state(VMState.PAUSED)
        await self.let_go()

    @at_home
    async def resume(self) -> None:
        """Have it go on. Its shell sessions, and commands under way, go on where they were."""
        await self._set_state(VMState.RUNNING)
        if self._open is not None:
            await self._open.resume()

    async def let_go(self) -> None:
        """It was paused: close the connection, and end nothing over there."""
        if self._open is not None:
            await self._open.suspend()

    async def _set_state(self, wanted: VMState) -> None:
        try:
            await self._client.set_state(self.vm_id, running=wanted is VMState.RUNNING)
        except ConflictError:
            self.learn(await self._client.vm_status(self.vm_id))
            if self.state is not wanted:
                raise
        else:
            self.learn(await self._client.vm_status(self.vm_id))

    @at_home
    async def delete(self) -> None:
        """Destroy it, and what is on its disk. What waits for something there raises VMGoneError."""
        try:
            await self._client.delete_vm(self.vm_id)
        except NotFoundError:
            if self._platform == self._settings.base_url:  # else the one that was asked does not know it
                await self._buried()
            raise
        await self._buried()
        with contextlib.suppress(SettingsError):  # it is no more all the same
            self._state.forget_vm(self._platform, self.vm_id)

    async def _buried(self) -> None:
        if self._open is not None:
            self._open.fail(self._deleted())
        self.background.gone = True
        await self.close()

    @at_home
    async def close(self) -> None:
        """End this session's commands on it, its tunnels and the connection. The VM goes on."""
        await asyncio.gather(*(tunnel.close() for tunnel in self._tunnels))
        await self._close_kernels()
        await self.background.leave()
        if self._open is not None:
            connection, self._open = self._open, None
            await connection.close()
            if self._seated:
                self._seated = False
                with contextlib.suppress(SettingsError):  # as where it is taken
                    self._state.leave_seat(self._platform, self.vm_id)

    # What the connection asks of its endpoint, and where host keys are pinned.

    async def address(self) -> tuple[str, int, str | None]:
        """Host name, TLS port, CA file."""
        return *self._settings.vm_address(self.vm_id), self._settings.ca_file

    async def private_key(self) -> str:
        """The login key."""
        try:
            return (await self._client.ssh_key(self.vm_id)).ssh_private_key
        except NotFoundError:
            raise self._deleted() from None

    async def check(self) -> None:
        """Raise VMGoneError when there is nothing left to connect to, VMPausedError when there is for now."""
        try:
            self.learn(await self._client.vm_status(self.vm_id))
        except NotFoundError:
            raise self._deleted() from None
        if self.state is VMState.PAUSED:
            raise VMPausedError(f"VM {self.label} is paused.", f"`%vers resume {self.label}` has it go on.")
        if self.state is VMState.DEAD:
            raise VMGoneError(f"VM {self.label} has died: its state is dead.", await self._after_death())

    async def _after_death(self) -> str:
        last = None
        with contextlib.suppress(VersError):  # the worse news is told already
            last = await Catalog(self._client).last_of(self.vm_id)
        if last is None:
            return "`%vers rm` clears it away, `%vers create` makes another."
        when = f"{last.created_at:%d %b %H:%M} UTC"
        return f"`%vers restore {last.id[:8]} --use` goes on from its last commit, of {when}."

    def _deleted(self) -> VMGoneError:
        return VMGoneError(
            f"VM {self.label} was deleted.",
            "`%vers ls` shows those that are there; `%vers local` has cells run on this computer.",
        )

    def pinned(self, vm_id: str) -> str | None:
        """The host key seen first."""
        return self._state.get(self._platform, "host_keys", vm_id)

    def unpin(self) -> None:
        """Forget the host key: the next one is trusted on sight."""
        self._state.set(self._platform, "host_keys", self.vm_id, None)

    def pin(self, vm_id: str, fingerprint: str) -> None:
        """Remember it."""
        self._state.set(self._platform, "host_keys", vm_id, fingerprint)
