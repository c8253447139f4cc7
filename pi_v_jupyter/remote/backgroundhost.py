"""A machine that processes run on in the background."""

from __future__ import annotations

import asyncio
import difflib
import re
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from functools import cached_property
from typing import Any

from pi_v_jupyter.errors import RemoteFileError, UnknownProcessError, UsageError
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.remote.background import BackgroundProcess, BackgroundProcesses, Status
from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.channel import Request, checked
from pi_v_jupyter.remote.files import Files
from pi_v_jupyter.remote.refusals import shown, understood

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def checked_id(process_id: str) -> str:
    """A name that a background process may have.

    Raises:
        UsageError: none may have it.
    """
    if not ID.fullmatch(process_id):
        raise UsageError(
            f"{shown(process_id)} cannot name a background process.",
            "Use up to 64 letters, digits, '.', '_' and '-', a letter or digit first.",
        )
    return process_id


class BackgroundHost(Files):
    """Its background processes, by id."""

    partings = 0

    @cached_property
    def callbacks(self) -> Callbacks:
        """How functions of the user's are called when something happens to one."""
        return Callbacks(self.home)

    @cached_property
    def _watching(self) -> set[asyncio.Task[None]]:
        return set()

    @at_home
    async def start(
        self,
        command: str | Sequence[str],
        *,
        id: str,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        restart: bool = False,
    ) -> BackgroundProcess:
        """Run `command` (text: by bash; a list: as it stands) in the background, under a name.

        It goes on when its connection, its notebook and its kernel end, comes along in branches and commits,
        and is found again by `process`. With `restart`, one of that name that runs is stopped first.

        Raises:
            UsageError: one of that name runs, or none may have it.
            RemoteFileError: `cwd`, or a program, is not there; or the disk is full.
            ConnectError: the machine cannot be reached.
        """
        return await self.begin(command, id, cwd=cwd, env=env or {}, restart=restart)

    async def begin(
        self,
        command: str | Sequence[str],
        process_id: str,
        *,
        cwd: str | None = None,
        env: Mapping[str, str],
        restart: bool = False,
        code: str | None = None,
        beside: str | None = None,
    ) -> BackgroundProcess:
        """As `start`; `code` is given to the program as a file; relative paths begin where `beside` is."""
        checked_id(process_id)
        Request(argv=("bash",), env=env)  # which refuses what cannot be a variable
        if not command:
            raise UsageError("There is no command to run.", "Give at least one word.")
        if restart:
            try:
                running = await self.process(process_id)
            except UnknownProcessError:
                pass
            else:
                await running.stop()
        words = {"command": command} if isinstance(command, str) else {"argv": list(command)}
        given: dict[str, Any] = {
            "id": process_id,
            "run": secrets.token_hex(8),
            "env": dict(env),
            "code": code,
            **words,
        }
        try:
            _, found = await self._done("background.start", cwd or "", beside, **given)
        except RemoteFileError as error:
            if error.errno is None:
                raise UsageError(
                    f"{process_id} runs already on {self.label}.",
                    f"`--restart` (`restart=True`) replaces it, `%bg stop {process_id}` ends it.",
                ) from None
            raise
        return BackgroundProcess(self, self._status(found))

    @at_home
    async def processes(self) -> BackgroundProcesses:
        """Its background processes, those that have ended included, by their ids."""
        _, found = await self.on_background("listed")
        with understood(self.label):
            statuses = [self._status(each) for each in found]
        return BackgroundProcesses(BackgroundProcess(self, status) for status in statuses)

    @at_home
    async def process(self, id: str) -> BackgroundProcess:
        """The background process of that name, whoever started it.

        Raises:
            UnknownProcessError: there is none.
        """
        return BackgroundProcess(self, await self.status_of(id))

    async def status_of(self, process_id: str) -> Status:
        """What is known of one; raises UnknownProcessError."""
        _, found = await self.on_background("listed")
        with understood(self.label):
            known = {str(each["id"]): each for each in found}
        if process_id not in known:
            near = difflib.get_close_matches(process_id, known, 1)
            raise UnknownProcessError(
                f"There is no background process {shown(process_id)} on {self.label}."
                + (f" Did you mean {near[0]}?" if near else ""),
                "`%bg list` shows those there are.",
            )
        return self._status(known[process_id])

    def _status(self, found: Any) -> Status:
        with understood(self.label):
            return checked(Status, found)

    async def on_background(self, what: str, **arguments: Any) -> tuple[bytes, Any]:
        """Have the resident program do it: its output, and what it found."""
        return await self._done(f"background.{what}", "", **arguments)

    def attend(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` done on its loop, until it ends or the session does."""

        async def begin() -> None:
            task = asyncio.ensure_future(work)
            self._watching.add(task)
            task.add_done_callback(self._watched)

        asyncio.run_coroutine_threadsafe(begin(), self.home)

    def _watched(self, task: asyncio.Task[None]) -> None:
        self._watching.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.callbacks.on_notice(str(error))

    async def _leave_background(self) -> None:
        """Look at them no more; they go on."""
        self.partings += 1
        watching = list(self._watching)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
