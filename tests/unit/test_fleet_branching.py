"""Branches, commits and restores: names, lineage, host keys, and a platform of either vintage."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import (
    AmbiguousCommitError,
    ConflictError,
    UnknownCommitError,
    UnknownVMError,
    UsageError,
    VMGoneError,
    VMPausedError,
)
from pi_v_jupyter.lineage import Lineage
from pi_v_jupyter.remote.resident import NO_LEGACY
from pi_v_jupyter.session import Vers
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.vm import VM

URL = "http://127.0.0.1:9/api/v1"
ROOT = "aaaa1111-0001"
KEY = "SHA256:of-the-root"


class Platform:
    """An API in memory that branches, commits and restores. `older`: of the older vintage."""

    def __init__(self) -> None:
        self.older = False
        self.vms: dict[str, dict[str, Any]] = {}
        self.commits: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, str] = {}
        self._numbers = itertools.count(2)
        self._began = datetime.now(UTC)
        self._ticks = itertools.count()
        self.asked: list[str] = []
        self.make(ROOT, labels={"name": "build"})

    def _now(self) -> str:
        return (self._began + timedelta(seconds=next(self._ticks))).isoformat()

    def make(self, vm_id: str, **fields: Any) -> str:
        self.vms[vm_id] = {
            "vm_id": vm_id,
            "state": "running",
            "created_at": self._now(),
            "labels": {},
            "mem_size_mib": 512,
        } | fields
        return vm_id

    def _branch(self, parent: str, count: int) -> Any:
        made = [
            self.make(f"bbbb{next(self._numbers):04}-vm", grandparent_vm_id=parent, parent_commit_id="hidden")
            for _ in range(1 if self.older else count)
        ]
        return {"vm_id": made[0]} if self.older else {"vms": [{"vm_id": vm_id} for vm_id in made]}

    def _told(self, vm: dict[str, Any], path: str) -> dict[str, Any]:
        left_out = {"labels"} if path == "metadata" or self.older else set()
        if path != "metadata":
            left_out |= {"mem_size_mib", "grandparent_vm_id", "parent_commit_id"}
        return {name: value for name, value in vm.items() if name not in left_out}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/")
        self.asked.append(f"{request.method} {path}")
        body = json.loads(request.content or "null")
        status, answer = self._answer(request.method, path.split("/"), request.url.params, body)
        return httpx.Response(status, json=answer)

    def _answer(self, method: str, path: list[str], query: httpx.QueryParams, body: Any) -> tuple[int, Any]:
        match method, path:
            case "GET", ["vm"] | ["vms"]:
                if path == ["vm"] and self.older:
                    return 404, {}
                return 200, [self._told(vm, "list") for vm in self.vms.values()]
            case "GET", ["commits"] if not self.older:
                found = list(self.commits.values())
                return 200, {"commits": found, "total": len(found), "limit": 100, "offset": 0}
            case "GET", ["commit_tags"] if not self.older:
                tags = [
                    {"tag_name": name, "commit_id": commit, "created_at": self._now()}
                    for name, commit in self.tags.items()
                ]
                return 200, {"tags": tags}
            case "POST", ["commit_tags"]:
                self.tags[body["tag_name"]] = body["commit_id"]
                return 200, body
            case "PATCH", ["commit_tags", name]:
                self.tags[name] = body["commit_id"]
                return 200, {}
            case "DELETE", ["commit_tags", name]:
                del self.tags[name]
                return 200, {}
            case "DELETE", ["commits", commit_id]:
                del self.commits[commit_id]
                return 200, {}
            case "POST", ["vm", "new_root"]:
                vm_id = f"aaaa{next(self._numbers):04}-vm"
                return 200, {"vm_id": self.make(vm_id, labels=body["vm_config"].get("labels") or {})}
            case "POST", ["vm", "from_commit"]:
                return 200, {"vm_id": self._restored(body["commit_id"])}
            case "POST", ["vm", "branch", "by_commit", commit_id] if not self.older:
                made = [self._restored(commit_id) for _ in range(int(query["count"]))]
                return 200, {"vms": [{"vm_id": vm_id} for vm_id in made]}
            case _, ["vm", vm_id, *what] if vm_id in self.vms:
                return self._of_vm(method, vm_id, what, query, body)
        return 404, {"error": "There is no such thing.", "success": False}

    def _restored(self, commit_id: str) -> str:
        commit = self.commits[commit_id]
        return self.make(
            f"cccc{next(self._numbers):04}-vm",
            parent_commit_id=commit_id,
            grandparent_vm_id=commit["parent_vm_id"],
        )

    def _of_vm(
        self, method: str, vm_id: str, what: list[str], query: httpx.QueryParams, body: Any
    ) -> tuple[int, Any]:
        vm = self.vms[vm_id]
        match method, what:
            case "GET", [told]:
                return 200, self._told(vm, told)
            case "DELETE", []:
                return 200, self.vms.pop(vm_id)
            case "PATCH", ["label"] if not self.older:
                vm["labels"] |= body["labels"]
                return 200, {}
            case "PATCH", ["state"]:
                if body["state"] == ("Sleeping" if self.older else "Paused"):
                    return 400, {"error": "unknown variant"}
                if vm["state"] == body["state"].lower() or vm["state"] == "dead":
                    return 409, {"error": f"It is {vm['state']}."}
                vm["state"] = body["state"].lower()
                return 200, {}
            case "POST", ["branch"]:
                return 200, self._branch(vm_id, int(query.get("count", "1")))
            case "POST", ["commit"]:
                commit_id = f"dddd{next(self._numbers):04}-{'0' * 30}"
                self.commits[commit_id] = {
                    "commit_id": commit_id,
                    "name": body.get("name") or f"commit-{commit_id[:8]}",
                    "created_at": self._now(),
                    "parent_vm_id": vm_id,
                    "grandparent_commit_id": vm.get("parent_commit_id"),
                }
                if query.get("keep_paused"):
                    vm["state"] = "sleeping"
                return 200, {"commit_id": commit_id}
        return 404, {}


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture(params=["newer", "older"])
def either(request: pytest.FixtureRequest, platform: Platform) -> Platform:
    """A platform of each vintage."""
    platform.older = request.param == "older"
    return platform


@pytest.fixture
async def start(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Vers]]:
    """Makes sessions on that platform, each as a kernel of its own would."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(
        "pi_v_jupyter.session.VersClient",
        lambda settings: VersClient(settings, transport=httpx.MockTransport(platform)),
    )
    made: list[Vers] = []

    def session() -> Vers:
        made.append(Vers(Settings(session={"api_key": "k", "base_url": URL})))
        return made[-1]

    yield session
    for vers in made:
        await vers.close()


