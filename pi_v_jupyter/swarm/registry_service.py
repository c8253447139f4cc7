"""The registry service that a swarm may have: which VMs are agents', kept apart from the platform.

An optional help, as in pi-v (`VERS_VM_REGISTRY_URL` and `VERS_AUTH_TOKEN`): when it fails, that is told once,
and all goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pi_v_jupyter.api.calls import Calls
from pi_v_jupyter.api.exchange import Request
from pi_v_jupyter.api.models import VMId
from pi_v_jupyter.errors import NotFoundError, VersError
from pi_v_jupyter.settings import Endpoint, Settings
from pi_v_jupyter.swarm.membership import Membership

PATH = "/registry/vms"
OURS = "vers-swarm"  # who registers agents, as opposed to other VMs
TIMEOUT = 5.0  # seconds for one try
PATIENCE = 8.0  # seconds for all of them
REST = 60.0  # seconds; each command would wait for it otherwise
T = TypeVar("T")


class Metadata(BaseModel):
    """What is told of an agent."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)
    agent: str = Field(alias="agentId")
    commit: str = Field("", alias="commitId")
    by_parent: bool = Field(True, alias="parentSession")


class Entry(BaseModel):
    """A VM in the registry."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)
    id: VMId
    name: str = ""
    role: str = "worker"
    address: str = ""
    by: str = Field("", alias="registeredBy")
    metadata: Metadata


class Listing(BaseModel):
    """How some of these services answer."""

    vms: list[Any]


_read_list = TypeAdapter(list[Any] | Listing).validate_json


class Client(Calls):
    """The service as it is asked."""

    async def entries(self, endpoint: Endpoint) -> dict[str, Entry]:
        """The agents it knows, by the ids of their VMs; what others have registered is left out."""
        told = await self._ask(Request("GET", PATH), _read_list, endpoint)
        found = {}
        for each in told.vms if isinstance(told, Listing) else told:
            with contextlib.suppress(ValidationError):
                entry = Entry.model_validate(each)
                if entry.by == OURS:
                    found[entry.id] = entry
        return found

    async def add(self, endpoint: Endpoint, entry: Entry) -> None:
        """Register an agent."""
        await self._send(Request("POST", PATH, body=entry), endpoint)

    async def remove(self, endpoint: Endpoint, vm_id: str) -> None:
        """Forget it."""
        with contextlib.suppress(NotFoundError):
            await self._send(Request("DELETE", f"{PATH}/{vm_id}"), endpoint)


class RegistryService:
    """The service that the settings name, if they do; none of its methods raises. `on_notice` is told in a
    line why it is of no help, once until it is again.
    """

    def __init__(self, settings: Settings, on_notice: Callable[[str], None]) -> None:
        self._settings, self._on_notice = settings, on_notice
        self._client = Client(settings, timeout=TIMEOUT)
        self._told = ""
        self._resting = 0.0  # until when it is not asked who there is, on the clock of `time.monotonic`

    async def entries(self) -> dict[str, Entry]:
        """The agents it knows, by the ids of their VMs. One that failed is left alone for a while."""
        if time.monotonic() < self._resting:
            return {}
        return await self._helped(self._client.entries, {})

    async def add(self, members: Iterable[tuple[str, Membership]]) -> None:
        """Register agents: the ids of their VMs, and what these are."""
        entries = [
            Entry(
                id=vm_id,
                name=member.agent,
                address=self._settings.vm_address(vm_id)[0],
                by=OURS,
                metadata=Metadata(agent=member.agent, commit=member.commit),
            )
            for vm_id, member in members
        ]

        async def all_of_them(endpoint: Endpoint) -> None:
            await asyncio.gather(*(self._client.add(endpoint, entry) for entry in entries))

        await self._helped(all_of_them, None)

    async def remove(self, vm_id: str) -> None:
        """Forget one whose VM is gone."""
        await self._helped(lambda endpoint: self._client.remove(endpoint, vm_id), None)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def _helped(self, ask: Callable[[Endpoint], Awaitable[T]], otherwise: T) -> T:
        try:
            endpoint = self._settings.registry()
            if endpoint is None:
                return otherwise
            async with asyncio.timeout(PATIENCE):
                answer = await ask(endpoint)
        except TimeoutError:
            why = f"it gave no answer within {PATIENCE:g} s"
        except VersError as error:
            why = error.message
        else:
            self._told, self._resting = "", 0.0
            return answer
        self._resting = time.monotonic() + REST
        if not self._told:
            self._told = (
                f"The swarm's registry service is of no help: {why.rstrip('.')}. Agents work on without it."
            )
            self._on_notice(self._told)
        return otherwise
