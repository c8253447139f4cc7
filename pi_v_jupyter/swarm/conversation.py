"""The runs of an agent, filled with messages and tool calls as they come. `story.py` says when one ends."""

from __future__ import annotations

from typing import Any

from pi_v_jupyter.swarm.changes import (
    AnswerEnded,
    Change,
    Prompted,
    RunEnded,
    RunStarted,
    TextDelta,
    ToolEnded,
    ToolProgress,
    ToolStarted,
)
from pi_v_jupyter.swarm.records import items, moment, plain, table, usage, word
from pi_v_jupyter.swarm.runs import SHORT, Outcome, Run, Text, ToolCall, Usage, bounded, small
from pi_v_jupyter.texts import end_begins

# Node's AbortError, which pi 0.87 passes on as an error where it was stopped within a tool.
ABORTED = "This operation was aborted"


class Conversation:
    """All runs, the last of which may be open; totals over them and what was spent between them."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.open: Run | None = None
        self.totals = Usage()
        self.active: dict[str, ToolCall] = {}
        self._calls: dict[str, ToolCall] = {}
        self._partial: list[str] = []
        self._written = 0  # characters of that
        self._seen: set[tuple[object, ...]] = set()
        self._now: float | None = None

    @property
    def partial(self) -> str:
        """What has come of the answer that is being written."""
        return "".join(self._partial)

    def partial_end(self, most: int) -> str:
        """The end of that, at most so many characters: see `texts.end_begins`."""
        wanted = self._written - end_begins(self._written, most)
        pieces, left = [], wanted
        for piece in reversed(self._partial):
            if left <= 0:
                break
            pieces.append(piece)
            left -= len(piece)
        return "".join(reversed(pieces))[-wanted:] if wanted else ""

    def _write(self, delta: str) -> None:
        self._partial.append(delta)
        self._written += len(delta)

    def _written_off(self) -> None:
        """What had come of an answer is complete, or will not be."""
        self._partial.clear()
        self._written = 0

    def tick(self, at: float | None) -> None:
        """It is `at` over there, if that is told."""
        if at is None:
            return
        self._now = max(at, self._now or at)
        if self.open is not None:
            self.open.began = self.open.began or at
            self.open.ended = self._now

    def begin(self, run: Run) -> list[Change]:
        """Open a run."""
        self.open = run
        self.runs.append(run)
        return [RunStarted(run)]

    def reopen(self) -> None:
        """The last run goes on."""
        self.open = self.runs[-1]
        self.open.outcome = None

    def withdraw(self) -> Run | None:
        """The open run was none."""
        self.open = None
        return self.runs.pop()

    def end(self, outcome: Outcome, error: str = "") -> list[Change]:
        """The open run is over."""
        run, self.open = self.open, None
        if run is None:
            return []
        self._broken(run)
        self.active.clear()
        run.outcome = outcome
        run.error = error or run.error
        return [RunEnded(run)]

    def spend(self, spent: Usage) -> None:
        """Count tokens and cost."""
        self.totals.add(spent)
        if self.open is not None:
            self.open.usage.add(spent)

    def note(self, text: str) -> None:
        """Write down what pi did by itself."""
        if self.open is not None:
            self.open.steps.append(Text("note", bounded(text, SHORT)))

    def message_started(self, record: dict[str, Any]) -> None:
        """A model begins to answer."""
        message = table(record.get("message"))
        if self.open is not None and message.get("role") == "assistant":
            self.tick(moment(message))
            self._broken(self.open)

    def message_updated(self, record: dict[str, Any]) -> list[Change]:
        """More of an answer."""
        event = table(record.get("assistantMessageEvent"))
        kind = event.get("type") if self.open is not None else None
        delta = word(event.get("delta"))
        if kind not in ("text_delta", "thinking_delta") or not delta:
            return []
        if kind == "text_delta":
            self._write(delta)
        return [TextDelta(delta, thinking=kind == "thinking_delta")]

    def message_ended(self, record: dict[str, Any]) -> list[Change]:
        """A message is complete; one that is known already changes nothing."""
        message = table(record.get("message"))
        role, run = message.get("role"), self.open
        key = self._key(message)
        if run is None or role == "system" or key in self._seen:
            if role == "assistant":
                self._written_off()
            return []
        self._seen.add(key)
        self.tick(moment(message))
        if role == "user":
            text = plain(message.get("content"))
            run.steps.append(Text("prompt", text))
            return [Prompted(text)]
        if role == "assistant":
            return [self._answered(run, message)]
        if role == "toolResult":
            self._returned(message)
        elif role == "custom" and message.get("display") is True:
            self.note(plain(message.get("content")))
        return []

    def _returned(self, message: dict[str, Any]) -> None:
        self.spend(usage(message.get("usage")))
        call = self._calls.get(word(message.get("toolCallId")))
        if call is not None:
            call.ended = call.ended or moment(message)
            if call.failed is None:  # nobody saw it end
                self._result(call, message, message.get("isError"))

    def _answered(self, run: Run, message: dict[str, Any]) -> Change:
        self._written_off()
        run.stop = word(message.get("stopReason"))[:SHORT]
        run.error = bounded(word(message.get("errorMessage")), SHORT)
        if (run.stop, run.error) == ("error", ABORTED):
            run.stop = "aborted"
        run.turns += 1
        self.spend(usage(message.get("usage")))
        said = []
        for block in map(table, items(message.get("content"))):
            kind = block.get("type")
            if kind == "thinking" and (thought := word(block.get("thinking"))):
                run.steps.append(Text("thinking", bounded(thought)))
            elif kind == "text" and (text := word(block.get("text"))):
                said.append(text)
                run.steps.append(Text("broken" if run.stop == "error" else "text", text))
            elif kind == "toolCall":
                self._call(run, word(block.get("id")), word(block.get("name")), block.get("arguments"))
        text = "\n\n".join(said)
        if text and run.stop != "error":
            run.answers.append(text)
        return AnswerEnded(text, run.stop, run.error)

    def _call(self, run: Run, id: str, name: str, arguments: Any) -> ToolCall:
        call = self._calls.get(id)
        if call is None:
            call = self._calls[id] = ToolCall(id, name[:SHORT], small(table(arguments)), began=self._now)
            run.steps.append(call)
        return call

    def tool_started(self, record: dict[str, Any], at: float | None) -> list[Change]:
        """A tool begins to run."""
        if self.open is None:
            return []
        id = word(record.get("toolCallId"))
        call = self._call(self.open, id, word(record.get("toolName")), record.get("args"))
        if call.failed is not None or id in self.active:
            return []
        call.began = at or self._now
        self.active[id] = call
        return [ToolStarted(call)]

    def tool_updated(self, record: dict[str, Any]) -> list[Change]:
        """A tool says how far it is."""
        call = self.active.get(word(record.get("toolCallId")))
        if call is None:
            return []
        call.progress = bounded(plain(table(record.get("partialResult")).get("content")))
        return [ToolProgress(call)]

    def tool_ended(self, record: dict[str, Any], at: float | None) -> list[Change]:
        """A tool has returned."""
        call = self.active.pop(word(record.get("toolCallId")), None)
        if call is None:
            return []
        self._result(call, table(record.get("result")), record.get("isError"))
        call.ended = at
        return [ToolEnded(call)]

    @staticmethod
    def _result(call: ToolCall, told: dict[str, Any], failed: object) -> None:
        details = table(told.get("details"))
        call.result = bounded(plain(told.get("content")))
        call.progress = ""
        call.diff = bounded(word(details.get("patch")) or word(details.get("diff")))
        call.failed = failed is True

    def _broken(self, run: Run) -> None:
        """What had come of an answer that will not be completed."""
        if self._partial:
            run.steps.append(Text("broken", self.partial))
            self._written_off()

    @staticmethod
    def _key(message: dict[str, Any]) -> tuple[object, ...]:
        role = word(message.get("role"))
        about = plain(message.get("content")) if role == "user" else message.get("responseId")
        return role, moment(message), hash(word(about)), word(message.get("toolCallId"))
