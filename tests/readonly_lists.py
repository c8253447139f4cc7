"""The lists of commands that plan mode refuses and lets pass, from `tests/unit/data`."""

from __future__ import annotations

import tomllib
from pathlib import Path

DATA = Path(__file__).parent / "unit" / "data"


def listed(name: str) -> list[tuple[str, str]]:
    """Each command of `readonly_<name>.toml`, with its group."""
    read = tomllib.loads((DATA / f"readonly_{name}.toml").read_text())
    found: list[tuple[str, str]] = []
    for group, commands in read.items():
        each = commands.strip("\n").splitlines() if isinstance(commands, str) else commands
        found += [(group, command) for command in each]
    return found
