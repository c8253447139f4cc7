"""Commands, logs and files inside real VMs, through the platform's own API, as the vendor's client asks."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from vers_sdk import VersSdkClient
from vers_sdk.models import ReadFileVmParams, VmLogsParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from platforms import Platform

pytestmark = pytest.mark.vm


@pytest.fixture
async def vm(platform: Platform) -> str:
    """A VM for one test."""
    return await platform.create()


@pytest.fixture
async def sdk(platform: Platform) -> AsyncIterator[VersSdkClient]:
    """The vendor's client."""
    base = platform.description.base_url.removesuffix("/api/v1")
    client = VersSdkClient(base_url=base, api_key=Path(platform.description.key_file).read_text())
    yield client
    await client._client.aclose()


async def run(platform: Platform, vm_id: str, *command: str, **fields: Any) -> dict[str, Any]:
    """The answer to `exec`."""
    async with platform.api() as api:
        answer = await api.post(f"/vm/{vm_id}/exec", json={"command": list(command), **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


async def streamed(
    platform: Platform, path: str, body: dict[str, Any], most: int = -1
) -> list[dict[str, Any]]:
    """The events of a stream, or the first `most` of them."""
    events = []
    async with platform.api() as api, api.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "application/x-ndjson"
        async for line in answer.aiter_lines():
            events.append(json.loads(line))
            if len(events) == most:
                break
    return events


def output(events: list[dict[str, Any]], stream: str = "stdout") -> bytes:
    chunks = [event for event in events if event["type"] == "chunk" and event["stream"] == stream]
    return b"".join(base64.b64decode(chunk["data_b64"]) for chunk in chunks)


async def test_the_vendors_client_runs_commands_and_reads_logs(sdk: VersSdkClient, vm: str) -> None:
    body = {
        "command": ["sh", "-c", "cat; echo $A >&2; pwd; exit 3"],
        "env": {"A": "b"},
        "stdin": "in\n",
        "working_dir": "/tmp",
        "timeout_secs": 60,
        "exec_id": "mine",
    }
    result = await sdk.exec_vm(vm, body)
    assert result == {"exit_code": 3, "stdout": "in\n/tmp\n", "stderr": "b\n", "exec_id": "mine"}
    log = await sdk.vm_logs(vm, VmLogsParams(offset=0, max_entries=100, stream="stderr"))
    (entry,) = log["entries"]
    assert entry["exec_id"] == "mine" and entry["stream"] == "stderr"
    assert base64.b64decode(entry["data_b64"]) == b"b\n"
    assert entry["timestamp"].startswith("20")
    assert log["eof"] is True and log["next_offset"] == len("in\n/tmp\nb\n")


async def test_the_vendors_client_writes_and_reads_files(sdk: VersSdkClient, vm: str) -> None:
    content = bytes(range(256)) * 5000
    body = {
        "path": "/srv/a/b/file",
        "content_b64": base64.b64encode(content).decode(),
        "create_dirs": True,
        "mode": 0o750,
    }
    await sdk.write_file_vm(vm, body)
    got = await sdk.read_file_vm(vm, ReadFileVmParams(path="/srv/a/b/file"))
    assert base64.b64decode(got["content_b64"]) == content
    about = await sdk.exec_vm(vm, {"command": ["stat", "-c", "%a %s", "/srv/a/b/file"]})
    assert about["stdout"] == f"750 {len(content)}\n"


async def test_a_command_whose_answer_was_lost_with_the_daemon_is_not_run_again(
    own_platform: Platform,
) -> None:
    own_platform.up()
    vm_id = await own_platform.create()
    asked = {
        "json": {
            "command": [
                "sh",
                "-c",
                "echo x >> /root/runs; until [ -e /run/go ]; do sleep 0.1; done; echo done",
            ]
        }
    }
    async with own_platform.api() as api:
        api.headers["X-Idempotency-Key"] = "once"
        lost = asyncio.create_task(api.post(f"/vm/{vm_id}/exec", **asked))
        async with asyncio.timeout(60):
            while "x" not in await own_platform.inside(vm_id, "cat /root/runs || true"):
                await asyncio.sleep(0.05)
        own_platform.crash()
        with pytest.raises(httpx.TransportError):
            await lost
    own_platform.up()
    await own_platform.inside(vm_id, "touch /run/go")
    async with own_platform.api() as api:
        api.headers["X-Idempotency-Key"] = "once"
        answer = await api.post(f"/vm/{vm_id}/exec", **asked)
    assert answer.json()["stdout"] == "done\n", answer.text
    assert await own_platform.inside(vm_id, "cat /root/runs") == "x\n"


async def test_a_vm_that_is_deleted_meanwhile_is_no_failure_of_the_platform(platform: Platform) -> None:
    vm_id = await platform.create()
    async with platform.api() as api:
        running = asyncio.create_task(api.post(f"/vm/{vm_id}/exec", json={"command": ["sleep", "600"]}))
        async with asyncio.timeout(60):
            while "sleep" not in await platform.inside(vm_id, "pgrep -l sleep || true"):
                await asyncio.sleep(0.05)
        await platform.delete(vm_id)
        answer = await running
    assert answer.status_code in (404, 409), answer.text


@pytest.mark.parametrize(
    ("path", "status"), [("/no/such", 404), ("/etc", 400), ("here", 400), ("/dev/zero", 400), ("", 400)]
)
async def test_files_that_cannot_be_read_are_refused(platform: Platform, path: str, status: int) -> None:
    vm_id = await platform.create()
    async with platform.api() as api:
        answer = await api.get(f"/vm/{vm_id}/files", params={"path": path})
    assert answer.status_code == status
    assert answer.json()["success"] is False
    await platform.delete(vm_id)


async def test_a_reader_that_leaves_ends_nothing_and_another_goes_on(platform: Platform, vm: str) -> None:
    body = {"command": ["sh", "-c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo two; exit 4"]}
    ((first),) = await streamed(platform, f"/vm/{vm}/exec/stream", body, most=1)
    assert first | {"exec_id": ""} == {
        "type": "chunk",
        "stream": "stdout",
        "data_b64": base64.b64encode(b"one\n").decode(),
        "cursor": 4,
        "exec_id": "",
    }
    await run(platform, vm, "touch", "/tmp/go")
    exec_id = first["exec_id"]
    rest = await streamed(
        platform, f"/vm/{vm}/exec/stream/attach", {"exec_id": exec_id, "cursor": first["cursor"]}
    )
    assert output(rest) == b"two\n"
    assert rest[-1] == {"type": "exit", "exit_code": 4, "exec_id": exec_id}
    whole = await streamed(platform, f"/vm/{vm}/exec/stream/attach", {"exec_id": exec_id})
    assert output(whole) == b"one\ntwo\n"
    latest = await streamed(
        platform, f"/vm/{vm}/exec/stream/attach", {"exec_id": exec_id, "from_latest": True}
    )
    assert [event["type"] for event in latest] == ["exit"]


async def test_a_long_stream_is_whole(platform: Platform, vm: str) -> None:
    size = 20_000_000
    events = await streamed(
        platform, f"/vm/{vm}/exec/stream", {"command": ["head", "-c", str(size), "/dev/zero"]}
    )
    assert len(output(events)) == size
    assert events[-1]["type"] == "exit"


async def test_a_stream_whose_time_is_up_says_so(platform: Platform, vm: str) -> None:
    body = {"command": ["sleep", "600"], "timeout_secs": 1}
    (event,) = await streamed(platform, f"/vm/{vm}/exec/stream", body)
    assert (event["type"], event["code"]) == ("error", "timeout")
    assert (await run(platform, vm, "pgrep", "-x", "sleep"))["exit_code"] == 1


async def test_the_same_key_starts_a_command_once(platform: Platform, vm: str) -> None:
    async with platform.api() as api:
        api.headers["X-Idempotency-Key"] = "one-try"
        body = {"command": ["sh", "-c", "echo x >> /tmp/times; cat /tmp/times"]}
        for path in ("exec", "exec/stream"):
            tries = [await api.post(f"/vm/{vm}/{path}", json=body) for _ in range(2)]
            assert [answer.status_code for answer in tries] == [200, 200]
            assert tries[0].text == tries[1].text
    assert (await run(platform, vm, "cat", "/tmp/times"))["stdout"] == "x\nx\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"command": []}, 400),
        ({"command": ["no-such-program"]}, 400),
        ({"command": ["true"], "working_dir": "/nowhere"}, 400),
        ({"command": ["true"], "timeout_secs": -1}, 400),
        ({"command": "true"}, 400),
    ],
)
async def test_commands_that_cannot_be_are_refused(
    platform: Platform, vm: str, body: dict[str, Any], status: int
) -> None:
    async with platform.api() as api:
        for path in ("exec", "exec/stream"):
            answer = await api.post(f"/vm/{vm}/{path}", json=body)
            assert answer.status_code == status, answer.text
            assert answer.json()["success"] is False
        unknown = await api.post(f"/vm/{vm}/exec/stream/attach", json={"exec_id": "unknown"})
        assert unknown.status_code == 404
        nowhere = await api.post("/vm/no-such-vm/exec", json={"command": ["true"]})
        assert nowhere.status_code == 404


