"""What the client sends, what it repeats, and what a person reads when it fails. No network here."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import socket
import ssl
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import filelock
import httpx
import pytest

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    NoKeyError,
    NotFoundError,
    PlatformUnreachableError,
    SettingsError,
    UnknownVMError,
    UnsupportedError,
    UsageError,
    VersError,
)
from pi_v_jupyter.settings import EmbeddedPlatform, Settings

KEY = "vers-key/5f0c+9a77=e1"
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----\n"
VM = {"vm_id": "vm-1", "owner_id": "me", "state": "running", "created_at": "2026-11-22T09:00:00Z"}
REFUSED = httpx.ConnectError("All connection attempts failed")
BROKEN = httpx.RemoteProtocolError("peer closed connection without sending complete message body")
SLOW = httpx.ReadTimeout("")

Call = Callable[[VersClient], Awaitable[Any]]
create: Call = lambda client: client.create_vm(VMConfig())  # noqa: E731
delete: Call = lambda client: client.delete_vm("vm-1")  # noqa: E731
status: Call = lambda client: client.vm_status("vm-1")  # noqa: E731


def says(code: int, body: Any = None, **headers: str) -> httpx.Response:
    """An answer of the platform; a word in `headers` such as retry_after becomes `retry-after`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, bytes):
        return httpx.Response(code, content=body, headers=named)
    return (
        httpx.Response(code, json=body, headers=named)
        if body is not None
        else httpx.Response(code, headers=named)
    )


class Platform(httpx.AsyncBaseTransport):
    """Gives the answers it was told to, in turn; the last one over and over. Keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content)
        )

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.asked]


class Naps(list[float]):
    """Stands in for sleeping; keeps how long each sleep would have been."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def settings(**environ: str) -> Settings:
    return Settings(environ={"VERS_API_KEY": KEY, "HOME": "/nonexistent", **environ})


def client_of(platform: httpx.AsyncBaseTransport, naps: Naps | None = None, **environ: str) -> VersClient:
    return VersClient(settings(**environ), transport=platform, sleep=naps if naps is not None else Naps())


async def failure(platform: Platform, call: Call, naps: Naps | None = None) -> VersError:
    """The error of a call, after a look that neither the key nor a foreign exception is in it."""
    async with client_of(platform, naps) as client:
        with pytest.raises(VersError) as caught:
            await call(client)
    assert_clean(caught.value)
    return caught.value


def assert_clean(error: BaseException) -> None:
    """Nothing secret in what is shown, even with all local variables, nor in the exceptions behind it."""
    ours = [
        frame
        for frame in traceback.walk_tb(error.__traceback__)
        if "/pi_v_jupyter/" in frame[0].f_code.co_filename
    ]
    shown = [repr(frame.f_locals) for frame, _ in ours]
    link: BaseException | None = error
    while link is not None:
        assert isinstance(link, VersError)
        shown += [repr(link), str(link), repr(link.args), repr(vars(link))]
        link = link.__cause__ or link.__context__
    for text in shown:
        assert KEY not in text and "b3Blbn" not in text


# What is sent


async def test_every_request_carries_the_key_and_goes_under_the_base_url() -> None:
    platform = Platform(says(200, VM))
    async with client_of(platform, VERS_BASE_URL="https://api.example.org") as client:
        await client.vm_status("vm-1")
    (request,) = platform.asked
    assert request.url == "https://api.example.org/api/v1/vm/vm-1/status"
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("call", "line", "answer"),
    [
        (lambda client: client.list_vms(), "GET /api/v1/vm", [VM]),
        (create, "POST /api/v1/vm/new_root?wait_boot=true", {"vm_id": "vm-1"}),
        (
            lambda client: client.create_vm(VMConfig(), wait_boot=False),
            "POST /api/v1/vm/new_root?wait_boot=false",
            {"vm_id": "vm-1"},
        ),
        (status, "GET /api/v1/vm/vm-1/status", VM),
        (lambda client: client.vm_metadata("vm-1"), "GET /api/v1/vm/vm-1/metadata", VM),
        (delete, "DELETE /api/v1/vm/vm-1", {"vm_id": "vm-1"}),
        (
            lambda client: client.ssh_key("vm-1"),
            "GET /api/v1/vm/vm-1/ssh_key",
            {"ssh_port": 22, "ssh_private_key": PRIVATE},
        ),
        (lambda client: client.whoami(), "GET /api/v1/whoami", {"user": {}, "org": {}, "api_key": {}}),
        (lambda client: client.version(), "GET /api/v1/system/version", {"git_hash": "abc"}),
    ],
)
async def test_each_method_is_one_request_of_the_api(call: Call, line: str, answer: Any) -> None:
    platform = Platform(says(200, answer))
    async with client_of(platform) as client:
        await call(client)
    assert platform.lines == [line]


