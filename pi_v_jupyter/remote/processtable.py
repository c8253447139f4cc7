"""The background processes of one machine, as its session sees them: started, found, watched."""

from __future__ import annotations

import asyncio
import concurrent.futures
import difflib
import errno
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from pi_v_jupyter.errors import RemoteCommandError, RemoteFileError, UnknownProcessError, UsageError
from pi_v_jupyter.remote.background import BackgroundProcess, BackgroundProcesses, Status
from pi_v_jupyter.remote.backgroundstatus import ID, Machine, made
from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.files import work
from pi_v_jupyter.remote.refusals import failure, shown, understood

TRIES = 3  # to replace one that others start again meanwhile


class ProcessTable:
    """Its methods are for the loop of its machine, but `attend`."""

    def __init__(self, machine: Machine, callbacks: Callbacks) -> None:
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
        stdin: bool = False,
        code: str | None = None,
        beside: str | None = None,
    ) -> BackgroundProcess:
        """As `BackgroundHost.start`; `code` is given to the program as a file.

        Relative paths begin where the shell session `beside` is.
        """
        _check(command, process_id, env)
        words = {"command": command} if isinstance(command, str) else {"argv": list(command)}
        place: dict[str, Any] = {"path": cwd or "", "beside": beside, "env": dict(env)}
        for left in reversed(range(TRIES if restart else 1)):
            try:
                if restart:
                    argv = words.get("argv")
                    await self.ask("check", **place, argv=argv)  # before the other is stopped for it
                    await self._end(process_id)
                run = secrets.token_hex(8)
                found = await self.ask(
                    "start", **place, id=process_id, run=run, code=code, reads=stdin, **words
                )
            except RemoteFileError as error:
                if error.errno is None and not left:
                    raise self._taken(process_id, restart=restart) from None
                if error.errno == errno.ENOENT and not isinstance(command, str) and error.path == command[0]:
                    raise RemoteCommandError(
                        f"{shown(command[0])}: command not found on {self.machine.label}", exit_code=127
                    ) from None
                if error.errno is not None:
                    raise
            else:
                return BackgroundProcess(self, self._status(found))
        raise AssertionError("one of the tries has ended this")

    async def _end(self, process_id: str) -> None:
        try:
            running = await self.get(process_id)
        except UnknownProcessError:
            return
        await running.stop()

    def _taken(self, process_id: str, *, restart: bool) -> UsageError:
        if restart:
            return UsageError(
                f"{process_id} on {self.machine.label} is started again and again by another session.",
                "`%bg list` shows it.",
            )
        return UsageError(
            f"{process_id} runs already on {self.machine.label}.",
            "`--restart` (`restart=True`) replaces it, "
            f"`%bg stop {process_id}{self.machine.option}` ends it.",
        )

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
            near = difflib.get_close_matches(
                process_id, [str(name) for name in found["others"] if name != process_id], 1
            )
        raise UnknownProcessError(
            f"There is no background process {shown(process_id)} on {self.machine.label}."
            + (f" Did you mean {shown(near[0])}?" if near else ""),
            "`%bg list` shows those there are.",
        )

    def _status(self, found: Any) -> Status:
        with understood(self.machine.label):
            return made(found)

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


def _check(command: str | Sequence[str], process_id: str, env: Mapping[str, str]) -> None:
    """Refuse what cannot be started.

    Raises:
        UsageError: it is.
    """
    if not isinstance(process_id, str) or not ID.fullmatch(process_id):
        raise UsageError(
            f"{shown(str(process_id))} cannot name a background process.",
            "Use up to 64 letters, digits, '.', '_' and '-', a letter or digit first.",
        )
    if not (command.strip() if isinstance(command, str) else command):
        raise UsageError("There is no command to run.", "Give at least one word.")
    if not all(isinstance(text, str) for text in (*command, *env, *env.values())):
        raise UsageError("Words of a command, and variables, are texts.", "`str(…)` makes one of a number.")
    Request(argv=(command,) if isinstance(command, str) else tuple(command), env=env)  # which refuses more
