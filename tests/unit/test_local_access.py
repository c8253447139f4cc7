"""A VM's key reaches what was made with it, as much as was allowed, and nothing of the account's."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from pi_v_jupyter.local import access
from pi_v_jupyter.local.access import Access, Caller
from pi_v_jupyter.local.problems import NotAllowedError, UnknownError
from pi_v_jupyter.local.replay import Replay
from pi_v_jupyter.local.routes import access as routes
from pi_v_jupyter.local.routes.access import Address


@dataclass(frozen=True)
class VM:
    vm_id: str
    made_by: tuple[str, ...] = ()
    parent_commit_id: str | None = None


@dataclass(frozen=True)
class Commit:
    commit_id: str
    made_by: tuple[str, ...] = ()


@dataclass
class World:
    """VMs and commits on record, and for which VMs the API is open."""

    file: Path
    vms: dict[str, VM] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def access(self) -> Access:
        return Access(self.file, self.vms.get, self.opens)

    def opens(self, vm_id: str, is_open: bool) -> None:
        (self.open.add if is_open else self.open.discard)(vm_id)

    def add(self, vm_id: str, *made_by: str, origin: str | None = None) -> None:
        self.vms[vm_id] = VM(vm_id, made_by, origin)

    def permitted(self, caller: Caller, request: str) -> bool:
        """Whether `METHOD path` passes; else that it is refused for a reason that a test may ask for."""
        method, path = request.split(" ")
        try:
            access.permit(caller, method, path, self.vms.get, self.commits.get)
        except (NotAllowedError, UnknownError):
            return False
        return True


@pytest.fixture
def world(tmp_path: Path) -> World:
    """`agent`, which came from `golden`, made `child`, and that `grandchild`; `other` is the user's own."""
    world = World(tmp_path / "keys.json")
    world.add("agent", origin="golden")
    world.add("child", "agent")
    world.add("grandchild", "child", "agent")
    world.add("other", origin="golden")
    world.commits = {
        "golden": Commit("golden"),
        "mine": Commit("mine", ("agent",)),
        "theirs": Commit("theirs"),
        "below": Commit("below", ("child", "agent")),
    }
    return world


@pytest.fixture
def agent(world: World) -> Caller:
    """The agent, asking with its key."""
    keys = world.access()
    caller = keys.caller(keys.grant("agent", 3))
    assert caller is not None
    return caller


@pytest.mark.parametrize("vm", ["agent", "child", "grandchild"])
@pytest.mark.parametrize(
    "request_",
    [
        *("GET vm/{}/status", "GET vm/{}/metadata", "GET vm/{}/ssh_key", "DELETE vm/{}", "PATCH vm/{}/state"),
        *("POST vm/{}/branch", "POST vm/{}/commit", "POST vm/{}/exec", "PUT vm/{}/files", "PUT vm/{}/labels"),
        "POST vm/branch/by_vm/{}",
    ],
)
def test_a_vm_does_all_to_itself_and_what_it_made(
    world: World, agent: Caller, vm: str, request_: str
) -> None:
    assert world.permitted(agent, request_.format(vm))
    for strange in ("other", "nobody", "", "golden/../agent"):
        assert not world.permitted(agent, request_.format(strange))


@pytest.mark.parametrize(
    "request_",
    [
        *("GET env_vars", "PUT env_vars", "DELETE env_vars/A", "GET commit_tags", "POST commit_tags"),
        *("PATCH commit_tags/t", "DELETE commit_tags/t", "GET commits/public", "DELETE commits/theirs"),
        *("DELETE commits/golden", "PATCH commits/golden", "GET vm/commits/theirs/parents", "GET images"),
        *("POST vm/agent/api_key", "DELETE vm/agent/api_key", "POST vm/other/api_key"),
        *("POST vm/theirs/branch", "POST vm/branch/by_ref/a/b", "GET anything", "POST whoami", "GET "),
    ],
)
def test_what_is_the_accounts_is_refused(world: World, agent: Caller, request_: str) -> None:
    assert not world.permitted(agent, request_)


@pytest.mark.parametrize(
    "request_",
    [
        *("GET whoami", "GET system/version", "POST keys/validate", "GET openapi.json", "GET vm", "GET vms"),
        *("GET commits", "POST vm/new_root", "POST vm/from_commit", "POST vm/branch/by_tag/t"),
        *("POST vm/child/api_key", "DELETE vm/child/api_key"),
        *("DELETE commits/mine", "PATCH commits/below", "POST vm/golden/branch", "POST vm/mine/branch"),
    ],
)
def test_what_is_anyones_or_its_own_passes(world: World, agent: Caller, request_: str) -> None:
    assert world.permitted(agent, request_)


