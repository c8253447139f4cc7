"""What pi has said and cost, from its session's file: that is there when pi is not."""

from __future__ import annotations

import contextlib
import glob
import json
import os

from . import WORKSPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def newest() -> str | None:
    """The file of pi's latest session in the workspace."""
    agent = os.environ.get("PI_CODING_AGENT_DIR") or os.path.expanduser("~/.pi/agent")
    folder = "--" + os.path.realpath(WORKSPACE).lstrip("/").replace("/", "-") + "--"
    found = glob.glob(os.path.join(glob.escape(os.path.join(agent, "sessions", folder)), "*.jsonl"))
    return max(found, key=os.path.getmtime, default=None)


def entries(path: str | None) -> Iterator[dict[str, Any]]:
    """What has been said in a session, and what it cost: entries of its file that are whole."""
    with contextlib.suppress(FileNotFoundError):
        if path:
            with open(path, "rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError):
                        entry = json.loads(line)
                        if isinstance(entry, dict):
                            yield entry


def texts(message: dict[str, Any]) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    return "\n".join(part["text"] for part in parts if part.get("type") == "text")


def told(path: str | None) -> dict[str, Any]:
    """How the last run ended, its text, and the cost of all (US dollars)."""
    cost, last, text = 0.0, {}, ""
    for entry in entries(path):
        message = entry.get("message") or {}
        usage = message.get("usage") or entry.get("usage") or {}
        cost += (usage.get("cost") or {}).get("total") or 0
        if message.get("role") == "user":
            last, text = {}, ""
        elif message.get("role") == "assistant":
            last, text = message, texts(message) or text
    return {"ended": last.get("stopReason"), "error": last.get("errorMessage"), "text": text, "cost": cost}


def read(tail: int | None) -> str:
    """All that the agent has said in its session, or the end of it."""
    said = (entry.get("message") or {} for entry in entries(newest()))
    text = "\n\n".join(filter(None, (texts(each) for each in said if each.get("role") == "assistant")))
    return text if tail is None else text[max(0, len(text) - tail) :]