@pytest.fixture
def vers(start: Callable[[], Vers]) -> Vers:
    return start()


# Branches


async def test_a_branch_is_named_after_its_parent_or_as_asked(vers: Vers, either: Platform) -> None:
    build = await vers.vm(ROOT) if either.older else await vers.vm("build")
    label = build.label
    first = await build.branch()
    assert isinstance(first, VM) and first.name == f"{label}-1"
    second, third = await build.branch(n=2)
    assert [second.name, third.name] == [f"{label}-2", f"{label}-3"]
    assert (await build.branch(name="other")).name == "other"
    assert [vm.name for vm in await build.branch(n=2, name="try")] == ["try-1", "try-2"]
    assert (await first.branch()).name == f"{label}-1-1"
    names = [vm.name for vm in await vers.list()]
    assert len(set(names)) == len(names) == 8


async def test_names_live_where_everybody_sees_them_or_else_here(
    start: Callable[[], Vers], either: Platform
) -> None:
    vers = start()
    child = await (await vers.vm(ROOT)).branch(name="child")
    assert either.vms[child.id]["labels"] == ({} if either.older else {"name": "child"})
    state = vers.fleet.state.get(URL, "names", child.id)
    assert state == ("child" if either.older else None)
    assert (await start().vm("child")).id == child.id


