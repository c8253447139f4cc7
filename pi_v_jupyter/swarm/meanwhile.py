"""What goes on around an agent's runs: its queue, retries, compactions, and what extensions ask and tell."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from typing import Any

from pi_v_jupyter.swarm.changes import (
    Change,
    Compacted,
    Dialog,
    DialogAsked,
    Level,
    Method,
    Notice,
    Noticed,
    QueueChanged,
    Retry,
    RetryStarted,
)
from pi_v_jupyter.swarm.conversation import Conversation
from pi_v_jupyter.swarm.records import count, number, table, usage, word, words
from pi_v_jupyter.swarm.runs import SHORT, bounded

CLOCK = "pi-v-clock"  # key of a status by which our extension tells the time: milliseconds since the epoch
PLAN = "pi-v-plan"  # likewise, of one by which it tells whether its agent may only look: "on", "off"
BUDGET = "pi-v-budget"  # likewise, of one by which it tells what may be spent, once it was asked or begins
ASKS_FOR_MORE = "Budget: "  # so its question for more begins
CANCELLED = "Retry cancelled"  # what pi says of a retry that was aborted
NOTICES = 50
DIALOGS, OPTIONS = 50, 1000  # questions that are kept, and what one offers: pi asks few at once
METHODS: dict[str, Method] = {
    "select": "select",
    "confirm": "confirm",
    "input": "input",
    "editor": "editor",
}
LEVELS: dict[str, Level] = {"warning": "warning", "error": "error"}


class Meanwhile:
    """The part of a `Story` that says what its agent waits for."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.retry: Retry | None = None
        self.compacting = ""  # why, while it does
        self.steering: tuple[str, ...] = ()
        self.follow_up: tuple[str, ...] = ()
        self.notices: deque[Notice] = deque(maxlen=NOTICES)
        self.budget: float | None = None  # US dollars that it may cost, as far as it told
        self.planning: bool | None = None  # may it only look? None: its pi does not know of that
        self._dialogs: dict[str, tuple[Dialog, frozenset[str]]] = {}
        self._cancelled = False

    @property
    def dialogs(self) -> list[Dialog]:
        """The questions that wait for an answer, the oldest first."""
        return [dialog for dialog, _ in self._dialogs.values()]

    def _returned(self) -> None:
        """A tool has returned: what was asked while it ran, and by none that runs still, is answered."""
        running = self.conversation.active.keys()
        for id, (_, during) in list(self._dialogs.items()):
            if during and not during & running:
                del self._dialogs[id]

    def _queue(self, record: dict[str, Any], at: float | None) -> list[Change]:
        self.steering, self.follow_up = words(record.get("steering")), words(record.get("followUp"))
        return [QueueChanged(self.steering, self.follow_up)]

    def _compaction_start(self, record: dict[str, Any], at: float | None) -> list[Change]:
        self.compacting = word(record.get("reason"))[:SHORT] or "unknown"
        return []

    def _compaction_end(self, record: dict[str, Any], at: float | None) -> list[Change]:
        if not self.compacting:
            return []
        reason, self.compacting = self.compacting, ""
        self._dialogs.clear()
        result = table(record.get("result"))
        error = bounded(word(record.get("errorMessage")), SHORT) or ("" if result else "It was aborted.")
        self.conversation.spend(usage(result.get("usage")))
        self.conversation.note(error or summed_up(result))
        return [Compacted(reason, error)]

    def _retry_start(self, record: dict[str, Any], at: float | None) -> list[Change]:
        if self.conversation.open is None and self.conversation.runs:
            self.conversation.reopen()
        retry = Retry(
            count(record.get("attempt")),
            count(record.get("maxAttempts")),
            number(record.get("delayMs")) / 1000,
            bounded(word(record.get("errorMessage")), SHORT),
        )
        if retry == self.retry:
            return []
        self.retry = retry
        if self.conversation.open is not None:
            self.conversation.open.retries += 1
        self.conversation.note(
            f"Attempt {retry.attempt} of {retry.most} follows in {retry.delay:g} s: {retry.error}"
        )
        return [RetryStarted(retry)]

    def _retry_end(self, record: dict[str, Any], at: float | None) -> list[Change]:
        self.retry = None
        self._cancelled = record.get("finalError") == CANCELLED
        return []

    def _ui(self, record: dict[str, Any], at: float | None) -> list[Change]:
        told, id = word(record.get("method")), word(record.get("id"))
        if told == "notify":
            return self._notice(
                LEVELS.get(word(record.get("notifyType")), "info"), word(record.get("message"))
            )
        if told == "setStatus" and record.get("statusKey") == CLOCK:
            digits = word(record.get("statusText"))[:20]
            if digits.isascii() and digits.isdigit():
                self.conversation.tick(number(int(digits)) / 1000 or None)
            return []
        if told == "setStatus" and record.get("statusKey") == PLAN:
            self.planning = record.get("statusText") == "on"
            return []
        if told == "setStatus" and record.get("statusKey") == BUDGET:
            self._limited(word(record.get("statusText")))
            return []
        method = METHODS.get(told)
        if method is None or not id or id in self._dialogs or len(self._dialogs) >= DIALOGS:
            return []
        dialog = Dialog(
            id,
            method,
            bounded(word(record.get("title")), SHORT),
            next((word(record[key]) for key in ("message", "placeholder", "prefill") if key in record), ""),
            words(record.get("options"))[:OPTIONS],
            number(record.get("timeout")) / 1000 or None,
        )
        self._dialogs[id] = dialog, frozenset(self.conversation.active)
        return [DialogAsked(dialog)]

    def _limited(self, text: str) -> None:
        """Our extension says what may be spent: when it was asked for more, that is answered."""
        with contextlib.suppress(ValueError):
            limit = float(text[:SHORT])
            self.budget = limit if math.isfinite(limit) else self.budget
        for id, (dialog, _) in list(self._dialogs.items()):
            if dialog.title.startswith(ASKS_FOR_MORE):
                del self._dialogs[id]

    def _extension_error(self, record: dict[str, Any], at: float | None) -> list[Change]:
        return self._notice("error", f"An extension failed: {word(record.get('error'))}")

    def _notice(self, level: Level, text: str) -> list[Change]:
        notice = Notice(level, bounded(text, SHORT))
        self.notices.append(notice)
        return [Noticed(notice)]


def summed_up(result: dict[str, Any]) -> str:
    """What became of a conversation, by a compaction's result or its entry in the session."""
    return f"The conversation was summed up: it had {count(result.get('tokensBefore'))} tokens."
