"""The page of magics: all that is typed in a notebook, from the commands that read it."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import click

from pi_v_jupyter import magics
from pi_v_jupyter.magics import examples
from pi_v_jupyter.magics.extension import Extension
from pi_v_jupyter.magics.vers import vers
from tools.reference.clicks import section
from tools.reference.markdown import begin, code, finished

ABOUT = """\
All that a notebook knows after `%load_ext pi_v_jupyter`. The same is shown by `--help` behind each
command, and by `%vers?`. A VM is named by its name, its id, the start of its id (4 characters or more),
or `.` for the active one, which is also meant where `[VM]` is left out; a commit by its id, the start
of it, its name or a tag. A Python variable that holds one does as well."""


def roots() -> dict[str, click.Command]:
    """The commands by what one types for them: `%vers`, and what the other modules say that they have."""
    found: dict[str, click.Command] = {"%vers": vers}
    for module in pkgutil.iter_modules(magics.__path__, f"{magics.__name__}."):
        commands = getattr(import_module(module.name), "COMMANDS", None)
        if isinstance(commands, dict):
            found |= {path: each for path, each in commands.items() if path.startswith("%")}
    return found


def plain(known: set[str]) -> dict[str, str]:
    """Magics that take no words, with what they do."""
    found = {}
    for kind, mark in (("line", "%"), ("cell", "%%")):
        for name, method in Extension.magics[kind].items():
            if f"%{name}" not in known and f"%%{name}" not in known:
                found[f"{mark}{name}"] = inspect.getdoc(getattr(Extension, method)) or ""
    return found


def page() -> str:
    """All of it."""
    lines = begin("Magics", ABOUT)
    starts = roots()
    for start, command in sorted(starts.items(), key=lambda each: each[0].lstrip("%") != "vers"):
        for path, each in examples.commands(start, command):
            level = 2 if path == start else 3
            lines += section(path, each, examples.of(path), level)
    for path, about in plain(set(starts)).items():
        lines += ["", f"## {code(path)}", "", about]
    return finished(lines)
