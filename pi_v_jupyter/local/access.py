"""API keys of VMs: how an agent inside one makes machines of its own, and only so many.

A VM's key sees and acts on that VM and on what was made with the key, and on what that made with keys of
its own; nothing of the account's. VMs that the account gave keys for one swarm reach into each other, by
commands and files as by a login, but change or delete only what they made. It ends with its VM, or when it
is revoked. Only a digest of it is kept.

What is promised: whoever has the key is taken for its VM. A branch of the VM has the key in its memory,
but no port of this computer's loopback is opened for it (`Sieve`), so it has nobody to show it to, until
it is given a key of its own: then it could use both.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, TypeAdapter

from pi_v_jupyter.local import kept
from pi_v_jupyter.local.problems import NotAllowedError, UnknownError


class Made(Protocol):
    """Something on record. `made_by`: the VMs whose keys it was made with, the nearest first."""

    @property
    def made_by(self) -> tuple[str, ...]: ...


class MadeVM(Made, Protocol):
    """A VM on record."""

    @property
    def vm_id(self) -> str: ...
    @property
    def parent_commit_id(self) -> str | None: ...


class MadeCommit(Made, Protocol):
    """A commit on record."""

    @property
    def commit_id(self) -> str: ...


V = TypeVar("V", bound=MadeVM)
C = TypeVar("C", bound=MadeCommit)


class Grant(BaseModel):
    """What is kept of a key: `digest` is its SHA-256; `max_vms` VMs may be there that were made with it.

    Those of the same `swarm` reach into each other; none if it is empty.
    """

    digest: str
    vm_id: str
    max_vms: int
    created_at: datetime
    swarm: str = ""


@dataclass(frozen=True)
class Caller:
    """A VM that asks with its key.

    `makers` is what goes on record of what it makes: itself, and whose keys it was made with. `limits`
    says of those with a key how many VMs there may be. `origin` is the commit that it came from,
    `sisters` are the ids of the VMs of its swarm.
    """

    vm_id: str
    makers: tuple[str, ...]
    limits: Mapping[str, int]
    origin: str | None
    sisters: frozenset[str] = frozenset()

    def owns(self, thing: Made | None) -> bool:
        """Whether `thing` was made by it, or by what it made."""
        return thing is not None and self.vm_id in thing.made_by

    def sees_vm(self, vm: MadeVM | None) -> bool:
        """Whether `vm` is itself, its own, or of its swarm."""
        return vm is not None and (self.has_vm(vm) or vm.vm_id in self.sisters)

    def has_vm(self, vm: MadeVM | None) -> bool:
        """Whether `vm` is itself or its own."""
        return vm is not None and (vm.vm_id == self.vm_id or self.owns(vm))

    def sees_commit(self, commit: MadeCommit | None) -> bool:
        """Whether `commit` is its own or its origin: it is a copy of that, and learns nothing from it."""
        return commit is not None and (commit.commit_id == self.origin or self.owns(commit))


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextlib.contextmanager
def asking(caller: Caller | None) -> Iterator[None]:
    """Meanwhile, here and in tasks begun here, it is `caller` that asks; None is the account itself."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def seen_vms(vms: Iterable[V]) -> list[V]:
    """Those of `vms` that the caller may see."""
    caller = _caller.get()
    return [vm for vm in vms if caller is None or caller.sees_vm(vm)]


def seen_commits(commits: Iterable[C]) -> list[C]:
    """Those of `commits` that the caller may see."""
    caller = _caller.get()
    return [commit for commit in commits if caller is None or caller.sees_commit(commit)]


def makers() -> tuple[str, ...]:
    """For the record of what is being made: whose keys it is made with, the nearest first."""
    caller = _caller.get()
    return caller.makers if caller is not None else ()


def claim(count: int, vms: Iterable[Made], commit: MadeCommit | None = None) -> tuple[str, ...]:
    """`makers()` for `count` VMs more than `vms`, made of `commit` if that is given.

    What it allows holds until something else runs: their records are to be there before anything is awaited.

    Raises:
        NotAllowedError: the caller's key does not allow so many.
        UnknownError: the caller may not know that commit.
    """
    caller = _caller.get()
    if caller is None:
        return ()
    if commit is not None and not caller.sees_commit(commit):
        raise UnknownError(f"There is no commit {commit.commit_id}.")
    there = list(vms)
    for maker, most in caller.limits.items():
        if sum(maker in vm.made_by for vm in there) + count > most:
            raise NotAllowedError(f"The key of VM {maker} allows {most} VMs at a time.", "Delete one first.")
    return caller.makers