async def test_answers_come_back_as_models() -> None:
    platform = Platform(
        says(200, [VM, {**VM, "vm_id": "vm-2", "state": "Sleeping"}]),
        says(200, {**VM, "mem_size_mib": 512, "vcpu_count": 2, "ip": "10.0.0.2"}),
        says(200, {"ssh_port": 22, "ssh_private_key": PRIVATE}),
    )
    async with client_of(platform) as client:
        first, second = await client.list_vms()
        assert (first.vm_id, first.state, second.state) == ("vm-1", VMState.RUNNING, VMState.PAUSED)
        assert (await client.vm_metadata("vm-1")).mem_size_mib == 512
        key = await client.ssh_key("vm-1")
    assert key.ssh_private_key == PRIVATE and "b3Blbn" not in repr(key)


async def test_a_new_vm_is_asked_for_with_only_what_was_set() -> None:
    platform = Platform(says(201, {"vm_id": "vm-9"}))
    async with client_of(platform) as client:
        assert await client.create_vm(VMConfig(mem_size_mib=512, labels={"name": "build"})) == "vm-9"
    assert json.loads(platform.asked[0].content) == {
        "vm_config": {"mem_size_mib": 512, "labels": {"name": "build"}}
    }
    assert platform.asked[0].headers["content-type"] == "application/json"


async def test_waiting_for_a_boot_is_given_the_time_a_boot_takes() -> None:
    platform = Platform(says(200, {"vm_id": "vm-1"}))
    async with client_of(platform) as client:
        await client.create_vm(VMConfig())
        await client.create_vm(VMConfig(), wait_boot=False)
    waiting, quick = (request.extensions["timeout"]["read"] for request in platform.asked)
    assert (waiting, quick) == (180.0, 30.0)


@pytest.mark.parametrize("vm_id", ["", "..", "../whoami", "a/b", "a?b", "a b", "vm\n"])
async def test_what_is_no_vm_id_is_never_sent(vm_id: str) -> None:
    platform = Platform(says(200, VM))
    async with client_of(platform) as client:
        for call in (client.vm_status, client.vm_metadata, client.delete_vm, client.ssh_key):
            with pytest.raises(UnknownVMError, match="is not the id of a VM"):
                await call(vm_id)
    assert platform.asked == []


async def test_key_and_address_are_read_afresh_at_each_call() -> None:
    platform = Platform(says(200, VM))
    ours = settings()
    async with VersClient(ours, transport=platform) as client:
        await client.vm_status("vm-1")
        ours.session.update(api_key="another", base_url="http://127.0.0.1:9")
        await client.vm_status("vm-1")
    assert platform.asked[1].url.host == "127.0.0.1"
    assert platform.asked[1].headers["authorization"] == "Bearer another"


async def test_all_tries_of_one_call_go_to_one_platform() -> None:
    ours = settings()
    platform = Platform(says(502), says(200, VM))

    async def meanwhile(_: float) -> None:
        ours.session.update(api_key="another", base_url="https://api.example.org")

    async with VersClient(ours, transport=platform, sleep=meanwhile) as client:
        await client.vm_status("vm-1")
    assert {(request.url.host, request.headers["authorization"]) for request in platform.asked} == {
        ("api.vers.sh", f"Bearer {KEY}")
    }


