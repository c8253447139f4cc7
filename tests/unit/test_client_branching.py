"""Branches, commits, tags and states: what the client asks for, in the words of either vintage."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from test_client import BROKEN, VM, Call, Platform, client_of, failure, named, says

from pi_v_jupyter.errors import ApiError, ConflictError, NotFoundError, UnknownCommitError, UsageError

ONE = {"vm_id": "vm-2"}
COMMIT = {"commit_id": "c-1", "name": "before", "created_at": "2026-11-22T09:00:00Z"}


def page(*commits: dict[str, Any], total: int, offset: int = 0) -> httpx.Response:
    return says(200, {"commits": list(commits), "total": total, "limit": len(commits), "offset": offset})


@pytest.mark.parametrize(
    ("call", "line", "body", "answer"),
    [
        (lambda c: c.branch_vm("vm-1"), "POST /api/v1/vm/vm-1/branch", None, {"vms": [ONE]}),
        (
            lambda c: c.branch_vm("vm-1", 2),
            "POST /api/v1/vm/vm-1/branch?count=2",
            None,
            {"vms": [ONE, {"vm_id": "vm-3"}]},
        ),
        (lambda c: c.commit_vm("vm-1"), "POST /api/v1/vm/vm-1/commit", {}, {"commit_id": "c-1"}),
        (
            lambda c: c.commit_vm("vm-1", name="n", description="d", keep_paused=True),
            "POST /api/v1/vm/vm-1/commit?keep_paused=true",
            {"name": "n", "description": "d"},
            {"commit_id": "c-1"},
        ),
        (lambda c: c.restore_commit("c-1"), "POST /api/v1/vm/from_commit", {"commit_id": "c-1"}, ONE),
        (
            lambda c: c.restore_copies("c-1", 2),
            "POST /api/v1/vm/branch/by_commit/c-1?count=2",
            None,
            {"vms": [ONE, {"vm_id": "vm-3"}]},
        ),
        (lambda c: c.delete_commit("c-1"), "DELETE /api/v1/commits/c-1", None, None),
        (lambda c: c.list_tags(), "GET /api/v1/commit_tags", None, {"tags": []}),
        (
            lambda c: c.create_tag("v1.0", "c-1"),
            "POST /api/v1/commit_tags",
            {"tag_name": "v1.0", "commit_id": "c-1"},
            {"tag_id": "t", "tag_name": "v1.0", "commit_id": "c-1"},
        ),
        (
            lambda c: c.move_tag("v1.0", "c-2"),
            "PATCH /api/v1/commit_tags/v1.0",
            {"commit_id": "c-2"},
            None,
        ),
        (lambda c: c.delete_tag("v1.0"), "DELETE /api/v1/commit_tags/v1.0", None, None),
        (
            lambda c: c.label_vm("vm-1", {"name": "b"}),
            "PATCH /api/v1/vm/vm-1/label",
            {"labels": {"name": "b"}},
            None,
        ),
        (
            lambda c: c.vm_key("vm-1", 3),
            "POST /api/v1/vm/vm-1/api_key",
            {"max_vms": 3},
            {"api_key": "k", "base_url": "http://platform.example/api/v1", "domain": "d"},
        ),
        (
            lambda c: c.set_state("vm-1", running=True),
            "PATCH /api/v1/vm/vm-1/state",
            {"state": "Running"},
            None,
        ),
    ],
)
async def test_each_method_is_one_request_of_the_api(call: Call, line: str, body: Any, answer: Any) -> None:
    platform = Platform(says(200, answer))
    async with client_of(platform) as client:
        await call(client)
    assert platform.lines == [line]
    assert json.loads(platform.asked[0].content or "null") == body


# Both vintages


async def test_a_branch_of_either_vintage_is_read() -> None:
    platform = Platform(says(200, ONE), says(200, {"vms": [ONE]}), says(200, {**ONE, "vms": [ONE]}))
    async with client_of(platform) as client:
        assert [await client.branch_vm("vm-1") for _ in range(3)] == [["vm-2"]] * 3


async def test_a_platform_that_makes_one_branch_at_a_time_is_asked_again() -> None:
    platform = Platform(*(says(200, {"vm_id": f"vm-{n}"}) for n in (2, 3, 4)))
    async with client_of(platform) as client:
        assert await client.branch_vm("vm-1", 3) == ["vm-2", "vm-3", "vm-4"]
    assert [line.partition("?")[2] for line in platform.lines] == ["count=3", "count=2", ""]


async def test_copies_of_a_commit_are_asked_for_one_by_one_where_the_platform_makes_no_several() -> None:
    platform = Platform(says(404), *(says(200, {"vm_id": f"vm-{n}"}) for n in (2, 3)))
    async with client_of(platform) as client:
        assert sorted(await client.restore_copies("c-1", 2)) == ["vm-2", "vm-3"]
    assert [line.partition(" ")[2] for line in platform.lines[1:]] == ["/api/v1/vm/from_commit"] * 2


async def test_of_copies_that_cannot_all_be_made_none_is_left() -> None:
    platform = Platform(says(404), says(200, {"vm_id": "vm-2"}), says(507, {"error": "full"}), says(200, ONE))
    error = await failure(platform, lambda client: client.restore_copies("c-1", 2))
    assert "full" in error.message and platform.lines[-1] == "DELETE /api/v1/vm/vm-2"


async def test_a_platform_without_keys_of_vms_gives_none() -> None:
    async with client_of(Platform(says(404))) as client:
        assert await client.vm_key("vm-1", 3) is None


async def test_an_answer_that_names_no_branch_is_an_error() -> None:
    for answer in ({}, {"vms": []}, {"vm_id": None}):
        error = await failure(Platform(says(200, answer)), lambda client: client.branch_vm("vm-1"))
        assert isinstance(error, ApiError) and "`%vers ls` shows" in error.hint


@pytest.mark.parametrize("refusal", [400, 422])
async def test_a_pause_is_asked_for_in_the_newer_words_then_in_the_older_which_are_remembered(
    refusal: int,
) -> None:
    platform = Platform(says(refusal, {"error": "unknown variant"}), says(200))
    async with client_of(platform) as client:
        await client.set_state("vm-1", running=False)
        await client.set_state("vm-1", running=False)
    assert [json.loads(request.content)["state"] for request in platform.asked] == [
        "Sleeping",
        "Paused",
        "Paused",
    ]


async def test_a_pause_that_neither_word_gets_is_refused_in_the_words_of_the_newer() -> None:
    platform = Platform(says(400, {"error": "still booting"}), says(400, {"error": "unknown variant"}))
    error = await failure(platform, lambda client: client.set_state("vm-1", running=False))
    assert "still booting" in error.message


@pytest.mark.parametrize("status", [404, 409, 500])
async def test_another_refusal_of_a_pause_is_one(status: int) -> None:
    platform = Platform(says(status))
    await failure(platform, lambda client: client.set_state("vm-1", running=False))
    assert len(platform.asked) == 1


# Lists


async def test_commits_are_read_page_by_page() -> None:
    second = {**COMMIT, "commit_id": "c-2", "description": None, "grandparent_commit_id": "c-1"}
    platform = Platform(page(COMMIT, total=2), page(second, total=2, offset=1))
    async with client_of(platform) as client:
        assert [commit.commit_id for commit in await client.list_commits()] == ["c-1", "c-2"]
    assert platform.lines == [
        "GET /api/v1/commits?limit=100&offset=0",
        "GET /api/v1/commits?limit=100&offset=1",
    ]


async def test_a_list_of_commits_ends_even_where_its_total_is_wrong() -> None:
    platform = Platform(page(COMMIT, total=99), page(total=99))
    async with client_of(platform) as client:
        assert len(await client.list_commits(public=True)) == 1
    assert all("/commits/public?" in line for line in platform.lines)


# What may run twice


POSTS: dict[str, Call] = {
    "branch": lambda client: client.branch_vm("vm-1"),
    "commit": lambda client: client.commit_vm("vm-1"),
    "restore": lambda client: client.restore_commit("c-1"),
    "tag": lambda client: client.create_tag("v1", "c-1"),
}


@pytest.mark.parametrize("trouble", [BROKEN, says(500), says(503)], ids=named)
@pytest.mark.parametrize("what", POSTS)
async def test_what_would_be_there_twice_is_not_asked_for_again(
    what: str, trouble: httpx.Response | Exception
) -> None:
    platform = Platform(trouble, says(200, {**ONE, "commit_id": "c-1"}))
    error = await failure(platform, POSTS[what])
    assert len(platform.asked) == 1
    look = {"branch": "ls", "commit": "commits", "restore": "commits", "tag": "tag"}[what]
    assert f"`%vers {look}` shows" in error.hint


@pytest.mark.parametrize("what", POSTS)
async def test_what_was_turned_away_at_the_door_is_asked_for_again(what: str) -> None:
    platform = Platform(says(429), says(200, {**ONE, "commit_id": "c-1", "tag_name": "v1"}))
    async with client_of(platform) as client:
        await POSTS[what](client)
    first, second = (request.headers["x-idempotency-key"] for request in platform.asked)
    assert first == second


async def test_what_takes_long_is_given_the_time() -> None:
    platform = Platform(says(200, {"vms": [{"vm_id": f"vm-{n}"} for n in range(8)], "commit_id": "c-1"}))
    async with client_of(platform) as client:
        await client.branch_vm("vm-1", 8)
        await client.commit_vm("vm-1")
        await client.restore_commit("c-1")
    branch, commit, restore = (request.extensions["timeout"]["read"] for request in platform.asked)
    assert (branch, commit, restore) == (180 + 8 * 60, 180, 240)


# What is absent, or no name


async def test_an_absent_commit_or_tag_points_to_its_list() -> None:
    for call, look in (
        (POSTS["restore"], "%vers commits"),
        (lambda client: client.delete_commit("c-1"), "%vers commits"),
        (lambda client: client.delete_tag("v1"), "%vers tag"),
    ):
        error = await failure(Platform(says(404, {"error": "no such thing"})), call)  # type: ignore[arg-type]
        assert isinstance(error, NotFoundError) and error.hint == f"{look} shows them all."


async def test_a_commit_that_something_needs_is_refused_with_what_needs_it() -> None:
    said = {"error": "It is needed by VM build-1."}
    error = await failure(Platform(says(409, said)), lambda client: client.delete_commit("c-1"))
    assert isinstance(error, ConflictError) and error.message.startswith("It is needed by VM build-1")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "x" * 65, "v1\n", "ä"])
async def test_what_is_no_name_is_never_sent(name: str) -> None:
    platform = Platform(says(200, VM))
    async with client_of(platform) as client:
        for call in (client.delete_tag(name), client.create_tag(name, "c-1"), client.move_tag(name, "c-1")):
            with pytest.raises(UsageError, match="cannot name a tag"):
                await call
        if name not in ("x" * 65,):
            with pytest.raises(UnknownCommitError):
                await client.delete_commit(name)
    assert not platform.asked
