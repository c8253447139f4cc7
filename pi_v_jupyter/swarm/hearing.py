"""How an agent is heard: the fold over all that its pi writes, who is told of it, and what is in the way.

Whoever attaches is heard out: when that returns, the story is that of all which was written before.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from pi_v_jupyter.errors import (
    AgentEndedError,
    AgentError,
    AgentTimeoutError,
    UnknownProcessError,
    VersError,
)
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.swarm import bridge
from pi_v_jupyter.swarm.changes import Change, Death
from pi_v_jupyter.swarm.feeds import Record
from pi_v_jupyter.swarm.rpc import Rpc
from pi_v_jupyter.swarm.story import QUIET, Story
from pi_v_jupyter.vm import VM

log = logging.getLogger("pi_v_jupyter")

PI = "pi"  # the id of its background process
ANSWER_TIMEOUT = 30.0  # seconds for an answer of a pi that runs
NO_ANSWER = "its VM does not answer"
LET_GO = "it was deleted, restarted or closed meanwhile"


class Hearing:
    """Hears one agent, from the first record of its journal on. On its machine's loop."""

    def __init__(self, vm: VM, label: str) -> None:
        self._vm, self._label = vm, label
        self.story = Story()
        self.process: BackgroundProcess | None = None
        self.failure = ""  # why nothing more will be heard
        self.away = False  # is its machine out of reach for now?
        self.news = 0  # how often something may have changed
        self._rpc: Rpc | None = None
        self._listening: concurrent.futures.Future[None] | None = None
        self._at = 0  # the cursor behind what was heard
        self._live = False  # is all heard that it wrote before?
        self._catching_up = asyncio.Lock()
        self._heard = asyncio.Event()
        self._followers: set[asyncio.Queue[Change | None]] = set()
        self._listeners: set[Callable[[list[Change]], object]] = set()

    @property
    def hears(self) -> bool:
        """May more be heard of it?"""
        return self._listening is not None and not self.failure and self.story.death is None

    @property
    def caught_up(self) -> bool:
        """Is all heard that it wrote before it was listened to?"""
        return self._live

    @property
    def trouble(self) -> str:
        """Why it cannot be heard, for good or just now."""
        return self.failure or (NO_ANSWER if self.away else "")

    def check(self) -> None:
        """Raise AgentError when it is alive, for all that is known, and nothing more will be heard of it."""
        if not self.hears and self.story.death is None:
            raise AgentError(
                f"{self._label} was {self.story.state}, and is heard no more: {self.trouble or LET_GO}.",
                "It may work on: `%vers swarm status` looks for it again.",
            )

    @property
    def rpc(self) -> Rpc:
        """What it is told by."""
        assert self._rpc is not None  # noqa: S101  attached
        return self._rpc

    async def attach(self) -> None:
        """Have all heard that it has written so far, and go on. However many do so at once, and give up.

        Raises:
            AgentError: there is no pi on its machine.
            ConnectError: its machine cannot be reached.
        """
        async with self._catching_up:
            listening = self._listening is not None
            if listening and self._live:
                return
            try:
                self.failure = ""
                if not listening:
                    process = await bridge.process(self._vm, PI)
                    known = self.process is not None and self.process.status.run == process.status.run
                    if known and self.story.death is not None:  # it says no more than that
                        return
                    self._listen_to(process)
                with contextlib.suppress(AgentEndedError):
                    await self._catch_up(ANSWER_TIMEOUT)
            except UnknownProcessError:
                self.failure = "no pi runs on its VM"
                raise AgentError(
                    f"{self._label} has no pi.", f"`%vers swarm restart {self._label}`."
                ) from None
            except VersError as error:
                self.failure = str(error)
                raise

    async def command(self, kind: str, /, *, timeout: float, **fields: Any) -> Record:
        """pi's answer, once all was heard that it wrote before that: a long story may take longer than
        `timeout`, in seconds, as long as that much time does not pass without a word of it.

        Raises:
            AgentError: it refused, or has ended, or did not answer in time.
            ConnectError: its machine cannot be reached.
        """
        answered, data = await self.rpc.ask(kind, timeout=timeout, **fields)
        await self.until(lambda: self._at >= answered, silence=timeout)
        return data

    async def begin(self, process: BackgroundProcess, timeout: float) -> None:
        """Hear another process, which has `timeout` seconds to say something.

        Raises:
            AgentError: it does not, or has ended.
            ConnectError: its machine cannot be reached.
        """
        async with self._catching_up:
            self.leave()  # whoever was before in this may hear the one before
            self._listen_to(process)
            await self._catch_up(timeout)

    def leave(self) -> None:
        """Hear it no longer."""
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
            self.tell([])

    def _listen_to(self, process: BackgroundProcess) -> None:
        self.process, self._rpc, self.story = process, Rpc(process), Story()
        self.failure, self.away, self._at, self._live = "", False, 0, False
        process.on_away = self._out_of_reach
        self._listening = self._vm.background.attend(self._listen)

    async def _catch_up(self, timeout: float) -> None:
        assert self.process is not None  # noqa: S101  it is listened to
        try:
            if not self.process.exited:
                await self.command("get_state", timeout=timeout)
        except AgentEndedError:
            await self._hear_out(timeout)
            self._live = True
            raise
        if self.process.exited:
            await self._hear_out(timeout)
        self._live = True

    async def _hear_out(self, timeout: float) -> None:
        """Until its end was heard."""
        await self.until(lambda: not self.hears, silence=timeout)

    async def _listen(self) -> None:
        """Take in all that its pi writes, until that has ended."""
        rpc, story = self.rpc, self.story
        asking: asyncio.Task[None] | None = None
        try:
            async with aclosing(rpc.batches(0)) as batches:
                async for batch in batches:
                    self._at = batch[-1][0]
                    self.tell([change for _, record in batch for change in _fed(story, record)])
                    if asking is not None:
                        asking.cancel()
                    asking = asyncio.create_task(_check(rpc)) if story.wants_check else None
        except VersError as error:
            self.failure = str(error)
        finally:
            if asking is not None:
                asking.cancel()
            if self._rpc is rpc:
                self._listening = None
                self.tell([])
            for queue in self._followers:
                queue.put_nowait(None)

    def _out_of_reach(self, away: bool) -> None:
        if away != self.away:
            self.away = away
            self.tell([])

    def tell(self, changes: list[Change]) -> None:
        """Tell all who follow; nothing, where only the way to it has changed."""
        self.news += 1
        self._wake()
        for listener in tuple(self._listeners) if self._live else ():
            try:
                listener(changes)
            except Exception:
                log.exception("What %s does could not be told.", self._label)
        for queue in self._followers:
            for change in changes:
                queue.put_nowait(change)

    def _wake(self) -> None:
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()

    async def until(self, holds: Callable[[], bool], *, silence: float | None = None) -> None:
        """Until that holds, or nothing more will be heard, which `hears` tells.

        Raises:
            AgentTimeoutError: `silence` seconds have passed in which nothing was heard.
        """
        while not holds() and self.hears:
            try:
                async with asyncio.timeout(silence):
                    await self._heard.wait()
            except TimeoutError:
                raise AgentTimeoutError(
                    f"What {self._label} has written does not come: nothing for {silence:g} s.",
                    "It may work on: `%vers swarm status` looks for it again.",
                ) from None

    def listen(self, listener: Callable[[list[Change]], object]) -> Callable[[], None]:
        """Have `listener` told, until what is returned is called."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def changes(self) -> AsyncGenerator[Change, None]:
        """What it does from now on; until nothing more will be heard."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._followers.add(queue)
        try:
            while (change := await queue.get()) is not None:
                yield change
        finally:
            self._followers.discard(queue)


async def _check(rpc: Rpc) -> None:
    """An old pi does not say when it has settled: after a quiet moment it is asked."""
    await asyncio.sleep(QUIET)
    with contextlib.suppress(VersError):  # if it does not answer, its end will come
        await rpc.command("get_state", timeout=ANSWER_TIMEOUT)


def _fed(story: Story, record: dict[str, Any]) -> list[Change]:
    """What a record changes; `rpc` tells of the process by some of its own."""
    kind = record["type"]
    if kind == "process_again":
        return story.began()
    if kind == "process_end":
        return story.ended(Death(record["exit_code"], record["signal"], record["stderr"]))
    return story.feed(record)
