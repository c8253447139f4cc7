"""The program that confines a planned command, with nothing but Python's standard library."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def source() -> str:
    """Its text, for `python3 -c`."""
    return Path(__file__).with_name("confine.py").read_text()
