"""Copies between machines named as `scp` names them: `NAME:/path`, `:/path`, or a path of this computer."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.machine import Here, Machine
from pi_v_jupyter.remote.copying import Copied, OnProgress, copy

Find = Callable[[str], Awaitable[Machine]]
Place = str | os.PathLike[str]  # a path object is on this computer, colons and all


@dataclass(frozen=True)
class Places:
    """Where words lead: a name by `find`, a bare colon to `nearest`, all else to `here`."""

    find: Find
    nearest: Machine
    here: Here

    async def copy(
        self,
        sources: Place | Sequence[Place],
        target: Place,
        *,
        beside: str | None = None,
        folders: bool = True,
        on_progress: OnProgress = lambda done, total: None,
    ) -> Copied:
        """Copy; see `Vers.copy`. Between two VMs, owners are kept. `beside`: as in `Files.read`."""
        words = [sources] if isinstance(sources, str | os.PathLike) else sources
        found = [await self._machine_and_path(word) for word in words]
        machine, path = await self._machine_and_path(target)
        if not found:
            raise UsageError("There is nothing to copy.", "Name what, and where to.")
        origin = found[0][0]
        if any(other is not origin for other, _ in found):
            raise UsageError("What is copied must all be on one machine.", "Copy from each in turn.")
        return await copy(
            origin,
            [source for _, source in found],
            machine,
            path,
            owners=self.here not in (origin, machine),
            folders=folders,
            beside=beside,
            on_progress=on_progress,
        )

    async def _machine_and_path(self, place: Place) -> tuple[Machine, str]:
        word = os.fspath(place)
        name, colon, path = word.partition(":")
        if colon and "/" not in name and isinstance(place, str):
            return (await self.find(name) if name else self.nearest), path
        try:
            local = str(Path.cwd() / Path(word).expanduser())
        except RuntimeError:
            raise UsageError(f"{word}: there is no such user here.", "Give the path in full.") from None
        return self.here, local + "/" * word.endswith("/")  # which says that it is a folder
