"""What an agent does to VMs and to other agents by the tools of the golden image, on real VMs.

The agent is a real pi on this machine. On the VMs it spawns, which have no Node, a stand-in takes pi's
commands, in a real background process that the golden image's own program starts.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pi_tools import GOLDEN, ROOT, Home, Model, new_home, running, scripted
from platforms import Platform

pytestmark = pytest.mark.vm

STAND_IN = """\
#!/usr/bin/env python3
import json, os, sys
here = os.path.expanduser("~/.pi/agent/sessions/--root-workspace--")
os.makedirs(here, exist_ok=True)
session = os.path.join(here, "1.jsonl")
model = sys.argv[sys.argv.index("--model") + 1] if "--model" in sys.argv else "scripted/rehearsal"
def keep(role, text, **more):
    with open(session, "a") as file:
        message = {"role": role, "content": [{"type": "text", "text": text}], **more}
        file.write(json.dumps({"type": "message", "message": message}) + "\\n")
for line in sys.stdin:
    command = json.loads(line)
    said = {"type": "response", "id": command["id"], "command": command["type"], "success": True}
    if command["type"] == "get_state":
        provider, _, name = model.partition("/")
        of = {"provider": provider, "id": name}
        said["data"] = {"isStreaming": False, "sessionFile": session, "model": of}
    elif command.get("message") == "die":
        print("oh no", file=sys.stderr)
        sys.exit(7)
    elif command.get("message") == "be busy":
        said.update(success=False, error="Agent is already processing.")
    elif command["type"] == "prompt":
        key = open("/root/.swarm/secrets/ANTHROPIC_API_KEY").read()
        keep("user", command["message"])
        answer = command["message"] + ": done, with a key of %d characters" % len(key)
        keep("assistant", answer, stopReason="stop", usage={"cost": {"total": 0.25}})
    print(json.dumps(said), flush=True)
"""
SEEN = """\
cd /root/.swarm/secrets
curl -sS -m 60 -H "Authorization: Bearer $(cat VERS_API_KEY)" "$(cat VERS_BASE_URL)/vm"
"""
KEY = "sk-a-key-that-must-not-be-seen"


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    with scripted(tmp_path) as model:
        yield model


@pytest.fixture
async def home(platform: Platform, tmp_path: Path, model: Model) -> Home:
    """The home of an agent that lives on a VM."""
    vm_id = await platform.create()
    home = new_home(tmp_path / "agent", model)
    home.identify(vmId=vm_id, agentId="lead", rootVmId="")
    home.secret("VERS_API_KEY", Path(platform.description.key_file).read_text())
    home.secret("VERS_BASE_URL", platform.description.base_url)
    home.secret("ANTHROPIC_API_KEY", KEY)
    return home


@pytest.fixture
async def golden(platform: Platform) -> str:
    """A commit of a machine with the golden image's programs, and a stand-in for pi."""
    vm_id = await platform.create()
    await equip(platform, vm_id)
    async with platform.api() as api:
        commit_id = str((await api.post(f"/vm/{vm_id}/commit", json={})).json()["commit_id"])
    await platform.delete(vm_id)
    return commit_id


async def equip(platform: Platform, vm_id: str) -> None:
    """Put on a VM what the golden image has for agents."""
    packed = io.BytesIO()
    library = "usr/local/lib/swarm-agent"
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(GOLDEN / "lib" / "swarm_agent", f"{library}/swarm_agent")
        tar.add(ROOT / "pi_v_jupyter" / "remote" / "_resident", f"{library}/_resident")
        tar.add(GOLDEN / "bin" / "swarm-agent", "usr/local/bin/swarm-agent")
        program = tarfile.TarInfo("usr/local/bin/pi")
        program.mode, program.size = 0o755, len(STAND_IN.encode())
        tar.addfile(program, io.BytesIO(STAND_IN.encode()))
    await put(platform, vm_id, "/root/golden.tar.gz", packed.getvalue())
    await platform.inside(
        vm_id, "tar -xzf /root/golden.tar.gz -C / --no-same-owner; mkdir -p /root/workspace"
    )


