"""One VM: what the platform knows of it, and the connection that commands on it share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VMInfo, VMState
from pi_v_jupyter.errors import NotFoundError, VMGoneError
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.state import State


class VM(Machine):
    """One VM: `id`, `name`, `state`, and what can be done with it.

    All methods may be awaited on any loop; the connection is opened by the first that needs it, and shared.
    """

    def __init__(
        self,
        info: VMInfo,
        client: VersClient,
        settings: Settings,
        state: State,
        home: asyncio.AbstractEventLoop,
        on_notice: Callable[[str], None],
    ) -> None:
        self.info = info
        self.home = home
        self.vm_id = info.vm_id
        self._client, self._settings, self._state = client, settings, state
        self._platform = settings.base_url
        self._on_notice = on_notice
        self._open: Connection | None = None

    @property
    def id(self) -> str:
        """The platform's id, a UUID."""
        return self.vm_id

    @property
    def name(self) -> str:
        """The name given to it here or by a label; empty when it has none."""
        name = self._state.get(self._platform, "names", self.vm_id) or self.info.labels.get("name", "")
        # Anyone with the account's key sets labels: what steers a terminal or breaks a line is not shown.
        return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)

    @property
    def label(self) -> str:
        """What to call it: its name, or the start of its id."""
        return self.name or self.vm_id[:8]

    @property
    def state(self) -> VMState:
        """When last looked at; see `refresh`."""
        return self.info.state

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return self.info.created_at

    def __repr__(self) -> str:
        return f"<VM {self.label} {self.vm_id[:8]} {self.state.value}>"

    def _connection(self) -> Connection:
        if self._open is None:
            self._open = Connection(self, self, self._on_notice)
        return self._open

    @at_home
    async def connect(self) -> None:
        """Open the connection now rather than with the first command."""
        await self._connection().open()

    @at_home
    async def refresh(self) -> VMInfo:
        """Ask the platform what it is like now, sizes included."""
        self.learn(await self._client.vm_metadata(self.vm_id))
        return self.info

    def learn(self, info: VMInfo) -> None:
        """Take in what the platform said; an answer that says less than an earlier one takes nothing away."""
        known = self.info.model_dump(exclude_none=True)
        self.info = VMInfo.model_validate(known | info.model_dump(exclude_none=True))

    @at_home
    async def delete(self) -> None:
        """Destroy it, and what is on its disk."""
        await self.close()
        await self._client.delete_vm(self.vm_id)
        self._state.forget_vm(self._platform, self.vm_id)

    @at_home
    async def close(self) -> None:
        """End this session's commands on it, and the connection. The VM goes on."""
        if self._open is not None:
            connection, self._open = self._open, None
            await connection.close()

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
        """Raise VMGoneError when there is nothing left to connect to."""
        try:
            self.learn(await self._client.vm_status(self.vm_id))
        except NotFoundError:
            raise self._deleted() from None
        if self.info.state is VMState.DEAD:
            raise VMGoneError(
                f"VM {self.label} has died: its state is dead.",
                "`%vers rm` clears it away, `%vers create` makes another.",
            )

    def _deleted(self) -> VMGoneError:
        return VMGoneError(f"VM {self.label} was deleted.", "`%vers ls` shows those that are there.")

    def pinned(self, vm_id: str) -> str | None:
        """The host key seen first."""
        return self._state.get(self._platform, "host_keys", vm_id)

    def unpin(self) -> None:
        """Forget the host key: the next one is trusted on sight."""
        self._state.set(self._platform, "host_keys", self.vm_id, None)

    def pin(self, vm_id: str, fingerprint: str) -> None:
        """Remember it."""
        self._state.set(self._platform, "host_keys", vm_id, fingerprint)
