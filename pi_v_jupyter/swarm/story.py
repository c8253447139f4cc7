"""What an agent's events mean: its state and its runs, folded from pi's stream.

A `Story` is nothing but the fold of the records it was fed: no I/O, no clock. Whoever feeds it the stream
from its beginning has the same story, in whatever kernel. It understands pi 0.74 and later, which differ in
how they say that they have finished: later ones send `agent_settled`, earlier ones have to be asked. A record
that is repeated, unknown or malformed changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pi_v_jupyter.swarm.changes import Change, Death, PromptRefused, State, StateChanged
from pi_v_jupyter.swarm.meanwhile import Meanwhile
from pi_v_jupyter.swarm.records import count, table, word
from pi_v_jupyter.swarm.runs import SHORT, Run, ToolCall, Usage, bounded

QUIET = 1.0  # seconds without a record, after which what `wants_check` says is to be done
OVER: frozenset[State] = frozenset({"idle", "done", "error", "aborted", "lost", "ended"})  # nothing goes on
ASIDE = "aside-"  # so the ids of prompts begin that are commands of our extension, and begin no run
TOLD = {"message_start", "message_update", "message_end", "tool_execution_start"}


class Story(Meanwhile):
    """One agent: `feed` it each record of pi's stdout, tell it when pi has `ended` or `began` again."""

    def __init__(self) -> None:
        super().__init__()
        self.death: Death | None = None
        self.model = ""  # PROVIDER/ID
        self.session = ""  # the file in which pi keeps it, on the agent's machine
        self.noise = 0  # lines of which nothing could be made
        self._up = False  # has pi said anything?
        self._streaming = False
        self._unstarted = False  # is the open run no more than a prompt that was accepted?
        self._withdrawn: Run | None = None
        self._earlier = 0  # runs of pis before this one

    @property
    def runs(self) -> list[Run]:
        """All runs, the last of which may be going on."""
        return self.conversation.runs

    @property
    def run(self) -> Run | None:
        """The run that goes on."""
        return self.conversation.open

    @property
    def totals(self) -> Usage:
        """Tokens and cost of all runs, and of what was done between them."""
        return self.conversation.totals

    @property
    def partial(self) -> str:
        """What has come of the answer that is being written."""
        return self.conversation.partial

    def partial_end(self, most: int) -> str:
        """The end of that, at most so many characters; it begins where it did while that grows by half."""
        return self.conversation.partial_end(most)

    @property
    def calls(self) -> list[ToolCall]:
        """The tool calls that are under way."""
        return list(self.conversation.active.values())

    @property
    def error(self) -> str:
        """Why it is `error`, `lost` or `aborted`; empty otherwise."""
        state = self.state
        if self.death is not None:
            return str(self.death) if state == "lost" else ""
        return self.runs[-1].error if state in ("error", "aborted") else ""

    @property
    def state(self) -> State:
        """What it does.

        `starting`: pi has not said anything; `idle`: it had no task yet; `waiting`: for an answer to a
        dialog; `retrying`: for the model to be there again; `done`, `error`, `aborted`: how the last run
        ended; `lost`: pi died; `ended`: pi ended because it was asked to.
        """
        if self.death is not None:
            return "ended" if self.death.code == 0 else "lost"
        if self._dialogs:
            return "waiting"
        if self.retry is not None:
            return "retrying"
        if self.conversation.open is not None or self._streaming:
            return "working"
        if not self._up:
            return "starting"
        return (self.runs[-1].outcome or "idle") if len(self.runs) > self._earlier else "idle"

    @property
    def wants_check(self) -> bool:
        """Shall `get_state` be asked once nothing has come for `QUIET` seconds? Its answer is in the stream.

        It tells whether a prompt began a run at all, and when an old pi has finished. As long as this is so
        after an answer, ask again.
        """
        busy = self._streaming or self.retry or self.compacting or self._dialogs or self.death
        return self.conversation.open is not None and not busy

    def feed(self, record: dict[str, Any], at: float | None = None) -> list[Change]:
        """Take the next record of the stream.

        `at`: when it was written, in seconds since the epoch, if that is known: times are exact then, and
        otherwise as exact as pi's messages tell (a message of the model has the time of its beginning only).
        """
        before = self.state
        record = table(record)
        kind = word(record.get("type"))
        self._up = self._up or bool(kind)
        try:
            changes = self._resume(record) if kind in TOLD else []
            if kind in HANDLERS:
                changes += HANDLERS[kind](self, record, at)
            if at is not None:
                self.conversation.tick(at)
        except Exception:  # noqa: BLE001  whatever its machine wrote there, what follows is heard
            self.noise, changes = self.noise + 1, []
        return self._since(before, changes)

    def answered(self, id: str) -> list[Change]:
        """An answer to a dialog was sent: pi does not say so, though what it does next tells."""
        before = self.state
        self._dialogs.pop(id, None)
        return self._since(before, [])

    def ended(self, death: Death) -> list[Change]:
        """pi has ended: nothing more comes, unless another one begins. A run that went on is an error."""
        before = self.state
        self.death = Death(death.code, death.signal, bounded(death.stderr, SHORT))
        return self._since(before, self._over(str(self.death)))

    def began(self) -> list[Change]:
        """Another pi begins to write the stream; the runs of the one before stay."""
        before = self.state
        changes = self._over("pi was started again.")
        self.death, self._up, self._earlier = None, False, len(self.runs)
        self.planning = None
        return self._since(before, changes)

    def _since(self, before: State, changes: list[Change]) -> list[Change]:
        after = self.state
        return [*changes, StateChanged(before, after)] if before != after else changes

    def _over(self, why: str) -> list[Change]:
        self._quiet()
        self.steering = self.follow_up = ()
        return self.conversation.end("error", why)

    def _quiet(self) -> None:
        self._streaming = self._cancelled = self._unstarted = False
        self.retry, self.compacting = None, ""
        self._dialogs.clear()

    def _settle(self) -> list[Change]:
        """Nothing goes on any more: how did it end?"""
        run, cancelled = self.conversation.open, self._cancelled
        self._quiet()
        if run is None:
            return []
        if run.stop == "aborted" or cancelled:
            return self.conversation.end("aborted")
        if run.stop == "error" or not run.turns:
            return self.conversation.end("error", run.error or "The model did not answer.")
        return self.conversation.end("done")

    def _resume(self, record: dict[str, Any]) -> list[Change]:
        """Which run is this part of, if none is open?"""
        if self.conversation.open is not None or not self._streaming:
            return []
        role = table(record.get("message")).get("role")
        if role == "system":
            return []
        if role in (None, "assistant") and self.runs:  # nobody asked: the last run goes on
            self.conversation.reopen()
            return []
        return self.conversation.begin(Run(looking=bool(self.planning)))

    def _noise(self, record: dict[str, Any], at: float | None) -> list[Change]:
        self.noise += 1
        return []

    def _agent_start(self, record: dict[str, Any], at: float | None) -> list[Change]:
        self._streaming, self._unstarted = True, False
        self.retry = None
        run, self._withdrawn = self._withdrawn, None
        return self.conversation.begin(run) if run and self.conversation.open is None else []

    def _agent_end(self, record: dict[str, Any], at: float | None) -> list[Change]:
        self._streaming = False
        self._dialogs.clear()
        return []

    def _agent_settled(self, record: dict[str, Any], at: float | None) -> list[Change]:
        return [] if self._unstarted else self._settle()

    def _turn_end(self, record: dict[str, Any], at: float | None) -> list[Change]:
        self._dialogs.clear()
        return []

    def _message_start(self, record: dict[str, Any], at: float | None) -> list[Change]:
        self.conversation.message_started(record)
        return []

    def _message_update(self, record: dict[str, Any], at: float | None) -> list[Change]:
        return self.conversation.message_updated(record)

    def _message_end(self, record: dict[str, Any], at: float | None) -> list[Change]:
        return self.conversation.message_ended(record)

    def _tool_start(self, record: dict[str, Any], at: float | None) -> list[Change]:
        return self.conversation.tool_started(record, at)

    def _tool_update(self, record: dict[str, Any], at: float | None) -> list[Change]:
        return self.conversation.tool_updated(record)

    def _tool_end(self, record: dict[str, Any], at: float | None) -> list[Change]:
        changes = self.conversation.tool_ended(record, at)
        self._returned()
        return changes

    def _response(self, record: dict[str, Any], at: float | None) -> list[Change]:
        command, data = record.get("command"), table(record.get("data"))
        if record.get("success") is not True:
            why = bounded(word(record.get("error")), SHORT)
            return [PromptRefused(word(record.get("id")), why)] if command == "prompt" else []
        if command == "prompt":
            return self._accepted(word(record.get("id")), word(data.get("disposition")))
        if command == "get_state":
            return self._checked(data)
        if command == "set_model":
            self.model = _model(data)
        return []

    def _accepted(self, id: str, disposition: str) -> list[Change]:
        if id.startswith(ASIDE):
            return []
        run = self.conversation.open
        if run is None:
            self._dialogs.clear()  # of a command, which has returned
        changes: list[Change] = []
        if run is not None and self.wants_check and not self._unstarted and not disposition:
            changes = self._settle()  # an old pi takes another prompt when it has finished
        if self.conversation.open is None and not self._streaming and disposition in ("", "started"):
            self._unstarted, self._withdrawn = True, None
            changes += self.conversation.begin(Run(id, looking=bool(self.planning)))
        return changes

    def _checked(self, data: dict[str, Any]) -> list[Change]:
        self.model = _model(table(data.get("model"))) or self.model
        self.session = word(data.get("sessionFile")) or self.session
        if data.get("isStreaming") is True:
            self._streaming = self._streaming or self.conversation.open is None  # its beginning was not seen
            return []
        if data.get("isCompacting") is True or count(data.get("pendingMessageCount")) or not self.wants_check:
            return []
        if self._unstarted:  # an extension took care of the prompt
            self._unstarted, self._withdrawn = False, self.conversation.withdraw()
            return []
        return self._settle()


def _model(told: dict[str, Any]) -> str:
    provider, id = word(told.get("provider")), word(told.get("id"))
    return f"{provider}/{id}"[:SHORT] if provider and id else ""


HANDLERS: dict[str, Callable[[Story, dict[str, Any], float | None], list[Change]]] = {
    "process_noise": Story._noise,
    "response": Story._response,
    "agent_start": Story._agent_start,
    "agent_end": Story._agent_end,
    "agent_settled": Story._agent_settled,
    "turn_end": Story._turn_end,
    "message_start": Story._message_start,
    "message_update": Story._message_update,
    "message_end": Story._message_end,
    "tool_execution_start": Story._tool_start,
    "tool_execution_update": Story._tool_update,
    "tool_execution_end": Story._tool_end,
    "queue_update": Story._queue,
    "compaction_start": Story._compaction_start,
    "compaction_end": Story._compaction_end,
    "auto_retry_start": Story._retry_start,
    "auto_retry_end": Story._retry_end,
    "extension_ui_request": Story._ui,
    "extension_error": Story._extension_error,
}