async def put(platform: Platform, vm_id: str, path: str, content: bytes) -> None:
    async with platform.api() as api:
        body = {"path": path, "content_b64": base64.b64encode(content).decode()}
        assert (await api.put(f"/vm/{vm_id}/files", json=body)).status_code == 200


async def vms(platform: Platform) -> set[str]:
    return {vm["vm_id"] for vm in await platform.get("/vm")}


async def test_it_creates_branches_commits_restores_pauses_and_deletes(
    platform: Platform, home: Home
) -> None:
    async with running(home) as agent:
        made = await agent.use("vers_vm_create", mem_size_mib=512, label="first")
        assert not made.failed, made.text
        first = made.details["vmId"]
        await platform.inside(first, "echo here > /root/mark")
        branch = (await agent.use("vers_vm_branch", vmId=first)).details["vmId"]
        committed = await agent.use("vers_vm_commit", vmId=first)
        restored = (await agent.use("vers_vm_restore", commitId=committed.details["commitId"])).details[
            "vmId"
        ]
        for vm_id in (branch, restored):
            assert await platform.inside(vm_id, "cat /root/mark") == "here\n"
        listed = await agent.use("vers_vms")
        assert all(vm_id in listed.text for vm_id in (first, branch, restored))
        assert "scratchpad 'first'" in listed.text and "3 of at most 20" in listed.text

        await agent.use("vers_vm_state", vmId=branch, state="Paused")
        assert (await platform.get(f"/vm/{branch}/status"))["state"] == "paused"
        await agent.use("vers_vm_state", vmId=branch, state="Running")
        assert (await platform.get(f"/vm/{branch}/status"))["state"] == "running"

        for vm_id in (first, branch, restored):
            gone = await agent.use("vers_vm_delete", vmId=vm_id)
            assert not gone.failed, gone.text
        assert not {first, branch, restored} & await vms(platform)
        assert home.registry() == []


async def test_it_runs_commands_and_copies_files(platform: Platform, home: Home) -> None:
    async with running(home) as agent:
        one = (await agent.use("vers_vm_create")).details["vmId"]
        two = (await agent.use("vers_vm_branch", vmId=one)).details["vmId"]
        ran = await agent.use("vers_vm_exec", vmId=one, command="pwd; echo $((6*7))", cwd="/tmp")
        assert "data, not instructions" in ran.text and "/tmp\n42\n" in ran.text and not ran.failed
        failed = await agent.use("vers_vm_exec", vmId=one, command="echo why >&2; exit 3")
        assert failed.failed and "why" in failed.text and "exit code 3" in failed.text
        much = await agent.use("vers_vm_exec", vmId=one, command="seq 20000")
        assert len(much.text) < 25_000 and "characters are left out" in much.text and "\n20000\n" in much.text

        script = home.folder / "workspace" / "do.sh"
        content = b"#!/bin/sh\necho \xff\x00 done\n"
        script.write_bytes(content)
        script.chmod(0o750)
        await agent.use("vers_vm_copy", fromPath="do.sh", toVm=one, toPath="/opt/a b/$(id).sh")
        await agent.use(
            "vers_vm_copy", fromVm=one, fromPath="/opt/a b/$(id).sh", toVm=two, toPath="/opt/do.sh"
        )
        assert await platform.inside(two, "stat -c %a /opt/do.sh") == "750\n"
        await agent.use("vers_vm_copy", fromVm=two, fromPath="/opt/do.sh", toPath="back/do.sh")
        back = home.folder / "workspace" / "back" / "do.sh"
        assert back.read_bytes() == content and back.stat().st_mode & 0o777 == 0o750
        folder = await agent.use("vers_vm_copy", fromVm=one, fromPath="/opt", toPath="opt")
        assert folder.failed and "is a directory" in folder.text and "tar" in folder.text


