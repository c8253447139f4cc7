"""pi's records taken apart. What comes from an agent's machine may hold anything anywhere: what is not as it
should be is taken as if it were not there.
"""

from __future__ import annotations

import math
from typing import Any

from pi_v_jupyter.swarm.runs import Usage

MOST = 1 << 53  # beyond that, a JSON number is no count


def table(value: Any) -> dict[str, Any]:
    """A JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A JSON array, or an empty one."""
    return value if isinstance(value, list) else []


def word(value: Any) -> str:
    """A string, or an empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float:
    """A finite number that is not negative, or 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST:
        return 0.0
    return float(value)


def count(value: Any) -> int:
    """Likewise, whole."""
    return math.floor(number(value))


def words(value: Any) -> tuple[str, ...]:
    """The strings of a JSON array."""
    return tuple(each for each in items(value) if isinstance(each, str))


def moment(message: dict[str, Any]) -> float | None:
    """When a message was begun (a model's) or complete (others): seconds since the epoch."""
    return number(message.get("timestamp")) / 1000 or None


def usage(value: Any) -> Usage:
    """pi's `Usage`."""
    told = table(value)
    return Usage(
        input=count(told.get("input")),
        output=count(told.get("output")),
        cache_read=count(told.get("cacheRead")),
        cache_write=count(told.get("cacheWrite")),
        cost=number(table(told.get("cost")).get("total")),
    )


def plain(content: Any) -> str:
    """The text of a message's content: a string, or blocks, of which images are named only."""
    if isinstance(content, str):
        return content
    parts = []
    for block in map(table, items(content)):
        if block.get("type") == "text":
            parts.append(word(block.get("text")))
        elif block.get("type") == "image":
            parts.append(f"[image, {word(block.get('mimeType'))[:40] or 'of unknown kind'}]")
    return "\n".join(parts)
