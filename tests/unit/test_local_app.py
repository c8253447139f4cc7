"""The API's manners, without any VM: who is let in, and in which shape one is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import app
from pi_v_jupyter.local.fleet import NoRoomError, NotPossibleError
from pi_v_jupyter.local.record import VMRecord
from pi_v_jupyter.local.replay import MismatchError, Replay

KEY = "the-key"


class Fleet:
    """Answers like the real one; `problem` is what creating a VM ends in."""

    owner_id = "owner"

    def __init__(self) -> None:
        self.vms: dict[str, VMRecord] = {}
        self.problem: Exception | None = None
        self.fails_to_start = False

    def list(self) -> list[VMRecord]:
        return list(self.vms.values())

    def get(self, vm_id: str) -> VMRecord | None:
        return self.vms.get(vm_id)

    def create(self, config: VMConfig) -> VMRecord:
        if self.problem:
            raise self.problem
        vm = VMRecord(vm_id=f"vm-{len(self.vms)}", state=VMState.BOOTING, created_at=datetime.now(UTC))
        self.vms[vm.vm_id] = vm
        return vm

    async def started(self, vm_id: str) -> None:
        await asyncio.sleep(0)
        if self.fails_to_start:
            raise PlatformError("It did not come up.")

    async def delete(self, vm_id: str) -> None:
        del self.vms[vm_id]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
async def api(fleet: Fleet) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app.build(fleet, KEY), raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://127.0.0.1/api/v1",
        headers={"Authorization": f"Bearer {KEY}"},
    ) as client:
        yield client


def refusal(answer: httpx.Response, status: int) -> str:
    """The sentence of a refusal in the API's shape."""
    assert answer.status_code == status
    body = answer.json()
    assert set(body) == {"error", "success"}
    assert body["success"] is False
    return str(body["error"])


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", KEY, f"Basic {KEY}"])
@pytest.mark.parametrize("path", ["/vm", "/whoami", "/no/such/path", "/commits"])
async def test_without_the_key_every_path_is_refused_alike(
    api: httpx.AsyncClient, given: str | None, path: str
) -> None:
    api.headers.pop("Authorization")
    headers = {} if given is None else {"Authorization": given}
    assert refusal(await api.get(path, headers=headers), 401) == "The API key is missing or wrong."


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("PATCH", "/vm/x/state", "pausing"),
        ("POST", "/vm/x/branch", "branching"),
        ("POST", "/vm/from_commit", "restoring a commit"),
        ("GET", "/commit_tags", "tags"),
        ("GET", "/vm/commits/x/parents", "parents"),
        ("PUT", "/env_vars", "environment"),
    ],
)
async def test_what_the_real_platform_has_and_this_one_not_yet_is_named(
    api: httpx.AsyncClient, method: str, path: str, words: str
) -> None:
    assert words in refusal(await api.request(method, path), 501)


async def test_a_path_nobody_has_is_not_found(api: httpx.AsyncClient) -> None:
    refusal(await api.get("/nowhere"), 404)


async def test_an_unknown_vm_is_not_found_whatever_is_asked_of_it(api: httpx.AsyncClient) -> None:
    for path in ("status", "metadata", "ssh_key"):
        assert "no VM nobody" in refusal(await api.get(f"/vm/nobody/{path}"), 404)
    refusal(await api.delete("/vm/nobody"), 404)


@pytest.mark.parametrize(
    "body", [{"vm_config": {"vcpu_count": 0}}, {"vm_config": {"labels": {"a": 1}}}, {"vm_config": 3}, []]
)
async def test_a_malformed_request_is_told_where(api: httpx.AsyncClient, body: Any) -> None:
    assert "body" in refusal(await api.post("/vm/new_root", json=body), 400)
    refusal(await api.post("/vm/new_root", content=b"{", headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize(
    ("problem", "status"),
    [(NotPossibleError("No."), 400), (NoRoomError("Full."), 507), (PlatformError("QEMU ended."), 500)],
)
async def test_why_a_vm_cannot_be_made_is_said(
    api: httpx.AsyncClient, fleet: Fleet, problem: PlatformError, status: int
) -> None:
    fleet.problem = problem
    assert refusal(await api.post("/vm/new_root", json={}), status) == problem.message


async def test_a_vm_that_does_not_come_up_is_not_kept_from_a_caller_that_waited(
    api: httpx.AsyncClient, fleet: Fleet
) -> None:
    fleet.fails_to_start = True
    refusal(await api.post("/vm/new_root", params={"wait_boot": True}, json={}), 500)
    assert fleet.vms == {}


async def test_a_failure_of_our_own_is_logged_and_not_told(
    api: httpx.AsyncClient, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.problem = RuntimeError("a detail")
    with caplog.at_level(logging.ERROR):
        assert "a detail" not in refusal(await api.post("/vm/new_root", json={}), 500)
    assert "a detail" in caplog.text


async def test_the_account_is_this_computers(api: httpx.AsyncClient) -> None:
    assert (await api.get("/whoami")).json()["user"]["id"] == "owner"
    assert (await api.post("/keys/validate")).json()["valid"] is True
    assert set((await api.get("/system/version")).json()) == {
        "executable_name",
        "git_hash",
        "workspace_version",
    }


async def test_a_failed_try_is_not_the_answer_to_the_next(api: httpx.AsyncClient, fleet: Fleet) -> None:
    headers = {"X-Idempotency-Key": "k"}
    fleet.problem = NoRoomError("Full.")
    refusal(await api.post("/vm/new_root", json={}, headers=headers), 507)
    fleet.problem = None
    first = (await api.post("/vm/new_root", json={}, headers=headers)).json()
    assert (await api.post("/vm/new_root", json={}, headers=headers)).json() == first
    assert len(fleet.vms) == 1


async def test_a_delete_that_is_sent_again_is_answered_again(api: httpx.AsyncClient) -> None:
    vm_id = (await api.post("/vm/new_root", json={})).json()["vm_id"]
    headers = {"X-Idempotency-Key": "d"}
    for _ in range(2):
        assert (await api.delete(f"/vm/{vm_id}", headers=headers)).json() == {"vm_id": vm_id}


async def test_work_goes_on_for_its_key_when_the_first_to_ask_leaves() -> None:
    replay, go_on, done = Replay(), asyncio.Event(), []

    async def work() -> str:
        await go_on.wait()
        done.append(1)
        return "made"

    first = asyncio.create_task(replay.once("k", "r", work))
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(replay.once("k", "r", work))
    go_on.set()
    assert await second == "made"
    assert done == [1]
    with pytest.raises(MismatchError):
        await replay.once("k", "another request", work)
