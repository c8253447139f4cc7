"""One request to the platform and what came of it: the data that client, `retries` and `failures` share."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import httpx
from pydantic import BaseModel

from pi_v_jupyter.api.models import VM_ID
from pi_v_jupyter.errors import UnknownVMError


@dataclass(frozen=True)
class Request:
    """What is asked. `path` follows the base URL; `timeout`, in seconds, is for one try.

    All tries of a request carry the same `idempotency_key`.
    """

    method: str
    path: str
    query: Mapping[str, bool | int | str] = field(default_factory=dict)
    body: BaseModel | None = None
    timeout: float | None = None
    names_vm: bool = False
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))

    @classmethod
    def of_vm(cls, method: str, vm_id: str, rest: str = "") -> Self:
        """A request about one VM. Its id cannot lead to another path: it is letters, digits and `._-`."""
        if not re.fullmatch(VM_ID, vm_id):
            raise UnknownVMError(f"{vm_id!r} is not the id of a VM.", "%vers ls shows them all.")
        return cls(method, f"/vm/{vm_id}{rest}", names_vm=True)

    @property
    def repeatable(self) -> bool:
        """Whether it comes to the same however often it runs."""
        return self.method in ("GET", "PUT", "DELETE")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


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