async def test_without_a_key_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    platform = Platform(says(200, [VM]))
    async with VersClient(Settings(environ={"HOME": str(tmp_path)}), transport=platform) as client:
        with pytest.raises(NoKeyError):
            await client.list_vms()
    assert platform.asked == []


async def test_a_packed_answer_is_unpacked() -> None:
    packed = gzip.compress(json.dumps(VM).encode())
    raw = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(packed))
    async with client_of(httpx.MockTransport(lambda request: raw)) as client:
        assert (await client.vm_status("vm-1")).vm_id == "vm-1"


async def test_a_closed_client_says_so() -> None:
    client = client_of(Platform(says(200, VM)))
    await client.vm_status("vm-1")
    await client.close()
    await client.close()
    with pytest.raises(UsageError, match="closed"):
        await client.vm_status("vm-1")


# Two vintages


class OldPlatform(Platform):
    """Knows GET /vms and not GET /vm."""

    def __init__(self, missing: int) -> None:
        super().__init__(says(200, [VM]))
        self.missing = missing

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.path == "/api/v1/vms":
            return says(200, [VM])
        return says(self.missing, {"error": "no such route"})


@pytest.mark.parametrize("missing", [404, 405])
async def test_the_older_list_is_found_and_remembered(missing: int) -> None:
    platform = OldPlatform(missing)
    async with client_of(platform) as client:
        for _ in range(3):
            assert [vm.vm_id for vm in await client.list_vms()] == ["vm-1"]
    assert platform.lines == ["GET /api/v1/vm", *["GET /api/v1/vms"] * 3]


async def test_what_one_platform_answers_says_nothing_about_another() -> None:
    platform = OldPlatform(404)
    ours = settings()
    async with VersClient(ours, transport=platform) as client:
        await client.list_vms()
        ours.session["base_url"] = "https://api.example.org"
        await client.list_vms()
    assert platform.lines == ["GET /api/v1/vm", "GET /api/v1/vms"] * 2


async def test_a_platform_that_was_upgraded_is_found_again() -> None:
    platform = Platform(says(404), says(200, [VM]), says(404), says(200, [VM]), says(200, [VM]))
    async with client_of(platform) as client:
        for _ in range(3):
            assert len(await client.list_vms()) == 1
    assert platform.lines == [f"GET /api/v1/{path}" for path in ("vm", "vms", "vms", "vm", "vm")]


async def test_a_server_with_neither_list_is_probably_not_the_platform() -> None:
    error = await failure(Platform(says(404, b"<html>nothing here</html>")), lambda client: client.list_vms())
    assert isinstance(error, NotFoundError)
    assert error.message == "Not Found (GET /vm, HTTP 404)."
    assert "Is VERS_BASE_URL right? It is https://api.vers.sh/api/v1" in error.hint


async def test_only_an_absent_list_leads_to_the_other() -> None:
    platform = Platform(says(401, {"error": "bad key"}))
    assert isinstance(await failure(platform, lambda client: client.list_vms()), AuthenticationError)
    assert platform.lines == ["GET /api/v1/vm"]


# What is repeated: nothing that could run twice

ALWAYS = [REFUSED, httpx.ConnectTimeout(""), says(429), says(503, retry_after="0")]
IF_HARMLESS = [
    BROKEN,
    SLOW,
    httpx.ReadError(""),
    httpx.WriteError(""),
    httpx.WriteTimeout(""),
    *(says(code) for code in (408, 409, 500, 502, 503, 504, 599)),
]
NEVER = [says(code) for code in (400, 401, 403, 404, 405, 410, 422, 501)]


def named(answer: httpx.Response | Exception) -> str:
    return type(answer).__name__ if isinstance(answer, Exception) else str(answer.status_code)


