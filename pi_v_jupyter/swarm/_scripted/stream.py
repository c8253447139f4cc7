"""What an answer looks like on the wire: Anthropic's server-sent events.

https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from .script import Cut, Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TOKEN = 4  # characters, about
CACHED = 0.8  # of a longer conversation
LONG = 20000  # bytes of a request
KINDS = ("say", "think", "call")


def failure(kind: str, message: str) -> dict[str, Any]:
    """The body of an answer that is none."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def event(body: dict[str, Any]) -> bytes:
    """One event."""
    return "event: {}\ndata: {}\n\n".format(body["type"], json.dumps(body)).encode()


def answer(turn: Turn, size: int) -> Iterator[bytes]:
    """The events of an answer to a request of `size` bytes; Cut where the script breaks it off."""
    tokens = usage(turn, size)
    message: dict[str, Any] = {
        "id": "msg_" + os.urandom(8).hex(),
        "type": "message",
        "role": "assistant",
        "model": "rehearsal",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": dict(tokens, output_tokens=1),
    }
    yield event({"type": "message_start", "message": message})
    index = 0
    for block in turn.content:
        if "hold" in block:
            hold(str(block["hold"]))
        elif "malformed" in block:
            yield "event: content_block_delta\ndata: {}\n\n".format(block["malformed"]).encode()
        elif "error" in block:
            yield event(failure(str(block["error"]), "Overloaded"))
            raise Cut
        elif "cut" in block:
            raise Cut
        else:
            for piece in pieces(turn, block, index):
                yield piece
                time.sleep(turn.pause)
            index += 1
    delta = {"stop_reason": turn.stop, "stop_sequence": None}
    yield event(
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": tokens["output_tokens"]}}
    )
    yield event({"type": "message_stop"})


def pieces(turn: Turn, block: dict[str, Any], index: int) -> Iterator[bytes]:
    """The events of one block."""
    if "say" in block:
        start: dict[str, Any] = {"type": "text", "text": ""}
        text, kind, key = str(block["say"]), "text_delta", "text"
    elif "think" in block:
        start = {"type": "thinking", "thinking": "", "signature": ""}
        text, kind, key = str(block["think"]), "thinking_delta", "thinking"
    else:
        start = {"type": "tool_use", "id": "toolu_" + os.urandom(8).hex(), "name": block["call"], "input": {}}
        text, kind, key = json.dumps(block.get("with", {})), "input_json_delta", "partial_json"
    yield event({"type": "content_block_start", "index": index, "content_block": start})
    for at in range(0, len(text), turn.size):
        delta = {"type": kind, key: text[at : at + turn.size]}
        yield event({"type": "content_block_delta", "index": index, "delta": delta})
    if "think" in block:
        delta = {"type": "signature_delta", "signature": "c2NyaXB0ZWQ="}
        yield event({"type": "content_block_delta", "index": index, "delta": delta})
    yield event({"type": "content_block_stop", "index": index})


def usage(turn: Turn, size: int) -> dict[str, int]:
    """Tokens, as many as the texts are likely to have, or as the script says."""
    said = sum(len(json.dumps(block)) for block in turn.content if any(kind in block for kind in KINDS))
    read = int(size / TOKEN * CACHED) if size > LONG else 0
    plausible = {
        "input_tokens": size // TOKEN - read,
        "output_tokens": 1 + said // TOKEN,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": 0,
    }
    return dict(plausible, **turn.usage)


def hold(path: str) -> None:
    """Wait until a file is there."""
    while not Path(path).exists():
        time.sleep(0.02)
