"""The data of the Vers API, shared by the client and the embedded platform.

Field names are the API's own. Where its two vintages differ, a model accepts both
and has one meaning: `sleeping` is read as `paused`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


class VMState(StrEnum):
    """What a VM is doing. A state this release does not know is `UNKNOWN`, never an error."""

    BOOTING = "booting"
    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"
    UNKNOWN = "unknown"


# An id becomes part of a URL's path, of a host name and of file names.
VM_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
VMId = Annotated[str, StringConstraints(pattern=f"^{VM_ID}$")]


def _state(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    word = value.lower()
    if word == "sleeping":
        return VMState.PAUSED
    return word if word in VMState.__members__.values() else VMState.UNKNOWN


def _labels(value: Any) -> Any:
    return {} if value is None else value


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else ""


# A time without a zone is UTC, so that any two can be compared.
Moment = Annotated[datetime, AfterValidator(_utc)]


class Model(BaseModel):
    """Unknown fields are dropped: the platform may grow without breaking its clients.

    What an answer held stays out of the text of a validation error: it may be a private key.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class VMInfo(Model):
    """One VM as `GET /vm`, `/vm/{id}/status` and `/vm/{id}/metadata` tell of it."""

    vm_id: VMId
    owner_id: str = ""
    state: Annotated[VMState, BeforeValidator(_state)] = VMState.UNKNOWN
    created_at: Moment
    labels: Annotated[dict[str, str], BeforeValidator(_labels)] = Field(default_factory=dict)
    deleted_at: Moment | None = None
    ip: str | None = None
    vcpu_count: int | None = None
    mem_size_mib: int | None = None
    fs_size_mib: int | None = None
    parent_commit_id: str | None = None
    grandparent_vm_id: str | None = None


class VMConfig(Model):
    """Size and origin of a new root VM; what is absent, the platform chooses."""

    vcpu_count: int | None = Field(default=None, ge=1)
    mem_size_mib: int | None = Field(default=None, ge=1)
    fs_size_mib: int | None = Field(default=None, ge=1)
    image_name: str | None = None
    kernel_name: str | None = None
    labels: dict[str, str] | None = None


class NewRootRequest(Model):
    """Body of `POST /vm/new_root`."""

    vm_config: VMConfig = Field(default_factory=VMConfig)


class VMRef(Model):
    """An answer that names one VM."""

    vm_id: VMId


class SSHKey(Model):
    """How to log in to one VM. The private key, in OpenSSH's format, stays out of every repr."""

    ssh_port: int
    ssh_private_key: str = Field(repr=False)


class WhoAmI(Model):
    """Whose key it is. The API answers each part as an object of its own."""

    user: dict[str, Any] = Field(default_factory=dict)
    org: dict[str, Any] = Field(default_factory=dict)


class SystemVersion(Model):
    """What the platform runs."""

    executable_name: str = ""
    git_hash: str = ""
    workspace_version: str = ""


class ErrorBody(Model):
    """Every error of the API; some of its services say `message` in place of `error`, or null in one."""

    error: Annotated[str, BeforeValidator(_text)] = ""
    message: Annotated[str, BeforeValidator(_text)] = ""
    success: bool = False

    @property
    def text(self) -> str:
        """The sentence the platform gave, or an empty one."""
        return self.error or self.message
