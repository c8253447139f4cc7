"""The background processes of one machine, as its session sees them: started, found, watched."""

from __future__ import annotations

import asyncio
import concurrent.futures
import difflib
import re
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

from pi_v_jupyter.errors import RemoteFileError, UnknownProcessError, UsageError
from pi_v_jupyter.remote.background import BackgroundProcess, BackgroundProcesses, Status
from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.channel import Process, Request, checked
from pi_v_jupyter.remote.files import work
from pi_v_jupyter.remote.refusals import failure, shown, understood

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
KNOWN = {field.name for field in fields(Status)}


class Place(Protocol):
    """A machine, as its table needs it."""

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on."""

    @property
    def label(self) -> str:
        """What to call it in a sentence."""

    async def launch(self, request: Request) -> Process:
        """Start a command."""


class ProcessTable:
    """Its methods are for the loop of its machine, but `attend`."""

    def __init__(self, machine: Place, callbacks: Callbacks) -> None:
        self.machine, self.callbacks = machine, callbacks
        self.partings = 0  # how often the session has let go of the machine
        self.gone = False  # has the session deleted the machine?
        self._watching: set[asyncio.Task[Any]] = set()

    async def begin(
        self,
        command: str | Sequence[str],
        process_id: str,
        *,
        cwd: str | None,
        env: Mapping[str, str],
        restart: bool = False,
        code: str | None = None,
        beside: str | None = None,
    ) -> BackgroundProcess:
        """As `BackgroundHost.start`; `code` is given to the program as a file.

        Relative paths begin where the shell session `beside` is.
        """
        if not ID.fullmatch(process_id):
            raise UsageError(
                f"{shown(process_id)} cannot name a background process.",
                "Use up to 64 letters, digits, '.', '_' and '-', a letter or digit first.",
            )
        Request(argv=("bash",), env=env)  # which refuses what cannot be a variable
        if not (command.strip() if isinstance(command, str) else command):
            raise UsageError("There is no command to run.", "Give at least one word.")
        if restart:
            try:
                running = await self.get(process_id)
            except UnknownProcessError:
                pass
            else:
                await running.stop()
        words = {"command": command} if isinstance(command, str) else {"argv": list(command)}
        given: dict[str, Any] = {"run": secrets.token_hex(8), "env": dict(env), "code": code, **words}
        try:
            found = await self.ask("start", path=cwd or "", beside=beside, id=process_id, **given)
        except RemoteFileError as error:
            if error.errno is None:
                raise UsageError(
                    f"{process_id} runs already on {self.machine.label}.",
                    f"`--restart` (`restart=True`) replaces it, `%bg stop {process_id}` ends it.",
                ) from None
            raise
        return BackgroundProcess(self, self._status(found))

    async def all(self) -> BackgroundProcesses:
        """Those that have ended included, by their ids."""
        found = await self.ask("listed")
        with understood(self.machine.label):
            statuses = [self._status(each) for each in found]
        return BackgroundProcesses(BackgroundProcess(self, status) for status in statuses)

    async def get(self, process_id: str) -> BackgroundProcess:
        """One by its id; raises UnknownProcessError."""
        return BackgroundProcess(self, await self.status(process_id, load=True))

    async def status(self, process_id: str, *, load: bool) -> Status:
        """What is known of one, with its `load` or without; raises UnknownProcessError."""
        found = await self.ask("status", id=process_id, load=load)
        with understood(self.machine.label):
            if "id" in found:
                return self._status(found)
            near = difflib.get_close_matches(process_id, [str(name) for name in found["others"]], 1)
        raise UnknownProcessError(
            f"There is no background process {shown(process_id)} on {self.machine.label}."
            + (f" Did you mean {shown(near[0])}?" if near else ""),
            "`%bg list` shows those there are.",
        )

    def _status(self, found: Any) -> Status:
        with understood(self.machine.label):
            return checked(Status, {name: value for name, value in found.items() if name in KNOWN})

    def request(self, what: str, *, path: str = "", beside: str | None = None, **arguments: Any) -> Request:
        """What the resident program is asked."""
        return work(f"background.{what}", path, beside=beside, **arguments)

    async def ask(self, what: str, *, path: str = "", beside: str | None = None, **arguments: Any) -> Any:
        """Have the resident program do it: what it found."""
        process = await self.machine.launch(self.request(what, path=path, beside=beside, **arguments))
        try:
            how = await process.wait()
        finally:
            await process.close()
        if how.code != 0:
            raise failure(how, path or str(arguments.get("id", "")), self.machine.label)
        return how.value

    def attend(self, work: Callable[[], Coroutine[Any, Any, None]]) -> concurrent.futures.Future[None]:
        """Have `work` done on the machine's loop, until it ends or the session does. From any thread."""

        async def attended() -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  this is one
            self._watching.add(task)
            try:
                await work()
            except Exception as error:  # noqa: BLE001  nobody else would tell
                if not self.gone:
                    self.callbacks.on_notice(str(error) or repr(error))
            finally:
                self._watching.discard(task)

        return asyncio.run_coroutine_threadsafe(attended(), self.machine.home)

    async def leave(self) -> None:
        """Look at them no more; they go on. Where they do not, who waits for their end is told so."""
        self.partings += 1
        if self.gone:
            return
        watching = list(self._watching)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
