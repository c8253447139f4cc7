"""A program that answers as pi does in RPC mode, and from its first prompt on writes RATE records a second.

    python replayed_pi.py RATE

They are what pi 0.87.1 writes: pieces of an answer, then a tool call that tells how far it is, over and over.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

PIECES, UPDATES = 80, 15
COST = {"input": 0.004434, "output": 0.000345, "cacheRead": 0, "cacheWrite": 0, "total": 0.004779}
USAGE = {"input": 1478, "output": 23, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 1501, "cost": COST}
COMMAND = "make -j4 test"


def turn(number: int) -> Iterator[dict[str, Any]]:
    """The records of one answer, and of the tool that it calls."""
    call = f"toolu_{number:016x}"
    about = {"toolCallId": call, "toolName": "bash", "args": {"command": COMMAND}}
    text = ""
    for piece in range(PIECES):
        delta = f"piece {piece} of what it says, "
        text += delta
        event = {"type": "text_delta", "contentIndex": 0, "delta": delta}
        yield {"type": "message_update", "usage": USAGE, "assistantMessageEvent": event}
    wanted = {"type": "toolCall", "id": call, "name": "bash", "arguments": {"command": COMMAND}}
    message = {"role": "assistant", "content": [{"type": "text", "text": text}, wanted], "usage": USAGE}
    message |= {"stopReason": "toolUse", "timestamp": int(time.time() * 1000), "responseId": call}
    yield {"type": "message_end", "message": message}
    yield {"type": "tool_execution_start", **about}
    lines = ""
    for line in range(UPDATES):
        lines += f"✓ tests/unit/test_{line}.py ........ passed\n"
        partial = {"content": [{"type": "text", "text": lines}]}
        yield {"type": "tool_execution_update", **about, "partialResult": partial}
    result = {"content": [{"type": "text", "text": lines}], "details": {}}
    yield {"type": "tool_execution_end", **about, "result": result, "isError": False}


def say(record: dict[str, Any]) -> None:
    """Write a record."""
    line = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.buffer.flush()


def work(rate: float) -> None:
    """Write records for ever, each when its time has come."""
    say({"type": "agent_start"})
    due = time.monotonic()
    for record in itertools.chain.from_iterable(map(turn, itertools.count())):
        due = max(due + 1 / rate, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))
        say(record)


def main() -> None:
    """Answer commands."""
    for line in sys.stdin.buffer:
        command = json.loads(line)
        say({"type": "response", "id": command.get("id"), "command": command["type"], "success": True})
        if command["type"] == "prompt":
            threading.Thread(target=work, args=(float(sys.argv[1]),), daemon=True).start()


if __name__ == "__main__":
    main()
