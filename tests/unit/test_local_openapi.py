"""The API does what its description says, whatever it is asked: schemathesis over HTTP, machines on paper."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import paper_machines
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from paper_machines import PaperMachine
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pi_v_jupyter.local import app, paths
from pi_v_jupyter.local.access import Access
from pi_v_jupyter.local.guestlink import GuestError
from pi_v_jupyter.local.routes.access import Address

KEY = "the-key"
THERE = "/there"  # the one file of every VM
LABEL = "a label"  # the one of every new VM
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_PART = {"data": "aGk=", "size": 2, "version": "1", "eof": True}
_ANSWERS: dict[str, dict[str, Any]] = {
    "exec_read": {
        "chunks": [["stdout", 2, "aGk="]],
        "cursor": 2,
        "exit": {"code": 0, "timed_out": False},
    },
    "exec_latest": {"cursor": 2},
    "logs": {"entries": [["e", "stderr", 1.5, "aGk="]], "next_offset": 2, "eof": True},
    "read_file": _PART,
}


async def answer(self: PaperMachine, op: str, *, timeout: float, **fields: Any) -> dict[str, Any]:
    """A guest's agent that has run one command and has one file."""
    if op in ("read_file", "write_file") and fields["path"] != THERE:
        raise GuestError(op, "ENOENT", "No such file or directory")
    return {"ok": True, **_ANSWERS.get(op, {})}


class Served:
    """The API of a fleet on paper, served on a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=30,
        )
        self._folder = folder
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._up.wait(30)

    async def _serve(self) -> None:
        fleet = paper_machines.new_daemon(self._folder).fleet
        await fleet.begin()
        keys = Access(paths.platform_dir() / "vm_keys.json", fleet.get, lambda vm_id, opened: None)
        address = Address(api_port=7730, gateway_port=7731, domain="pi-v.localhost", ca_pem="no certificate")
        served = app.build(fleet, keys, address, KEY)
        config = uvicorn.Config(served, lifespan="off", log_config=None, ws="none")  # type: ignore[arg-type]
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
        self._up.set()
        await serving
        await fleet.end()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.http.close()

    def description(self) -> dict[str, Any]:
        """What the API says of itself; who may ask is another test's concern."""
        schema: dict[str, Any] = self._ask("GET", "/openapi.json")
        del schema["security"], schema["components"]["securitySchemes"]
        return schema

    def there(self, name: str) -> str | None:
        """Something that is there, for a parameter or field of that name; None where any will do."""
        finders: dict[str, Callable[[], str]] = {
            "vm_id": self._vm,
            "vm_or_commit_id": self._vm,
            "commit_id": self._commit,
            "tag_name": self._tag,
            "key": self._variable,
            "name": lambda: LABEL,
            "path": lambda: THERE,
        }
        return finders[name]() if name in finders else None

    def _vm(self) -> str:
        vms = self._ask("GET", "/vm")
        for vm in vms[4:]:  # there is room for a few only
            self._ask("DELETE", f"/vm/{vm['vm_id']}")
        running = [vm for vm in vms[:4] if vm["state"] == "running"]
        if not running:
            wanted = {"vm_config": {"labels": {LABEL: ""}}}
            running = [self._ask("POST", "/vm/new_root?wait_boot=true", json=wanted)]
        return str(running[-1]["vm_id"])

    def _commit(self) -> str:
        there = self._ask("GET", "/commits")["commits"]
        return str((there or [self._ask("POST", f"/vm/{self._vm()}/commit")])[0]["commit_id"])

    def _tag(self) -> str:
        if not self._ask("GET", "/commit_tags")["tags"]:
            self._ask("POST", "/commit_tags", json={"tag_name": "t", "commit_id": self._commit()})
        return str(self._ask("GET", "/commit_tags")["tags"][0]["tag_name"])

    def _variable(self) -> str:
        self._ask("PUT", "/env_vars", json={"vars": {"A_VARIABLE": "1"}})
        return "A_VARIABLE"

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self.http.request(method, path, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("p")
    with pytest.MonkeyPatch.context() as patch:
        world = paper_machines.live_on_paper(patch, folder)
        patch.setattr(PaperMachine, "ask", answer)
        served = Served(folder)
        yield served
        served.close()
        world.close()


def ask(served: Served, case: schemathesis.Case, *, aimed: bool) -> None:
    """Send what was thought up, if `aimed` with names of what is there, and look at what comes back."""
    fields = case.body if isinstance(case.body, dict) else {}
    for named in (case.path_parameters, case.query, fields) if aimed else ():
        for name in named:
            named[name] = served.there(name) or named[name]
    told = case.call(headers={"Authorization": f"Bearer {KEY}"})
    assert told.status_code < 500 or told.status_code == 507, f"{case.as_curl_command()}: {told.text}"
    case.validate_response(told, checks=CHECKS)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_whatever_is_asked_is_answered_as_described(
    served: Served, mode: schemathesis.GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(served.description())
    schema.config.update(base_url=served.url)
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=8,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode), strategies.sampled_from([True, True, False]))
        def judge(case: schemathesis.Case, aimed: bool) -> None:
            ask(served, case, aimed=aimed)

        with contextlib.suppress(Unsatisfiable):  # it has nothing that could be wrong
            judge()