def test_what_it_may_not_know_of_is_not_there(world: World, agent: Caller) -> None:
    with pytest.raises(UnknownError, match="There is no VM other"):
        access.permit(agent, "GET", "vm/other/status", world.vms.get, world.commits.get)
    with pytest.raises(NotAllowedError, match="does not allow PUT /env_vars"):
        access.permit(agent, "PUT", "env_vars", world.vms.get, world.commits.get)


def test_lists_hold_what_the_caller_may_see(world: World, agent: Caller) -> None:
    assert access.seen_vms(world.vms.values()) == list(world.vms.values())
    with access.asking(agent):
        assert [vm.vm_id for vm in access.seen_vms(world.vms.values())] == ["agent", "child", "grandchild"]
        seen = access.seen_commits(world.commits.values())
        assert [commit.commit_id for commit in seen] == ["golden", "mine", "below"]
    assert access.seen_commits(world.commits.values()) == list(world.commits.values())


def test_what_is_made_has_its_makers_on_record(world: World, agent: Caller) -> None:
    assert access.makers() == ()
    assert access.claim(99, world.vms.values()) == ()
    with access.asking(agent):
        assert access.makers() == ("agent",)
        assert access.claim(1, world.vms.values()) == ("agent",)
    keys = world.access()
    child = keys.caller(keys.grant("child", 5))
    with access.asking(child):
        assert access.makers() == ("child", "agent")


async def test_work_begun_by_a_caller_is_its_own_whoever_asks_next(agent: Caller) -> None:
    go_on = asyncio.Event()

    async def work() -> tuple[str, ...]:
        await go_on.wait()
        return access.makers()

    with access.asking(agent):
        task = asyncio.create_task(work())
    go_on.set()
    assert await task == ("agent",)


def test_no_more_vms_are_made_than_its_key_allows(world: World, agent: Caller) -> None:
    with access.asking(agent):
        access.claim(1, world.vms.values())
        with pytest.raises(NotAllowedError, match="The key of VM agent allows 3 VMs"):
            access.claim(2, world.vms.values())
        world.add("third", "agent")
        with pytest.raises(NotAllowedError):
            access.claim(1, world.vms.values())
        del world.vms["child"]  # what it made counts on: grandchild and third are there
        access.claim(1, world.vms.values())
        with pytest.raises(NotAllowedError):
            access.claim(2, world.vms.values())


def test_what_a_vm_makes_counts_for_its_makers_too(world: World) -> None:
    keys = world.access()
    keys.grant("agent", 2)
    child = keys.caller(keys.grant("child", 50))
    with access.asking(child), pytest.raises(NotAllowedError, match="VM agent allows 2"):
        access.claim(1, world.vms.values())


def test_what_a_maker_was_allowed_bounds_what_it_made_when_it_is_gone_too(world: World) -> None:
    keys = world.access()
    first = keys.grant("agent", 3)
    key = keys.grant("child", 1000)
    del world.vms["agent"]
    keys.grant("other", 1)
    keys = world.access()
    child = keys.caller(key)
    with access.asking(child):
        access.claim(1, world.vms.values())
        with pytest.raises(NotAllowedError, match="VM agent allows 3"):
            access.claim(2, world.vms.values())
    assert keys.caller(first) is None
    for gone in ("child", "grandchild"):
        del world.vms[gone]
    keys.grant("other", 1)
    assert "agent" not in world.file.read_text(), "there is nobody whom it bounds"


def test_vms_are_made_of_commits_that_the_caller_may_see(world: World, agent: Caller) -> None:
    with access.asking(agent):
        for known in ("golden", "mine", "below"):
            access.claim(1, world.vms.values(), world.commits[known])
        with pytest.raises(UnknownError, match="no commit theirs"):
            access.claim(1, world.vms.values(), world.commits["theirs"])
    access.claim(1, world.vms.values(), world.commits["theirs"])


def test_a_key_lasts_until_it_is_revoked_replaced_or_its_vm_is_gone(world: World) -> None:
    keys = world.access()
    first = keys.grant("agent", 1)
    assert keys.caller(first) is not None
    second = keys.grant("agent", 1)
    assert keys.caller(first) is None
    again = world.access()
    assert again.caller(second) is not None
    again.revoke("agent")
    assert again.caller(second) is None
    assert world.access().caller(second) is None
    third = again.grant("agent", 1)
    del world.vms["agent"]
    assert again.caller(third) is None
    with pytest.raises(UnknownError, match="no VM agent"):
        again.grant("agent", 1)
    with pytest.raises(UnknownError, match="has no key"):
        again.revoke("child")