async def test_a_number_that_is_taken_is_passed_over(vers: Vers, platform: Platform) -> None:
    platform.make("eeee-1", labels={"name": "build-1"})
    platform.make("build-2x")  # an id that "build-2" would stand for
    assert (await (await vers.vm("build")).branch()).name == "build-3"


async def test_a_long_name_is_cut_for_its_number(vers: Vers, platform: Platform) -> None:
    platform.make("eeee-1", labels={"name": "x" * 64})
    child = await (await vers.vm("x" * 64)).branch()
    assert child.name == "x" * 62 + "-1"


@pytest.mark.parametrize(("name", "n"), [("build", None), ("a b", None), ("two", 2), ("", 3)])
async def test_a_name_that_cannot_be_given_makes_no_branch(
    vers: Vers, platform: Platform, name: str, n: int | None
) -> None:
    platform.make("eeee-1", labels={"name": "two-2"})
    build = await vers.vm("build")
    with pytest.raises(UsageError):
        await (build.branch(name=name) if n is None else build.branch(n=n, name=name))
    assert len(platform.vms) == 2


async def test_a_branch_has_its_parents_host_key_and_sessions(vers: Vers, platform: Platform) -> None:
    build = await vers.vm("build")
    build.pin(build.id, KEY)
    build._connection()
    child = await build.branch()
    assert child.pinned(child.id) == KEY
    assert child.legacy == build.legacy != NO_LEGACY
    assert child._connection().legacy.clients[1:] == build.legacy.clients


async def test_a_branch_of_a_vm_nobody_has_seen_is_trusted_on_sight(vers: Vers) -> None:
    child = await (await vers.vm("build")).branch()
    assert child.pinned(child.id) is None


# Commits


async def test_a_commit_is_found_by_id_prefix_name_and_tag(vers: Vers) -> None:
    made = await (await vers.vm("build")).commit(name="before", tag="golden")
    assert isinstance(made, Commit) and (made.name, made.tags) == ("before", ("golden",))
    for name in (made.id, made.id[:6], made.id[:8].upper(), "before", "golden"):
        assert (await vers.commit(name)).id == made.id
    for name in ("", "ddd", "nosuch", "bef"):
        with pytest.raises(UnknownCommitError):
            await vers.commit(name)
    with pytest.raises(UnknownCommitError, match=r"No commit named 'befor'\. Did you mean 'before'\?"):
        await vers.commit("befor")


async def test_several_commits_of_a_name_are_told_apart_by_id(vers: Vers) -> None:
    build = await vers.vm("build")
    first, second = await build.commit(name="x"), await build.commit(name="x")
    with pytest.raises(AmbiguousCommitError, match=rf"2 commits match 'x': {first.id[:13]}, "):
        await vers.commit("x")
    assert [commit.id for commit in await vers.commits()] == [first.id, second.id]


async def test_a_tag_goes_before_a_name_and_can_be_moved(vers: Vers) -> None:
    build = await vers.vm("build")
    first, second = await build.commit(name="x"), await build.commit(name="y", tag="x")
    assert (await vers.commit("x")).id == second.id
    assert (await vers.tag("x", first)).id == first.id
    assert [(tag.tag_name, tag.commit_id) for tag in await vers.tags()] == [("x", first.id)]
    await vers.untag("x")
    assert not await vers.tags()
    with pytest.raises(UnknownCommitError, match="No tag named 'x'"):
        await vers.untag("x")


async def test_a_tag_names_the_active_vms_last_commit_unless_told_otherwise(vers: Vers) -> None:
    with pytest.raises(UnknownVMError, match="No VM is active"):
        await vers.tag("t")
    build = vers.fleet._active = await vers.vm("build")
    with pytest.raises(UnknownCommitError, match=r"build has no commit\."):
        await vers.tag("t")
    await build.commit()
    last = await build.commit()
    assert (await vers.tag("t")).id == last.id and (await vers.commit("t")).id == last.id


