"""Who looks at a board, and what each view has been told so far."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from pi_v_jupyter.dashboard import patches
from pi_v_jupyter.dashboard.shape import Snapshot
from pi_v_jupyter.dashboard.terminals import Screen
from pi_v_jupyter.dashboard.transcript import Transcripts, part
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.vm import VM

log = logging.getLogger("pi_v_jupyter")

KEPT = 8  # answers of each view
SILENT = 100.0  # seconds without a word after which a page is taken for gone: visible ones say so each 30 s
FORGOTTEN = (
    3600.0  # likewise, after which a page that does not look is: a notebook that is closed says nothing
)

Message = dict[str, Any]


class Viewer(Protocol):
    """What carries messages to the pages that show it: all get what has no `to`. On the board's loop."""

    def send(self, message: Message) -> object:
        """Have it carried there."""

    def heard_until(self) -> float:
        """All that pages said before then is known, by time.monotonic(); the rest may wait for a cell."""

    def screen(self, vm: VM) -> Screen:
        """Make what shows a terminal on that VM to its pages."""


@dataclass
class Reading:
    """One agent's transcript, as a view has been told of it. `number` is the view's own for it."""

    vm: str
    number: int
    seq: int = -1
    told: dict[str, Any] = field(default_factory=dict)
    news: object = None
    transcripts: Transcripts = field(default_factory=Transcripts)


@dataclass
class View:
    """One view in one page. `seq` is that of the last snapshot or patch that was sent to it.

    `said` is when it was heard last, by time.monotonic(); `answers` are the last it was given.
    """

    viewer: Viewer
    visible: bool = False
    said: float = field(default_factory=time.monotonic)
    answers: deque[Message] = field(default_factory=lambda: deque(maxlen=KEPT))
    seq: int = -1
    reading: Reading | None = None


class Viewers:
    """All views of all viewers."""

    def __init__(self) -> None:
        self._viewers: dict[Viewer, dict[str, View]] = {}
        self.seq = 0
        self.sent = 0.0  # when a patch was sent last, by time.monotonic()
        self._all: Snapshot | None = None

    def add(self, viewer: Viewer) -> None:
        """One more."""
        self._viewers.setdefault(viewer, {})

    def remove(self, viewer: Viewer) -> None:
        """It is gone, with all its views."""
        self._viewers.pop(viewer, None)

    def view(self, viewer: Viewer, name: str, *, opens: bool = False) -> View | None:
        """A view that says something; None when it is not known, or its viewer is not, unless it `opens`."""
        views = self._viewers.get(viewer)
        if views is None:
            return None
        if opens:
            views.setdefault(name, View(viewer))
        view = views.get(name)
        if view is not None:
            view.said = time.monotonic()
        return view

    def leave(self, viewer: Viewer, name: str) -> None:
        """A view is gone."""
        self._viewers.get(viewer, {}).pop(name, None)

    @property
    def watched(self) -> bool:
        """Does anybody look?"""
        return any(view.visible for _, view in self._each())

    def _each(self) -> Iterator[tuple[str, View]]:
        for views in [*self._viewers.values()]:
            yield from [*views.items()]

    def show(self, view: View, name: str, *, visible: bool) -> None:
        """A view looks, or does not any more; it is told all there is if it has missed some of it."""
        view.visible = visible
        if visible and view.seq != self.seq:
            self.greet(view, name)

    def greet(self, view: View, name: str) -> None:
        """Tell a view all there is."""
        if self._all is None:
            return
        view.seq = self.seq
        self.send(
            view.viewer,
            {"kind": "snapshot", "to": name, "seq": self.seq, "now": time.time(), "all": self._all},
        )

    def answer(self, viewer: Viewer, name: str, message: Message) -> None:
        """Answer an intent of a view."""
        view = self._viewers.get(viewer, {}).get(name)
        if view is not None:
            view.answers.append(message)
        self.send(viewer, message)

    def end(self, told: Message) -> None:
        """Tell all viewers a last word, and nothing more."""
        for viewer in [*self._viewers]:
            self.send(viewer, told)
        self._viewers.clear()

    def repeat(self, view: View) -> None:
        """Give a view its last answers again: it has lost something, which may be one of them."""
        for message in view.answers:
            self.send(view.viewer, message)

    def tell(self, now: Snapshot, *, beat: float) -> None:
        """Tell all who look what has changed, or that nothing has for `beat` seconds."""
        before, self._all = self._all, now
        self._part_with_silent()
        patch = patches.diff(before, now) if before is not None else {}
        if patch or time.monotonic() - self.sent >= beat:
            self.seq += 1
            self._send_patch(patch)
        for name, view in self._each():
            if view.visible and view.seq != self.seq:
                self.greet(view, name)

    def _part_with_silent(self) -> None:
        """Pages may vanish without a word."""
        now = time.monotonic()
        for viewer, views in self._viewers.items():
            for name, view in [*views.items()]:
                if now - view.said < SILENT:
                    continue
                silent = viewer.heard_until() - view.said
                view.visible = view.visible and silent < SILENT
                if silent >= FORGOTTEN:
                    del views[name]

    def _send_patch(self, patch: Message) -> None:
        self.sent = time.monotonic()
        message = {"kind": "patch", "seq": self.seq, "now": time.time(), "patch": patch}
        for viewer, views in [*self._viewers.items()]:
            looking = [view for view in views.values() if view.visible and view.seq == self.seq - 1]
            if looking:
                self.send(viewer, message)
                for view in looking:
                    view.seq = self.seq

    def read(self, agents: dict[str, Agent]) -> bool:
        """Tell readers what is new in transcripts; `agents` by the ids of their VMs. Is there more of it?"""
        more = False
        for name, view in self._each():
            reading = view.reading
            if reading is None or not view.visible:
                continue
            agent = agents.get(reading.vm)
            news = None if agent is None else (id(agent), agent.news)
            if reading.seq >= 0 and news == reading.news:
                continue
            told: Any = reading.transcripts.of(agent.story) if agent else {"runs": {}, "cut": 0}
            patch = patches.diff(reading.told, told)
            sent = part(patch)
            reading.news, reading.told = news, patches.apply(reading.told, sent)
            if sent != patch:
                more, reading.news = True, None
            if patch or reading.seq < 0:
                reading.seq += 1
                self.send(
                    view.viewer,
                    {
                        **{"kind": "transcript", "to": name, "reading": reading.number},
                        **{"seq": reading.seq, "patch": sent},
                    },
                )
        return more

    def send(self, viewer: Viewer, message: Message) -> None:
        """To one; one that cannot carry it is gone."""
        if viewer not in self._viewers:
            return
        try:
            viewer.send(message)
        except Exception:
            log.exception("A dashboard could not be told, and is told nothing more.")
            self.remove(viewer)
