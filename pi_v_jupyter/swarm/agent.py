"""One agent: pi on a VM of its own, as a background process there; heard, spoken to, waited for.

What it does is told by the lines that its pi writes, from the first on: whoever reads them knows its state,
so another kernel finds it as this one would.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pi_v_jupyter.errors import (
    AgentError,
    RemoteCommandError,
    RemoteFileError,
    SpawnError,
    UnknownProcessError,
    VersError,
)
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.swarm import bridge, scripted
from pi_v_jupyter.swarm.changes import Change, Death
from pi_v_jupyter.swarm.membership import Membership
from pi_v_jupyter.swarm.rpc import Rpc
from pi_v_jupyter.swarm.runs import Run
from pi_v_jupyter.swarm.story import QUIET, Story
from pi_v_jupyter.vm import VM

PI = "pi"  # the id of its background process
COMMAND = ("pi", "--mode", "rpc")
WORKSPACE = "workspace"  # of the user's home over there
SCRIPTED, SCRIPT = ".swarm/scripted_model.py", ".swarm/script.json"
START_TIMEOUT = 180.0  # seconds; in an emulated VM pi takes 35 to start
ANSWER_TIMEOUT = 30.0  # seconds for an answer of a pi that runs
ABORT_TIMEOUT = 60.0  # seconds: tools are ended first
BUSY = ("working", "waiting", "retrying", "starting")


@dataclass(frozen=True)
class Result:
    """How an agent's last run stands: `text` is all it answered, `cost` in USD, `seconds` it took so far."""

    label: str
    state: str
    text: str
    error: str
    cost: float
    tokens: int
    seconds: float