def permit(
    caller: Caller,
    method: str,
    path: str,
    vm: Callable[[str], MadeVM | None],
    commit: Callable[[str], MadeCommit | None],
) -> None:
    """Let a request pass: `path` is what follows `/api/v1/`. What is not named here is refused.

    What a list holds is for `seen_vms` and `seen_commits` to say, which commit may become how many VMs
    for `claim`.

    Raises:
        NotAllowedError: no key of a VM allows that.
        UnknownError: the caller may not know of what is named there.
    """

    def own(vm_id: str) -> None:
        if not caller.has_vm(vm(vm_id)):
            raise UnknownError(f"There is no VM {vm_id}.")

    match [method, *path.split("/")]:
        case (
            ["GET", "whoami" | "openapi.json" | "vm" | "vms" | "commits"]
            | ["GET", "system", "version"]
            | ["POST", "keys", "validate"]
            | ["POST", "vm", "new_root" | "from_commit"]
            | ["POST", "vm", "branch", "by_commit" | "by_tag", _]
        ):
            return
        case ["POST", "vm", "branch", "by_vm", vm_id]:
            own(vm_id)
        case ["PATCH" | "DELETE", "commits", commit_id]:
            if not caller.owns(commit(commit_id)):
                raise UnknownError(f"There is no commit {commit_id} of this VM's.")
        case ["POST", "vm", commit_id, "branch"] if caller.sees_commit(commit(commit_id)):
            return
        case ["POST" | "DELETE", "vm", vm_id, "api_key"] if caller.owns(vm(vm_id)):
            return  # what that VM then makes counts as made with the caller's key too: see `claim`
        case [_, "vm", "branch" | "commits", *_] | [_, "vm", _, "api_key"]:
            raise _refused(method, path)
        case ["GET", "vm", vm_id, _] | ["POST", "vm", vm_id, "exec", *_] | ["PUT", "vm", vm_id, "files"] if (
            caller.sees_vm(vm(vm_id))
        ):
            return
        case [_, "vm", vm_id, *_]:
            own(vm_id)
        case _:
            raise _refused(method, path)


def _refused(method: str, path: str) -> NotAllowedError:
    return NotAllowedError(f"The key of a VM does not allow {method} /{path}.", "Use the account's key.")


class Access:
    """The keys of VMs. `opens(vm_id, open)` is told of which VMs are to reach the API, and which no more."""

    def __init__(
        self, file: Path, vm: Callable[[str], MadeVM | None], opens: Callable[[str, bool], None]
    ) -> None:
        self._file = file
        self._vm = vm
        self._opens = opens
        self._grants = {grant.vm_id: grant for grant in kept.read(file, _GRANTS, [])}

    def open_all(self) -> None:
        """Open the API for those that have a key from before."""
        for vm_id in self._grants:
            self._opens(vm_id, True)

    def grant(self, vm_id: str, max_vms: int, swarm: str = "") -> str:
        """A new key for the VM, in place of the one it had. A VM that asks for one cannot name a swarm.

        Raises:
            UnknownError: there is no such VM.
            NoRoomError, PlatformError: the key cannot be kept.
        """
        if self._vm(vm_id) is None:
            raise UnknownError(f"There is no VM {vm_id}.")
        if swarm and _caller.get() is not None:
            raise NotAllowedError("The key of a VM lets nobody into a swarm.", "Use the account's key.")
        key = secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        grant = Grant(digest=_digest(key), vm_id=vm_id, max_vms=max_vms, created_at=now, swarm=swarm)
        self._keep({**self._grants, vm_id: grant})
        self._opens(vm_id, True)
        return key

    def revoke(self, vm_id: str) -> None:
        """End the VM's key.

        Raises:
            UnknownError: it has none.
            NoRoomError, PlatformError: that cannot be written down, and the key goes on.
        """
        if vm_id not in self._grants:
            raise UnknownError(f"The VM {vm_id} has no key.")
        self._keep({other: grant for other, grant in self._grants.items() if other != vm_id})
        self._opens(vm_id, False)

    def caller(self, key: str) -> Caller | None:
        """The VM whose key this is."""
        digest = _digest(key)
        vm_id = next((grant.vm_id for grant in self._grants.values() if grant.digest == digest), None)
        vm = self._vm(vm_id) if vm_id is not None else None
        if vm is None:
            return None
        makers = (vm.vm_id, *vm.made_by)
        limits = {maker: self._grants[maker].max_vms for maker in makers if maker in self._grants}
        swarm = self._grants[vm.vm_id].swarm
        sisters = {other for other, grant in self._grants.items() if swarm and grant.swarm == swarm}
        return Caller(vm.vm_id, makers, limits, vm.parent_commit_id, frozenset(sisters - {vm.vm_id}))

    def _keep(self, grants: dict[str, Grant]) -> None:
        # Ids are never used again: keys of VMs that are gone open nothing, and go when another is kept. But
        # what one that is gone allowed bounds those that it made, which could delete it to be rid of that.
        there = {vm_id: vm for vm_id in grants if (vm := self._vm(vm_id)) is not None}
        bounding = there.keys() | {maker for vm in there.values() for maker in vm.made_by}
        grants = {vm_id: grant for vm_id, grant in grants.items() if vm_id in bounding}
        kept.write(self._file, _GRANTS.dump_json(list(grants.values())).decode())
        self._grants = grants


_GRANTS = TypeAdapter(list[Grant])


def _digest(key: str) -> str:
    # 256 random bits need no salt and no slow digest.
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()
