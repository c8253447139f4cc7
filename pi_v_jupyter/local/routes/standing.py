"""The VM a path names: that it is there, and past its start."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.problems import ConflictError, UnknownError
from pi_v_jupyter.local.record import VMRecord

SkipWaitBoot = Annotated[bool, Query(description="Refuse at once, rather than wait, while the VM boots.")]


def known(fleet: Fleet, vm_id: str) -> VMRecord:
    """The VM of that id.

    Raises:
        UnknownError: there is none.
    """
    vm = fleet.get(vm_id)
    if vm is None:
        raise UnknownError(f"There is no VM {vm_id}.")
    return vm


async def settled(fleet: Fleet, vm_id: str, *, skip_wait_boot: bool = False) -> VMRecord:
    """The VM of that id, once it has started.

    Raises:
        UnknownError: there is none, or it was deleted meanwhile.
        ConflictError: it has not started, and `skip_wait_boot` says not to wait for that.
        PlatformError: it does not come up.
    """
    if known(fleet, vm_id).state is VMState.BOOTING:
        if skip_wait_boot:
            raise ConflictError(f"The VM {vm_id} is still booting.", "Try again, without skip_wait_boot.")
        await fleet.started(vm_id)
    return known(fleet, vm_id)
