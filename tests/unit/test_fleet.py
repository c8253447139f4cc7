"""All machines of a platform: names, the active one, and an API that answers what it likes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VMInfo
from pi_v_jupyter.doctor import examine
from pi_v_jupyter.errors import (
    AmbiguousVMError,
    ApiError,
    ConnectError,
    SettingsError,
    UnknownVMError,
    UsageError,
    VersError,
    VMGoneError,
)
from pi_v_jupyter.session import Vers
from pi_v_jupyter.settings import Settings, state_dir

IDS = ("aaaa1111-0001", "aaaa2222-0002", "bbbb3333-0003")


class Platform:
    """An API in memory. `vms`: id → labels; `refuses`: what it will not delete; `answer`: said instead."""

    def __init__(self, vms: dict[str, dict[str, str]]) -> None:
        self.vms = vms
        self.refuses: set[str] = set()
        self.answer: httpx.Response | None = None
        self.began = datetime.now(UTC)

    def _info(self, vm_id: str) -> dict[str, Any]:
        age = timedelta(seconds=list(self.vms).index(vm_id))
        return {
            "vm_id": vm_id,
            "state": "running",
            "created_at": (self.began + age).isoformat(),
            "labels": self.vms[vm_id],
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.answer is not None:
            return self.answer
        path = request.url.path.removeprefix("/api/v1")
        if path == "/vm":
            return httpx.Response(200, json=[self._info(vm_id) for vm_id in reversed(self.vms)])
        if path == "/vm/new_root":
            config = json.loads(request.content)["vm_config"]
            vm_id = f"cccc{len(self.vms):04}"
            self.vms[vm_id] = config.get("labels") or {}
            return httpx.Response(200, json={"vm_id": vm_id})
        vm_id = path.split("/")[2]
        if vm_id not in self.vms:
            return httpx.Response(404, json={"error": "no such VM", "success": False})
        if request.method == "DELETE":
            if vm_id in self.refuses:
                return httpx.Response(400, json={"error": "it refuses", "success": False})
            del self.vms[vm_id]
            return httpx.Response(200, json={"vm_id": vm_id})
        return httpx.Response(200, json=self._info(vm_id))


@pytest.fixture
def platform() -> Platform:
    return Platform({IDS[0]: {"name": "build"}, IDS[1]: {"name": "test"}, IDS[2]: {}})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return tmp_path


@pytest.fixture
async def session(
    platform: Platform, home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Vers]]:
    """Makes sessions on that platform, each as a kernel of its own would; all are closed at the end."""
    made: list[Vers] = []

    def client(settings: Settings) -> VersClient:
        return VersClient(settings, transport=httpx.MockTransport(platform))

    def start(url: str = "http://127.0.0.1:9/api/v1") -> Vers:
        made.append(Vers(Settings(session={"api_key": "k", "base_url": url})))
        return made[-1]

    monkeypatch.setattr("pi_v_jupyter.session.VersClient", client)
    yield start
    for vers in made:
        await vers.close()


async def test_a_session_of_a_platform_that_was_ended_elsewhere_can_be_closed(
    session: Callable[..., Vers],
) -> None:
    vers = session()
    vers.fleet._active = await vers.vm("build")
    assert not vers.plan.is_on
    vers.settings.session["platform"] = "embedded"
    with pytest.raises(SettingsError):
        await vers.list()
    fleet = vers.fleet
    await vers.close()
    with pytest.raises(VMGoneError, match=r"of http://127\.0\.0\.1:9/api/v1"):
        _ = fleet.active


async def test_vms_are_listed_oldest_first(session: Callable[..., Vers]) -> None:
    assert [vm.id for vm in await session().list()] == list(IDS)


async def test_a_vm_is_found_by_id_name_and_unique_prefix(session: Callable[..., Vers]) -> None:
    vers = session()
    for name in (IDS[0], "build", "aaaa1", "AAAA1111"):
        assert (await vers.vm(name)).id == IDS[0]
    for name in ("aaa", "nosuch", "", "bui", "."):
        with pytest.raises(UnknownVMError):
            await vers.vm(name)
    with pytest.raises(AmbiguousVMError, match=r"2 VMs match 'aaaa': aaaa1111-0001, aaaa2222-0002\."):
        await vers.vm("aaaa")


async def test_a_name_goes_before_the_prefix_of_anothers_id(
    session: Callable[..., Vers], platform: Platform
) -> None:
    platform.vms[IDS[2]] = {"name": "aaaa1111"}
    assert (await session().vm("aaaa1111")).id == IDS[2]


async def test_the_same_name_twice_is_ambiguous(session: Callable[..., Vers], platform: Platform) -> None:
    platform.vms[IDS[2]] = {"name": "build"}
    with pytest.raises(AmbiguousVMError):
        await session().vm("build")


async def test_a_hostile_name_is_found_as_it_is_shown(
    session: Callable[..., Vers], platform: Platform
) -> None:
    platform.vms[IDS[2]] = {"name": "\x1b[31m'; x \n\"größe"}
    vm = await session().vm(IDS[2])
    assert vm.name.isprintable()
    assert (await session().vm(vm.name)).id == IDS[2]


@pytest.mark.parametrize("name", ["", ".", "a b", "a/b", "a,b", "$(id)", "x" * 65, "a\n", "<b>"])
async def test_a_name_must_be_one_that_can_be_typed(session: Callable[..., Vers], name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a VM"):
        await session().create(name=name)


async def test_a_name_is_given_once(session: Callable[..., Vers]) -> None:
    vers = session()
    assert (await vers.create(name="größe-1.x_")).label == "größe-1.x_"
    for taken in ("größe-1.x_", "build", IDS[2]):
        with pytest.raises(UsageError, match="already"):
            await vers.create(name=taken)


async def test_one_vm_that_cannot_be_deleted_spares_no_other(
    session: Callable[..., Vers], platform: Platform
) -> None:
    platform.refuses = {IDS[0]}
    with pytest.raises(ApiError, match="it refuses"):
        await session().delete(*IDS)
    assert list(platform.vms) == [IDS[0]]


async def test_deleting_what_is_gone_already_is_done(
    session: Callable[..., Vers], platform: Platform
) -> None:
    vers = session()
    vm = await vers.vm("build")
    del platform.vms[IDS[0]]
    await vers.delete(vm)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_vm_is_deleted_though_what_is_known_of_it_cannot_be_read(
    session: Callable[..., Vers], platform: Platform, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    vers = session()
    vm = vers.fleet._active = await vers.vm("build")
    vm.pin(vm.id, "key")
    connection = vm._connection()
    (state_dir() / "state.json").write_text("{")
    if gone:
        del platform.vms[IDS[0]]
    await vers.delete(vm)
    assert IDS[0] not in platform.vms and vm not in vers.fleet.known()
    assert vers.fleet.current is None
    assert vm.label == "build"
    with pytest.raises(ConnectError, match="VM build was closed"):
        await connection.open()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>a login page</html>"),
        httpx.Response(200, json={"vms": 3}),
        httpx.Response(200, json=[{"vm_id": "../../etc", "created_at": "2026-01-01T00:00:00Z"}]),
        httpx.Response(200, json=[{"vm_id": "x", "created_at": "yesterday"}]),
        httpx.Response(200, json=[3]),
        httpx.Response(204),
        httpx.Response(418, text="\x1b[31mteapot\x1b[0m"),
    ],
)
async def test_an_api_that_answers_rubbish_is_one_clear_error(
    session: Callable[..., Vers], platform: Platform, answer: httpx.Response
) -> None:
    platform.answer = answer
    with pytest.raises(VersError) as caught:
        await session().list()
    assert caught.value.message.isprintable()
    report = await examine(session())
    assert not report.ok and report[-1].what == "API"


async def test_a_restarted_kernel_finds_its_vm(
    session: Callable[..., Vers], monkeypatch: pytest.MonkeyPatch, platform: Platform
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    before = session()
    before.fleet._remember(IDS[0])  # what `use` does once it is connected
    again = session()
    assert again.fleet.missing
    with pytest.raises(VMGoneError, match="was not found again"):
        _ = again.active
    await again.fleet.recall()
    assert again.active is not None and again.active.id == IDS[0]
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/b.ipynb")
    assert session().active is None


async def test_a_restarted_kernel_runs_no_cell_elsewhere_when_another_notebook_deleted_its_vm(
    session: Callable[..., Vers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    session().fleet._remember(IDS[0])
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/b.ipynb")
    other = session()
    await other.delete(await other.vm(IDS[0]))
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    again = session()
    await again.fleet.recall()
    with pytest.raises(VMGoneError, match=f"VM {IDS[0][:8]} of .* was not found again.*%vers local"):
        _ = again.active
    again.fleet.local()
    assert again.active is None and session().active is None


async def test_who_chooses_while_it_is_looked_for_has_chosen(
    session: Callable[..., Vers], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/work/notebook.ipynb")
    first = session()
    first.fleet._remember(IDS[0])
    again = session()
    ask = again.fleet.client.vm_status

    async def asked(vm_id: str) -> VMInfo:
        info = await ask(vm_id)
        again.fleet.local()
        return info

    monkeypatch.setattr(again.fleet.client, "vm_status", asked)
    await again.fleet.recall()
    assert again.active is None


async def test_a_vm_that_is_gone_is_not_replaced_by_this_machine(
    session: Callable[..., Vers], monkeypatch: pytest.MonkeyPatch, platform: Platform
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    session().fleet._remember(IDS[0])
    del platform.vms[IDS[0]]
    again = session()
    await again.fleet.recall()
    with pytest.raises(VMGoneError):
        _ = again.machine
    report = await examine(again)
    assert [check.what for check in report if not check.ok] == ["active VM"]
    await again.local()
    assert again.active is None and session().active is None


async def test_nor_is_one_of_another_platform(
    session: Callable[..., Vers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    session("http://127.0.0.1:8/api/v1").fleet._remember(IDS[0])
    again = session()
    await again.fleet.recall()
    with pytest.raises(VMGoneError, match=r"127\.0\.0\.1:8"):
        _ = again.machine
    await again.local()
    assert session("http://127.0.0.1:8/api/v1").active is None


async def test_five_hundred_vms_are_no_trouble(session: Callable[..., Vers], platform: Platform) -> None:
    platform.vms = {f"{number:08x}-vm": {"name": f"vm{number}"} for number in range(500)}
    vers = session()
    assert (await vers.vm("vm499")).id == "000001f3-vm"
    assert len(await vers.list()) == 500