async def test_what_cannot_name_a_tag_makes_no_commit(vers: Vers, platform: Platform) -> None:
    with pytest.raises(UsageError, match="'a b' cannot name a tag"):
        await (await vers.vm("build")).commit(tag="a b")
    assert not platform.commits


async def test_a_restored_vm_has_the_host_key_and_sessions_of_the_moment(
    start: Callable[[], Vers], platform: Platform
) -> None:
    vers = start()
    build = await vers.vm("build")
    build.pin(build.id, KEY)
    build._connection()
    commit = await build.commit(name="before")
    then = build.legacy
    build.pin(build.id, "SHA256:changed-since")
    restored = await start().restore("before")
    assert restored.name == "before-1"
    assert restored.pinned(restored.id) == KEY and restored.legacy == then
    assert (await vers.restore(commit, name="again")).name == "again"
    unnamed = await build.commit()
    assert (await vers.restore(unnamed.id[:8])).name == "build-1"
    await vers.delete(build)
    assert (await vers.restore(unnamed)).name == f"{unnamed.id[:8]}-1"


@pytest.mark.parametrize("older", [False, True])
async def test_several_vms_of_one_commit_have_names_of_their_own_and_its_host_key(
    start: Callable[[], Vers], platform: Platform, older: bool
) -> None:
    build = await start().vm("build")
    build.pin(build.id, KEY)
    commit = await build.commit(name="before")
    platform.older = older
    made = await start().restore(commit, 3)
    assert [vm.name for vm in made] == ["before-1", "before-2", "before-3"]
    assert len({vm.id for vm in made}) == 3 and {vm.pinned(vm.id) for vm in made} == {KEY}
    assert [vm.name for vm in await start().restore(commit, 2, name="w")] == ["w-1", "w-2"]


async def test_a_commit_that_is_deleted_leaves_nothing_here(vers: Vers) -> None:
    build = await vers.vm("build")
    build.pin(build.id, KEY)
    commit = await build.commit()
    await vers.delete_commits(commit.id[:8])
    assert not await vers.commits()
    assert vers.fleet.state.all(URL, "sessions") == {}
    assert vers.fleet.state.all(URL, "host_keys") == {build.id: KEY}


async def test_a_platform_that_lists_no_commits_restores_one_by_its_id(
    vers: Vers, platform: Platform
) -> None:
    platform.older = True
    commit = await (await vers.vm(ROOT)).commit()
    assert commit.info.parent_vm_id == ROOT
    assert (await vers.restore(commit.id)).info.parent_commit_id == commit.id


# Pausing


async def test_a_vm_is_paused_and_resumed_however_often_one_asks(vers: Vers, either: Platform) -> None:
    build = await vers.vm(ROOT)
    for _ in range(2):
        await build.pause()
        assert build.state is VMState.PAUSED
    with pytest.raises(VMPausedError, match=rf"VM {build.label} is paused\.") as caught:
        await build.run("true")
    assert f"`%vers resume {build.label}`" in caught.value.hint
    with pytest.raises(VMPausedError):
        await vers.use(build)
    for _ in range(2):
        await build.resume()
        assert build.state is VMState.RUNNING


async def test_a_vm_that_cannot_be_paused_says_why(vers: Vers, platform: Platform) -> None:
    platform.vms[ROOT]["state"] = "dead"
    with pytest.raises(ConflictError, match="It is dead"):
        await (await vers.vm("build")).pause()


async def test_a_commit_may_leave_its_vm_paused(vers: Vers) -> None:
    build = await vers.vm("build")
    await build.commit(keep_paused=True)
    assert build.state is VMState.PAUSED


