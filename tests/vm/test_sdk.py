"""The vendor's own client against the embedded platform: each method, and the fields it documents."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import vers_sdk
from vers_sdk import VersSdkClient, models

if TYPE_CHECKING:
    from platforms import Platform

pytestmark = pytest.mark.vm

# What the embedded platform does not have: it has neither images, nor repositories, nor anything public.
ABSENT = {
    "branch_by_ref",
    "create_domain",
    "create_image",
    "create_repo_tag",
    "create_repository",
    "delete_domain",
    "delete_image",
    "delete_repo_tag",
    "delete_repository",
    "deploy_handler",
    "fork_repository",
    "get_domain",
    "get_image_status",
    "get_public_repo_tag",
    "get_public_repository",
    "get_repo_tag",
    "get_repository",
    "list_domains",
    "list_images",
    "list_public_repo_tags",
    "list_public_repositories",
    "list_repo_tags",
    "list_repositories",
    "set_repository_visibility",
    "update_repo_tag",
    "upload_image",
}


@pytest.fixture
async def sdk(platform: Platform) -> AsyncIterator[VersSdkClient]:
    """The client, as its user would make it."""
    base = platform.description.base_url.removesuffix("/api/v1")
    key = Path(platform.description.key_file).read_text()
    async with VersSdkClient(base_url=base, api_key=key, max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture
async def vm(platform: Platform) -> str:
    """A VM."""
    return await platform.create(labels={"name": "sdk"})


@pytest.fixture
async def commit(sdk: VersSdkClient, vm: str) -> str:
    """A commit of it."""
    return str((await sdk.commit_vm(vm, {"name": "first", "description": "d"}))["commit_id"])


def documented(answer: Any, model: type[Any]) -> Any:
    """`answer`, which has every field that the client documents for it, each of the kind it says."""
    for field in dataclasses.fields(model):
        optional = str(field.type).startswith("Optional")
        value = answer.get(field.name)
        assert optional or value is not None, f"{model.__name__}.{field.name} is absent"
        if value is not None:
            kind = str(field.type).removeprefix("Optional[").removesuffix("]" if optional else "")
            assert _is(value, kind), f"{model.__name__}.{field.name} is {value!r}, not {kind}"
    return answer


def _is(value: Any, kind: str) -> bool:
    simple = {"str": str, "int": int, "bool": bool, "dict[str, str]": dict}
    if kind in simple:
        return type(value) is simple[kind]
    if kind.startswith("list["):
        return isinstance(value, list) and all(_is(each, kind[5:-1]) for each in value)
    model = getattr(models, kind)
    if dataclasses.is_dataclass(model):
        return bool(documented(value, model))  # type: ignore[arg-type]
    return value in [member.value for member in model]


def test_every_method_of_the_client_is_either_absent_here_or_tested_below() -> None:
    offered = {
        name
        for name, method in vars(VersSdkClient).items()
        if callable(method) and not name.startswith("_") and name != "close"
    }
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert offered >= ABSENT
    assert offered - ABSENT <= tested


async def test_what_is_absent_is_said_to_be_so(sdk: VersSdkClient) -> None:
    for ask in (sdk.list_images, sdk.list_repositories, sdk.list_domains, sdk.list_public_repositories):
        with pytest.raises(vers_sdk.InternalServerError, match="501"):
            await ask()
    with pytest.raises(vers_sdk.InternalServerError, match="501"):
        await sdk.branch_by_ref("repository", "tag")


# The account


async def test_whoami_handler(sdk: VersSdkClient) -> None:
    documented(await sdk.whoami_handler(), models.WhoamiResponse)


async def test_validate_key(sdk: VersSdkClient) -> None:
    assert documented(await sdk.validate_key(), models.ValidateKeyResponse)["valid"] is True


async def test_version_handler(sdk: VersSdkClient) -> None:
    documented(await sdk.version_handler(), models.OrchestratorVersion)


async def test_set_env_vars(sdk: VersSdkClient, platform: Platform) -> None:
    told = await sdk.set_env_vars({"vars": {"SDK_A": "it's 1", "SDK_B": "2"}, "replace": True})
    assert documented(told, models.EnvVarsResponse)["vars"] == {"SDK_A": "it's 1", "SDK_B": "2"}
    vm_id = await platform.create()
    assert await platform.shell(vm_id, "echo $SDK_A $SDK_B") == "it's 1 2\n"
    await sdk.delete_vm(vm_id)
    assert await sdk.set_env_vars({"vars": {}, "replace": True}) == {"vars": {}}


async def test_list_env_vars(sdk: VersSdkClient) -> None:
    await sdk.set_env_vars({"vars": {"SDK_A": "1"}})
    assert documented(await sdk.list_env_vars(), models.EnvVarsResponse)["vars"] == {"SDK_A": "1"}
    await sdk.delete_env_var("SDK_A")


async def test_delete_env_var(sdk: VersSdkClient) -> None:
    await sdk.set_env_vars({"vars": {"SDK_A": "1"}})
    await sdk.delete_env_var("SDK_A")
    with pytest.raises(vers_sdk.NotFoundError):
        await sdk.delete_env_var("SDK_A")


# VMs


async def test_create_new_root_vm(sdk: VersSdkClient) -> None:
    wanted = {
        "vm_config": {"vcpu_count": 1, "mem_size_mib": 512, "image_name": "default", "labels": {"a": "b"}}
    }
    params = models.CreateNewRootVmParams(wait_boot=True)
    vm_id = documented(await sdk.create_new_root_vm(wanted, params), models.NewVmResponse)["vm_id"]
    assert (await sdk.vm_status(vm_id))["state"] == "running"
    await sdk.delete_vm(vm_id)


async def test_list_vms(sdk: VersSdkClient, vm: str) -> None:
    listed = [documented(each, models.VM) for each in await sdk.list_vms()]
    (mine,) = [each for each in listed if each["vm_id"] == vm]
    assert mine["labels"] == {"name": "sdk"}


async def test_vm_status(sdk: VersSdkClient, vm: str) -> None:
    assert documented(await sdk.vm_status(vm), models.VM)["state"] == "running"


async def test_get_vm_metadata(sdk: VersSdkClient, vm: str) -> None:
    told = documented(await sdk.get_vm_metadata(vm), models.VmMetadataResponse)
    assert (told["vcpu_count"], told["mem_size_mib"]) == (1, 512)
    assert datetime.fromisoformat(told["created_at"]).tzinfo is not None


async def test_ssh_key(sdk: VersSdkClient, vm: str) -> None:
    told = documented(await sdk.ssh_key(vm), models.VmSshKeyResponse)
    assert told["ssh_private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")


async def test_delete_vm(sdk: VersSdkClient, platform: Platform) -> None:
    vm_id = await platform.create()
    assert documented(await sdk.delete_vm(vm_id), models.VmDeleteResponse)["vm_id"] == vm_id
    with pytest.raises(vers_sdk.NotFoundError):
        await sdk.vm_status(vm_id)


async def test_update_vm_state(sdk: VersSdkClient, vm: str) -> None:
    await sdk.update_vm_state(vm, {"state": models.VmUpdateStateEnum.SLEEPING.value})
    assert (await sdk.vm_status(vm))["state"] in ("paused", "sleeping")
    with pytest.raises(vers_sdk.ConflictError, match="paused"):
        await sdk.exec_vm(vm, {"command": ["true"]})
    await sdk.update_vm_state(vm, {"state": models.VmUpdateStateEnum.RUNNING.value})
    assert (await sdk.exec_vm(vm, {"command": ["true"]}))["exit_code"] == 0


async def test_resize_vm_disk(sdk: VersSdkClient, vm: str) -> None:
    await sdk.resize_vm_disk(vm, {"fs_size_mib": 6000})
    told = await sdk.exec_vm(vm, {"command": ["df", "-m", "--output=size", "/"]})
    assert 5600 < int(told["stdout"].split()[-1]) <= 6000
    with pytest.raises(vers_sdk.BadRequestError):
        await sdk.resize_vm_disk(vm, {"fs_size_mib": 6000})


async def test_upsert_vm_labels(sdk: VersSdkClient, vm: str) -> None:
    await sdk.upsert_vm_labels(vm, {"labels": {"team": "blue"}})
    assert (await sdk.vm_status(vm))["labels"] == {"name": "sdk", "team": "blue"}
    with pytest.raises(vers_sdk.BadRequestError):
        await sdk.upsert_vm_labels(vm, {})


async def test_replace_vm_labels(sdk: VersSdkClient, vm: str) -> None:
    await sdk.replace_vm_labels(vm, {"labels": {"team": "blue"}})
    assert (await sdk.vm_status(vm))["labels"] == {"team": "blue"}
    with pytest.raises(vers_sdk.BadRequestError):
        await sdk.replace_vm_labels(vm, {})


async def test_delete_vm_label(sdk: VersSdkClient, vm: str) -> None:
    await sdk.delete_vm_label(vm, "name")
    assert (await sdk.vm_status(vm))["labels"] == {}


# Inside a VM


async def test_exec_vm(sdk: VersSdkClient, vm: str) -> None:
    script = "read line; echo $line $WORD $PWD; echo wrong >&2; exit 3"
    wanted = {"command": ["sh", "-c", script], "stdin": "in\n", "env": {"WORD": "w"}, "working_dir": "/srv"}
    told = documented(await sdk.exec_vm(vm, wanted), models.VmExecResponse)
    assert (told["exit_code"], told["stdout"], told["stderr"]) == (3, "in w /srv\n", "wrong\n")


async def _events(sdk: VersSdkClient, path: str, body: dict[str, Any]) -> list[Any]:
    """What a stream says, line by line: the client itself knows only answers of one JSON value."""
    answer = await sdk._request("POST", path, json=body)
    return [json.loads(line) for line in answer.text.splitlines()]


def _written(events: list[Any]) -> bytes:
    return b"".join(base64.b64decode(event["data_b64"]) for event in events if event["type"] == "chunk")


async def test_exec_vm_stream(sdk: VersSdkClient, vm: str) -> None:
    assert (await sdk.exec_vm_stream(vm, {"command": ["true"]}))["type"] == "exit"
    events = await _events(
        sdk, f"/api/v1/vm/{vm}/exec/stream", {"command": ["echo", "hello"], "exec_id": "e"}
    )
    assert set(events[0]) == {"type", "stream", "data_b64", "cursor", "exec_id"}
    assert (_written(events), events[-1]["type"], events[-1]["exit_code"]) == (b"hello\n", "exit", 0)


async def test_exec_vm_stream_attach(sdk: VersSdkClient, vm: str) -> None:
    await sdk.exec_vm(vm, {"command": ["echo", "hello"], "exec_id": "e"})
    whole = await _events(sdk, f"/api/v1/vm/{vm}/exec/stream/attach", {"exec_id": "e"})
    assert _written(whole) == b"hello\n"
    assert (await sdk.exec_vm_stream_attach(vm, {"exec_id": "e", "from_latest": True}))["type"] == "exit"
    with pytest.raises(vers_sdk.NotFoundError):
        await sdk.exec_vm_stream_attach(vm, {"exec_id": "nobody"})


async def test_vm_logs(sdk: VersSdkClient, vm: str) -> None:
    await sdk.exec_vm(vm, {"command": ["sh", "-c", "echo out; echo err >&2"]})
    told = documented(await sdk.vm_logs(vm, models.VmLogsParams(stream="stderr")), models.VmExecLogResponse)
    assert _written([{"type": "chunk", **entry} for entry in told["entries"]]) == b"err\n"
    assert told["eof"] is True
    rest = await sdk.vm_logs(vm, models.VmLogsParams(offset=told["next_offset"]))
    assert rest["entries"] == []


async def test_write_file_vm(sdk: VersSdkClient, vm: str) -> None:
    content = base64.b64encode(b"\0\xff").decode()
    wanted = {"path": "/srv/a/b", "content_b64": content, "create_dirs": True, "mode": 0o640}
    await sdk.write_file_vm(vm, wanted)
    told = await sdk.exec_vm(vm, {"command": ["stat", "-c", "%a %s", "/srv/a/b"]})
    assert told["stdout"] == "640 2\n"


async def test_read_file_vm(sdk: VersSdkClient, vm: str) -> None:
    params = models.ReadFileVmParams(path="/etc/hostname")
    told = documented(await sdk.read_file_vm(vm, params), models.VmReadFileResponse)
    assert base64.b64decode(told["content_b64"]) == b"sdk\n"
    with pytest.raises(vers_sdk.NotFoundError):
        await sdk.read_file_vm(vm, models.ReadFileVmParams(path="/nowhere"))


# Commits and branches


async def _holds(sdk: VersSdkClient, vm_ids: list[str], parent: str) -> None:
    """Each of the VMs runs, knows what it came from, and has its files."""
    for vm_id in vm_ids:
        told = await sdk.exec_vm(vm_id, {"command": ["cat", "/dev/shm/planted"]})
        assert told["stdout"] == "in memory"
        metadata = documented(await sdk.get_vm_metadata(vm_id), models.VmMetadataResponse)
        assert metadata["grandparent_vm_id"] == parent
        assert metadata["parent_commit_id"]


async def _planted(sdk: VersSdkClient, vm: str) -> None:
    content = base64.b64encode(b"in memory").decode()
    await sdk.write_file_vm(vm, {"path": "/dev/shm/planted", "content_b64": content})


def _ids(answer: Any) -> list[str]:
    return [str(each["vm_id"]) for each in documented(answer, models.NewVmsResponse)["vms"]]


async def test_commit_vm(sdk: VersSdkClient, vm: str) -> None:
    wanted = {"name": "first", "description": "d"}
    told = documented(await sdk.commit_vm(vm, wanted), models.VmCommitResponse)
    assert (await sdk.vm_status(vm))["state"] == "running"
    await sdk.commit_vm(vm, {}, models.CommitVmParams(keep_paused=True))
    assert (await sdk.vm_status(vm))["state"] == "paused"
    listed = (await sdk.list_commits())["commits"]
    assert told["commit_id"] in {each["commit_id"] for each in listed}


async def test_restore_from_commit(sdk: VersSdkClient, vm: str) -> None:
    await _planted(sdk, vm)
    commit_id = (await sdk.commit_vm(vm, {}))["commit_id"]
    await sdk.create_tag({"tag_name": "golden", "commit_id": commit_id})
    by_id = documented(await sdk.restore_from_commit({"commit_id": commit_id}), models.NewVmResponse)
    by_tag = documented(await sdk.restore_from_commit({"tag_name": "golden"}), models.NewVmResponse)
    await _holds(sdk, [by_id["vm_id"], by_tag["vm_id"]], vm)


async def test_branch_vm(sdk: VersSdkClient, vm: str) -> None:
    await _planted(sdk, vm)
    branches = _ids(await sdk.branch_vm(vm, params=models.BranchVmParams(count=2)))
    assert len(branches) == 2
    commit_id = (await sdk.commit_vm(vm, {}))["commit_id"]
    await _holds(sdk, branches + _ids(await sdk.branch_vm(commit_id)), vm)


async def test_branch_by_vm(sdk: VersSdkClient, vm: str) -> None:
    await _planted(sdk, vm)
    await _holds(sdk, _ids(await sdk.branch_by_vm(vm, params=models.BranchByVmParams(keep_paused=True))), vm)
    assert (await sdk.vm_status(vm))["state"] == "paused"


async def test_branch_by_commit(sdk: VersSdkClient, vm: str) -> None:
    await _planted(sdk, vm)
    commit_id = (await sdk.commit_vm(vm, {}))["commit_id"]
    await _holds(sdk, _ids(await sdk.branch_by_commit(commit_id)), vm)


async def test_branch_by_tag(sdk: VersSdkClient, vm: str) -> None:
    await _planted(sdk, vm)
    commit_id = (await sdk.commit_vm(vm, {}))["commit_id"]
    await sdk.create_tag({"tag_name": "golden", "commit_id": commit_id})
    await _holds(sdk, _ids(await sdk.branch_by_tag("golden")), vm)


async def test_list_commits(sdk: VersSdkClient, vm: str, commit: str) -> None:
    told = documented(await sdk.list_commits(), models.ListCommitsResponse)
    (mine,) = [each for each in told["commits"] if each["commit_id"] == commit]
    assert (mine["name"], mine["description"], mine["parent_vm_id"]) == ("first", "d", vm)


async def test_list_public_commits(sdk: VersSdkClient, commit: str) -> None:
    assert documented(await sdk.list_public_commits(), models.ListCommitsResponse)["total"] == 0


async def test_update_commit(sdk: VersSdkClient, commit: str) -> None:
    told = await sdk.update_commit(commit, {"is_public": False, "name": "renamed"})
    assert documented(told, models.CommitInfo)["name"] == "renamed"


async def test_list_parent_commits(sdk: VersSdkClient, vm: str, commit: str) -> None:
    child = (await sdk.restore_from_commit({"commit_id": commit}))["vm_id"]
    second = (await sdk.commit_vm(child, {}))["commit_id"]
    third = (await sdk.commit_vm(child, {}))["commit_id"]
    parents = [documented(each, models.VmCommitEntity) for each in await sdk.list_parent_commits(third)]
    assert [each["id"] for each in parents] == [second, commit]


async def test_delete_commit(sdk: VersSdkClient, commit: str) -> None:
    child = (await sdk.restore_from_commit({"commit_id": commit}))["vm_id"]
    with pytest.raises(vers_sdk.ConflictError):
        await sdk.delete_commit(commit)
    await sdk.delete_vm(child)
    await sdk.delete_commit(commit)
    assert commit not in {each["commit_id"] for each in (await sdk.list_commits())["commits"]}


# Tags


async def test_create_tag(sdk: VersSdkClient, commit: str) -> None:
    told = await sdk.create_tag({"tag_name": "golden", "commit_id": commit, "description": "d"})
    assert documented(told, models.CreateTagResponse)["commit_id"] == commit


async def test_list_tags(sdk: VersSdkClient, commit: str) -> None:
    await sdk.create_tag({"tag_name": "golden", "commit_id": commit})
    told = documented(await sdk.list_tags(), models.ListTagsResponse)
    assert [tag["tag_name"] for tag in told["tags"]] == ["golden"]


async def test_get_tag(sdk: VersSdkClient, commit: str) -> None:
    await sdk.create_tag({"tag_name": "golden", "commit_id": commit, "description": "d"})
    told = documented(await sdk.get_tag("golden"), models.TagInfo)
    assert (told["commit_id"], told["description"]) == (commit, "d")


async def test_update_tag(sdk: VersSdkClient, vm: str, commit: str) -> None:
    await sdk.create_tag({"tag_name": "golden", "commit_id": commit, "description": "d"})
    second = (await sdk.commit_vm(vm, {}))["commit_id"]
    await sdk.update_tag("golden", {"commit_id": second, "description": None})
    told = documented(await sdk.get_tag("golden"), models.TagInfo)
    assert (told["commit_id"], told["description"]) == (second, None)


async def test_delete_tag(sdk: VersSdkClient, commit: str) -> None:
    await sdk.create_tag({"tag_name": "golden", "commit_id": commit})
    await sdk.delete_tag("golden")
    with pytest.raises(vers_sdk.NotFoundError):
        await sdk.get_tag("golden")
