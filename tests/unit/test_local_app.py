"""The API's manners, without any VM: who is let in, what each path answers, how one is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from paper import PaperFleet, application

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import app
from pi_v_jupyter.local.problems import ConflictError, NoRoomError, NotPossibleError, UnknownError
from pi_v_jupyter.local.replay import MismatchError, Replay

KEY = "the-key"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State of the test's own."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture
def fleet(home: None) -> PaperFleet:
    return PaperFleet()


@pytest.fixture
async def api(fleet: PaperFleet) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(fleet, KEY), raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://127.0.0.1/api/v1",
        headers={"Authorization": f"Bearer {KEY}"},
    ) as client:
        yield client


def refusal(answer: httpx.Response, status: int) -> str:
    """The sentence of a refusal in the API's shape."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "success"}
    assert body["success"] is False
    return str(body["error"])


def told(answer: httpx.Response) -> Any:
    """What is answered to a request that is granted."""
    assert answer.status_code == 200, answer.text
    return answer.json()


async def new_vm(api: httpx.AsyncClient, **config: Any) -> str:
    """The id of a new VM that runs."""
    answer = await api.post("/vm/new_root", params={"wait_boot": True}, json={"vm_config": config})
    return str(told(answer)["vm_id"])


async def new_commit(api: httpx.AsyncClient, vm_id: str, **wanted: Any) -> str:
    """The id of a new commit."""
    return str(told(await api.post(f"/vm/{vm_id}/commit", json=wanted))["commit_id"])


# Who is let in, and how one is refused


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", KEY, f"Basic {KEY}"])
@pytest.mark.parametrize("path", ["/vm", "/whoami", "/no/such/path", "/commits", "/openapi.json"])
async def test_without_the_key_every_path_is_refused_alike(
    api: httpx.AsyncClient, given: str | None, path: str
) -> None:
    api.headers.pop("Authorization")
    headers = {} if given is None else {"Authorization": given}
    assert refusal(await api.get(path, headers=headers), 401) == "The API key is missing or wrong."


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/vm/branch/by_ref/repository/tag", "reference"),
        ("GET", "/images", "images"),
        ("GET", "/repositories/mine/tags", "repositories"),
        ("GET", "/public/repositories", "public"),
        ("DELETE", "/domains/x", "domains"),
        ("POST", "/deploy", "deploy"),
    ],
)
async def test_what_the_real_platform_has_and_this_one_not_yet_is_named(
    api: httpx.AsyncClient, method: str, path: str, words: str
) -> None:
    assert words in refusal(await api.request(method, path), 501)


@pytest.mark.parametrize("path", ["/nowhere", "/vm/", "/commits/", "/vm//status", "/../vm/x/y/z"])
async def test_a_path_nobody_has_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    refusal(await api.get(path), 404)