@pytest.mark.parametrize("trouble", ALWAYS, ids=named)
@pytest.mark.parametrize("call", [status, create, delete], ids=["GET", "POST", "DELETE"])
async def test_what_surely_did_not_run_is_sent_again(call: Call, trouble: httpx.Response | Exception) -> None:
    platform, naps = Platform(trouble, trouble, says(200, VM)), Naps()
    async with client_of(platform, naps) as client:
        await call(client)
    assert len(platform.asked) == 3 and len(naps) == 2


@pytest.mark.parametrize("trouble", IF_HARMLESS, ids=named)
@pytest.mark.parametrize("call", [status, delete], ids=["GET", "DELETE"])
async def test_what_may_run_twice_without_harm_is_sent_again(
    call: Call, trouble: httpx.Response | Exception
) -> None:
    platform = Platform(trouble, says(200, VM))
    async with client_of(platform) as client:
        await call(client)
    assert len(platform.asked) == 2


@pytest.mark.parametrize("trouble", IF_HARMLESS, ids=named)
async def test_a_new_vm_whose_answer_was_lost_is_not_asked_for_again(
    trouble: httpx.Response | Exception,
) -> None:
    platform = Platform(trouble, says(200, {"vm_id": "vm-2"}))
    error = await failure(platform, create)
    assert len(platform.asked) == 1
    if named(trouble) not in ("408", "409"):
        assert "`%vers ls` shows" in error.hint


@pytest.mark.parametrize("trouble", NEVER, ids=named)
@pytest.mark.parametrize("call", [status, create, delete], ids=["GET", "POST", "DELETE"])
async def test_a_plain_no_is_taken_as_an_answer(call: Call, trouble: httpx.Response | Exception) -> None:
    platform = Platform(trouble)
    await failure(platform, call)
    assert len(platform.asked) == 1


async def test_a_new_vm_refused_at_the_door_and_then_lost_is_not_asked_for_a_third_time() -> None:
    platform = Platform(REFUSED, BROKEN, says(200, {"vm_id": "vm-2"}))
    await failure(platform, create)
    assert len(platform.asked) == 2


async def test_three_tries_are_all() -> None:
    platform, naps = Platform(says(502)), Naps()
    await failure(platform, status, naps)
    assert len(platform.asked) == 3 and len(naps) == 2


@pytest.mark.parametrize("call", [create, delete], ids=["POST", "DELETE"])
async def test_the_tries_of_one_write_share_a_key_and_two_writes_do_not(call: Call) -> None:
    platform = Platform(says(429), says(429), says(200, VM), says(200, VM))
    async with client_of(platform) as client:
        await call(client)
        await call(client)
    first, second, third, other = (request.headers["x-idempotency-key"] for request in platform.asked)
    assert first == second == third != other


async def test_a_read_carries_no_idempotency_key() -> None:
    platform = Platform(says(200, VM))
    async with client_of(platform) as client:
        await client.vm_status("vm-1")
    assert "x-idempotency-key" not in platform.asked[0].headers


@pytest.mark.parametrize("trouble", [BROKEN, SLOW, says(409), says(502)], ids=named)
async def test_a_vm_that_is_gone_when_its_deletion_is_repeated_counts_as_deleted(
    trouble: httpx.Response | Exception,
) -> None:
    platform = Platform(trouble, says(404, {"error": "no such VM"}))
    async with client_of(platform) as client:
        await client.delete_vm("vm-1")
    assert len(platform.asked) == 2


@pytest.mark.parametrize("trouble", [REFUSED, says(429), says(503, retry_after="1")], ids=named)
async def test_a_vm_that_was_never_there_is_an_error_however_late_one_learns_it(
    trouble: httpx.Response | Exception,
) -> None:
    assert isinstance(await failure(Platform(trouble, says(404)), delete), NotFoundError)


# How long it waits


async def test_waits_double_with_up_to_a_quarter_more() -> None:
    seen = []
    for _ in range(20):
        naps = Naps()
        await failure(Platform(says(500)), status, naps)
        seen.append(tuple(naps))
    assert all(0.5 <= first <= 0.625 and 1.0 <= second <= 1.25 for first, second in seen)
    assert len(set(seen)) > 1