async def test_a_dead_vm_offers_its_last_commit(vers: Vers, platform: Platform) -> None:
    build = await vers.vm("build")
    await build.commit()
    last = await build.commit()
    platform.vms[ROOT]["state"] = "dead"
    with pytest.raises(VMGoneError) as caught:
        await vers.use(build)
    assert f"`%vers restore {last.id[:8]} --use` goes on from its last commit" in caught.value.hint
    await vers.delete_commits(*await vers.commits())
    with pytest.raises(VMGoneError, match="has died") as caught:
        await vers.use(build)
    assert "`%vers create` makes another" in caught.value.hint


# Names


async def test_a_vm_is_renamed_for_all_kernels(start: Callable[[], Vers], either: Platform) -> None:
    vers = start()
    build = await vers.vm(ROOT)
    await build.rename("other")
    assert build.name == "other" and (await start().vm("other")).id == ROOT
    await build.rename("other")
    await build.branch(name="third")
    with pytest.raises(UsageError, match="There is a VM named 'third' already"):
        await build.rename("third")


# Lineage


def drawn(tree: Lineage) -> list[str]:
    return [f"{line.stem}{line.item.label}" for line in tree]


async def test_vms_and_commits_are_drawn_under_what_they_came_from(vers: Vers) -> None:
    build = await vers.vm("build")
    one = await build.branch(name="one")
    commit = await build.commit(name="before")
    await build.branch(name="two")
    await one.branch(name="deep")
    await vers.restore(commit, name="again")
    await vers.create(name="apart")
    assert drawn(await vers.lineage()) == [
        "build",
        "├─ one",
        "│  └─ deep",
        "├─ before",
        "│  └─ again",
        "└─ two",
        "apart",
    ]
    await vers.delete(build)
    assert drawn(await vers.lineage()) == ["one", "└─ deep", "before", "└─ again", "two", "apart"]


async def test_a_platform_that_names_a_vm_as_its_own_ancestor_loses_none(
    vers: Vers, platform: Platform
) -> None:
    platform.make("eeee-1", grandparent_vm_id="eeee-2", labels={"name": "hen"})
    platform.make("eeee-2", grandparent_vm_id="eeee-1", labels={"name": "egg"})
    platform.make("eeee-3", grandparent_vm_id="eeee-3", labels={"name": "self"})
    assert sorted(line.item.label for line in await vers.lineage()) == ["build", "egg", "hen", "self"]
    hen = await vers.vm("hen")
    assert [vm.name for vm in await vers.descendants(hen)] == ["egg"]


async def test_a_long_line_of_descent_is_no_trouble(vers: Vers, platform: Platform) -> None:
    for number in range(1500):
        platform.make(f"f{number}", grandparent_vm_id=f"f{number - 1}")
    tree = await vers.lineage()
    assert tree[-1].depth == 1499 and len(tree) == 1501


async def test_deleting_takes_the_branches_only_when_told_to(vers: Vers, platform: Platform) -> None:
    build = await vers.vm("build")
    one, two = await build.branch(n=2)
    await one.branch(name="deep")
    await vers.restore(await one.commit(), name="restored")
    await vers.delete(two)
    assert len(platform.vms) == 4
    await vers.delete(one, branches=True)
    assert list(platform.vms) == [ROOT]


async def test_what_is_known_of_a_vm_and_of_a_commit(vers: Vers, platform: Platform) -> None:
    build = await vers.vm("build")
    child = await build.branch(name="child")
    commit = await build.commit(name="before")
    of_build = await vers.info("build")
    assert of_build.origin is None and [one.id for one in of_build.offspring] == [child.id, commit.id]
    assert (await vers.info("child")).origin is build
    of_commit = await vers.info("before")
    assert of_commit.item == commit and of_commit.origin is build
    with pytest.raises(UnknownCommitError, match="Did you mean 'before'"):
        await vers.info("befor")
    with pytest.raises(UnknownVMError, match="No VM named 'nosuch'"):
        await vers.info("nosuch")