def test_no_key_is_kept_and_what_is_kept_is_private(world: World) -> None:
    key = world.access().grant("agent", 1)
    assert key not in world.file.read_text()
    del world.vms["agent"]
    keys = world.access()
    keys.grant("other", 1)
    assert "agent" not in world.file.read_text()
    assert stat.S_IMODE(world.file.stat().st_mode) == 0o600
    for wrong in ("", "wrong", key[:-1], "\udc80", "ä"):
        assert world.access().caller(wrong) is None


def test_the_api_is_open_for_vms_with_a_key_alone(world: World) -> None:
    keys = world.access()
    keys.grant("agent", 1)
    keys.grant("child", 1)
    assert world.open == {"agent", "child"}
    keys.revoke("child")
    assert world.open == {"agent"}
    world.open.clear()
    world.access().open_all()
    assert world.open == {"agent"}


@pytest.fixture
def sister(world: World) -> Caller:
    """One of the agent's swarm, asking with its key."""
    keys = world.access()
    world.add("sister", origin="golden")
    world.add("niece", "sister")
    world.add("stranger")
    for vm_id, swarm in (("agent", "s"), ("stranger", "t"), ("other", "")):
        keys.grant(vm_id, 3, swarm)
    caller = keys.caller(keys.grant("sister", 3, "s"))
    assert caller is not None
    return caller


def test_agents_of_one_spawn_reach_each_other(world: World, sister: Caller) -> None:
    for what in (
        "GET vm/agent/status",
        "GET vm/agent/metadata",
        "GET vm/agent/ssh_key",
        "GET vm/agent/files",
    ):
        assert world.permitted(sister, what)
    for what in ("POST vm/agent/exec", "POST vm/agent/exec/stream", "PUT vm/agent/files"):
        assert world.permitted(sister, what)
        assert not world.permitted(sister, what.replace("agent", "stranger"))
        assert not world.permitted(sister, what.replace("agent", "other"))
        assert not world.permitted(sister, what.replace("agent", "child"))
    with access.asking(sister):
        seen = {vm.vm_id for vm in access.seen_vms(world.vms.values())}
    assert seen == {"agent", "sister", "niece"}


@pytest.mark.parametrize(
    "request_",
    [
        *("DELETE vm/agent", "PATCH vm/agent/state", "PATCH vm/agent/label", "PATCH vm/agent/disk"),
        *(
            "POST vm/agent/branch",
            "POST vm/branch/by_vm/agent",
            "POST vm/agent/commit",
            "PUT vm/agent/labels",
        ),
        *("POST vm/agent/api_key", "DELETE vm/agent/api_key", "DELETE vm/agent/label/name"),
    ],
)
def test_but_change_only_what_they_made(world: World, sister: Caller, request_: str) -> None:
    assert not world.permitted(sister, request_)


def test_no_vm_lets_another_into_a_swarm(world: World, sister: Caller) -> None:
    keys = world.access()
    with access.asking(sister), pytest.raises(NotAllowedError, match="into a swarm"):
        keys.grant("niece", 1, "t")
    with access.asking(sister):
        niece = keys.caller(keys.grant("niece", 1))
    assert niece is not None and niece.sisters == frozenset()


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.replay = Replay(lambda answer: len(answer.body))
    address = Address(api_port=7171, gateway_port=7443, domain="test.localhost", ca_pem="PEM")
    assert address.ports == {7171, 7443}
    app.include_router(routes.router(world.access(), address))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.mark.parametrize("body", [None, {}, {"max_vms": 0}, {"max_vms": 1000}])
async def test_a_vm_is_told_its_key_and_where_to_use_it(
    api: httpx.AsyncClient, world: World, body: dict[str, Any] | None
) -> None:
    told = (await api.post("/vm/agent/api_key", json=body)).json()
    assert told | {"api_key": ""} == {
        "api_key": "",
        "base_url": "http://10.0.3.2:7171/api/v1",
        "gateway": "10.0.3.2:7443",
        "ca_pem": "PEM",
        "domain": "test.localhost",
    }
    caller = world.access().caller(told["api_key"])
    assert caller is not None
    assert caller.limits == {"agent": (body or {}).get("max_vms", 20)}
    assert (await api.delete("/vm/agent/api_key")).json() == {"vm_id": "agent"}
    assert world.access().caller(told["api_key"]) is None


@pytest.mark.parametrize("most", [-1, 1001, "many", None])
async def test_a_limit_that_is_none_is_refused(api: httpx.AsyncClient, world: World, most: object) -> None:
    assert (await api.post("/vm/agent/api_key", json={"max_vms": most})).status_code == 422
    assert not world.open
