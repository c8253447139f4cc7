"""The scripted model as others need it: its program, to be sent to a VM, and how pi is told of it."""

from __future__ import annotations

import functools
from typing import Any

from pi_v_jupyter.remote.sources import source
from pi_v_jupyter.swarm import _scripted

PORT = 7414
PROVIDER = "scripted"
MODEL = "rehearsal"


@functools.cache
def program() -> bytes:
    """The program as one source text: `python3 FILE [--port N] [--script FILE]`, Python 3.8 or later."""
    return source(_scripted, "pi_v_scripted")


def provider(url: str = f"http://127.0.0.1:{PORT}") -> dict[str, Any]:
    """What pi's models.json says of it, below `providers.scripted`; prices in USD per million tokens."""
    return {
        "baseUrl": url,
        "api": "anthropic-messages",
        "apiKey": "none-is-needed",
        "models": [
            {
                "id": MODEL,
                "name": "Scripted rehearsal",
                "reasoning": True,
                "input": ["text"],
                "contextWindow": 200_000,
                "maxTokens": 8192,
                "cost": {"input": 3, "output": 15, "cacheRead": 0.3, "cacheWrite": 3.75},
            }
        ],
    }
