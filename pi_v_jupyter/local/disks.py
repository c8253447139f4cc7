"""Disk files of VMs: qcow2 overlays that hold only what differs from the file under them."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import paths, tools
from pi_v_jupyter.local.problems import NoRoomError


def is_full(error: BaseException) -> bool:
    """Whether `error` says that there is no room on a disk, or none for this user."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def overlay(path: Path, under: Path, size_mib: int) -> None:
    """Make `path`, an empty layer over `under`, for a disk of `size_mib`.

    Raises:
        OSError: the disk of the host is full (`is_full`).
        PlatformError: it cannot be written.
    """
    (qemu_img,) = tools.need("qemu-img")
    # What is under it is told to QEMU each time; it is written into the file for whoever looks at it alone.
    below = ("-u", "-b", str(under), "-F", "raw" if under.suffix == ".raw" else "qcow2")
    command = [qemu_img, "create", "-q", "-f", "qcow2", *below, str(path), f"{size_mib}M"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        raise PlatformError("The disk of the VM was not made within 60 s.") from None
    if done.returncode != 0:
        if "No space left" in done.stderr or "quota exceeded" in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        raise PlatformError(f"The disk of the VM cannot be made: {done.stderr.strip()[-300:]}")


def no_room(what: str) -> NoRoomError:
    """The refusal when `what` does not fit on the disk."""
    return NoRoomError(
        f"The disk is full: there is no room for {what} in {paths.platform_dir()}.",
        "Delete a VM or a commit, or free some space, then try again.",
    )
