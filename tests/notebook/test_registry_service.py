"""The registry service of a swarm: told of agents, asked for them, and no hindrance when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from answers import Answer, answering
from farm import COMMIT, Farm
from kernels import Kernel, started
from test_swarm import good, table

TOKEN = "token-of-the-registry"


@dataclass
class Service:
    """What it has been told, by the ids of VMs; `wrapped`: it answers {"vms": [...]}, else a list."""

    entries: dict[str, Any] = field(default_factory=dict)
    wrapped: bool = False
    status: int = 200
    url: str = ""
    asked: int = 0

    def answer(self, method: str, path: str, body: Any, key: str) -> tuple[int, Any]:
        self.asked += method == "GET"
        if key != f"Bearer {TOKEN}" or self.status != 200:
            return (401 if self.status == 200 else self.status), {"error": f"no, {key}"}
        if (method, path) == ("GET", "/registry/vms"):
            entries = list(self.entries.values())
            return 200, {"vms": entries} if self.wrapped else entries
        if (method, path) == ("POST", "/registry/vms"):
            self.entries[body["id"]] = body
            return 201, body
        gone = self.entries.pop(path.rpartition("/")[2], None)
        return (200 if gone else 404), {}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()

    def answer(request: BaseHTTPRequestHandler, body: Any) -> Answer:
        key = request.headers["Authorization"] or ""
        status, told = service.answer(request.command, request.path, body, key)
        return status, told, {}

    with answering(answer) as service.url:
        yield service


@pytest.fixture(scope="module")
def _told(agents_farm: tuple[Farm, dict[str, str]], service: Service) -> Iterator[Kernel]:
    variables = {"VERS_VM_REGISTRY_URL": f"{service.url}/", "VERS_AUTH_TOKEN": TOKEN}
    with started(agents_farm[1] | variables) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        yield kernel


@pytest.fixture
def told(_told: Kernel, service: Service) -> Iterator[Kernel]:
    """A kernel that has the service; it knows nothing yet, and no agents are left."""
    service.entries, service.wrapped, service.status = {}, False, 200
    yield _told
    service.status = 200
    good(_told, "%vers swarm teardown -f")
    assert not service.entries


def test_agents_are_registered_as_pi_v_does_and_removed_with_their_vms(
    told: Kernel, service: Service
) -> None:
    good(told, "%vers swarm spawn golden --labels a,b")
    (vm_id,) = [vm_id for vm_id, entry in service.entries.items() if entry["name"] == "a"]
    assert service.entries[vm_id] == {
        "id": vm_id,
        "name": "a",
        "role": "worker",
        "address": f"{vm_id}.vm.pi-v.localhost",
        "registeredBy": "vers-swarm",
        "metadata": {"agentId": "a", "commitId": COMMIT, "parentSession": True},
    }
    good(told, "%vers swarm teardown -f a")
    assert [entry["name"] for entry in service.entries.values()] == ["b"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_those_whose_vm_is_there_are_found_through_it(
    told: Kernel, service: Service, agents_farm: tuple[Farm, dict[str, str]], wrapped: bool
) -> None:
    service.wrapped = wrapped
    good(told, "%vers swarm spawn golden --labels a")
    (entry,) = service.entries.values()
    gone = entry | {"id": "no-such-vm", "name": "gone"}
    others = {"id": agents_farm[0].make(), "name": "other", "registeredBy": "someone", "metadata": {}}
    service.entries |= {"no-such-vm": gone, others["id"]: others, "": {"id": 7}}
    agents_farm[0].vms[entry["id"]]["labels"].clear()  # a platform that keeps none, and another notebook
    with started(
        agents_farm[1] | {"XDG_STATE_HOME": str(agents_farm[0].folder / f"other-{wrapped}")}
    ) as other:
        other.run("%load_ext pi_v_jupyter")
        assert good(other, "%vers swarm").data[0].startswith("No agents.")
        other.run(f"%vers config registry_url {service.url}")
        other.run(f"import os; os.environ['VERS_AUTH_TOKEN'] = {TOKEN!r}")
        assert table(good(other, "%vers swarm")) == {"a": "idle"}
    service.entries = {entry["id"]: entry}
    agents_farm[0].delete(others["id"])


@pytest.mark.parametrize("status", [401, 500])
def test_when_it_fails_that_is_said_once_and_agents_are_made_and_found(
    told: Kernel, service: Service, status: int
) -> None:
    service.status = status
    shown = good(told, "%vers swarm spawn golden --labels a\n%vers swarm discover\n%vers swarm status")
    assert shown.text.count("The swarm's registry service is of no help: ") == 1
    assert "Agents work on without it." in shown.text and TOKEN not in shown.text
    assert table(shown) == {"a": "idle"}
    before = service.asked
    good(told, "%vers swarm status")
    assert service.asked == before, "no command waits for it again for a while"