async def test_a_method_a_path_does_not_have_is_refused_with_those_it_has(api: httpx.AsyncClient) -> None:
    answer = await api.patch("/env_vars")
    refusal(answer, 405)
    assert answer.headers["Allow"] == "GET, PUT"
    for path in ("/env_vars", "/vm"):
        assert (await api.head(path)).status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/vm/{}/status", None),
        ("GET", "/vm/{}/metadata", None),
        ("GET", "/vm/{}/ssh_key", None),
        ("DELETE", "/vm/{}", None),
        ("DELETE", "/vm/{}?skip_wait_boot=true", None),
        ("PATCH", "/vm/{}/state", {"state": "Paused"}),
        ("PATCH", "/vm/{}/disk", {"fs_size_mib": 9000}),
        ("PATCH", "/vm/{}/label", {"labels": {}}),
        ("PUT", "/vm/{}/labels", {"labels": {}}),
        ("DELETE", "/vm/{}/label/a", None),
        ("POST", "/vm/{}/commit", {}),
        ("POST", "/vm/{}/branch", None),
        ("POST", "/vm/branch/by_vm/{}", None),
        ("POST", "/vm/branch/by_commit/{}", None),
        ("POST", "/vm/branch/by_tag/{}", None),
        ("PATCH", "/commits/{}", {"name": "a"}),
        ("DELETE", "/commits/{}", None),
        ("GET", "/vm/commits/{}/parents", None),
        ("GET", "/commit_tags/{}", None),
        ("PATCH", "/commit_tags/{}", {}),
        ("DELETE", "/commit_tags/{}", None),
        ("DELETE", "/env_vars/{}", None),
    ],
)
async def test_what_is_not_there_is_not_found_whatever_is_asked_of_it(
    api: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    for name in ("nobody", "..%2F..%2Fetc", "%00", "%ff", "-" * 500, "ü"):
        refusal(await api.request(method, path.format(name), json=body), 404)


@pytest.mark.parametrize(
    "body", [{"vm_config": {"vcpu_count": 0}}, {"vm_config": {"labels": {"a": 1}}}, {"vm_config": 3}, []]
)
async def test_a_malformed_request_is_told_where(api: httpx.AsyncClient, body: Any) -> None:
    assert "body" in refusal(await api.post("/vm/new_root", json=body), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"NaN",
        b'{"vm_config": {"labels": {"name": "\\ud800"}}}',
        b'{"vm_config": {"mem_size_mib": Infinity}}',
        b'{"vm_config": {"mem_size_mib": 1e999}}',
        b'{"vm_config": {"mem_size_mib": ' + b"9" * 5000 + b"}}",
        b"[" * 100_000,
    ],
)
async def test_a_hostile_body_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    refusal(await api.post("/vm/new_root", content=body, headers=headers), 400)
    assert told(await api.get("/vm")) == []


async def test_a_body_beyond_measure_is_refused_before_it_is_held(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LARGEST_BODY", 2**20)
    sent = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**16
            yield b" " * 2**16

    headers = {"Content-Type": "application/json"}
    assert "1 MB" in refusal(await api.post("/vm/new_root", content=flood(), headers=headers), 413)
    assert sent < 2**21


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (NotPossibleError("No."), 400),
        (UnknownError("Nobody."), 404),
        (ConflictError("Not now."), 409),
        (NoRoomError("Full."), 507),
        (PlatformError("QEMU ended."), 500),
    ],
)
async def test_why_a_vm_cannot_be_made_is_said(
    api: httpx.AsyncClient, fleet: PaperFleet, problem: PlatformError, status: int
) -> None:
    fleet.problem = problem
    assert refusal(await api.post("/vm/new_root", json={}), status) == problem.message


