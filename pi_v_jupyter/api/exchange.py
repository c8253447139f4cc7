"""One request to the platform and what came of it: the data that client, `retries` and `failures` share."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import httpx
from pydantic import BaseModel

from pi_v_jupyter.api.models import TAG_NAME, VM_ID
from pi_v_jupyter.errors import UnknownCommitError, UnknownVMError, UsageError


def new_key() -> str:
    """An idempotency key that no call has had."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Request:
    """What is asked. `path` follows the base URL; `timeout`, in seconds, is for one try.

    `look`: the magic that shows all of what the path names one of.

    All tries of a request carry the same `idempotency_key`.
    """

    method: str
    path: str
    query: Mapping[str, bool | int | str] = field(default_factory=dict)
    body: BaseModel | None = None
    timeout: float | None = None
    look: str = ""
    idempotency_key: str = field(default_factory=new_key)

    @classmethod
    def of_vm(cls, method: str, vm_id: str, rest: str = "") -> Self:
        """A request about one VM. Its id cannot lead to another path: it is letters, digits and `._-`."""
        if not re.fullmatch(VM_ID, vm_id):
            raise UnknownVMError(f"{vm_id!r} is not the id of a VM.", "%vers ls shows them all.")
        return cls(method, f"/vm/{vm_id}{rest}", look="%vers ls")

    @classmethod
    def of_commit(cls, method: str, commit_id: str) -> Self:
        """A request about one commit; its id is as harmless."""
        return cls(method, f"/commits/{known_commit(commit_id)}", look="%vers commits")

    @classmethod
    def of_tag(cls, method: str, name: str) -> Self:
        """A request about one tag."""
        return cls(method, f"/commit_tags/{tag_name(name)}", look="%vers tag")

    @property
    def repeatable(self) -> bool:
        """Whether it comes to the same however often it runs."""
        return self.method in ("GET", "PUT", "DELETE")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def known_commit(commit_id: str) -> str:
    """`commit_id`, if it can be one.

    Raises:
        UnknownCommitError: it cannot.
    """
    if not re.fullmatch(VM_ID, commit_id):
        raise UnknownCommitError(f"{commit_id!r} is not the id of a commit.", "%vers commits shows them all.")
    return commit_id


def tag_name(name: str) -> str:
    """`name`, which can name a tag and leads to no other path, as `..` would.

    Raises:
        UsageError: it cannot.
    """
    if not re.fullmatch(TAG_NAME, name) or not name.strip("."):
        raise UsageError(f"{name!r} cannot name a tag.", "Use 1 to 64 letters, digits, '-', '_' and '.'.")
    return name


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer. The body stays out of the repr: it may be a private key."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Lost:
    """No whole answer. `why` is what the platform did, in words: "refused the connection"."""

    why: str
    sent: bool  # the request, or a part of it, may have arrived
    final: bool = False  # a repeat would end the same way
    hint: str = ""


Outcome = Answer | Lost
