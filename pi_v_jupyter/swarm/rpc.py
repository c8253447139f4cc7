"""What pi is told, and what it says: its RPC mode, over a background process.

pi reads a command a line and writes a record a line (docs/rpc.md of its package). The answer to a command has
its id; all else is an event. What pi writes is a journal with cursors, so events can be had from any of them
on, by any number of clients, however often the connection breaks.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pi_v_jupyter.errors import (
    AgentEndedError,
    AgentRefusedError,
    AgentTimeoutError,
    RemoteFileError,
    StdinError,
    UsageError,
)
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote.background import TAIL, BackgroundProcess
from pi_v_jupyter.remote.backgroundinput import seconds
from pi_v_jupyter.remote.journals import Rows
from pi_v_jupyter.remote.refusals import shown
from pi_v_jupyter.swarm.changes import telling
from pi_v_jupyter.swarm.feeds import Event, Feed, Record, events

TIMEOUT = 30.0  # seconds
PARTING = 3.0  # seconds in which one that takes no more is seen to end
AGAIN = re.compile("— started again, .* —")  # between what one wrote and the next
WORDS = 500  # characters of pi's own


class Rpc:
    """pi in one process. Several of these, in several notebooks, may talk to one pi.

    Methods may be awaited on any loop. While anybody waits for an answer or for events, one task reads what
    pi writes, for all of them.

    Raises, all methods:
        ConnectError: the machine cannot be reached, or is paused, or gone.
    """

    def __init__(self, process: BackgroundProcess) -> None:
        self.process = process
        self._name, self._numbers = secrets.token_hex(8), itertools.count(1)
        self._answers: dict[str, asyncio.Future[Event]] = {}
        self._feeds: set[Feed] = set()
        self._reader: asyncio.Task[None] | None = None
        self._at = 0  # the cursor behind what it has passed on

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop of its machine."""
        return self.process.home

    def __repr__(self) -> str:
        return f"<Rpc {self._called}>"

    @property
    def _called(self) -> str:
        return f"{self.process.id} on {self.process.machine.label}"

    async def command(self, kind: str, /, *, timeout: float = TIMEOUT, **fields: Any) -> Record:
        """Have pi do it: the data of its answer, or {}. For "prompt" that is before it is done.

        `timeout` is in seconds. The words of pi's commands are in docs/rpc-commands.md of its package.

        Raises:
            AgentRefusedError: pi did not; its words.
            AgentTimeoutError: there was no answer in time.
            AgentEndedError: pi has ended, with its exit code and the end of its stderr.
            UsageError: a field cannot be said in JSON, or there is no such time.
        """
        return (await self.ask(kind, timeout=timeout, **fields))[1]

    @at_home
    async def ask(
        self, kind: str, /, *, timeout: float = TIMEOUT, prefix: str = "", **fields: Any
    ) -> tuple[int, Record]:
        """The same, and the cursor behind the answer: all that was written before is before that.

        `prefix`: what the command's id begins with, for whoever reads the answer.
        """
        name = f"{prefix}{self._name}-{next(self._numbers)}"
        line = _line({**fields, "id": name, "type": kind})
        deadline = self.home.time() + seconds(timeout)
        answer = self._answers[name] = self.home.create_future()
        try:
            async with asyncio.timeout_at(deadline):
                if self._reader is None:
                    self._read_from(await self.process.cursor())
                try:
                    await self.process.write(line, timeout=timeout)
                except StdinError:
                    await asyncio.wait([answer], timeout=PARTING)  # for the reader knows how it ended
                    if not answer.done():
                        raise
                cursor, response = await answer
        except TimeoutError:
            raise AgentTimeoutError(
                f"{self._called} has not answered {shown(kind)} in {timeout:g} s.",
                "It may still do it: look at its state before you ask again.",
            ) from None
        finally:
            del self._answers[name]
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # it is seen, whoever was first
            await self._rest()
        if response.get("success") is not True:
            why = response.get("error")
            words = shown(" ".join((why if isinstance(why, str) else "no reason was given").split()))[:WORDS]
            raise AgentRefusedError(f"{self._called} refused {shown(kind)}: {words}")
        data = response.get("data")
        return cursor, data if isinstance(data, dict) else {}

    @at_home
    async def send(self, kind: str, /, *, timeout: float = TIMEOUT, **fields: Any) -> None:
        """Tell pi what it does not answer, such as an "extension_ui_response".

        Raises:
            StdinError: it did not take that.
            UsageError: a field cannot be said in JSON, or there is no such time.
        """
        await self.process.write(_line({"type": kind, **fields}), timeout=timeout)

    async def events(self, cursor: int | None = None) -> AsyncGenerator[Event, None]:
        """What pi writes, answers to all clients included: the cursor that goes on behind it, and the record.

        From the start of the process, or from `cursor` on; 0: from the start of the first pi that was. Types
        that are none of pi's are told by `feeds.events`. When pi has ended, though what it has started may go
        on, comes {"type": "process_end", "state": "ended" or "lost", "exit_code", "signal", "stderr": the
        last lines of it}, which has no cursor of its own.
        """
        async with aclosing(self.batches(cursor)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def batches(self, cursor: int | None = None) -> AsyncGenerator[list[Event], None]:
        """The same, as many at once as there are: the way for many agents."""
        async with aclosing(cross(self._batches(cursor), self.home)) as batches:
            async for batch in batches:
                yield batch

    async def _batches(self, cursor: int | None) -> AsyncGenerator[list[Event], None]:
        at = self.process.status.begin if cursor is None else cursor
        while True:
            if self._reader is None:
                self._read_from(at)
            feed = self._feed(at)
            try:
                if feed is None:  # the reader is ahead: read alone until it is not
                    async with aclosing(self.process.rows(at, "stdout")) as own:
                        async for rows in own:
                            found = events(rows, at)
                            at = found[-1][0] if found else at
                            feed = self._feed(at)  # before anything is awaited: nothing comes in between
                            if found:
                                yield found
                            if feed is not None or self._over(rows):
                                break
                    if feed is None:
                        yield [await self._end(at)]
                        return
                async with aclosing(feed.batches()) as batches:
                    async for found in batches:
                        at = found[-1][0]
                        yield found
                        if found[-1][1]["type"] == "process_end":
                            return
                if feed.failure is not None:
                    raise feed.failure
            finally:
                if feed is not None:
                    self._feeds.discard(feed)
                await self._rest()

    def _feed(self, at: int) -> Feed | None:
        """One for whoever has read up to `at`; None: the reader has passed on more than that."""
        if self._reader is None or at < self._at:
            return None
        feed = Feed(at if at > self._at else 0)
        self._feeds.add(feed)
        return feed

    def _read_from(self, cursor: int) -> None:
        if self._reader is None:
            self._at = cursor
            self._reader = self.home.create_task(self._read(cursor))

    async def _rest(self) -> None:
        """Read no more when nobody waits."""
        if self._reader is not None and not self._answers and not self._feeds:
            reader, self._reader = self._reader, None
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, cursor: int) -> None:
        """Pass on what comes, until the end."""
        end: Event | None = None
        try:
            async with aclosing(self.process.rows(cursor, "stdout")) as batches:
                async for rows in batches:
                    self._pass_on(events(rows, self._at))
                    if self._over(rows):
                        break
            end = await self._end(self._at)
            failure: Exception = self._ended(end[1])
        except Exception as error:  # noqa: BLE001  raised where it is waited for
            failure = error
        self._reader = None
        feeds, self._feeds = self._feeds, set()
        for feed in feeds:
            feed.end(end, None if end else failure)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(failure)

    def _pass_on(self, found: list[Event]) -> None:
        if not found:
            return
        self._at = found[-1][0]
        for feed in list(self._feeds):
            feed.put(found)
            if not feed.open:
                self._feeds.discard(feed)
        if self._answers:
            for cursor, record in found:
                name = record.get("id")
                if record["type"] != "response" or not isinstance(name, str):
                    continue
                answer = self._answers.get(name)
                if answer is not None and not answer.done():
                    answer.set_result((cursor, record))

    def _over(self, rows: Rows) -> bool:
        """Has pi itself ended, and was all read that it wrote? What it has started may go on."""
        return self.process.exited and rows.behind >= self.process.status.end

    def _ended(self, end: Record) -> AgentEndedError:
        process = self.process
        said = telling(end["stderr"])
        why = shown(said)[:WORDS] if said.strip() else ""
        return AgentEndedError(
            f"{self._called} runs no more: {process.exit}{f': {why}' if why else ''}.",
            f"`%vers swarm restart {process.machine.label}` starts it again.",
            exit_code=process.exit_code,
            signal=process.signal,
            stderr=end["stderr"],
        )

    async def _end(self, at: int) -> Event:
        """How it ended."""
        process, stderr = self.process, list[str]()
        if process.state != "lost":
            try:
                for line in await process.logs(TAIL, "stderr"):
                    stderr = [] if AGAIN.fullmatch(line) else [*stderr, line]  # of this one alone
            except RemoteFileError:  # it was forgotten meanwhile
                stderr = []
        return at, {
            "type": "process_end",
            "state": "lost" if process.state == "lost" else "ended",
            "exit_code": process.exit_code,
            "signal": process.signal,
            "stderr": "\n".join(stderr),
        }


def _line(record: Record) -> str:
    try:
        return json.dumps(record, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{record['type']} cannot be said to pi: {error}.", "Give it text, numbers, lists and dicts."
        ) from None
