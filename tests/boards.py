"""A viewer of a board that is no widget: it keeps what it is told, and applies patches as a browser does."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

from pi_v_jupyter.dashboard import patches
from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.terminal import Output, Terminal
from pi_v_jupyter.vm import VM


class Screen:
    """Shows a terminal to nobody, and keeps what it is to show."""

    def __init__(self, vm: VM, id: str) -> None:
        self.id, self.told = id, b""
        self.terminal = Terminal(vm, on_output=self._add, on_status=str)

    def _add(self, output: Output) -> None:
        self.told += output.data

    def close(self) -> None:
        self.terminal.hang_up()


class Page:
    """One view, in a viewer of its own."""

    def __init__(self, board: Board, name: str = "page") -> None:
        self.board, self.name = board, name
        self.messages: list[dict[str, Any]] = []
        self.state: dict[str, Any] = {}
        self.transcript: dict[str, Any] = {}
        self.seq = self.transcript_seq = -1
        self.reading = 0
        self.answers: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)
        self._told = asyncio.Event()
        self.screens: list[Screen] = []
        board.attach(self)

    def heard_until(self) -> float:
        return time.monotonic()

    def screen(self, vm: VM) -> Screen:
        self.screens.append(Screen(vm, f"screen-{len(self.screens) + 1}"))
        return self.screens[-1]

    async def leave(self) -> None:
        """Be told no more."""
        await self.board.part(self)

    def read(self, vm: str) -> None:
        """Follow the transcript of the agent on that VM."""
        self.reading += 1
        self.transcript, self.transcript_seq = {}, -1
        self.say("reading", vm=vm, number=self.reading)

    def send(self, message: dict[str, Any]) -> None:
        if message.get("to", self.name) != self.name:
            return
        self.messages.append(message)
        match message["kind"]:
            case "snapshot":
                self.state, self.seq = message["all"], message["seq"]
            case "patch" if self.state:
                assert message["seq"] == self.seq + 1, "none was left out"
                self.state, self.seq = patches.apply(self.state, message["patch"]), message["seq"]
            case "transcript" if message["reading"] == self.reading:
                assert message["seq"] == self.transcript_seq + 1
                self.transcript_seq = message["seq"]
                self.transcript = patches.apply(self.transcript, message["patch"])
            case "answer":
                self.answers[message["id"]] = message
        self._told.set()

    def say(self, kind: str, **more: Any) -> None:
        self.board.receive(self, {"kind": kind, "view": self.name, **more})

    def open(self) -> None:
        """Look at it."""
        self.say("opened")
        self.say("visible", visible=True)

    def hide(self) -> None:
        self.say("visible", visible=False)

    async def sees(self, holds: Callable[[dict[str, Any]], object], seconds: float = 60) -> dict[str, Any]:
        """Until what is shown is so."""
        await self.until(lambda: self.state and holds(self.state), seconds)
        return self.state

    async def until(self, holds: Callable[[], object], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                self._told.clear()
                await self._told.wait()

    def output(self, id: int) -> str:
        """What was written of an intent that goes on."""
        told = (each for each in self.messages if each["kind"] == "output" and each["id"] == id)
        return "".join(each["text"] for each in told)

    async def act(self, intent: str, /, **args: Any) -> dict[str, Any]:
        """Have something done; what came of it."""
        id = next(self._ids)
        self.say("intent", id=id, name=intent, args=args)
        await self.until(lambda: id in self.answers)
        return {key: self.answers[id][key] for key in ("ok", "text", "hint")}

    def named(self, label: str, kind: str = "machines") -> tuple[str, dict[str, Any]]:
        """The id of what is called so, and what is shown of it."""
        ((id, told),) = [(id, told) for id, told in self.state[kind].items() if told["label"] == label]
        return id, told

    def events(self, kind: str = "") -> list[str]:
        """What has happened, as it reads."""
        told = [event for event in self.state["events"].values() if kind in ("", event["kind"])]
        return [f"{event['about']}: {event['text']}" for event in told]


async def spawned(page: Page, *labels: str) -> list[str]:
    """The ids of new agents that are idle, as the page sees them."""
    told = await page.act("spawn", labels=[*labels])
    assert told["ok"] and told["text"] == f"{', '.join(labels)}: ready.", told
    await page.sees(lambda seen: states(seen) == dict.fromkeys(labels, "idle"))
    return [page.named(label, "agents")[0] for label in labels]


def states(seen: dict[str, Any]) -> dict[str, str]:
    """Those of the agents that are seen, by their labels."""
    return {agent["label"]: agent["state"] for agent in seen["agents"].values()}