@pytest.mark.parametrize(("asked", "waited"), [("0", 0), ("7", 7), ("3600", 60), ("9" * 500, 60)])
async def test_retry_after_in_seconds_is_honoured_up_to_a_minute(asked: str, waited: float) -> None:
    naps = Naps()
    async with client_of(Platform(says(429, retry_after=asked), says(200, VM)), naps) as client:
        await client.vm_status("vm-1")
    assert naps == [waited]


@pytest.mark.parametrize(("ahead", "low", "high"), [(30, 20, 30), (7200, 60, 60), (-30, 0, 0)])
async def test_retry_after_as_a_date_is_honoured_up_to_a_minute(ahead: int, low: float, high: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    naps = Naps()
    async with client_of(Platform(says(503, retry_after=date), says(200, VM)), naps) as client:
        await client.vm_status("vm-1")
    assert low <= naps[0] <= high


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "soon",
        "-5",
        "nan",
        "1e9",
        "Thu, 99 Foo 2026 99:99:99 GMT",
        "Thu, 01 Jan 2026 00:00:00 -" + "9" * 20,
    ],
)
async def test_a_retry_after_that_means_nothing_is_passed_over(asked: str) -> None:
    naps = Naps()
    async with client_of(Platform(says(429, retry_after=asked), says(200, VM)), naps) as client:
        await client.vm_status("vm-1")
    assert 0.5 <= naps[0] <= 0.625


async def test_a_wait_between_tries_can_be_cancelled() -> None:
    waiting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.sleep(seconds)

    platform = Platform(says(429, retry_after="60"))
    async with VersClient(settings(), transport=platform, sleep=sleep) as client:
        call = asyncio.create_task(client.list_vms())
        await waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, timeout=10)
    assert len(platform.asked) == 1


# What a person reads


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, ApiError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (409, ConflictError),
        (418, ApiError),
        (500, ApiError),
        (501, UnsupportedError),
    ],
)
async def test_a_no_is_the_platforms_sentence_with_what_was_asked(code: int, kind: type[ApiError]) -> None:
    error = await failure(Platform(says(code, {"error": "The disk is full.", "success": False})), status)
    assert type(error) is kind and isinstance(error, ApiError)
    assert error.message == f"The disk is full (GET /vm/vm-1/status, HTTP {code})."
    assert error.status == code


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (says(500, {"message": "no room"}), "no room"),
        (says(500, b"no room\n", content_type="text/plain; charset=utf-8"), "no room"),
        (says(502, b"<html><h1>nginx</h1></html>", content_type="text/html"), "Bad Gateway"),
        (says(500), "Internal Server Error"),
        (says(500, b"{"), "Internal Server Error"),
        (says(500, ["no room"]), "Internal Server Error"),
        (says(500, {"error": {"code": 7}}), "Internal Server Error"),
        (says(599), "The platform answered with an error"),
    ],
)
async def test_an_error_in_any_form_is_one_sentence(answer: httpx.Response, sentence: str) -> None:
    error = await failure(Platform(answer), status)
    assert error.message == f"{sentence} (GET /vm/vm-1/status, HTTP {answer.status_code})."


async def test_what_there_is_no_room_for_was_not_done() -> None:
    error = await failure(Platform(says(507, {"error": "There is no room for it."})), create)
    assert (error.message, error.hint) == ("There is no room for it (POST /vm/new_root, HTTP 507).", "")


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refused_key_says_where_it_came_from_and_how_to_set_another(code: int) -> None:
    error = await failure(Platform(says(code, {"error": "invalid key"})), status)
    assert "the environment's VERS_API_KEY" in error.hint and "~/.vers/keys.json" in error.hint