async def test_a_failure_of_our_own_is_logged_and_not_told(
    api: httpx.AsyncClient, fleet: PaperFleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.problem = RuntimeError("a detail")
    with caplog.at_level(logging.ERROR):
        assert "a detail" not in refusal(await api.post("/vm/new_root", json={}), 500)
    assert "a detail" in caplog.text


async def test_the_api_describes_itself_truly(api: httpx.AsyncClient) -> None:
    schema = told(await api.get("/openapi.json"))
    assert schema["security"] == [{"BearerKey": []}]
    for path, operations in schema["paths"].items():
        assert path.startswith("/api/v1/")
        for method, operation in operations.items():
            assert {"200", "400", "401", "403", "413", "500"} <= set(operation["responses"])
            assert "422" not in operation["responses"]
            parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert ("X-Idempotency-Key" in parameters) == (method != "get")


# VMs


async def test_a_vm_that_does_not_come_up_is_not_kept_from_a_caller_that_waited(
    api: httpx.AsyncClient, fleet: PaperFleet
) -> None:
    fleet.fails_to_start = True
    refusal(await api.post("/vm/new_root", params={"wait_boot": True}, json={}), 500)
    assert fleet.vms == {}


async def test_who_waits_for_a_vm_that_is_deleted_meanwhile_is_told_so(
    api: httpx.AsyncClient, fleet: PaperFleet
) -> None:
    fleet.may_start.clear()
    creating = asyncio.create_task(api.post("/vm/new_root", params={"wait_boot": True}, json={}))
    while not fleet.vms:
        await asyncio.sleep(0)
    (vm_id,) = fleet.vms
    told(await api.delete(f"/vm/{vm_id}"))
    assert "was ended while it was being made" in refusal(await creating, 404)


async def test_both_vintages_list_the_same_vms(api: httpx.AsyncClient) -> None:
    await new_vm(api, labels={"name": "build"})
    (vm,) = told(await api.get("/vm"))
    assert told(await api.get("/vms")) == [vm]
    assert set(vm) == {"vm_id", "owner_id", "state", "created_at", "labels", "made_by", "reason"}
    assert (vm["state"], vm["labels"]) == ("running", {"name": "build"})
    assert told(await api.get(f"/vm/{vm['vm_id']}/status")) == vm


@pytest.mark.parametrize("word", ["Paused", "Sleeping"])
async def test_a_pause_has_two_words(api: httpx.AsyncClient, word: str) -> None:
    vm_id = await new_vm(api)
    for wanted, state in ((word, "paused"), ("Running", "running")):
        assert told(await api.patch(f"/vm/{vm_id}/state", json={"state": wanted}))["state"] == state
        assert told(await api.get(f"/vm/{vm_id}/status"))["state"] == state
    refusal(await api.patch(f"/vm/{vm_id}/state", json={"state": "Flying"}), 400)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/state", {"state": "Paused"}),
        ("PATCH", "/disk", {"fs_size_mib": 9000}),
        ("POST", "/branch", None),
        ("POST", "/commit", None),
    ],
)
async def test_a_vm_that_boots_is_waited_for_unless_the_caller_would_rather_not(
    api: httpx.AsyncClient, fleet: PaperFleet, method: str, path: str, body: Any
) -> None:
    fleet.may_start.clear()
    vm_id = told(await api.post("/vm/new_root", json={}))["vm_id"]
    now = await api.request(method, f"/vm/{vm_id}{path}", params={"skip_wait_boot": True}, json=body)
    assert "still booting" in refusal(now, 409)
    later = asyncio.create_task(api.request(method, f"/vm/{vm_id}{path}", json=body))
    fleet.may_start.set()
    told(await later)


async def test_a_vm_that_boots_can_be_deleted_at_once(api: httpx.AsyncClient, fleet: PaperFleet) -> None:
    fleet.may_start.clear()
    vm_id = told(await api.post("/vm/new_root", json={}))["vm_id"]
    assert "still booting" in refusal(await api.delete(f"/vm/{vm_id}", params={"skip_wait_boot": True}), 409)
    assert told(await api.delete(f"/vm/{vm_id}")) == {"vm_id": vm_id}


async def test_labels_are_added_replaced_and_taken_away(api: httpx.AsyncClient) -> None:
    vm_id = await new_vm(api, labels={"name": "build", "team": "blue"})

    async def labels() -> Any:
        return told(await api.get(f"/vm/{vm_id}/status"))["labels"]

    told(await api.patch(f"/vm/{vm_id}/label", json={"labels": {"name": "test", "a/b c": "1"}}))
    assert await labels() == {"name": "test", "team": "blue", "a/b c": "1"}
    told(await api.delete(f"/vm/{vm_id}/label/a%2Fb%20c"))
    assert await labels() == {"name": "test", "team": "blue"}
    told(await api.put(f"/vm/{vm_id}/labels", json={"labels": {"only": "this"}}))
    assert await labels() == {"only": "this"}
    for method, path in (("PATCH", "label"), ("PUT", "labels")):
        assert "labels" in refusal(await api.request(method, f"/vm/{vm_id}/{path}", json={}), 400)
    assert await labels() == {"only": "this"}


async def test_a_disk_is_grown(api: httpx.AsyncClient) -> None:
    vm_id = await new_vm(api)
    assert told(await api.patch(f"/vm/{vm_id}/disk", json={"fs_size_mib": 9000}))["fs_size_mib"] == 9000
    refusal(await api.patch(f"/vm/{vm_id}/disk", json={"fs_size_mib": 9000}), 400)
    assert told(await api.get(f"/vm/{vm_id}/metadata"))["fs_size_mib"] == 9000


# Commits and branches


