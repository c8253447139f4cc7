"""Disk files of VMs: qcow2 overlays that hold only what differs from the file under them."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import tools


def is_full(error: BaseException) -> bool:
    """Whether `error` says that there is no room on a disk, or none for this user."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def overlay(path: Path, under: Path, under_format: str, size_mib: int | None = None) -> None:
    """Make `path`, an overlay of `under` (`raw` or `qcow2`), grown to `size_mib` if that is given.

    Raises:
        OSError: the disk is full (`is_full`).
        PlatformError: it cannot be written.
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