async def test_a_hundred_commands_at_once_do_not_mix(platform: Platform, vm: str) -> None:
    limit = asyncio.Semaphore(20)

    async def one(number: int) -> str:
        async with limit:
            return str((await run(platform, vm, "echo", str(number)))["stdout"])

    assert await asyncio.gather(*map(one, range(100))) == [f"{number}\n" for number in range(100)]


async def test_a_command_of_a_branch_is_read_on_in_both(platform: Platform, vm: str) -> None:
    script = "n=0; while [ ! -e /tmp/end ]; do n=$((n+1)); echo $n; sleep 0.05; done"
    body = {"command": ["sh", "-c", script], "exec_id": "counter"}
    begun = await streamed(platform, f"/vm/{vm}/exec/stream", body, most=3)
    async with platform.api() as api:
        answer = await api.post(f"/vm/{vm}/branch")
        assert answer.status_code == 200, answer.text
    child = answer.json()["vms"][0]["vm_id"]
    for vm_id in (vm, child):
        await run(platform, vm_id, "touch", "/tmp/end")
        rest = await streamed(
            platform,
            f"/vm/{vm_id}/exec/stream/attach",
            {"exec_id": "counter", "cursor": begun[-1]["cursor"]},
        )
        numbers = [int(word) for word in output(begun + rest).split()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert rest[-1]["exit_code"] == 0
    await platform.delete(child)


async def test_users_lines_survive_that_a_vm_becomes_another(platform: Platform, vm: str) -> None:
    await run(
        platform,
        vm,
        "sh",
        "-c",
        "echo 10.9.9.9 theirs >> /etc/hosts; echo '# mine' >> /root/.ssh/authorized_keys",
    )
    async with platform.api() as api:
        child = (await api.post(f"/vm/{vm}/branch")).json()["vms"][0]["vm_id"]
    hosts = (await run(platform, child, "cat", "/etc/hosts"))["stdout"]
    keys = (await run(platform, child, "cat", "/root/.ssh/authorized_keys"))["stdout"]
    assert "10.9.9.9 theirs" in hosts and hosts.count("127.0.1.1") == 1
    assert "# mine" in keys and keys.count("ssh-ed25519") == 1
    await platform.delete(child)