@pytest.mark.parametrize("path", ["/vm/{}/branch", "/vm/branch/by_vm/{}"])
async def test_a_branch_is_answered_in_the_words_of_both_vintages(api: httpx.AsyncClient, path: str) -> None:
    vm_id = await new_vm(api)
    answer = told(await api.post(path.format(vm_id), params={"count": 3}))
    ids = [vm["vm_id"] for vm in answer["vms"]]
    assert (answer["vm_id"], len(set(ids))) == (ids[0], 3)
    for child in ids:
        assert told(await api.get(f"/vm/{child}/metadata"))["grandparent_vm_id"] == vm_id


@pytest.mark.parametrize("count", ["0", "65", "-1", "many", "1.5", "9" * 5000])
async def test_branches_are_between_1_and_64(api: httpx.AsyncClient, count: str) -> None:
    vm_id = await new_vm(api)
    assert "count" in refusal(await api.post(f"/vm/{vm_id}/branch", params={"count": count}), 400)
    assert len(told(await api.get("/vm"))) == 1


async def test_a_commit_is_restored_and_branched_by_id_tag_and_name(api: httpx.AsyncClient) -> None:
    vm_id = await new_vm(api)
    commit_id = await new_commit(api, vm_id, name="first", description="d")
    told(await api.post("/commit_tags", json={"tag_name": "golden", "commit_id": commit_id}))
    made = [
        told(await api.post("/vm/from_commit", json=wanted))["vm_id"]
        for wanted in ({"commit_id": commit_id}, {"tag_name": "golden"}, {"commit_id": "first"})
    ]
    for path in (f"/vm/{commit_id}/branch", f"/vm/branch/by_commit/{commit_id}", "/vm/branch/by_tag/golden"):
        made += [vm["vm_id"] for vm in told(await api.post(path, params={"count": 2}))["vms"]]
    assert len(set(made)) == 9
    for child in made:
        metadata = told(await api.get(f"/vm/{child}/metadata"))
        assert (metadata["parent_commit_id"], metadata["grandparent_vm_id"]) == (commit_id, vm_id)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"commit_id": "a", "tag_name": "b"}, 400),
        ({"commit_id": "../../etc"}, 400),
        ({"ref": "repository:tag"}, 400),
        ({"commit_id": "nobody"}, 404),
        ({"tag_name": "nobody"}, 404),
        ({"tag_name": "\0" * 1000}, 404),
    ],
)
async def test_what_cannot_be_restored_is_refused(api: httpx.AsyncClient, body: Any, status: int) -> None:
    refusal(await api.post("/vm/from_commit", json=body), status)


async def test_a_commit_may_leave_its_vm_paused_and_needs_no_body(
    api: httpx.AsyncClient, fleet: PaperFleet
) -> None:
    vm_id = await new_vm(api)
    told(await api.post(f"/vm/{vm_id}/commit"))
    assert told(await api.get(f"/vm/{vm_id}/status"))["state"] == "running"
    told(await api.post(f"/vm/{vm_id}/commit", params={"keep_paused": True}))
    assert told(await api.get(f"/vm/{vm_id}/status"))["state"] == "paused"
    fleet.kill(vm_id)
    refusal(await api.post(f"/vm/{vm_id}/commit"), 409)


async def test_commits_are_listed_page_by_page(api: httpx.AsyncClient) -> None:
    vm_id = await new_vm(api)
    ids = [await new_commit(api, vm_id) for _ in range(3)]
    page = told(await api.get("/commits", params={"limit": 2, "offset": 1}))
    assert [commit["commit_id"] for commit in page["commits"]] == [ids[1], ids[0]]
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 1)
    for wrong in ({"limit": 0}, {"limit": 1001}, {"offset": -1}, {"limit": "all"}):
        refusal(await api.get("/commits", params=wrong), 400)
    assert told(await api.get("/commits/public"))["total"] == 0
    told(await api.patch(f"/commits/{ids[0]}", json={"is_public": True}))
    assert [c["commit_id"] for c in told(await api.get("/commits/public"))["commits"]] == [ids[0]]


async def test_a_commit_is_renamed_and_its_parents_are_told(api: httpx.AsyncClient) -> None:
    first = await new_commit(api, await new_vm(api), name="old")
    renamed = told(await api.patch(f"/commits/{first}", json={"is_public": False, "name": "new"}))
    assert (renamed["commit_id"], renamed["name"]) == (first, "new")
    child = told(await api.post("/vm/from_commit", json={"commit_id": first}))["vm_id"]
    second = await new_commit(api, child)
    (parent,) = told(await api.get(f"/vm/commits/{second}/parents"))
    assert (parent["id"], parent["commit_id"], parent["name"]) == (first, first, "new")


async def test_a_commit_that_is_needed_is_not_deleted_and_what_needs_it_is_named(
    api: httpx.AsyncClient,
) -> None:
    commit_id = await new_commit(api, await new_vm(api))
    child = told(await api.post("/vm/from_commit", json={"commit_id": commit_id}))["vm_id"]
    assert f"VM {child}" in refusal(await api.delete(f"/commits/{commit_id}"), 409)
    told(await api.delete(f"/vm/{child}"))
    assert told(await api.delete(f"/commits/{commit_id}")) == {"commit_id": commit_id}
    assert told(await api.get("/commits"))["commits"] == []


async def test_tags_are_made_moved_read_and_deleted(api: httpx.AsyncClient) -> None:
    vm_id = await new_vm(api)
    first, second = [await new_commit(api, vm_id) for _ in range(2)]
    wanted = {"tag_name": "v1.0_a-b", "commit_id": first, "description": "d"}
    made = told(await api.post("/commit_tags", json=wanted))
    assert (made["tag_name"], made["commit_id"], bool(made["tag_id"])) == ("v1.0_a-b", first, True)
    refusal(await api.post("/commit_tags", json=wanted), 409)
    for name in ("", "a b", "ü", "a" * 65, "a/b", "a\n"):
        assert "tag_name" in refusal(await api.post("/commit_tags", json={**wanted, "tag_name": name}), 400)
    moved = told(await api.patch("/commit_tags/v1.0_a-b", json={"commit_id": second, "description": None}))
    assert (moved["commit_id"], moved["description"]) == (second, None)
    assert told(await api.get("/commit_tags/v1.0_a-b")) == moved
    assert told(await api.get("/commit_tags")) == {"tags": [moved]}
    assert told(await api.delete("/commit_tags/v1.0_a-b"))["tag_name"] == "v1.0_a-b"
    assert told(await api.get("/commit_tags")) == {"tags": []}


# The account


async def test_the_account_is_this_computers(api: httpx.AsyncClient) -> None:
    account = told(await api.get("/whoami"))
    assert {part["id"] for part in account.values()} == {"owner"}
    assert told(await api.post("/keys/validate"))["valid"] is True
    assert set(told(await api.get("/system/version"))) == {
        "executable_name",
        "git_hash",
        "workspace_version",
    }


async def test_variables_are_added_replaced_and_removed(api: httpx.AsyncClient) -> None:
    await api.put("/env_vars", json={"vars": {"A": "1", "B": "2"}})
    assert told(await api.put("/env_vars", json={"vars": {"B": "3"}})) == {"vars": {"A": "1", "B": "3"}}
    assert told(await api.delete("/env_vars/A")) == {"vars": {"B": "3"}}
    await api.put("/env_vars", json={"vars": {"C": "4"}, "replace": True})
    assert told(await api.get("/env_vars")) == {"vars": {"C": "4"}}


@pytest.mark.parametrize(
    "variables",
    [{"1A": ""}, {"A B": ""}, {"": ""}, {"A" * 257: ""}, {"A": "v" * 8193}, {"A": "a\nb"}, {"A": 1}],
)
async def test_a_variable_no_shell_could_have_is_refused(api: httpx.AsyncClient, variables: Any) -> None:
    refusal(await api.put("/env_vars", json={"vars": variables}), 400)
    assert told(await api.get("/env_vars")) == {"vars": {}}


# Requests that are sent again


