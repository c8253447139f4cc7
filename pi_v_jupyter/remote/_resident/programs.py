"""The programs that a `PATH` leads to, for whoever is about to type one's name."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .files import Call


def programs(call: Call, folders: Sequence[str], begun: str) -> Any:
    """The names that begin so, a line each. Folders that are the same one, by links, are looked at once."""
    found: set[str] = set()
    seen = set()
    for folder in folders:
        call.check()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            names = os.listdir(folder)
        except OSError:  # a PATH may well have folders that are not there
            continue
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith(begun) and os.access(path, os.X_OK) and os.path.isfile(path):
                found.add(name)
    call.write("".join(f"{name}\n" for name in sorted(found)).encode("utf-8", "surrogateescape"))
