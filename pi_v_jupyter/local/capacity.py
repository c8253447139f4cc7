"""How many VMs this computer bears, and what is said when one more is too many.

VMs made from one another share memory, and most of what a VM is given it never touches: so all of them
together may be promised more than there is, and each new one is weighed by what it takes at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.local import bounds, paths
from pi_v_jupyter.local.hardware import Size
from pi_v_jupyter.local.problems import NoRoomError
from pi_v_jupyter.local.record import VMRecord

_MIB = 1024**2
_OVERHEAD_MIB = 64  # QEMU's own memory beyond the guest's
_COPY_MIB = 96  # what a copy has written before it does anything useful
_PROMISED_TIMES = 4
_VCPUS_PER_PROCESSOR = 16
_SPARE_DISK_MIB = 512  # below this nothing new is begun


@dataclass(frozen=True)
class Limits:
    """What all VMs together may have at most; memory and disk in MiB as promised to them."""

    vms: int
    vcpus: int
    memory_mib: int
    disk_mib: int

    @classmethod
    def sensible(cls) -> Limits:
        """What this computer can bear."""
        memory = bounds.memory() // _MIB
        return cls(
            vms=max(4, memory // (2 * _COPY_MIB)),
            vcpus=_VCPUS_PER_PROCESSOR * bounds.processors(),
            memory_mib=_PROMISED_TIMES * memory,
            disk_mib=_PROMISED_TIMES * shutil.disk_usage(paths.platform_dir()).total // _MIB,
        )


def check_room(
    limits: Limits,
    vms: Collection[VMRecord],
    starting: Collection[VMRecord],
    size: Size,
    *,
    count: int = 1,
    boots: bool = False,
) -> None:
    """Refuse `count` new machines of `size` where there is no room for them now.

    Raises:
        NoRoomError: says what is short, and what to change.
    """
    there = [vm for vm in vms if vm.state is not VMState.DEAD]
    asked = (
        ("VMs", limits.vms, len(there), 1, "--max-vms"),
        ("vCPUs", limits.vcpus, sum(vm.size.vcpus for vm in there), size.vcpus, "--max-vcpus"),
        (
            "MB of memory",
            limits.memory_mib,
            sum(vm.size.memory_mib for vm in there),
            size.memory_mib,
            "--max-memory",
        ),
        ("MB of disk", limits.disk_mib, sum(vm.size.disk_mib for vm in there), size.disk_mib, "--max-disk"),
    )
    for what, most, used, each, option in asked:
        if used + count * each > most:
            raise NoRoomError(
                f"The platform may have {most} {what}; {used} are in use, {count * each} more are asked for.",
                f"Delete a VM, or start the platform with a larger `{option}`.",
            )
    # What is being started has not taken its memory yet.
    promised = sum(_taken(vm.size, boots=False) for vm in starting)
    free = bounds.available_memory() // _MIB - promised
    needed = count * _taken(size, boots=boots)
    if needed > free:
        raise NoRoomError(
            f"{needed} MB of memory are needed and {max(free, 0)} MB are free on this computer.",
            "Delete a VM, or ask for a smaller one or fewer.",
        )
    free_disk = shutil.disk_usage(paths.platform_dir()).free // _MIB
    if free_disk < _SPARE_DISK_MIB:
        raise NoRoomError(
            f"The disk is full: {free_disk} MB are free in {paths.platform_dir()}, {_SPARE_DISK_MIB} MB are"
            " to be.",
            "Delete a VM or a commit, or free some space, then try again.",
        )


def _taken(size: Size, *, boots: bool) -> int:
    return _OVERHEAD_MIB + (size.memory_mib if boots else min(_COPY_MIB, size.memory_mib))
