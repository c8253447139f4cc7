"""What each command may be given, as the tables in `tables/` say: who is not in one of them may not run.

A table is named after its command. Its keys are the fields of `Rule`; `flags` is a line of words: `-x` takes
nothing, `-k=` a value, `-n?` a value that is attached or none; `@name` stands for a line of `[groups]`.
`same` names the command whose table this one has too. `[harmless]` and `[names]` list commands that may be
given anything, `[versions]` those that may only be asked for their version.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

TABLES = Path(__file__).parent / "tables"
MANY = 1_000_000  # operands


@dataclass(frozen=True)
class Rule:
    """What one command, or sub-command, may be given."""

    name: str
    flags: Mapping[str, str] = field(default_factory=dict)  # each with what it takes: "", "=" or "?"
    refused: Mapping[str, str] = field(default_factory=dict)  # flags, each with why
    anything: bool = False  # no argument that is not in `refused` makes it do more than look
    operands: int = MANY  # at most
    listing: frozenset[str] = frozenset()  # flags with which there may be any number of operands
    needs: frozenset[str] = frozenset()  # flags, one of which must be there
    starts: str = ""  # how each operand begins
    digits: bool = False  # -5 is a number
    apart: bool = False  # a flag with a value, and that value, are words of their own
    dashed: bool = False  # the first argument begins with -
    unended: bool = False  # `--` does not end its flags
    names_only: bool = False  # it looks at names, and opens nothing
    stops: bool = False  # after the first operand there are no flags
    direct: bool = False  # it must be started by the shell itself
    subs: Mapping[str, Rule] = field(default_factory=dict)  # sub-commands
    alone: bool = False  # it may be without one of those
    runs: int | None = None  # a command follows so many operands
    adds_input: bool = False  # that command gets further words, which are read
    style: str = ""  # `test` and `find` have arguments of another kind
    check: str = ""  # what else must hold, a function in `checks.py`


@cache
def rules() -> Mapping[str, Rule]:
    """Every command that may run, by name."""
    groups: dict[str, str] = {}
    tables: dict[str, dict[str, Any]] = {}
    for path in sorted(TABLES.glob("*.toml")):
        read = tomllib.loads(path.read_text())
        groups |= read.pop("groups", {})
        read.pop("refused", None)
        for name in read.pop("harmless", {}).get("commands", "").split():
            tables[name] = {"anything": True}
        for name in read.pop("names", {}).get("commands", "").split():
            tables[name] = {"anything": True, "names_only": True}
        for name, flags in read.pop("versions", {}).items():
            tables[name] = {"flags": flags, "needs": flags, "operands": 0}
        tables |= read
    return {name: _rule(name, tables[table.get("same", name)], groups) for name, table in tables.items()}


@cache
def reasons() -> Mapping[str, str]:
    """Why certain commands may not run, by name."""
    read = tomllib.loads((TABLES / "refused.toml").read_text())["refused"]
    return {name: reason for reason, names in read.items() for name in names.split()}


def _rule(name: str, table: dict[str, Any], groups: Mapping[str, str]) -> Rule:
    given = dict(table)
    flags = [flag for word in given.pop("flags", "").split() for flag in groups.get(word, word).split()]
    given["flags"] = {flag.rstrip("=?"): flag[len(flag.rstrip("=?")) :] for flag in flags}
    given["subs"] = {sub: _rule(f"{name} {sub}", each, groups) for sub, each in given.pop("subs", {}).items()}
    for key in ("listing", "needs"):
        given[key] = frozenset(given.pop(key, "").split())
    return Rule(name, **given)
