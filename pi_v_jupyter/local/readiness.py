"""What the embedded platform needs of this computer, and what of it is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pi_v_jupyter.errors import VersError
from pi_v_jupyter.local import accelerator, hardware, image, tools

KVM = Path("/dev/kvm")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `remedy` is empty when there is nothing to do."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


def findings() -> list[Finding]:
    """QEMU, the image, and the accelerator that VMs run under; raises for none of them."""
    try:
        tools.need(hardware.program(), "qemu-img")
        qemu = Finding("QEMU", True, accelerator.qemu_version())
    except VersError as error:
        qemu = Finding("QEMU", False, error.message, error.hint)
    current = image.current()
    if current is None:
        return [qemu, _no_image()]
    about = f"Debian {current.suite}, Linux {current.kernel_version}, built {current.built_at}"
    found = [qemu, Finding("VM image", True, f"{current.digest[:12]}: {about}")]
    return [*found, _accelerator(current)] if qemu.ok else found


def _no_image() -> Finding:
    absent = "none that this release can use"
    try:
        tools.need(*image.builders())
    except VersError as error:
        return Finding("VM image", False, f"{absent}; to build it, {error.message}", error.hint)
    return Finding("VM image", False, absent, "`pi-v-jupyter image build` makes it, and so does `up`.")


def _accelerator(current: image.Image) -> Finding:
    try:
        chosen = accelerator.choose(current, lambda _: None)
    except VersError as error:
        return Finding("accelerator", False, error.message, error.hint)
    if chosen != "tcg":
        return Finding("accelerator", True, chosen)
    locked = KVM.exists() and not os.access(KVM, os.R_OK | os.W_OK)
    remedy = f"{KVM} is not yours to use: `sudo usermod -aG kvm $USER`, then log in anew." if locked else ""
    return Finding(
        "accelerator", True, "tcg: processors are emulated, ten times slower than real or more", remedy
    )
