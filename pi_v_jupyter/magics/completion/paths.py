"""Paths as Tab completes them: on a machine, or of this computer."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.completion.tab import Tab

MOST = 500  # offered at once


def on_machine(
    tab: Tab,
    machine: Machine | None,
    word: str,
    *,
    beside: str | None = None,
    cwd: str | None = None,
    folders: bool = False,
) -> list[CompletionItem[str]]:
    """What `word` may become there; relative, it begins in `cwd`, and that where the session `beside` is."""
    if machine is None:
        return []
    folder, slash, begun = word.rpartition("/")
    where = posixpath.join(cwd or "", folder + slash)

    async def listed() -> list[tuple[str, str]]:
        return [(entry.name, entry.kind) for entry in await machine.listdir(where, beside=beside)]

    found = tab.ask(("paths", machine, where, beside), listed)
    return _offered(folder + slash, begun, found or (), folders=folders)


def here(tab: Tab, word: str, *, folders: bool = False) -> list[CompletionItem[str]]:
    """What `word` may go on as on this computer, from where the notebook is."""
    folder, slash, begun = word.rpartition("/")

    def look() -> list[tuple[str, str]]:
        try:
            there = sorted(Path(folder + slash).expanduser().iterdir())
            return [(each.name, "directory" if each.is_dir() else "file") for each in there]
        except (OSError, RuntimeError):  # no such folder, or user
            return []

    found = tab.ask(("here", str(Path.cwd()), folder + slash), lambda: asyncio.to_thread(look))
    return _offered(folder + slash, begun, found or (), folders=folders)


def _offered(
    folder: str, begun: str, entries: Iterable[tuple[str, str]], *, folders: bool = False
) -> list[CompletionItem[str]]:
    offered = []
    for name, kind in entries:
        if not name.startswith(begun) or not name.isprintable():  # what cannot be typed, or not be seen
            continue
        if (name.startswith(".") and not begun) or (folders and kind not in ("directory", "symlink")):
            continue
        plain = folder or ("./" if name[0] in "~-" else "")  # or it would be a home, or an option
        slash = "/" * (kind == "directory")
        offered.append(CompletionItem(plain + name + slash, type="folder" if slash else "path"))
    return offered[:MOST]