async def test_the_embedded_platforms_errors_say_how_to_start_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (tmp_path / "key").write_text(KEY)
    EmbeddedPlatform(
        base_url="http://127.0.0.1:7600/api/v1",
        domain="machines.localhost",
        vm_port=7643,
        ca_file="/ca.pem",
        key_file=str(tmp_path / "key"),
        pid=os.getpid(),
        accelerator="tcg",
    ).save()
    platform = Platform(says(401), REFUSED)
    settings = Settings(environ={"HOME": str(tmp_path)})
    held = filelock.FileLock(EmbeddedPlatform.lock_file())  # as its daemon does while it lives
    async with VersClient(settings, transport=platform, sleep=Naps()) as client:
        with held, pytest.raises(AuthenticationError) as refused:
            await client.list_vms()
        with held, pytest.raises(PlatformUnreachableError) as away:
            await client.list_vms()
    assert "the embedded platform's key file. `%vers down`, then `%vers up`" in refused.value.hint
    assert "`%vers up` starts it anew" in away.value.hint


async def test_an_absent_vm_points_to_the_list() -> None:
    for call in (status, delete, lambda client: client.ssh_key("vm-1")):
        error = await failure(Platform(says(404, {"error": "VM not found"})), call)
        assert isinstance(error, NotFoundError) and error.hint == "%vers ls shows them all."


async def test_an_absent_route_points_to_the_base_url() -> None:
    assert "VERS_BASE_URL" in (await failure(Platform(says(404)), create)).hint


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (REFUSED, "cannot be connected to"),
        (httpx.ConnectTimeout(""), "took no connection in time"),
        (httpx.ProxyError("407 me:hunter2"), "is behind a proxy that does not let us through"),
        (SLOW, "gave no answer in time"),
        (BROKEN, "broke off its answer, or does not speak HTTP"),
        (httpx.DecodingError(""), "broke off its answer, or does not speak HTTP"),
        (httpx.ReadError(""), "broke the connection"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_platform_that_does_not_answer_is_named_with_what_it_did(
    trouble: Exception, words: str
) -> None:
    error = await failure(Platform(trouble), status)
    assert isinstance(error, PlatformUnreachableError)
    assert error.message == f"api.vers.sh {words} (GET /vm/vm-1/status)."
    assert "`%vers doctor`" in error.hint


async def test_an_address_that_no_host_can_have_is_told_at_once() -> None:
    platform = Platform(says(200, VM))
    async with client_of(platform, VERS_BASE_URL="https://exa\u0301_mple.org") as client:
        with pytest.raises(PlatformUnreachableError, match="is no host name"):
            await client.vm_status("vm-1")
    assert platform.asked == []


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ConnectionRefusedError(111, "refused"), "refused the connection"),
        (socket.gaierror(-2, "Name or service not known"), "has a name that cannot be found"),
        (
            ExceptionGroup("both", [OSError(101, "no net"), ConnectionRefusedError(111, "")]),
            "refused the connection",
        ),
    ],
)
async def test_the_cause_behind_a_failed_connection_is_told(cause: Exception, words: str) -> None:
    trouble = httpx.ConnectError("All connection attempts failed")
    trouble.__cause__ = cause
    assert f"api.vers.sh {words}" in (await failure(Platform(trouble), status)).message


async def test_an_untrusted_certificate_is_told_at_once() -> None:
    trouble = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]")
    trouble.__cause__ = ssl.SSLCertVerificationError(1, "verify failed")
    trouble.__cause__.verify_message = "self-signed certificate"
    platform = Platform(trouble)
    error = await failure(platform, create)
    assert "has a certificate that is not trusted: self-signed certificate" in error.message
    assert "SSL_CERT_FILE" in error.hint and len(platform.asked) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b"<!doctype html><title>Log in</title>", "is a web page"),
        (b'{"vm_id": "vm-1"', "is not what the Vers API answers"),
        (b"[]", "is not what the Vers API answers"),
        (b"null", "is not what the Vers API answers"),
        (b'{"vm_id": "../keys"}', "is not what the Vers API answers"),
        (b"[" * 100_000, "is not what the Vers API answers"),
        (b'{"vm_id": "\xff"}', "is not what the Vers API answers"),
    ],
)
async def test_a_yes_in_no_shape_we_know_is_an_error(body: bytes, words: str) -> None:
    for call in (status, create):
        error = await failure(Platform(says(200, body)), call)
        assert isinstance(error, ApiError) and f"The platform's answer {words} (" in error.message
    assert "`%vers ls` shows" in error.hint  # the VM may be there all the same


