"""A machine that processes run on in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from pi_v_jupyter.loops import at_home
from pi_v_jupyter.remote.background import BackgroundProcess, BackgroundProcesses
from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.files import Files
from pi_v_jupyter.remote.processtable import ProcessTable


class BackgroundHost(Files):
    """Its background processes, by id."""

    @property
    def option(self) -> str:
        """How `%bg` is told of it: an option, with the space before it."""
        return f" --on {self.label}"

    @cached_property
    def background(self) -> ProcessTable:
        """The table of them; for those who live on the machine's own loop."""
        return ProcessTable(self, Callbacks(self.home))

    @at_home
    async def start(
        self,
        command: str | Sequence[str],
        *,
        id: str,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        restart: bool = False,
        stdin: bool = False,
    ) -> BackgroundProcess:
        """Run `command` (text: by bash; a list: as it stands) in the background, under a name.

        It goes on when its connection, its notebook and its kernel end, comes along in branches and commits,
        and is found again by `process`. With `restart`, one of that name that runs is stopped first. With
        `stdin`, it reads what is written by `process.write`; nothing otherwise.

        Raises:
            UsageError: one of that name runs, or none may have it.
            RemoteFileError: `cwd`, or a program, is not there; or the disk is full.
            ConnectError: the machine cannot be reached.
        """
        return await self.background.begin(command, id, cwd=cwd, env=env or {}, restart=restart, stdin=stdin)

    @at_home
    async def processes(self) -> BackgroundProcesses:
        """Its background processes, those that have ended included, by their ids."""
        return await self.background.all()

    @at_home
    async def process(self, id: str) -> BackgroundProcess:
        """The background process of that name, whoever started it.

        Raises:
            UnknownProcessError: there is none.
        """
        return await self.background.get(id)