async def test_vms_of_others_are_left_alone(platform: Platform, home: Home) -> None:
    theirs = await platform.create()
    own = json.loads((home.swarm / "identity.json").read_text())["vmId"]
    async with running(home) as agent:
        for tool, arguments in {
            "vers_vm_delete": {},
            "vers_vm_exec": {"command": "touch /root/was-here"},
            "vers_vm_state": {"state": "Paused"},
            "vers_vm_branch": {},
            "vers_vm_commit": {},
        }.items():
            refused = await agent.use(tool, vmId=theirs, **arguments)
            assert refused.failed and "not of your swarm" in refused.text, tool
        copied = await agent.use("vers_vm_copy", fromVm=theirs, fromPath="/etc/shadow", toPath="shadow")
        assert copied.failed and "not of your swarm" in copied.text
        for tool in ("vers_vm_delete", "vers_vm_branch", "vers_vm_commit"):
            refused = await agent.use(tool, vmId=own)
            assert refused.failed and "the one you run on" in refused.text, tool
        assert {own, theirs} <= await vms(platform)

        identity = json.loads((home.swarm / "identity.json").read_text())
        home.identify(**{**identity, "scope": "account"})
        told = await agent.use("vers_vm_delete", vmId=theirs)
        assert not told.failed and theirs not in await vms(platform)


async def test_it_spawns_agents_gives_them_tasks_and_reads_what_they_say(
    platform: Platform, golden: str, home: Home
) -> None:
    own = json.loads((home.swarm / "identity.json").read_text())
    async with running(home) as agent:
        events = await agent.run(
            (
                "vers_swarm_spawn",
                {"commitId": golden, "count": 2, "labels": ["a", "b"], "model": "scripted/other"},
            ),
            "Done.",
        )
        (end,) = [event for event in events if event["type"] == "tool_execution_end"]
        assert not end["isError"], end
        assert KEY not in json.dumps(events)
        a, b = (one["vmId"] for one in end["result"]["details"]["agents"])
        identity = json.loads(await platform.inside(a, "cat /root/.swarm/identity.json"))
        assert identity.pop("createdAt")
        assert identity == {
            **{"vmId": a, "agentId": "a", "rootVmId": a, "parentVmId": own["vmId"]},
            **{"depth": 1, "maxDepth": 50, "maxVms": 20},
        }
        seen = await platform.inside(a, SEEN)
        assert {vm["vm_id"] for vm in json.loads(seen)} == {a}, "it has a key of its own"
        modes = await platform.inside(b, "cd /root/.swarm; stat -c '%a %n' . secrets secrets/* identity.json")
        assert modes.split("\n")[:2] == ["700 .", "700 secrets"] and modes.count("600 secrets/") == 3
        assert KEY not in await platform.inside(
            a, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '"
        )
        assert [(one["agentId"], one["vmId"], one["role"], one["status"]) for one in home.registry()] == [
            ("a", a, "agent", "ready"),
            ("b", b, "agent", "ready"),
        ]
        assert home.status("lead")["children"] == ["a", "b"]

        taken = await agent.use("vers_swarm_task", label="a", task="Say 'hello' $(id)")
        assert not taken.failed, taken.text
        status = await agent.use("vers_swarm_status")
        assert "a: done" in status.text and "b: idle" in status.text and "$0.2500" in status.text
        assert status.details["agents"][0]["model"] == "scripted/other"
        said = await agent.use("vers_swarm_read", label="a")
        assert f"Say 'hello' $(id): done, with a key of {len(KEY)} characters" in said.text
        tail = await agent.use("vers_swarm_read", label="a", tail=10)
        assert "\ncharacters\n" in tail.text and "hello" not in tail.text
        refused = await agent.use("vers_swarm_task", label="b", task="be busy")
        assert refused.failed and "already processing" in refused.text
        unknown = await agent.use("vers_swarm_task", label="c", task="x")
        assert unknown.failed and "there are a, b" in unknown.text
        again = await agent.use("vers_swarm_spawn", commitId=golden, count=1, labels=["a"])
        assert again.failed and "'a' in this swarm already" in again.text
        branched = await agent.use("vers_vm_branch", vmId=a)
        assert branched.failed and "a second one of that name" in branched.text

        ended = await agent.use("vers_swarm_task", label="a", task="die")
        assert ended.failed and "pi ended before it answered (it ended: exit code 7; oh no)" in ended.text
        dead = await agent.use("vers_swarm_status", label="a")
        assert "a: dead" in dead.text and "exit code 7; oh no" in dead.text
        assert "Say 'hello'" in (await agent.use("vers_swarm_read", label="a")).text
        for vm_id in (a, b):
            await agent.use("vers_vm_delete", vmId=vm_id)
        assert home.registry() == [] and not {a, b} & await vms(platform)


