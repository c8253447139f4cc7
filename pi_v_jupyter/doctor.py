"""Looks at everything between a notebook and its VMs, and says what to do about what is wrong."""

from __future__ import annotations

import asyncio
import shutil
import socket
from dataclasses import dataclass

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.errors import VersError, VMGoneError
from pi_v_jupyter.session import Vers
from pi_v_jupyter.settings import EmbeddedPlatform, Settings
from pi_v_jupyter.vm import VM

PROBE_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Check:
    """One thing looked at. `remedy` is empty when there is nothing to do."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


class Report(list[Check]):
    """All checks, in the order of the way from here to a VM."""

    @property
    def ok(self) -> bool:
        """Is everything in order?"""
        return all(check.ok for check in self)


async def examine(vers: Vers) -> Report:
    """Check settings, key, platform, and the way to one VM; never raises for what it finds."""
    report = Report()
    settings = vers.settings
    try:
        endpoint = settings.endpoint()
    except VersError as error:
        report.append(Check("key", False, error.message, error.hint))
        report.append(_embedded())
        return report
    report.append(Check("platform", True, endpoint.base_url))
    report.append(Check("key", True, f"from {endpoint.key_origin}"))
    if endpoint.embedded:
        report.append(_embedded())
    try:
        vms = await vers.fleet.all()
    except VersError as error:
        report.append(Check("API", False, error.message, error.hint))
        return report
    report.append(Check("API", True, f"answers; {len(vms)} VM{'' if len(vms) == 1 else 's'}"))
    running = [vm for vm in vms if vm.state is VMState.RUNNING]
    try:
        chosen = vers.active or (running[0] if running else None)
    except VMGoneError as error:
        report.append(Check("active VM", False, error.message, error.hint))
        return report
    if chosen is None:
        return report
    report.append(await _way_to(settings, chosen))
    try:
        result = await chosen.run("true", timeout=PROBE_TIMEOUT)
    except VersError as error:
        report.append(Check(f"commands on {chosen.label}", False, error.message, error.hint))
    else:
        report.append(
            Check(f"commands on {chosen.label}", True, f"`true` took {result.duration * 1000:.1f} ms")
        )
    return report


async def _way_to(settings: Settings, vm: VM) -> Check:
    try:
        host, port = settings.vm_address(vm.vm_id)
    except VersError as error:
        return Check(f"way to {vm.label}", False, error.message, error.hint)
    address = "127.0.0.1" if host.endswith(".localhost") else host
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError) as error:
        reason = (
            "its name is not known"
            if isinstance(error, socket.gaierror)
            else str(error) or "no answer in time"
        )
        return Check(f"TCP to {host}:{port}", False, reason, f"Is port {port} open to the outside from here?")
    writer.close()
    return Check(f"TCP to {host}:{port}", True, "connects")


def _embedded() -> Check:
    try:
        platform = EmbeddedPlatform.load()
    except VersError as error:
        return Check("embedded platform", False, error.message, error.hint)
    if platform is not None:
        return Check("embedded platform", True, f"up (QEMU, {platform.accelerator})")
    missing = [tool for tool in ("qemu-img", "mmdebstrap") if shutil.which(tool) is None]
    if missing:
        return Check(
            "embedded platform",
            False,
            f"down; not installed: {', '.join(missing)}",
            "`sudo apt-get install qemu-system-x86 qemu-utils mmdebstrap`, then `%vers up`.",
        )
    return Check("embedded platform", False, "down", "`%vers up` starts it.")
