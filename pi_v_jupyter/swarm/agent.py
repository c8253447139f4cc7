"""One agent: pi on a VM of its own, as a background process there; spoken to, waited for. `hearing` hears it.

What it does is told by the lines that its pi writes, from the first on: whoever reads them knows its state,
so another kernel finds it as this one would.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pi_v_jupyter.errors import (
    AgentError,
    AgentRefusedError,
    RemoteCommandError,
    RemoteFileError,
    SpawnError,
    UnknownProcessError,
)
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.swarm import bridge, models, restraint, scripted
from pi_v_jupyter.swarm.changes import Change
from pi_v_jupyter.swarm.hearing import ANSWER_TIMEOUT, PI, Hearing
from pi_v_jupyter.swarm.membership import Membership
from pi_v_jupyter.swarm.runs import Run
from pi_v_jupyter.swarm.story import Story
from pi_v_jupyter.vm import VM

COMMAND = ("pi", "--mode", "rpc")
WORKSPACE = "workspace"  # of the user's home over there
SCRIPTED, SCRIPT = ".swarm/scripted_model.py", ".swarm/script.json"
START_TIMEOUT = 180.0  # seconds; in an emulated VM pi takes 35 to start
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
        self._hearing = Hearing(vm, member.agent)

    @property
    def story(self) -> Story:
        """What it has done, as far as that was heard."""
        return self._hearing.story

    @property
    def trouble(self) -> str:
        """Why it cannot be heard, for good or just now."""
        return self._hearing.trouble

    @property
    def heard(self) -> bool:
        """Is it heard, or will it be when its VM answers again?"""
        return not self._hearing.failure

    @property
    def listened_to(self) -> bool:
        """Is it being heard now, or as soon as its VM answers, and may more come?"""
        return self._hearing.hears

    @property
    def caught_up(self) -> bool:
        """Is all heard that it wrote before it was listened to?"""
        return self._hearing.caught_up

    @property
    def news(self) -> int:
        """As long as this is the same number, so is its story."""
        return self._hearing.news

    @property
    def label(self) -> str:
        """Its VM's name too."""
        return self.member.agent

    @property
    def state(self) -> str:
        """Such as "idle", "working", "done", "error": see `Story`; "leaving" while it is being deleted, and
        "starting" until it is `ready`."""
        if self.member.leaving:
            return "leaving"
        return self.story.state if self.ready else "starting"

    @property
    def ready(self) -> bool:
        """Has the spawn that made it come to its end? Before that, its pi is given another session."""
        return not self.member.ready_by

    @property
    def busy(self) -> bool:
        """Has it something to do?"""
        return self.ready and self.state in BUSY

    @property
    def run(self) -> Run | None:
        """What it does, or did last; None before its first task."""
        return self.story.runs[-1] if self.story.runs else None

    @property
    def process(self) -> BackgroundProcess | None:
        """Its pi, once it was looked for."""
        return self._hearing.process

    @property
    def adopted(self) -> bool:
        """Is its pi one that pi-v started? Known once it was looked for."""
        return bridge.leads_to(self.process)

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
                process = await self.vm.start(COMMAND, id=PI, cwd=WORKSPACE, stdin=True, restart=True)
            except (RemoteFileError, RemoteCommandError) as error:
                raise SpawnError(
                    f"{self.label} cannot be made of this commit: {error.message.rstrip('.')}.",
                    "It is no golden image; `%vers golden build` makes one.",
                ) from None
        await self._hearing.begin(process, START_TIMEOUT)
        await self.command("new_session")  # copies of one machine would all go on in the same
        if model is not None:
            if model[0] == scripted.PROVIDER:
                await self.rehearse()
            await models.choose(self, *model)
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
        return None if process.exited else process  # what a dead one has started may go on

    @at_home
    async def attach(self) -> None:
        """Hear it: all it has written so far, and what it writes from now on.

        Raises:
            AgentError: there is no pi on its VM.
            ConnectError: its VM cannot be reached.
        """
        await self._hearing.attach()

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
        return await self._hearing.command(kind, timeout=timeout, **fields)

    @at_home
    async def task(self, prompt: str, *, looking: bool = False) -> Run | None:
        """Give it something to do; it works on when this returns, and the run it began is returned.

        None: it was a command of an extension, which is done. `looking`: it may look and change nothing, and
        is told to end with a plan; it stays so until it is given a task without that.

        Raises:
            AgentError: it works already, is not ready, refused, or cannot be held to looking; nothing began.
            UsageError: it may only look, and this is a command; nothing began.
        """
        if looking:
            restraint.check(prompt)
        self._check_ready()
        await self.attach()
        if not self.busy and (looking or self.story.planning):
            await restraint.turn(self, on=looking)
        before = len(self.story.runs)
        try:
            told = await self.command("prompt", message=prompt)
        except AgentRefusedError:
            if not self.busy:
                raise
            raise AgentError(
                f"{self.label} works already.",
                "`%%task --steer` tells it something meanwhile, `--follow-up` has it do this next.",
            ) from None
        if told.get("disposition") == "handled":
            return None
        # One that was accepted in the last moment of another run is part of that.
        await self._hearing.until(
            lambda: len(self.story.runs) > before or self.story.run is not None or not self.busy,
            silence=ANSWER_TIMEOUT,
        )
        if len(self.story.runs) > before or self.story.run is not None:
            return self.run
        self._hearing.check()
        return None

    @at_home
    async def steer(self, message: str) -> None:
        """Tell it something while it works, once its tools have returned; else it is a new task."""
        await self._during("steer", message)

    @at_home
    async def follow_up(self, message: str) -> None:
        """Have it do something more when it has finished; if it has, it is a new task."""
        await self._during("followUp", message)

    async def _during(self, how: str, message: str) -> None:
        self._check_ready()
        await self.command("prompt", message=message, streamingBehavior=how)

    def _check_ready(self) -> None:
        if not self.ready:
            raise AgentError(
                f"{self.label} is being made ready, and takes no task yet.",
                "`%vers swarm status` shows it as idle once it does.",
            )

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
        await self._hearing.rpc.send("extension_ui_response", id=dialog, **answer)
        self._hearing.tell(self.story.answered(dialog))

    @at_home
    async def restart(self) -> None:
        """Start its pi anew, in the session in which it was.

        pi-v's pi keeps none: another takes its place, which knows nothing of what was said before.
        """
        self._hearing.leave()
        before = self.process
        with contextlib.suppress(UnknownProcessError):
            before = await bridge.process(self.vm, PI)
        if bridge.leads_to(before):
            process = await bridge.succeed(self.vm, PI, COMMAND, WORKSPACE)
        elif bridge.succeeded(before):
            process = await bridge.succeed(self.vm, PI, (*COMMAND, "--continue"), WORKSPACE)
        else:
            process = await self.vm.start(
                (*COMMAND, "--continue"), id=PI, cwd=WORKSPACE, stdin=True, restart=True
            )
        await self._hearing.begin(process, START_TIMEOUT)

    @at_home
    async def finished(self) -> Result:
        """Wait until it has nothing to do. Raises AgentError when nothing more will be heard of it."""
        await self.attach()
        await self._hearing.until(lambda: not self.busy)
        if self.busy:
            self._hearing.check()
        return self.result()

    def listen(self, listener: Callable[[list[Change]], object]) -> Callable[[], None]:
        """Have `listener` called with what it does, on its home loop, before whoever waits for that goes on;
        with none when it cannot be heard, or can be again. What is returned ends it.
        """
        return self._hearing.listen(listener)

    async def changes(self) -> AsyncGenerator[Change, None]:
        """What it does from now on, as it does it; until nothing more will be heard."""
        async with aclosing(cross(self._hearing.changes(), self.home)) as changes:
            async for change in changes:
                yield change

    @at_home
    async def close(self) -> None:
        """Hear it no longer. It works on."""
        self._hearing.leave()