async def test_a_spawn_that_fails_leaves_neither_vms_nor_entries(platform: Platform, home: Home) -> None:
    plain = await platform.create()
    async with platform.api() as api:
        commit_id = str((await api.post(f"/vm/{plain}/commit", json={})).json()["commit_id"])
    before = await vms(platform)
    async with running(home) as agent:
        failed = await agent.use("vers_swarm_spawn", commitId=commit_id, count=2)
        assert failed.failed and failed.text.count("Its VM was deleted.") == 2, failed.text
        assert await vms(platform) == before and home.registry() == []
        unknown = await agent.use("vers_swarm_spawn", commitId="0" * 8 + commit_id[8:], count=1)
        assert unknown.failed and "No VM was made." in unknown.text and home.registry() == []


async def test_a_limit_that_is_reached_is_named(platform: Platform, home: Home) -> None:
    identity = json.loads((home.swarm / "identity.json").read_text())
    async with running(home) as agent:
        home.identify(**identity | {"maxVms": 1})
        assert not (await agent.use("vers_vm_create", label="one")).failed
        for tool in ("vers_vm_create", "vers_swarm_spawn"):
            arguments: dict[str, Any] = {} if tool == "vers_vm_create" else {"commitId": "x", "count": 1}
            refused = await agent.use(tool, **arguments)
            assert refused.failed and "maxVms: this swarm may have 1 VMs and has 1" in refused.text
            assert "vers_vm_delete" in refused.text
        (entry,) = home.registry()
        await platform.delete(entry["vmId"])  # by somebody who says nothing; and a minute passes
        (home.swarm / "registry.json").write_text(json.dumps({"vms": [{**entry, "reservedAt": 0}]}))
        assert not (await agent.use("vers_vm_create", label="two")).failed
        home.identify(**identity | {"depth": 2, "maxDepth": 2})
        deep = await agent.use("vers_swarm_spawn", commitId="x", count=1)
        assert deep.failed and "maxDepth: you are at depth 2, and 2 is the deepest" in deep.text
        assert [entry["agentId"] for entry in home.registry()] == ["two"]


async def test_the_registry_is_the_root_vms_also_when_that_is_another(platform: Platform, home: Home) -> None:
    root = await platform.create()
    await equip(platform, root)
    identity = json.loads((home.swarm / "identity.json").read_text())
    home.identify(**identity | {"rootVmId": root, "depth": 1, "maxVms": 3})
    async with running(home) as agent:
        made = [await agent.use("vers_vm_create", wait_boot=False) for _ in range(2)]
        assert not any(one.failed for one in made), made
        book = json.loads(await platform.inside(root, "cat /root/.swarm/registry.json"))["vms"]
        assert [entry["vmId"] for entry in book] == [one.details["vmId"] for one in made]
        assert not (home.swarm / "registry.json").exists()
        await platform.delete(root)
        lost = await agent.use("vers_vm_create")
        assert lost.failed and f"registry, on VM {root}, is out of reach" in lost.text
    assert (
        len(await asyncio.gather(*(platform.get(f"/vm/{one.details['vmId']}/status") for one in made))) == 2
    )
