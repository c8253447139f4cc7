"""The data of the Vers API, shared by the client and the embedded platform.

Field names are the API's own. Where its two vintages differ, a model accepts both
and has one meaning: `sleeping` is read as `paused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    computed_field,
    model_validator,
)


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
CommitId = VMId
TAG_NAME = r"[A-Za-z0-9._-]{1,64}"
TagName = Annotated[str, StringConstraints(pattern=f"^{TAG_NAME}$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
VariableValue = Annotated[str, StringConstraints(max_length=8192)]


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
    made_by: tuple[str, ...] = ()
    """The VMs whose keys it was made with, the nearest first, where the platform has such keys."""
    reason: str | None = None
    """Why it is dead, where the platform tells."""


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


class BranchAnswer(Model):
    """New VMs. The newer vintage names all in `vms`, the older one in `vm_id`; our own platform does both."""

    vm_id: VMId | None = None
    vms: list[VMRef] = Field(default_factory=list)

    @classmethod
    def of(cls, vm_ids: Sequence[str]) -> Self:
        """The answer that either vintage's clients understand."""
        return cls(vm_id=vm_ids[0], vms=[VMRef(vm_id=vm_id) for vm_id in vm_ids])

    @property
    def vm_ids(self) -> list[str]:
        """The ids, whichever way they were told."""
        return [vm.vm_id for vm in self.vms] or [vm_id for vm_id in (self.vm_id,) if vm_id]

    @model_validator(mode="after")
    def _names_some(self) -> Self:
        if not self.vm_ids:
            raise ValueError("no VM is named")
        return self


class WantedState(StrEnum):
    """What a VM can be asked to be; the newer vintage says `Sleeping` for what the older calls `Paused`."""

    PAUSED = "Paused"
    SLEEPING = "Sleeping"
    RUNNING = "Running"


class StateRequest(Model):
    """Body of `PATCH /vm/{id}/state`."""

    state: WantedState


class DiskRequest(Model):
    """Body of `PATCH /vm/{id}/disk`: the new size, larger than the old."""

    fs_size_mib: int = Field(ge=1)


class LabelsRequest(Model):
    """Body of `PATCH /vm/{id}/label`, which adds, and of `PUT /vm/{id}/labels`, which replaces."""

    labels: dict[str, str]


class CommitRequest(Model):
    """Body of `POST /vm/{id}/commit`."""

    name: str | None = None
    description: str | None = None


class CommitRef(Model):
    """An answer that names one commit."""

    commit_id: CommitId


class CommitInfo(Model):
    """A machine as it was at one moment: memory, disk, devices. Only its name and description ever change."""

    # A list of parents calls it `id`.
    commit_id: CommitId = Field(validation_alias=AliasChoices("commit_id", "id"))
    name: Annotated[str, BeforeValidator(_text)] = ""
    created_at: Moment
    owner_id: str = ""
    is_public: bool = False
    description: str | None = None
    parent_vm_id: str | None = None
    grandparent_commit_id: str | None = None


class ParentCommit(CommitInfo):
    """A commit as `GET /vm/commits/{id}/parents` tells of it: with its id under the name `id` as well."""

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def id(self) -> str:
        """The same as `commit_id`."""
        return self.commit_id


class CommitPage(Model):
    """Some of the commits of an account: those from `offset` on, at most `limit`, of `total`."""

    commits: list[CommitInfo]
    total: int = 0
    limit: int = 0
    offset: int = 0


class CommitChange(Model):
    """Body of `PATCH /commits/{id}`; what is absent stays."""

    is_public: bool | None = None
    name: str | None = None
    description: str | None = None


class FromCommitRequest(Model):
    """Body of `POST /vm/from_commit`: one of the three."""

    commit_id: CommitId | None = None
    tag_name: str | None = None
    ref: str | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if sum(name is not None for name in (self.commit_id, self.tag_name, self.ref)) != 1:
            raise ValueError("one of commit_id, tag_name and ref is needed")
        return self


class TagInfo(Model):
    """A name for a commit that may be moved to another."""

    tag_name: TagName
    commit_id: CommitId
    tag_id: str = ""
    created_at: Moment
    updated_at: Moment | None = None
    description: str | None = None


class TagList(Model):
    """The answer of `GET /commit_tags`."""

    tags: list[TagInfo]


class TagRequest(Model):
    """Body of `POST /commit_tags`."""

    tag_name: TagName
    commit_id: CommitId
    description: str | None = None


class TagRef(Model):
    """The answer to it."""

    tag_id: str = ""
    tag_name: TagName
    commit_id: CommitId


class TagChange(Model):
    """Body of `PATCH /commit_tags/{tag}`. What is absent stays; a description of null is taken away."""

    commit_id: CommitId | None = None
    description: str | None = None


class EnvVars(Model):
    """The variables that new VMs find in `/etc/environment`. Values stay out of every repr."""

    vars: dict[str, str] = Field(repr=False)


class EnvVarsRequest(Model):
    """Body of `PUT /env_vars`: adds to what is set; with `replace`, takes its place."""

    vars: dict[VariableName, VariableValue] = Field(repr=False)
    replace: bool = False


class VMKeyRequest(Model):
    """Body of `POST /vm/{id}/api_key`, which the embedded platform has."""

    max_vms: int = Field(ge=1)
    swarm: str | None = None


class VMKey(Model):
    """The key of a VM to the platform, and the address at which the VM finds that."""

    api_key: str = Field(repr=False)
    base_url: str


class SSHKey(Model):
    """How to log in to one VM. The private key, in OpenSSH's format, stays out of every repr."""

    ssh_port: int
    ssh_private_key: str = Field(repr=False)


class WhoAmI(Model):
    """Whose key it is. The API answers each part as an object of its own."""

    user: dict[str, Any] = Field(default_factory=dict)
    org: dict[str, Any] = Field(default_factory=dict)


class KeyValidation(Model):
    """The answer of `POST /keys/validate`."""

    valid: bool
    message: str = ""


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
