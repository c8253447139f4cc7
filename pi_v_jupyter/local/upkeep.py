"""Removes images and booted machines that nobody needs any more; each is hundreds of megabytes.

A daemon marks what it uses by a shared lock on the folder, which the system drops however the daemon
ends. Several daemons (other state folders, other releases) may share one cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pi_v_jupyter.local import paths


@contextlib.contextmanager
def in_use(*folders: Path) -> Iterator[None]:
    """Keep `folders` from being removed meanwhile."""
    with contextlib.ExitStack() as held:
        for folder in folders:
            fd = os.open(folder, os.O_RDONLY)
            held.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_SH)
        yield


def remove_unused() -> list[Path]:
    """Remove, and return, the finished folders that no daemon uses: VMs have links to what they need."""
    removed = []
    for parent in (paths.images_dir(), paths.machines_dir()):
        for folder in parent.iterdir():
            finished = folder.is_dir() and folder.suffix != ".partial"
            if finished and _is_free(folder):
                shutil.rmtree(folder)
                removed.append(folder)
    return removed


def _is_free(folder: Path) -> bool:
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
