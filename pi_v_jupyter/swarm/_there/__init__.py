"""Programs that run on the machines of agents, with nothing but Python's standard library."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def source(name: str) -> str:
    """The text of one, for `python3 -c`."""
    return Path(__file__).with_name(f"{name}.py").read_text()
