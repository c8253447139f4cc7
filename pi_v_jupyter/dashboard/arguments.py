"""What intents are given, checked. A view of ours gives nothing that is refused but what a user typed."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pi_v_jupyter.errors import UsageError

Id = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Ids = Annotated[list[Id], Field(min_length=1, max_length=1000)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1_000_000)]
Count = Annotated[int, Field(ge=1, le=100)]
Size = Annotated[int, Field(ge=1, le=1 << 30)]


class Arguments(BaseModel):
    """Of an intent that has none."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class OneVM(Arguments):
    """A VM."""

    vm: Id


class VMs(Arguments):
    """Some of them."""

    vms: Ids


class Create(Arguments):
    """What a new VM is to be like; sizes are in MiB."""

    name: Word | None = None
    vcpu: Size | None = None
    mem: Size | None = None
    disk: Size | None = None


class Branch(VMs):
    """How many branches of each, and what they are called."""

    n: Count = 1
    name: Word | None = None


class Keep(VMs):
    """What commits are called."""

    name: Word | None = None
    tag: Word | None = None


class Rename(OneVM):
    """What it is called from then on."""

    name: Word


class Exec(VMs):
    """A command for bash."""

    command: Text


class Tunnel(OneVM):
    """A port of the VM, and one of this computer; 0: any."""

    port: int
    local: int = 0


class CloseTunnel(OneVM):
    """The port of the VM."""

    port: int


class Restore(Arguments):
    """How many VMs of a commit, and what they are called."""

    commit: Id
    n: Count = 1
    name: Word | None = None


class Tag(Arguments):
    """A commit, and a tag for it."""

    commit: Id
    tag: Word


class Untag(Arguments):
    """A tag."""

    tag: Word


class Commits(Arguments):
    """Some commits."""

    commits: Ids


class Spawn(Arguments):
    """As `Swarm.spawn`; `budget` in US dollars."""

    commit: Id | None = None
    n: Count | None = None
    labels: Annotated[list[Word], Field(max_length=100)] = []
    model: Word | None = None
    budget: float | None = None


class Agents(Arguments):
    """Some agents."""

    agents: Ids


class Told(Agents):
    """What they are told."""

    text: Text


class Reply(Arguments):
    """The answer to a question of an agent: one of the four; `option`: the place of what was offered."""

    agent: Id
    dialog: Id
    value: str | None = None
    option: int | None = None
    confirmed: bool | None = None
    cancelled: bool | None = None


class Process(Arguments):
    """A background process, as a snapshot names it."""

    process: Annotated[str, StringConstraints(pattern=r"^\S+ \S+$", max_length=200)]


class Logs(Process):
    """The last lines it has written."""

    last: Annotated[int, Field(ge=1, le=10_000)] = 200


A = TypeVar("A", bound=Arguments)


def checked(kind: type[A], name: str, given: dict[str, Any]) -> A:
    """The arguments of an intent of that name.

    Raises:
        UsageError: they are none.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in wrong["loc"])[:100]
        if wrong["type"] in ("missing", "string_too_short"):
            raise UsageError(f"`{name}` needs `{where}`, which is empty.") from None
        raise UsageError(f"`{name}` cannot be done: {where}: {wrong['msg']}.") from None
