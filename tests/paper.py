"""A fleet on paper: VMs that are records and nothing else, with a real catalog behind them.

It keeps the promises that the API's paths rely on, states and lineage among them, and asks for no QEMU.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

from starlette.types import ASGIApp

from pi_v_jupyter.api.models import VMConfig, VMInfo, VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import app, paths
from pi_v_jupyter.local.access import Access
from pi_v_jupyter.local.catalog import Catalog
from pi_v_jupyter.local.commits import CommitRecord
from pi_v_jupyter.local.guestlink import GuestLink
from pi_v_jupyter.local.problems import ConflictError, NotPossibleError, UnknownError
from pi_v_jupyter.local.routes.access import Address


class PaperVM(VMInfo):
    """A VM that is told of, and cannot be logged in to."""

    made_by: tuple[str, ...] = ()

    def private_key(self) -> str:
        return f"the key of {self.vm_id}"


class PaperFleet:
    """All VMs. `problem` is what creating one ends in, `fails_to_start` what becomes of it later."""

    owner_id = "owner"

    def __init__(self) -> None:
        self.catalog = Catalog.load()
        self.vms: dict[str, PaperVM] = {}
        self.problem: Exception | None = None
        self.fails_to_start = False
        self.may_start = asyncio.Event()
        self.may_start.set()
        self._starts: dict[str, asyncio.Task[None]] = {}

    def list(self) -> list[PaperVM]:
        return list(self.vms.values())

    def get(self, vm_id: str) -> PaperVM | None:
        return self.vms.get(vm_id)

    async def prepare(self, config: VMConfig) -> None:
        """There is nothing to prepare."""

    def create(self, config: VMConfig) -> PaperVM:
        if self.problem:
            raise self.problem
        vm = self._made(
            VMState.BOOTING,
            labels=config.labels or {},
            vcpu_count=config.vcpu_count or 1,
            mem_size_mib=config.mem_size_mib or 512,
            fs_size_mib=config.fs_size_mib or 4096,
        )
        self._starts[vm.vm_id] = asyncio.create_task(self._start(vm.vm_id))
        return vm

    async def started(self, vm_id: str) -> None:
        start = self._starts.get(vm_id)
        if start is not None:
            await asyncio.wait([start])
            if start.cancelled():
                raise UnknownError(f"VM {vm_id} was ended while it was being made.")
            start.result()

    def guest(self, vm_id: str) -> GuestLink:
        raise ConflictError(f"VM {vm_id} is on paper.")

    async def delete(self, vm_id: str) -> None:
        start = self._starts.pop(vm_id, None)
        if start is not None:
            start.cancel()
            await asyncio.wait([start])
        del self.vms[vm_id]

    async def set_state(self, vm_id: str, state: VMState) -> None:
        self._alive(vm_id)
        self._change(vm_id, state=state)

    async def commit(
        self, vm_id: str, *, name: str | None, description: str | None, keep_paused: bool
    ) -> CommitRecord:
        vm = self._alive(vm_id)
        commit = self.catalog.add(
            CommitRecord(
                commit_id=str(uuid.uuid4()),
                name=name or "",
                description=description,
                created_at=datetime.now(UTC),
                owner_id=self.owner_id,
                parent_vm_id=vm_id,
                grandparent_commit_id=vm.parent_commit_id,
            )
        )
        if keep_paused:
            self._change(vm_id, state=VMState.PAUSED)
        return commit

    async def branch(self, vm_id: str, count: int, *, keep_paused: bool) -> list[PaperVM]:
        parent = self._alive(vm_id)
        if keep_paused:
            self._change(vm_id, state=VMState.PAUSED)
        return [
            self._made(VMState.RUNNING, grandparent_vm_id=vm_id, **self._size(parent)) for _ in range(count)
        ]

    async def restore(self, commit_id: str, count: int = 1) -> list[PaperVM]:
        commit = self.catalog.commit(commit_id)
        if commit is None:
            raise UnknownError(f"There is no commit {commit_id}.")
        lineage = {"parent_commit_id": commit_id, "grandparent_vm_id": commit.parent_vm_id}
        return [self._made(VMState.RUNNING, **lineage) for _ in range(count)]

    async def delete_commit(self, commit_id: str) -> None:
        self.catalog.remove(
            commit_id,
            lambda wanted: [f"VM {vm.vm_id}" for vm in self.list() if vm.parent_commit_id == wanted],
        )

    async def grow_disk(self, vm_id: str, fs_size_mib: int) -> None:
        if fs_size_mib <= (self._alive(vm_id).fs_size_mib or 0):
            raise NotPossibleError("A disk can only grow.")
        self._change(vm_id, fs_size_mib=fs_size_mib)

    def label(self, vm_id: str, labels: dict[str, str], *, replace: bool) -> PaperVM:
        return self._change(vm_id, labels=labels if replace else self.vms[vm_id].labels | labels)

    def unlabel(self, vm_id: str, name: str) -> PaperVM:
        if name not in self.vms[vm_id].labels:
            raise UnknownError(f"The VM {vm_id} has no label {name}.")
        return self._change(
            vm_id, labels={key: value for key, value in self.vms[vm_id].labels.items() if key != name}
        )

    def kill(self, vm_id: str) -> None:
        """What a fleet finds when a QEMU has ended."""
        self._change(vm_id, state=VMState.DEAD)

    async def _start(self, vm_id: str) -> None:
        await self.may_start.wait()
        self._change(vm_id, state=VMState.DEAD if self.fails_to_start else VMState.RUNNING)
        if self.fails_to_start:
            raise PlatformError("It did not come up.")

    def _made(self, state: VMState, **fields: object) -> PaperVM:
        vm = PaperVM.model_validate(
            {
                "vm_id": str(uuid.uuid4()),
                "owner_id": self.owner_id,
                "state": state,
                "created_at": datetime.now(UTC),
                "ip": "10.0.2.15",
                **fields,
            }
        )
        self.vms[vm.vm_id] = vm
        return vm

    @staticmethod
    def _size(vm: PaperVM) -> dict[str, object]:
        return vm.model_dump(include={"vcpu_count", "mem_size_mib", "fs_size_mib"})

    def _alive(self, vm_id: str) -> PaperVM:
        vm = self.vms[vm_id]
        if vm.state is VMState.DEAD:
            raise ConflictError(f"The VM {vm_id} is dead.")
        return vm

    def _change(self, vm_id: str, **fields: object) -> PaperVM:
        self.vms[vm_id] = self.vms[vm_id].model_copy(update=fields)
        return self.vms[vm_id]


def application(fleet: PaperFleet, api_key: str) -> ASGIApp:
    """The API in front of a fleet on paper."""
    keys = Access(paths.platform_dir() / "vm_keys.json", fleet.get, lambda vm_id, opened: None)
    address = Address(api_port=7730, gateway_port=7731, domain="pi-v.localhost", ca_pem="no certificate")
    return app.build(fleet, keys, address, api_key)  # type: ignore[arg-type]