async def test_a_private_key_in_a_misshapen_answer_is_not_shown() -> None:
    for answer in ({"ssh_private_key": PRIVATE}, {"ssh_port": "no", "ssh_private_key": PRIVATE}):
        await failure(Platform(says(200, answer)), lambda client: client.ssh_key("vm-1"))


async def test_a_list_whose_entries_are_no_vms_is_an_error() -> None:
    for answer in ([{}], {"vms": []}, [{**VM, "created_at": "yesterday"}]):
        error = await failure(Platform(says(200, answer)), lambda client: client.list_vms())
        assert "is not what the Vers API answers" in error.message


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_told_and_not_followed(code: int) -> None:
    platform = Platform(says(code, location="https://elsewhere.example/api/v1/vm?token=abc"))
    error = await failure(platform, lambda client: client.list_vms())
    assert "points to another address, https://elsewhere.example (GET /vm" in error.message
    assert "token" not in str(error) and len(platform.asked) == 1


@pytest.mark.parametrize("location", ["", "/login", "https://["])
async def test_a_redirect_to_nowhere_is_told(location: str) -> None:
    error = await failure(Platform(says(302, location=location)), status)
    assert error.message == "The platform points to another address (GET /vm/vm-1/status, HTTP 302)."


@pytest.mark.parametrize("location", ["mailto:someone", "https://h:x", "\x1b[31m"])
async def test_a_redirect_that_is_no_address_is_no_http(location: str) -> None:
    error = await failure(Platform(says(302, location=location)), status)
    assert isinstance(error, PlatformUnreachableError) and "does not speak HTTP" in error.message


# Secrets and terminals


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        f"Authorization: Bearer {KEY}",
        f"x{KEY}{KEY}x",
        "no\x1b[31mroom " + KEY[:5] + "\x1b[0m" + KEY[5:],
        "x" * 290 + KEY,
        "\x1b[0m" * 1190 + "x" * 28 + KEY,
        "key=" + KEY.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D"),
    ],
)
@pytest.mark.parametrize("code", [200, 302, 401, 500])
async def test_a_platform_that_echoes_the_key_does_not_get_it_shown(
    code: int, echo: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for answer in (
        says(code, {"error": echo}, location="https://elsewhere.example"),
        says(code, echo.encode(), content_type="text/plain", location=f"https://{KEY}@elsewhere.example"),
    ):
        error = await failure(Platform(answer), status)
        for piece in (KEY, KEY[:8], KEY[-8:], "5f0c%2B9a77"):
            assert piece not in str(error)
            assert piece not in caplog.text


async def test_a_call_that_works_logs_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with client_of(Platform(says(200, VM))) as client:
        await client.vm_status("vm-1")
        assert KEY not in repr(client) + repr(vars(client))
    assert KEY not in caplog.text


async def test_what_would_act_on_a_terminal_is_taken_out() -> None:
    hostile = "\x1b]0;title\x07\x1b[2J\x1b[31mno\x00 room\r\n\u202ehere\x9b0m \ud800"
    body = json.dumps({"error": hostile}).encode()
    message = (await failure(Platform(says(500, body.replace(b"\\ud800", b""))), status)).message
    assert message.isprintable()
    assert message.startswith("no room here 0m (GET")


async def test_a_long_sentence_is_cut() -> None:
    message = (await failure(Platform(says(500, {"error": "no room " * 10_000})), status)).message
    assert len(message) < 400 and "…" in message


# Proxies of the environment


@pytest.mark.parametrize(
    "proxy", ["socks9://me:hunter2@gate.example:1", "http://me:hunter2@gate.example:port"]
)
async def test_a_proxy_that_makes_no_sense_is_told_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    async with VersClient(settings()) as client:
        with pytest.raises(SettingsError, match="ALL_PROXY") as caught:
            await client.list_vms()
    assert_clean(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)).replace(proxy, "")
    assert caught.value.__context__ is None
