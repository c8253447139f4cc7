"""Runs of which no events are left, from the entries of pi's session (`get_entries`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pi_v_jupyter.swarm.conversation import Conversation
from pi_v_jupyter.swarm.meanwhile import summed_up
from pi_v_jupyter.swarm.records import table, usage, word
from pi_v_jupyter.swarm.runs import Outcome, Run

GOES_ON = ("", "toolUse")  # stop reasons after which a prompt was queued, not a task
OUTCOMES: dict[str, Outcome] = {"error": "error", "aborted": "aborted"}


def recall(conversation: Conversation, entries: list[Any]) -> None:
    """Fill a conversation that knows nothing with what pi has kept, branches it has left included."""
    for entry in map(table, entries):
        kind, message = entry.get("type"), table(entry.get("message"))
        run = conversation.open
        if kind == "message" and message.get("role") == "user" and (run is None or run.stop not in GOES_ON):
            _end(conversation)
            conversation.begin(Run())
        if kind == "message":
            conversation.message_ended({"message": message})
            conversation.tick(_moment(entry))
        elif kind == "compaction":
            conversation.note(summed_up(entry))
        if kind in ("compaction", "usage"):
            conversation.spend(usage(entry.get("usage")))
    _end(conversation)


def _end(conversation: Conversation) -> None:
    run = conversation.open
    if run is not None and run.stop in GOES_ON:
        conversation.end("error", "pi ended before it was done.")
    elif run is not None:
        conversation.end(OUTCOMES.get(run.stop, "done"))


def _moment(entry: dict[str, Any]) -> float | None:
    """When an entry was written: a message was complete then."""
    try:
        return datetime.fromisoformat(word(entry.get("timestamp"))).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
