"""The Vers API, typed: one method per request, both vintages of the platform, cloud and embedded alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic import TypeAdapter

from pi_v_jupyter.api import exchange
from pi_v_jupyter.api.calls import Calls
from pi_v_jupyter.api.exchange import Answer, Request
from pi_v_jupyter.api.models import (
    BranchAnswer,
    CommitInfo,
    CommitPage,
    CommitRef,
    CommitRequest,
    EnvVars,
    EnvVarsRequest,
    FromCommitRequest,
    LabelsRequest,
    NewRootRequest,
    SSHKey,
    StateRequest,
    SystemVersion,
    TagChange,
    TagInfo,
    TagList,
    TagRequest,
    VMConfig,
    VMInfo,
    VMKey,
    VMKeyRequest,
    VMRef,
    WantedState,
    WhoAmI,
)
from pi_v_jupyter.errors import ApiError
from pi_v_jupyter.settings import Endpoint

BOOT_TIMEOUT = 180.0  # seconds; without hardware virtualisation a VM of unusual size boots for a minute
SNAPSHOT_TIMEOUT = 180.0  # seconds for the memory and the disk of a large machine to be written
RESTORE_TIMEOUT = 60.0  # seconds more for each machine that is made of it
PAGE = 100  # commits asked for at once

_read_vms = TypeAdapter(list[VMInfo]).validate_json


class VersClient(Calls):
    """The platform that `settings` name, asked over HTTP.

    Address and key are read from `settings` at each call, so that both may change while the client
    lives; the tries of one call stay with one platform. `timeout` is in seconds, for one try, whole
    answer included; a call makes at most three tries. Cancelling a call closes its connection.
    Use one client from one event loop.

    `transport` carries the requests in place of the network; `sleep` waits between tries.

    Every method raises:
        SettingsError: an address or key that is absent (NoKeyError) or cannot be used.
        PlatformUnreachableError: the platform did not answer.
        ApiError: it answered with an error (AuthenticationError, NotFoundError, …), or in no shape we know.
    """

    async def list_vms(self) -> list[VMInfo]:
        """All VMs of the account, as far as a list tells of them (no sizes)."""

        async def ask(path: str, endpoint: Endpoint) -> list[VMInfo]:
            return await self._ask(Request("GET", path), _read_vms, endpoint)

        return await self._in_either_vintage(("/vm", "/vms"), ask, (404, 405))

    async def create_vm(self, config: VMConfig, *, wait_boot: bool = True) -> str:
        """Make a root VM and return its id; with `wait_boot`, once it has booted (at most 180 s)."""
        request = Request(
            "POST",
            "/vm/new_root",
            query={"wait_boot": wait_boot},
            body=NewRootRequest(vm_config=config),
            timeout=max(self._timeout, BOOT_TIMEOUT) if wait_boot else None,
        )
        return (await self._ask(request, VMRef.model_validate_json)).vm_id

    async def vm_status(self, vm_id: str) -> VMInfo:
        """The VM's state now."""
        return await self._ask(Request.of_vm("GET", vm_id, "/status"), VMInfo.model_validate_json)

    async def vm_metadata(self, vm_id: str) -> VMInfo:
        """The VM with its sizes (MiB), address and parentage."""
        return await self._ask(Request.of_vm("GET", vm_id, "/metadata"), VMInfo.model_validate_json)

    async def delete_vm(self, vm_id: str) -> None:
        """Destroy the VM and what is on its disk."""
        await self._send(Request.of_vm("DELETE", vm_id), self._settings.endpoint())

    async def set_state(self, vm_id: str, *, running: bool) -> None:
        """Pause the VM, or have it go on; once it has. Memory and processes stay as they are."""

        async def ask(word: str, endpoint: Endpoint) -> None:
            body = StateRequest(state=WantedState(word))
            request = replace(Request.of_vm("PATCH", vm_id, "/state"), body=body, timeout=self._long(0))
            await self._send(request, endpoint)

        if running:
            await ask(WantedState.RUNNING, self._settings.endpoint())
        else:
            words = (WantedState.SLEEPING.value, WantedState.PAUSED.value)
            await self._in_either_vintage(words, ask, (400, 422))

    async def label_vm(self, vm_id: str, labels: dict[str, str]) -> None:
        """Give the VM labels beside those it has."""
        request = replace(Request.of_vm("PATCH", vm_id, "/label"), body=LabelsRequest(labels=labels))
        await self._send(request, self._settings.endpoint())

    async def branch_vm(self, vm_id: str, count: int = 1, key: str | None = None) -> list[str]:
        """Fork the VM, memory and processes included; the ids of the branches. `key`: of a call for one.

        All are of one moment, unless the platform is of the older vintage, which makes one at a time.
        """
        made: list[str] = []
        while len(made) < count:
            left = count - len(made)
            request = replace(
                Request.of_vm("POST", vm_id, "/branch"),
                query={"count": left} if left > 1 else {},
                timeout=self._long(left),
                idempotency_key=key or exchange.new_key(),
            )
            made += (await self._ask(request, BranchAnswer.model_validate_json)).vm_ids
        return made[:count]

    async def commit_vm(
        self,
        vm_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        keep_paused: bool = False,
    ) -> str:
        """Keep the VM as it is now, memory included; the commit's id. With `keep_paused` it stays paused."""
        request = replace(
            Request.of_vm("POST", vm_id, "/commit"),
            query={"keep_paused": True} if keep_paused else {},
            body=CommitRequest(name=name, description=description),
            timeout=self._long(0),
            look="%vers commits",
        )
        return (await self._ask(request, CommitRef.model_validate_json)).commit_id

    async def restore_commit(self, commit_id: str, key: str | None = None) -> str:
        """A new VM that goes on from the commit; its id. `key`: the call's idempotency key."""
        request = Request(
            "POST",
            "/vm/from_commit",
            body=FromCommitRequest(commit_id=exchange.known_commit(commit_id)),
            timeout=self._long(1),
            look="%vers commits",
            idempotency_key=key or exchange.new_key(),
        )
        return (await self._ask(request, BranchAnswer.model_validate_json)).vm_ids[0]

    async def restore_copies(self, commit_id: str, count: int, key: str | None = None) -> list[str]:
        """Several new VMs that go on from the commit, made at once; their ids. All of them, or none.

        `key`: as for `restore_commit`.
        """
        request = Request(
            "POST",
            f"/vm/branch/by_commit/{exchange.known_commit(commit_id)}",
            query={"count": count},
            timeout=self._long(count),
            look="%vers commits",
            idempotency_key=key or exchange.new_key(),
        )
        try:
            return (await self._ask(request, BranchAnswer.model_validate_json)).vm_ids
        except ApiError as error:
            if error.status not in (404, 405):
                raise
        # The older vintage has no such path; if it is the commit that is not there, this says so.
        made = await asyncio.gather(
            *(self.restore_commit(commit_id, key and f"{key}-{number}") for number in range(count)),
            return_exceptions=True,
        )
        failed = [outcome for outcome in made if isinstance(outcome, BaseException)]
        ids = [outcome for outcome in made if isinstance(outcome, str)]
        if failed:
            await asyncio.gather(*map(self.delete_vm, ids), return_exceptions=True)
            raise failed[0]
        return ids

    async def list_commits(self, *, public: bool = False) -> list[CommitInfo]:
        """All commits of the account, or all that are public."""
        endpoint = self._settings.endpoint()
        path = "/commits/public" if public else "/commits"
        found: list[CommitInfo] = []
        while True:
            request = Request("GET", path, query={"limit": PAGE, "offset": len(found)})
            page = await self._ask(request, CommitPage.model_validate_json, endpoint)
            found += page.commits
            if not page.commits or len(found) >= page.total:
                return found

    async def delete_commit(self, commit_id: str) -> None:
        """Remove a commit; refused (ConflictError) while something needs it."""
        await self._send(Request.of_commit("DELETE", commit_id), self._settings.endpoint())

    async def list_tags(self) -> list[TagInfo]:
        """All tags of the account."""
        return (await self._ask(Request("GET", "/commit_tags"), TagList.model_validate_json)).tags

    async def create_tag(self, tag_name: str, commit_id: str) -> None:
        """Give a commit a name of its own, which may be moved to another."""
        body = TagRequest(tag_name=exchange.tag_name(tag_name), commit_id=commit_id)
        request = Request("POST", "/commit_tags", body=body, look="%vers tag")
        await self._send(request, self._settings.endpoint())

    async def move_tag(self, tag_name: str, commit_id: str) -> None:
        """Have a tag name another commit."""
        request = replace(Request.of_tag("PATCH", tag_name), body=TagChange(commit_id=commit_id))
        await self._send(request, self._settings.endpoint())

    async def delete_tag(self, tag_name: str) -> None:
        """Remove a tag; the commit stays."""
        await self._send(Request.of_tag("DELETE", tag_name), self._settings.endpoint())

    async def ssh_key(self, vm_id: str) -> SSHKey:
        """The private key that logs in to the VM as root."""
        return await self._ask(Request.of_vm("GET", vm_id, "/ssh_key"), SSHKey.model_validate_json)

    async def vm_key(self, vm_id: str, max_vms: int, swarm: str | None = None) -> VMKey | None:
        """A key for the VM's own use, good for what it makes: at most `max_vms` VMs. Those with keys
        for the same `swarm` reach into each other.

        None where the platform has no such keys: then the account's is the only one.
        """
        request = replace(
            Request.of_vm("POST", vm_id, "/api_key"), body=VMKeyRequest(max_vms=max_vms, swarm=swarm)
        )
        try:
            return await self._ask(request, VMKey.model_validate_json)
        except ApiError as error:
            if error.status not in (404, 405, 501):
                raise
            return None

    async def whoami(self) -> WhoAmI:
        """Whose key this is."""
        return await self._ask(Request("GET", "/whoami"), WhoAmI.model_validate_json)

    async def version(self) -> SystemVersion:
        """What the platform runs."""
        return await self._ask(Request("GET", "/system/version"), SystemVersion.model_validate_json)

    async def clock(self) -> datetime | None:
        """What time it is at the platform, to the second, as its `Date` header has it; None without one."""
        outcome = await self._try(Request("GET", "/system/version"), self._settings.endpoint())
        if not isinstance(outcome, Answer):
            return None
        try:
            told = parsedate_to_datetime(outcome.headers.get("date", ""))
        except ValueError:
            return None
        return told if told.tzinfo else told.replace(tzinfo=UTC)

    async def env_vars(self) -> dict[str, str]:
        """The environment variables that new VMs are given."""
        return (await self._ask(Request("GET", "/env_vars"), EnvVars.model_validate_json)).vars

    async def set_env_vars(self, variables: Mapping[str, str]) -> None:
        """Add to them."""
        request = Request("PUT", "/env_vars", body=EnvVarsRequest(vars=dict(variables)), look="%vers env")
        await self._send(request, self._settings.endpoint())

    async def delete_env_var(self, name: str) -> None:
        """Take one of them away."""
        request = Request("DELETE", f"/env_vars/{name}", look="%vers env")
        await self._send(request, self._settings.endpoint())

    def _long(self, restored: int) -> float:
        """Seconds for a snapshot, and that many machines made of it."""
        return max(self._timeout, SNAPSHOT_TIMEOUT + RESTORE_TIMEOUT * restored)
