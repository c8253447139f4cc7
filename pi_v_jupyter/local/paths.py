"""Where the platform keeps its things.

state    survives: records and disks of VMs, keys, the daemon's log (private to the user)
cache    can be made again: images, booted machines
runtime  Unix sockets; short, because such a path holds at most 107 bytes, and gone after a reboot
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.settings import cache_dir, state_dir


def platform_dir() -> Path:
    """Private folder of the daemon's state."""
    path = state_dir() / "platform"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def vms_dir() -> Path:
    """Folder with one folder per VM."""
    path = platform_dir() / "vms"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


def log_file() -> Path:
    """The daemon's log."""
    return platform_dir() / "daemon.log"


def images_dir() -> Path:
    """Folder with one folder per image, named by its digest."""
    path = cache_dir() / "images"
    path.mkdir(exist_ok=True)
    return path


def machines_dir() -> Path:
    """Folder with one folder per booted machine. Memory is in there: private."""
    path = cache_dir() / "machines"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


def runtime_dir() -> Path:
    """Private folder for the sockets of the daemon whose state is in `state_dir()`.

    Raises:
        PlatformError: the folder is there and is not the user's own.
    """
    mark = hashlib.sha256(os.fsencode(state_dir())).hexdigest()[:8]
    path = Path(tempfile.gettempdir()) / f"pi-v-{os.getuid()}-{mark}"
    with contextlib.suppress(FileExistsError):  # a file or a link that leads nowhere: refused below
        path.mkdir(exist_ok=True, mode=0o700)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PlatformError(
            f"{path} is not a private folder of yours.", "Remove it, or set TMPDIR to another folder."
        )
    return path
