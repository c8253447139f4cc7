"""Commits: made of VMs, restored and branched into VMs, listed, changed, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from pi_v_jupyter.api.models import (
    BranchAnswer,
    CommitChange,
    CommitInfo,
    CommitPage,
    CommitRef,
    CommitRequest,
    FromCommitRequest,
    ParentCommit,
    VMRef,
)
from pi_v_jupyter.local import access
from pi_v_jupyter.local.commits import CommitRecord
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.problems import NotPossibleError, UnknownError
from pi_v_jupyter.local.routes.once import Once
from pi_v_jupyter.local.routes.refusals import refusals
from pi_v_jupyter.local.routes.standing import SkipWaitBoot, settled

MOST_BRANCHES = 64  # of one request
LONGEST_PAGE = 1000

_Count = Annotated[int, Query(ge=1, le=MOST_BRANCHES, description="How many VMs to make.")]
_KeepPaused = Annotated[bool, Query(description="Leave the VM paused.")]
_Limit = Annotated[int, Query(ge=1, le=LONGEST_PAGE)]
_Offset = Annotated[int, Query(ge=0)]


def router(fleet: Fleet) -> APIRouter:
    """The paths, in front of `fleet` and its catalog."""
    routes = APIRouter(route_class=Once, tags=["Commits"])
    catalog = fleet.catalog

    async def branch_vm(vm_id: str, count: int, keep_paused: bool, skip_wait_boot: bool) -> BranchAnswer:
        await settled(fleet, vm_id, skip_wait_boot=skip_wait_boot)
        branches = await fleet.branch(vm_id, count, keep_paused=keep_paused)
        return BranchAnswer.of([vm.vm_id for vm in branches])

    async def branch_commit(commit: CommitRecord, count: int) -> BranchAnswer:
        return BranchAnswer.of([vm.vm_id for vm in await fleet.restore(commit.commit_id, count)])

    def page(limit: int, offset: int, *, public_only: bool = False) -> CommitPage:
        commits, _ = catalog.page(2**31, 0, public_only=public_only)
        commits = access.seen_commits(commits)
        return CommitPage(
            commits=commits[offset : offset + limit], total=len(commits), limit=limit, offset=offset
        )

    @routes.post("/vm/{vm_id}/commit", responses=refusals(404, 409, 507))
    async def commit(
        vm_id: str,
        request: CommitRequest | None = None,
        keep_paused: _KeepPaused = False,
        skip_wait_boot: SkipWaitBoot = False,
    ) -> CommitRef:
        await settled(fleet, vm_id, skip_wait_boot=skip_wait_boot)
        wanted = request or CommitRequest()
        made = await fleet.commit(
            vm_id, name=wanted.name, description=wanted.description, keep_paused=keep_paused
        )
        return CommitRef(commit_id=made.commit_id)

    @routes.post("/vm/from_commit", responses=refusals(404, 409, 507))
    async def from_commit(request: FromCommitRequest) -> VMRef:
        if request.ref is not None:
            raise NotPossibleError(
                "The embedded platform has no repositories.", "Name the commit by commit_id or tag_name."
            )
        if request.commit_id is not None:
            wanted = catalog.resolve(request.commit_id)
        else:
            wanted = catalog.tagged(request.tag_name or "")
        (vm,) = await fleet.restore(wanted.commit_id)
        return VMRef(vm_id=vm.vm_id)

    @routes.post("/vm/{vm_or_commit_id}/branch", responses=refusals(404, 409, 507))
    async def branch(
        vm_or_commit_id: str,
        count: _Count = 1,
        keep_paused: _KeepPaused = False,
        skip_wait_boot: SkipWaitBoot = False,
    ) -> BranchAnswer:
        if fleet.get(vm_or_commit_id) is not None:
            return await branch_vm(vm_or_commit_id, count, keep_paused, skip_wait_boot)
        wanted = catalog.commit(vm_or_commit_id)
        if wanted is None:
            raise UnknownError(f"There is no VM or commit {vm_or_commit_id}.")
        return await branch_commit(wanted, count)

    @routes.post("/vm/branch/by_vm/{vm_id}", responses=refusals(404, 409, 507))
    async def branch_by_vm(
        vm_id: str,
        count: _Count = 1,
        keep_paused: _KeepPaused = False,
        skip_wait_boot: SkipWaitBoot = False,
    ) -> BranchAnswer:
        return await branch_vm(vm_id, count, keep_paused, skip_wait_boot)

    @routes.post("/vm/branch/by_commit/{commit_id}", responses=refusals(404, 409, 507))
    async def branch_by_commit(commit_id: str, count: _Count = 1) -> BranchAnswer:
        return await branch_commit(catalog.resolve(commit_id), count)

    @routes.post("/vm/branch/by_tag/{tag_name}", responses=refusals(404, 409, 507))
    async def branch_by_tag(tag_name: str, count: _Count = 1) -> BranchAnswer:
        return await branch_commit(catalog.tagged(tag_name), count)

    @routes.get("/commits")
    async def list_commits(limit: _Limit = 100, offset: _Offset = 0) -> CommitPage:
        return page(limit, offset)

    @routes.get("/commits/public")
    async def list_public_commits(limit: _Limit = 100, offset: _Offset = 0) -> CommitPage:
        return page(limit, offset, public_only=True)

    @routes.patch("/commits/{commit_id}", responses=refusals(404, 507))
    async def change_commit(commit_id: str, request: CommitChange) -> CommitInfo:
        return catalog.change(commit_id, request)

    @routes.delete("/commits/{commit_id}", responses=refusals(404, 409, 507))
    async def delete_commit(commit_id: str) -> CommitRef:
        await fleet.delete_commit(commit_id)
        return CommitRef(commit_id=commit_id)

    @routes.get("/vm/commits/{commit_id}/parents", responses=refusals(404))
    async def list_parents(commit_id: str) -> list[ParentCommit]:
        return [ParentCommit(**dict(parent)) for parent in catalog.parents(commit_id)]

    return routes