class Agent:
    """One agent. Its methods may be awaited on any loop."""

    def __init__(self, vm: VM, member: Membership) -> None:
        self.vm, self.member = vm, member
        self.home = vm.home
        self.story = Story()
        self.trouble = ""  # why it cannot be heard
        self._process: BackgroundProcess | None = None
        self._rpc: Rpc | None = None
        self._listening: concurrent.futures.Future[None] | None = None
        self._heard = asyncio.Event()
        self._followers: set[asyncio.Queue[Change | None]] = set()
        self._live = False  # is all heard that it wrote before?
        self._listeners: set[Callable[[list[Change]], object]] = set()

    @property
    def label(self) -> str:
        """Its VM's name too."""
        return self.member.agent

    @property
    def state(self) -> str:
        """Such as "idle", "working", "done", "error": see `Story`; "leaving" while it is being deleted."""
        return "leaving" if self.member.leaving else self.story.state

    @property
    def busy(self) -> bool:
        """Has it something to do?"""
        return self.state in BUSY

    @property
    def run(self) -> Run | None:
        """What it does, or did last; None before its first task."""
        return self.story.runs[-1] if self.story.runs else None

    @property
    def process(self) -> BackgroundProcess | None:
        """Its pi, once it was looked for."""
        return self._process

    @property
    def adopted(self) -> bool:
        """Is its pi one that pi-v started? Known once it was looked for."""
        return bridge.leads_to(self._process)

    def __repr__(self) -> str:
        return f"<Agent {self.label} {self.state}>"

    def result(self) -> Result:
        """How its last run stands."""
        run = self.run or Run()
        return Result(
            self.label,
            self.state,
            "\n\n".join(run.answers),
            self.trouble or run.error or self.story.error,
            run.usage.cost,
            run.usage.total,
            run.seconds or 0.0,
        )

    @at_home
    async def begin(self, model: tuple[str, str] | None) -> None:
        """Have its pi run: the one that came along with its VM, or a new one. It is idle after this.

        Raises:
            SpawnError: its VM has no pi.
            AgentError: it does not start, or has no such model.
        """
        process = await self._running()
        if process is None:
            try:
                process = await self.vm.start(COMMAND, id=PI, cwd=WORKSPACE, stdin=True)
            except (RemoteFileError, RemoteCommandError) as error:
                raise SpawnError(
                    f"{self.label} cannot be made of this commit: {error.message.rstrip('.')}.",
                    "It is no golden image; `%vers golden build` makes one.",
                ) from None
        self._hear(process)
        await self._ask("get_state", timeout=START_TIMEOUT)
        self._live = True
        await self.command("new_session")  # copies of one machine would all go on in the same
        if model is not None:
            if model[0] == scripted.PROVIDER:
                await self.rehearse()
            await self.command("set_model", provider=model[0], modelId=model[1])
        await self.command("set_session_name", name=self.label)

    @at_home
    async def rehearse(self) -> None:
        """Have the model that follows a script run beside it."""
        await self.vm.write(SCRIPTED, scripted.program())
        command = ("python3", SCRIPTED, "--script", SCRIPT)
        model = await self.vm.start(command, id=scripted.PROVIDER, restart=True)
        await model.ready(scripted.PORT)

    async def _running(self) -> BackgroundProcess | None:
        try:
            process = await self.vm.process(PI)
        except UnknownProcessError:
            return None
        return process if process.alive else None

    async def _found(self) -> BackgroundProcess:
        """Its pi; one that pi-v started is found by way of a bridge."""
        try:
            return await self.vm.process(PI)
        except UnknownProcessError:
            process = await bridge.join(self.vm, PI)
            if process is None:
                raise
            return process

    @at_home
    async def attach(self) -> None:
        """Hear it: all it has written so far, and what it writes from now on.

        Raises:
            AgentError: there is no pi on its VM.
            ConnectError: its VM cannot be reached.
        """
        if self._listening is not None and not self._listening.done():
            return
        self.trouble = ""
        try:
            process = await self._found()
            known = self._process is not None and self._process.status.run == process.status.run
            if known and self.story.death is not None:  # it says no more than that
                return
            self._hear(process)
            if process.alive:
                await self._ask("get_state")  # the answer comes behind all that was written before
            else:
                await self._until(lambda: False)
            self._live = True
        except UnknownProcessError:
            self.trouble = "no pi runs on its VM"
            raise AgentError(f"{self.label} has no pi.", f"`%vers swarm restart {self.label}`.") from None
        except VersError as error:
            self.trouble = str(error)
            raise

    def _hear(self, process: BackgroundProcess) -> None:
        self._process, self._rpc, self.story = process, Rpc(process), Story()
        self.trouble, self._live = "", False
        self._listening = self.vm.background.attend(self._listen)

    async def _listen(self) -> None:
        """Take in all that its pi writes, until that has ended."""
        process, rpc, story = self._process, self._rpc, self.story
        assert process is not None  # noqa: S101  there is one when this is begun
        assert rpc is not None  # noqa: S101  likewise
        asking: asyncio.Task[None] | None = None
        try:
            async with aclosing(rpc.batches(0)) as batches:
                async for batch in batches:
                    self._tell([change for _, record in batch for change in _fed(story, record)])
                    if asking is not None:
                        asking.cancel()
                    asking = asyncio.create_task(self._check(rpc)) if story.wants_check else None
        except VersError as error:
            self.trouble = str(error)
            self._tell([])
        finally:
            if asking is not None:
                asking.cancel()
            for queue in self._followers:
                queue.put_nowait(None)

    async def _check(self, rpc: Rpc) -> None:
        """An old pi does not say when it has settled: after a quiet moment it is asked."""
        await asyncio.sleep(QUIET)
        with contextlib.suppress(VersError):  # if it does not answer, its end will come
            await rpc.command("get_state", timeout=ANSWER_TIMEOUT)

    def _tell(self, changes: list[Change]) -> None:
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()
        for listener in tuple(self._listeners) if self._live else ():
            listener(changes)
        for queue in self._followers:
            for change in changes:
                queue.put_nowait(change)

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Until that holds, or nothing more will be heard."""
        while not holds() and not self.trouble and self.story.death is None:
            await self._heard.wait()

    @at_home
    async def command(
        self, kind: str, /, *, timeout: float = ANSWER_TIMEOUT, **fields: Any
    ) -> dict[str, Any]:
        """Have pi do something, one of its RPC commands, and have its answer; the state here is then that of
        after the answer.

        Raises:
            AgentError: it refused, in its words, or has ended.
            ConnectError: its VM cannot be reached.
        """
        await self.attach()
        return await self._ask(kind, timeout=timeout, **fields)

    async def _ask(self, kind: str, /, *, timeout: float = ANSWER_TIMEOUT, **fields: Any) -> dict[str, Any]:
        assert self._rpc is not None  # noqa: S101  it is heard
        return await self._rpc.command(kind, timeout=timeout, **fields)

    @at_home
    async def task(self, prompt: str) -> Run | None:
        """Give it something to do; it works on when this returns, and the run it began is returned.

        None: it was a command of an extension, which is done.

        Raises:
            AgentError: it works already, or refused; that changed nothing.
        """
        before = len(self.story.runs)
        try:
            told = await self.command("prompt", message=prompt)
        except AgentError as error:
            if not self.busy:
                raise
            raise AgentError(
                f"{self.label} works already: {error.message}",
                "`%%task --steer` tells it something meanwhile, `--follow-up` has it do this next.",
            ) from None
        if told.get("disposition") == "handled":
            return None
        await self._until(lambda: len(self.story.runs) > before)
        return self.story.runs[-1]

    @at_home
    async def steer(self, message: str) -> None:
        """Tell it something while it works, once its tools have returned; else it is a new task."""
        await self._during("steer", message)

    @at_home
    async def follow_up(self, message: str) -> None:
        """Have it do something more when it has finished; if it has, it is a new task."""
        await self._during("followUp", message)

    async def _during(self, how: str, message: str) -> None:
        await self.command("prompt", message=message, streamingBehavior=how)

    @at_home
    async def abort(self) -> list[str]:
        """Have it stop what it does, and what is queued; the texts that were.

        Raises:
            AgentError: it has ended.
        """
        queued: dict[str, Any] = {}
        with contextlib.suppress(AgentError):  # a pi before 0.84.4 has no such command
            queued = await self.command("clear_queue")
        await self.command("abort", timeout=ABORT_TIMEOUT)
        return [*queued.get("steering", []), *queued.get("followUp", [])]

    @at_home
    async def answer(self, dialog: str, /, **answer: Any) -> None:
        """Answer a question of one of its extensions: `value="…"`, `confirmed=True` or `cancelled=True`."""
        await self.attach()
        assert self._rpc is not None  # noqa: S101  attached
        await self._rpc.send("extension_ui_response", id=dialog, **answer)
        self._tell(self.story.answered(dialog))

    @at_home
    async def restart(self) -> None:
        """Start its pi anew, in the session in which it was.

        pi-v's pi keeps none: another takes its place, which knows nothing of what was said before.
        """
        self._leave()
        with contextlib.suppress(UnknownProcessError):
            self._process = await self._found()
        if self.adopted:
            process = await bridge.succeed(self.vm, PI, COMMAND, WORKSPACE)
        elif bridge.succeeded(self._process):
            process = await bridge.succeed(self.vm, PI, (*COMMAND, "--continue"), WORKSPACE)
        else:
            process = await self.vm.start(
                (*COMMAND, "--continue"), id=PI, cwd=WORKSPACE, stdin=True, restart=True
            )
        self._hear(process)
        await self._ask("get_state", timeout=START_TIMEOUT)
        self._live = True

    @at_home
    async def finished(self) -> Result:
        """Wait until it has nothing to do."""
        await self.attach()
        await self._until(lambda: not self.busy)
        return self.result()

    def listen(self, listener: Callable[[list[Change]], object]) -> Callable[[], None]:
        """Have `listener` called with what it does, on its home loop, before whoever waits for that goes on;
        with none when it cannot be heard any longer. What is returned ends it.
        """
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def changes(self) -> AsyncGenerator[Change, None]:
        """What it does from now on, as it does it; until nothing more will be heard."""
        async with aclosing(cross(self._changes(), self.home)) as changes:
            async for change in changes:
                yield change

    async def _changes(self) -> AsyncGenerator[Change, None]:
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._followers.add(queue)
        try:
            while (change := await queue.get()) is not None:
                yield change
        finally:
            self._followers.discard(queue)

    def _leave(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def close(self) -> None:
        """Hear it no longer. It works on."""
        self._leave()


def _fed(story: Story, record: dict[str, Any]) -> list[Change]:
    """What a record changes; `rpc` tells of the process by some of its own."""
    kind = record["type"]
    if kind == "process_again":
        return story.began()
    if kind == "process_end":
        return story.ended(Death(record["exit_code"], record["signal"], record["stderr"]))
    return story.feed(record)
