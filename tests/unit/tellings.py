"""What pi writes, as tests of a dashboard have it write, and the story of that."""

from __future__ import annotations

from typing import Any

from test_tables import HOSTILE

from pi_v_jupyter.swarm.story import Story

LONG = f"{HOSTILE} {'word ' * 20_000}"


def said(text: str, *, tokens: int = 10, cost: float = 0.5, **more: Any) -> dict[str, Any]:
    usage = {"input": tokens, "output": 0, "cacheRead": 0, "cacheWrite": 0, "cost": {"total": cost}}
    message = {"role": "assistant", "content": [{"type": "text", "text": text}], "usage": usage}
    return {"type": "message_end", "message": message | {"stopReason": "stop", "responseId": text[:9]} | more}


def told(text: str, at: int = 0) -> dict[str, Any]:
    message = {"role": "user", "content": [{"type": "text", "text": text}], "timestamp": at}
    return {"type": "message_end", "message": message}


def delta(text: str) -> dict[str, Any]:
    return {"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": text}}


def fed(*given: dict[str, Any], story: Story | None = None) -> Story:
    story = story or Story()
    for record in given:
        story.feed(record)
    return story


def texts(value: Any) -> list[str]:
    """All there are in it."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []
