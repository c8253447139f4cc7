"""Disk files of VMs: qcow2 overlays that hold only what differs from the file under them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import tools


def overlay(path: Path, under: Path, under_format: str, size_mib: int | None = None) -> None:
    """Make `path`, an overlay of `under` (`raw` or `qcow2`), grown to `size_mib` if that is given.

    Raises:
        PlatformError: it cannot be written, as when the disk is full.
    """
    (qemu_img,) = tools.need("qemu-img")
    command = [
        qemu_img,
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        under_format,
        "-b",
        str(under.resolve()),  # it may be reached through a link that does not last
        str(path),
    ]
    if size_mib is not None:
        command.append(f"{size_mib}M")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        if "No space left" in done.stderr:
            raise PlatformError(
                f"The disk is full: no room for a VM in {path.parent}.", "Free some and try again."
            )
        raise PlatformError(f"The disk of the VM cannot be made: {done.stderr.strip()[-300:]}")
