"""The random lives of `tests/unit/test_local_stateful.py`, the last of them, on real VMs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from lineages import Content, Lives

if TYPE_CHECKING:
    from platforms import Platform

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

SEQUENCES = 20
STEPS = 4
# Memory is /run, a file system in it; a large token fills more pages than are put into copies one by one.
PLANT = "echo {token} >> /run/tokens; echo {token} >> /root/tokens; sync /root/tokens"
LARGE = "head -c 60000000 /dev/urandom > /run/large"
FOUND = "cat /run/tokens 2>/dev/null || true; echo -; cat /root/tokens 2>/dev/null || true"


class OnVMs:
    """A platform that is up, which all sequences share one after the other."""

    def __init__(self, platform: Platform) -> None:
        self.real = platform
        self.connect()

    def connect(self) -> None:
        key = Path(self.real.description.key_file).read_text()
        self.api = httpx.Client(
            base_url=self.real.description.base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=120,
            trust_env=False,
        )

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = self.api.request(method, path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def inside(self, vm_id: str, script: str) -> str:
        told = self.call("POST", f"/vm/{vm_id}/exec", json={"command": ["sh", "-ec", script]})
        assert told["exit_code"] == 0, told
        return str(told["stdout"])

    def create(self, labels: dict[str, str]) -> str:
        body = {"vm_config": {"labels": labels}}
        return str(self.call("POST", "/vm/new_root", params={"wait_boot": True}, json=body)["vm_id"])

    def plant(self, vm_id: str, token: int, large: bool) -> None:
        self.inside(vm_id, PLANT.format(token=token) + (f"; {LARGE}" if large else ""))

    def found(self, vm_id: str, below: int) -> Content:
        memory, disk = self.inside(vm_id, FOUND).split("-")
        return Content(frozenset(map(int, memory.split())), frozenset(map(int, disk.split())))

    def branch(self, vm_id: str, count: int, keep_paused: bool) -> Sequence[str]:
        options = {"count": count, "keep_paused": keep_paused}
        return [vm["vm_id"] for vm in self.call("POST", f"/vm/{vm_id}/branch", params=options)["vms"]]

    def commit(self, vm_id: str, name: str, keep_paused: bool) -> str:
        options: dict[str, Any] = {"params": {"keep_paused": keep_paused}, "json": {"name": name}}
        return str(self.call("POST", f"/vm/{vm_id}/commit", **options)["commit_id"])

    def restore(self, commit_id: str, count: int) -> Sequence[str]:
        told = self.call("POST", f"/vm/branch/by_commit/{commit_id}", params={"count": count})
        return [vm["vm_id"] for vm in told["vms"]]

    def set_state(self, vm_id: str, state: str) -> None:
        self.call("PATCH", f"/vm/{vm_id}/state", json={"state": state.capitalize()})

    def delete(self, vm_id: str) -> None:
        self.call("DELETE", f"/vm/{vm_id}")

    def delete_commit(self, commit_id: str) -> bool:
        answer = self.api.delete(f"/commits/{commit_id}")
        assert answer.status_code in (200, 409), answer.text
        return answer.status_code == 200

    def label(self, vm_id: str, labels: dict[str, str]) -> None:
        self.call("PATCH", f"/vm/{vm_id}/label", json={"labels": labels})

    def kill(self, vm_id: str) -> None:
        (process,) = [each for each in self.real.qemus() if any(vm_id in word for word in each.cmdline())]
        process.kill()
        psutil.wait_procs([process], timeout=10)
        _until(lambda: self.vms()[vm_id]["state"] == "dead")

    def restart(self) -> None:
        self.api.close()
        assert self.real.run("down", "-f").returncode == 0
        assert self.real.qemus() == []
        self.real.up()
        self.connect()
        _until(lambda: "booting" not in {vm["state"] for vm in self.vms().values()})

    def crash(self) -> None:
        self.api.close()
        self.real.crash()
        self.real.up()
        self.connect()

    def vms(self) -> dict[str, dict[str, Any]]:
        return {
            vm["vm_id"]: self.call("GET", f"/vm/{vm['vm_id']}/metadata") for vm in self.call("GET", "/vm")
        }

    def commits(self) -> dict[str, dict[str, Any]]:
        return {commit["commit_id"]: commit for commit in self.call("GET", "/commits")["commits"]}

    def parents(self, commit_id: str) -> list[str]:
        return [each["commit_id"] for each in self.call("GET", f"/vm/commits/{commit_id}/parents")]

    def check(self) -> None:
        alive = [vm_id for vm_id, vm in self.vms().items() if vm["state"] != "dead"]
        assert len(self.real.qemus()) == len(alive)
        _until(lambda: self.real.misplaced() == set())

    def close(self) -> None:
        """Leave nothing to the next sequence."""
        for vm_id in self.vms():
            self.delete(vm_id)
        while commits := self.commits():
            for commit_id in commits:
                self.delete_commit(commit_id)
        self.check()
        self.api.close()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_random_lives_of_real_vms_agree_with_a_model(own_platform: Platform) -> None:
    own_platform.up()

    class LivesOfVMs(Lives):
        def __init__(self) -> None:
            super().__init__()
            self.platform = OnVMs(own_platform)

    run_state_machine_as_test(
        LivesOfVMs,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
