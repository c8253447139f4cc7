"""Random lives of paper machines in a real fleet: states, lineage, content and files agree with a model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from lineages import MOST_VMS, PAUSED, RUNNING, VM, Content, Lives
from paper_machines import live_on_paper, new_daemon

from pi_v_jupyter.api.models import VMConfig, VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import paths
from pi_v_jupyter.local.problems import ConflictError

T = TypeVar("T")
SEQUENCES = 180
# In memory where there is such a place: what is written is synced again and again.
ROOM = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


class OnPaper:
    """A fleet of paper machines, and its daemon's lives."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pv-", dir=ROOM))
        self.patch = pytest.MonkeyPatch()
        self.world = live_on_paper(self.patch, self.folder)
        self.start()

    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.daemon = new_daemon(self.folder)
        self.fleet = self.daemon.fleet
        self.run(self.fleet.begin())
        self.run(self.settled())

    async def settled(self) -> None:
        """Wait until all VMs are there, and what they were brought back from is not."""
        while self.fleet._archive._tidiers:
            await asyncio.wait(self.fleet._archive._tidiers, timeout=10)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def create(self, labels: dict[str, str], **size: int) -> str:
        async def create() -> str:
            vm = self.fleet.create(VMConfig(labels=labels, **size))
            await self.fleet.started(vm.vm_id)
            return vm.vm_id

        return self.run(create())

    def plant(self, vm_id: str, token: int, large: bool) -> None:
        self.daemon.machine(vm_id).tell("plant", token=token, pages=32 if large else 1)

    def found(self, vm_id: str, below: int) -> Content:
        told = self.daemon.machine(vm_id).tell("found", below=below)
        return Content(frozenset(told["memory"]), frozenset(told["disk"]))

    def branch(self, vm_id: str, count: int, keep_paused: bool) -> Sequence[str]:
        return [vm.vm_id for vm in self.run(self.fleet.branch(vm_id, count, keep_paused=keep_paused))]

    def commit(self, vm_id: str, name: str, keep_paused: bool) -> str:
        work = self.fleet.commit(vm_id, name=name, description=None, keep_paused=keep_paused)
        return self.run(work).commit_id

    def restore(self, commit_id: str, count: int) -> Sequence[str]:
        return [vm.vm_id for vm in self.run(self.fleet.restore(commit_id, count))]

    def set_state(self, vm_id: str, state: str) -> None:
        self.run(self.fleet.set_state(vm_id, VMState(state)))
        self.run(self.settled())

    def delete(self, vm_id: str) -> None:
        self.run(self.fleet.delete(vm_id))

    def delete_commit(self, commit_id: str) -> bool:
        try:
            self.run(self.fleet.delete_commit(commit_id))
        except ConflictError:
            return False
        return True

    def label(self, vm_id: str, labels: dict[str, str]) -> None:
        self.fleet.label(vm_id, labels, replace=False)

    def kill(self, vm_id: str) -> None:
        async def kill() -> None:
            self.daemon.machine(vm_id).kill()
            async with asyncio.timeout(10):
                while self.daemon.roster.known(vm_id).state is not VMState.DEAD:
                    await asyncio.sleep(0)

        self.run(kill())

    def restart(self) -> None:
        self.run(self.fleet.end())
        self.runner.close()
        assert self.world.alive() == {}
        assert self.daemon.routes == {}
        self.start()

    def crash(self) -> None:
        self.daemon.crash()
        self.runner.close()
        self.start()

    def vms(self) -> dict[str, dict[str, Any]]:
        return {vm.vm_id: vm.model_dump() for vm in self.fleet.list()}

    def commits(self) -> dict[str, dict[str, Any]]:
        page, _ = self.fleet.catalog.page(100, 0)
        return {commit.commit_id: commit.model_dump() for commit in page}

    def parents(self, commit_id: str) -> list[str]:
        return [commit.commit_id for commit in self.fleet.catalog.parents(commit_id)]

    def check(self) -> None:
        vms = {vm.vm_id: vm for vm in self.fleet.list()}
        alive = [vm for vm in vms.values() if vm.state is not VMState.DEAD]
        assert self.world.alive() == {vm.pid: vm.process_name for vm in alive}
        assert self.daemon.routes.keys() == {vm.vm_id for vm in alive if vm.state is VMState.RUNNING}
        assert {folder.name for folder in paths.vms_dir().iterdir()} == vms.keys()
        needed = {"ground/image", "ground/base"}
        for file in paths.platform_dir().glob("vms/*/vm.json"):
            record = json.loads(file.read_text())
            needed |= {*record["layers"], record["memory"]}
        for file in paths.platform_dir().glob("commits/*.json"):
            about = paths.platform_dir() / "snapshots" / file.stem / "snapshot.json"
            record = json.loads(about.read_text())
            needed |= {*record["layers"], record["memory"], f"snapshots/{file.stem}"}
        assert all((paths.platform_dir() / name).exists() for name in needed)
        rooms = ("ground", "layers", "snapshots")
        there = {f"{room}/{path.name}" for room in rooms for path in (paths.platform_dir() / room).iterdir()}
        assert there == {"/".join(name.split("/")[:2]) for name in needed}

    def close(self) -> None:
        self.daemon.crash()
        self.runner.close()
        self.world.close()
        self.patch.undo()
        shutil.rmtree(self.folder)


class LivesOnPaper(Lives):
    """With what only paper machines can do: fail at will."""

    def __init__(self) -> None:
        super().__init__()
        self.platform: Any = OnPaper()

    @precondition(lambda self: len(self.vms) < MOST_VMS)
    @rule()
    def create_of_another_size(self) -> None:
        self.vms[self.platform.create({}, mem_size_mib=256)] = VM()

    @precondition(lambda self: self.has(RUNNING, PAUSED) and len(self.vms) < MOST_VMS)
    @rule(
        data=st.data(),
        step=st.sampled_from(["save_devices", "put_layer", "overlay", "start", "load", "configure"]),
        succeeds=st.integers(0, 1),
    )
    def a_branch_that_fails_changes_nothing(self, data: st.DataObject, step: str, succeeds: int) -> None:
        vm_id = self.pick(data, RUNNING, PAUSED)
        self.platform.world.failing = {step: succeeds}
        try:
            with contextlib.suppress(PlatformError):  # unless it does not come to that step so often
                for made in self.platform.branch(vm_id, 2, False):
                    self.platform.delete(made)
        finally:
            self.platform.world.failing = {}

    @precondition(lambda self: self.has(RUNNING, PAUSED))
    @rule(data=st.data(), step=st.sampled_from(["save_devices", "put_layer", "overlay"]))
    def a_commit_that_fails_changes_nothing(self, data: st.DataObject, step: str) -> None:
        vm_id = self.pick(data, RUNNING, PAUSED)
        self.platform.world.failing = {step: 0}
        self.platform.patch.setattr("pi_v_jupyter.local.store.is_large", lambda layer: True)
        try:
            with pytest.raises(PlatformError, match=step):
                self.platform.commit(vm_id, "", False)
        finally:
            self.platform.world.failing = {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stacked", [False, True], ids=["disks are copied", "disks are stacked"])
def test_random_lives_agree_with_a_model(monkeypatch: pytest.MonkeyPatch, stacked: bool) -> None:
    monkeypatch.setattr("pi_v_jupyter.local.store.is_large", lambda layer: stacked)
    run_state_machine_as_test(
        LivesOnPaper,
        settings=settings(
            max_examples=SEQUENCES // 2,
            stateful_step_count=14,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