async def test_a_failed_try_is_not_the_answer_to_the_next(api: httpx.AsyncClient, fleet: PaperFleet) -> None:
    headers = {"X-Idempotency-Key": "k"}
    fleet.problem = NoRoomError("Full.")
    refusal(await api.post("/vm/new_root", json={}, headers=headers), 507)
    fleet.problem = None
    first = told(await api.post("/vm/new_root", json={}, headers=headers))
    assert told(await api.post("/vm/new_root", json={}, headers=headers)) == first
    assert len(fleet.vms) == 1


async def test_every_write_that_is_sent_again_is_answered_again(api: httpx.AsyncClient) -> None:
    vm_id = await new_vm(api)
    commit_id = await new_commit(api, vm_id)
    writes: list[tuple[str, str, Any]] = [
        ("POST", f"/vm/{vm_id}/branch", None),
        ("POST", f"/vm/{vm_id}/commit", {}),
        ("POST", "/vm/from_commit", {"commit_id": commit_id}),
        ("POST", "/commit_tags", {"tag_name": "t", "commit_id": commit_id}),
        ("PATCH", f"/vm/{vm_id}/disk", {"fs_size_mib": 9000}),
        ("DELETE", "/commit_tags/t", None),
        ("DELETE", f"/vm/{vm_id}", None),
    ]
    for number, (method, path, body) in enumerate(writes):
        headers = {"X-Idempotency-Key": str(number)}
        tries = [api.request(method, path, json=body, headers=headers) for _ in range(3)]
        answers = [told(answer) for answer in await asyncio.gather(*tries)]
        answers.append(told(await api.request(method, path, json=body, headers=headers)))
        assert answers == [answers[0]] * 4
    assert len(told(await api.get("/vm"))) == 2
    assert told(await api.get("/commits"))["total"] == 2


async def test_a_key_stands_for_one_request(api: httpx.AsyncClient) -> None:
    vm_id = await new_vm(api)
    headers = {"X-Idempotency-Key": "k"}
    told(await api.post(f"/vm/{vm_id}/branch", headers=headers))
    for path, body in (
        (f"/vm/{vm_id}/branch?count=2", None),
        (f"/vm/{vm_id}/branch", {}),
        (f"/vm/{vm_id}/commit", None),
    ):
        answer = await api.post(path, json=body, headers=headers)
        assert "used for another request" in refusal(answer, 400)
    refusal(await api.post(f"/vm/{vm_id}/branch", headers={"X-Idempotency-Key": "k" * 257}), 400)


async def test_what_is_asked_for_is_done_though_the_client_leaves(
    api: httpx.AsyncClient, fleet: PaperFleet
) -> None:
    fleet.may_start.clear()
    vm_id = told(await api.post("/vm/new_root", json={}))["vm_id"]
    committing = asyncio.create_task(api.post(f"/vm/{vm_id}/commit"))
    for _ in range(100):
        await asyncio.sleep(0)
    committing.cancel()
    await asyncio.wait([committing])
    fleet.may_start.set()
    async with asyncio.timeout(5):
        while not told(await api.get("/commits"))["total"]:
            await asyncio.sleep(0)


async def test_large_answers_are_kept_as_far_as_there_is_room() -> None:
    replay: Replay[bytes] = Replay(len)
    done = []

    def work(size: int) -> Callable[[], Coroutine[Any, Any, bytes]]:
        async def make() -> bytes:
            done.append(size)
            return bytes(size)

        return make

    for key in (b"oldest", b"older", b"newest"):
        await replay.once(key, b"r", work(30 * 2**20))
    for key in (b"newest", b"older", b"oldest"):
        await replay.once(key, b"r", work(0))
    assert done == [30 * 2**20] * 3 + [0]


async def test_work_goes_on_for_its_key_when_the_first_to_ask_leaves() -> None:
    replay: Replay[str] = Replay(len)
    go_on, done = asyncio.Event(), []

    async def work() -> str:
        await go_on.wait()
        done.append(1)
        return "made"

    first = asyncio.create_task(replay.once(b"k", b"r", work))
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(replay.once(b"k", b"r", work))
    go_on.set()
    assert await second == "made"
    assert done == [1]
    with pytest.raises(MismatchError):
        await replay.once(b"k", b"another request", work)
