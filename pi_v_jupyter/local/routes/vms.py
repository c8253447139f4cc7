"""VMs one by one: made, listed, paused, resized, labelled, deleted."""

from __future__ import annotations

from fastapi import APIRouter

from pi_v_jupyter.api.models import (
    DiskRequest,
    LabelsRequest,
    NewRootRequest,
    SSHKey,
    StateRequest,
    VMInfo,
    VMRef,
    VMState,
    WantedState,
)
from pi_v_jupyter.local import access
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.problems import UnknownError
from pi_v_jupyter.local.routes.once import Once
from pi_v_jupyter.local.routes.refusals import refusals
from pi_v_jupyter.local.routes.standing import SkipWaitBoot, known, settled

SSH_PORT = 22
_LISTED = {"vm_id", "owner_id", "state", "created_at", "labels", "made_by", "reason"}
_METADATA = _LISTED | {
    "ip",
    "vcpu_count",
    "mem_size_mib",
    "fs_size_mib",
    "parent_commit_id",
    "grandparent_vm_id",
}


def router(fleet: Fleet) -> APIRouter:
    """The paths, in front of `fleet`."""
    routes = APIRouter(route_class=Once, tags=["VMs"])

    @routes.get("/vms", response_model_include={"__all__": _LISTED}, summary="List Vms (older name)")
    @routes.get("/vm", response_model_include={"__all__": _LISTED})
    async def list_vms() -> list[VMInfo]:
        return [*access.seen_vms(fleet.list())]

    @routes.post("/vm/new_root", responses=refusals(507))
    async def new_root(request: NewRootRequest, wait_boot: bool = False) -> VMRef:
        await fleet.prepare(request.vm_config)
        vm = fleet.create(request.vm_config)
        if wait_boot:
            try:
                await settled(fleet, vm.vm_id)
            except UnknownError:
                raise  # it was deleted meanwhile
            except Exception:
                await fleet.delete(vm.vm_id)  # its caller will never learn its id
                raise
        return VMRef(vm_id=vm.vm_id)

    @routes.get("/vm/{vm_id}/status", response_model_include=_LISTED, responses=refusals(404))
    async def status(vm_id: str) -> VMInfo:
        return known(fleet, vm_id)

    @routes.get("/vm/{vm_id}/metadata", response_model_include=_METADATA, responses=refusals(404))
    async def metadata(vm_id: str) -> VMInfo:
        return known(fleet, vm_id)

    @routes.get("/vm/{vm_id}/ssh_key", responses=refusals(404))
    async def ssh_key(vm_id: str) -> SSHKey:
        return SSHKey(ssh_port=SSH_PORT, ssh_private_key=known(fleet, vm_id).private_key())

    @routes.delete("/vm/{vm_id}", responses=refusals(404, 409))
    async def delete(vm_id: str, skip_wait_boot: SkipWaitBoot = False) -> VMRef:
        # Nobody has to wait for a boot that is to come to nothing.
        if skip_wait_boot and known(fleet, vm_id).state is VMState.BOOTING:
            await settled(fleet, vm_id, skip_wait_boot=True)
        await fleet.delete(known(fleet, vm_id).vm_id)
        return VMRef(vm_id=vm_id)

    @routes.patch("/vm/{vm_id}/state", response_model_include=_LISTED, responses=refusals(404, 409, 507))
    async def change_state(vm_id: str, request: StateRequest, skip_wait_boot: SkipWaitBoot = False) -> VMInfo:
        await settled(fleet, vm_id, skip_wait_boot=skip_wait_boot)
        wanted = VMState.RUNNING if request.state is WantedState.RUNNING else VMState.PAUSED
        await fleet.set_state(vm_id, wanted)
        return known(fleet, vm_id)

    @routes.patch("/vm/{vm_id}/disk", response_model_include=_METADATA, responses=refusals(404, 409, 507))
    async def grow_disk(vm_id: str, request: DiskRequest, skip_wait_boot: SkipWaitBoot = False) -> VMInfo:
        await settled(fleet, vm_id, skip_wait_boot=skip_wait_boot)
        await fleet.grow_disk(vm_id, request.fs_size_mib)
        return known(fleet, vm_id)

    @routes.patch("/vm/{vm_id}/label", response_model_include=_LISTED, responses=refusals(404, 507))
    async def add_labels(vm_id: str, request: LabelsRequest) -> VMInfo:
        return fleet.label(known(fleet, vm_id).vm_id, request.labels, replace=False)

    @routes.put("/vm/{vm_id}/labels", response_model_include=_LISTED, responses=refusals(404, 507))
    async def replace_labels(vm_id: str, request: LabelsRequest) -> VMInfo:
        return fleet.label(known(fleet, vm_id).vm_id, request.labels, replace=True)

    @routes.delete(
        "/vm/{vm_id}/label/{name:path}", response_model_include=_LISTED, responses=refusals(404, 507)
    )
    async def remove_label(vm_id: str, name: str) -> VMInfo:
        return fleet.unlabel(known(fleet, vm_id).vm_id, name)

    return routes
