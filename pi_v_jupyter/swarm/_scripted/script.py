"""Which answer is next.

A script is JSON: `{"turns": [TURN, …], "agents": {"NAME": [TURN, …]}, "summary": "…"}`. The n-th request of
an agent gets its n-th turn, a changed script begins anew, and when all turns are used up, or there is no
script, the model rehearses (`rehearsal.py`). A request that offers no tools wants a conversation summed up:
it gets `summary`, and uses up no turn.

A TURN is a text, or an object; all its keys may be left out:

    content      list of blocks: {"say": TEXT}, {"think": TEXT}, {"call": TOOL, "with": {…}},
                 {"hold": PATH} (goes on when that file exists), {"malformed": TEXT} (an event of bad JSON),
                 {"cut": true} (the connection ends), {"error": TYPE} (an error event within the stream)
    stop         Anthropic's stop_reason; by itself tool_use where there are calls, otherwise end_turn
    usage        tokens, by Anthropic's names, where they shall be other than plausible
    size, pause  characters of a delta (default 24), and seconds after each (default 0)
    wait         seconds before the answer begins
    status       429, 500, 529 …: this instead of an answer; `message`, `retry_after` (seconds) go with it
    times        so often (default 1)
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from .rehearsal import rehearse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
MESSAGES = {429: "This request would exceed a rate limit.", 529: "Overloaded"}
SUMMARY = "What was asked and done so far is in notes.md."


class ScriptError(ValueError):
    """The script cannot be followed."""


class Cut(Exception):
    """The connection ends here, by the script."""


class Turn:
    """One answer."""

    def __init__(self, told: Any) -> None:
        told = {"content": [{"say": told}]} if isinstance(told, str) else told
        try:
            self.content: list[dict[str, Any]] = [dict(block) for block in told.get("content", [])]
            self.usage: dict[str, int] = dict(told.get("usage", {}))
            self.size = max(1, int(told.get("size", 24)))
            self.pause = float(told.get("pause", 0))
            self.wait = float(told.get("wait", 0))
            self.status = int(told.get("status", 200))
            self.times = int(told.get("times", 1))
            self.message = str(told.get("message", MESSAGES.get(self.status, "Internal server error")))
            after = told.get("retry_after")
            calls = any("call" in block for block in self.content)
            self.stop = str(told.get("stop", "tool_use" if calls else "end_turn"))
        except (TypeError, ValueError, AttributeError):
            raise ScriptError(f"This is no turn of a script: {json.dumps(told)[:200]}") from None
        self.headers = {} if after is None else {"Retry-After": str(after)}
        self.error = ERRORS.get(self.status, "api_error")


class Script:
    """The script in a file, and how far each agent is in it."""

    def __init__(self, path: str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.text = ""
        self.used: Counter[str] = Counter()

    def turn(self, agent: str, request: dict[str, Any]) -> Turn:
        """The answer to a request of `agent`; ScriptError: the script cannot be read."""
        script = self.read()
        if not request.get("tools"):
            return Turn(script.get("summary", SUMMARY))
        told = script.get("agents", {}).get(agent, script.get("turns", []))
        turns = [turn for turn in map(Turn, told) for _ in range(turn.times)]
        at = self.used[agent]
        self.used[agent] += 1
        return turns[at] if at < len(turns) else Turn(rehearse(request))

    def read(self) -> dict[str, Any]:
        """The script as it is now; where that is another than before, all begin anew."""
        if self.path is None:
            return {}
        try:
            text = self.path.read_text(encoding="utf-8")
            script = json.loads(text)
        except FileNotFoundError:
            text, script = "", {}
        except (OSError, ValueError) as error:
            raise ScriptError(f"The script {self.path} cannot be read: {error}") from None
        if not isinstance(script, dict):
            raise ScriptError(f"The script {self.path} is no JSON object with turns.")
        if text != self.text:
            self.text = text
            self.used.clear()
        return script
