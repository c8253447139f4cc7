"""A board: watches a session for as long as anybody looks, and tells viewers what has changed.

It lives on the session's home loop, and any thread may call in. It asks the platform rather than remembers,
so each of several boards shows the truth, whoever changed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from pi_v_jupyter.dashboard.events import Events, compare
from pi_v_jupyter.dashboard.execution import Output
from pi_v_jupyter.dashboard.intents import Answer, Intents
from pi_v_jupyter.dashboard.looks import PATIENCE, Looks
from pi_v_jupyter.dashboard.outcomes import CLOSED, GIVEN_UP, STOPPED, TOO_LATE
from pi_v_jupyter.dashboard.shape import Snapshot
from pi_v_jupyter.dashboard.snapshot import Snapshots
from pi_v_jupyter.dashboard.terminals import Terminals
from pi_v_jupyter.dashboard.viewers import Message, Reading, View, Viewer, Viewers
from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.session import Vers
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.texts import short

log = logging.getLogger("pi_v_jupyter")

BEAT = 1.5  # seconds at most between two patches, while anybody looks
GAP = 0.1  # seconds at least between two patches
LOAD = 25  # so many times as long as it took to make one, nothing is made after it
CANCEL = "cancel"
MOST = 100  # intents at once: a view of ours has one for each thing that somebody has clicked at
BUSY = Answer(ok=False, text=f"{MOST} things are being done.", hint="Wait until one of them is.")


def rest(took: float) -> float:
    """Seconds until the next snapshot may be made, after one that took so many."""
    return min(max(GAP, LOAD * took), BEAT)


class Board:
    """One, of one session. `close` ends it, and so does the session's."""

    def __init__(self, vers: Vers) -> None:
        self.vers = vers
        self.home = vers.home
        self._viewers = Viewers()
        self._terminals: dict[Viewer, Terminals] = {}  # of those that are attached
        self._events = Events()
        self._snapshots = Snapshots()
        self._last: Snapshot | None = None
        self._known: set[str] = set()  # the sections of which the last snapshot had all there was
        self._seen: set[str] = set()  # those that had been looked for by then, since anybody looks
        self._changed = asyncio.Event()
        self._looks: Looks | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._doing: dict[tuple[Viewer, str, int], asyncio.Task[None]] = {}  # by who wants it, and its id
        self._heard: dict[str, tuple[Agent, Callable[[], None]]] = {}  # by the ids of their VMs
        self._closed = False
        self._part = vers.accompany(self._noticed, self.close)

    # What any thread may call.

    def attach(self, viewer: Viewer) -> None:
        """Have `viewer` told, until it is parted with. From any thread."""
        self._cross(self._attach, viewer)

    @at_home
    async def part(self, viewer: Viewer) -> None:
        """Have `viewer` told no more, and wait until the terminals that it has opened are hung up on."""
        self._viewers.remove(viewer)
        self._watch()
        terminals = self._terminals.pop(viewer, None)
        if terminals is not None:
            await terminals.close()

    def receive(self, viewer: Viewer, message: Message) -> None:
        """Take what a view says (see this package's own words). What none of ours would say is not heard.

        From any thread.
        """
        self._cross(self._received, viewer, message)

    def _cross(self, function: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and all of this with it
            self.home.call_soon_threadsafe(function, *arguments)

    @property
    def closed(self) -> bool:
        """Does it tell nothing more?"""
        return self._closed

    @property
    def state(self) -> Snapshot:
        """The last snapshot, of when anybody looked last."""
        assert self._last is not None  # noqa: S101  for who has awaited `look`
        return self._last

    @at_home
    async def look(self) -> Snapshot:
        """All there is now, for one who does not look on. What does not answer in time is as it was.

        Raises:
            UsageError: it was closed.
        """
        if self._closed:
            raise UsageError(CLOSED.text, CLOSED.hint)
        looks = self._started()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * PATIENCE):  # by then it is known whether the platform answers
                await looks.once()
        return self._look(looks)

    @at_home
    async def close(self) -> None:
        """Look no more, and tell nothing more; what was to be done is given up."""
        if self._closed:
            return
        self._closed = True
        self._part()
        for _, end in self._heard.values():
            end()
        self._heard.clear()
        doing = [*self._doing]
        tasks = [task for task in (self._pulse, *self._doing.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for viewer, view, id in doing:
            self._answer(viewer, view, id, GIVEN_UP)
        self._viewers.end({"kind": "closed"})
        await asyncio.gather(*map(self.part, [*self._terminals]))
        if self._looks is not None:
            await self._looks.close()

    # What views say, on the home loop.

    def _received(self, viewer: Viewer, message: Message) -> None:
        match message:
            case {"kind": "intent", "view": str(name), "id": int(id), "name": str(what), "args": dict(args)}:
                self._begin(viewer, name, id, what, args)
            case {"kind": "left", "view": str(name)}:
                self._viewers.leave(viewer, name)
                self._watch()
            case {"kind": str(kind), "view": str(name)}:
                view = self._viewers.view(viewer, name, opens=kind == "opened")
                if view is not None and not self._closed:
                    self._said(view, name, kind, message)

    def _said(self, view: View, name: str, kind: str, message: Message) -> None:
        looks = self._started()
        match message:
            case {"kind": "opened"}:
                if self._last is None:
                    self._look(looks)
                self._viewers.greet(view, name)
                self._viewers.repeat(view)
            case {"kind": "visible", "visible": bool(visible)}:
                self._viewers.show(view, name, visible=visible)
                self._watch()
            case {"kind": "reading", "vm": str(vm), "number": int(number)}:
                view.reading = Reading(vm, number) if vm else None
                self._changed.set()

    def _attach(self, viewer: Viewer) -> None:
        self._viewers.add(viewer)
        self._terminals.setdefault(viewer, Terminals(viewer.screen))

    def _watch(self) -> None:
        """Look if anybody does."""
        if self._looks is None:
            return
        self._looks.watch(anybody=self._viewers.watched)
        if self._viewers.watched:
            self._changed.set()
        else:
            self._seen.clear()

    def _started(self) -> Looks:
        if self._looks is None:
            self._looks = Looks(self.vers, self._changed.set)
            self._pulse = asyncio.create_task(self._tell_again())
        return self._looks

    # What is told.

    async def _tell_again(self) -> None:
        looks = self._started()
        while True:
            await looks.watched.wait()
            began = time.perf_counter()
            self._changed.clear()
            try:
                self._look(looks)
                if self._viewers.read({agent.vm.id: agent for agent in looks.agents}):
                    self._changed.set()
            except Exception:
                log.exception("The dashboard could not be told.")
            if not self._viewers.watched:  # a page has vanished without a word
                self._watch()
            pause = rest(time.perf_counter() - began)
            await asyncio.sleep(pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT - pause):
                    await self._changed.wait()

    def _look(self, looks: Looks) -> Snapshot:
        """Make a snapshot, and tell it."""
        agents = looks.agents
        self._listen(agents)
        if looks.renamed:
            looks.renamed = False
            self._snapshots.renew()
        parts = (looks.connection, looks.vms, looks.commits, agents, looks.processes)
        fleet = self.vers.fleet
        about: dict[str, Any] = {"active": fleet.current, "labels": looks.labels()}
        about |= {"plans": self.vers.swarm.plans, "looking": self.vers.plan.is_on}
        about["here"] = fleet.chosen is None
        about["lost"] = looks.lost.label if looks.lost and looks.lost == fleet.chosen else ""
        now = self._snapshots.make(*parts, self._events.all, **about)
        if self._last is not None:
            found = [*compare(self._last, now, self._known & looks.known, self._seen)]
            if found:
                self._events.found(found)
                now = {**now, "events": self._events.all}
        self._last, self._known, self._seen = now, {*looks.known}, {*looks.seen}
        self._viewers.tell(now, beat=BEAT)
        return now

    def _listen(self, agents: list[Agent]) -> None:
        """Have agents wake this when they do something."""
        there = {agent.vm.id: agent for agent in agents}
        for id, (agent, end) in [*self._heard.items()]:
            if there.get(id) is not agent:
                end()
                del self._heard[id]
        for id, agent in there.items():
            if id not in self._heard:
                self._heard[id] = agent, agent.listen(lambda _: self._changed.set())

    def _noticed(self, text: str) -> None:
        """On whatever thread."""
        self._cross(self._happened, "notice", "", text, "warning")

    def _happened(self, *event: Any) -> None:
        self._events.add(time.time(), *event)
        self._changed.set()

    # What is done.

    def _begin(self, viewer: Viewer, view: str, id: int, name: str, args: dict[str, Any]) -> None:
        key = viewer, view, id
        terminals = self._terminals.get(viewer)
        if key in self._doing or terminals is None:
            return
        self._viewers.send(viewer, {"kind": "heard", "to": view, "id": id})
        if name == CANCEL:
            self._cancel(key, args)
            return
        if self._closed or len(self._doing) >= MOST:
            self._answer(*key, CLOSED if self._closed else BUSY)
            return
        task = self._doing[key] = asyncio.create_task(self._do(key, name, args, terminals))
        task.add_done_callback(lambda _: self._doing.pop(key))

    def _cancel(self, key: tuple[Viewer, str, int], args: dict[str, Any]) -> None:
        viewer, view, _ = key
        task = None
        match args:
            case {"intent": int(id)}:
                task = self._doing.get((viewer, view, id))
        if task is not None:
            task.cancel()
        self._answer(*key, TOO_LATE if task is None else Answer(ok=True, text=""))

    async def _do(
        self, key: tuple[Viewer, str, int], name: str, args: dict[str, Any], terminals: Terminals
    ) -> None:
        viewer, view, id = key
        output = Output(
            lambda text: self._viewers.send(viewer, {"kind": "output", "to": view, "id": id, "text": text})
        )
        intents = Intents(self.vers, output.add, terminals)
        try:
            answer = await intents.do(name, args)
        except asyncio.CancelledError:
            if self._closed:
                raise
            answer = STOPPED
        finally:
            output.close()
        self._answer(*key, answer)
        if answer.event:
            level = "info" if answer.ok or answer.stopped else "error"
            self._happened("done", name, short(answer.happened(intents.asked), 400), level)
        if self._looks is not None:
            self._looks.wake("machines", "commits", "processes")
            if answer.agents:
                self._looks.wake("agents")

    def _answer(self, viewer: Viewer, view: str, id: int, answer: Answer) -> None:
        self._viewers.answer(viewer, view, {"kind": "answer", "to": view, "id": id, **answer.told()})
