"""The page of errors: each class, and what the code says where it raises it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pi_v_jupyter
from pi_v_jupyter import errors
from tools.reference.markdown import begin, code, finished, prose, table

ABOUT = """\
Every error of ours is a `VersError`, has `message` (what happened, to what) and `hint` (what to do
next), and is shown in a notebook as those two, without a traceback. `…` stands for what is filled in.
An error that is not in a table comes from further away, a VM or the platform, and is told in their
words."""
PARTS = 2  # the message, and the hint


def page() -> str:
    """All of it."""
    said = _said()
    lines = begin("Errors", ABOUT)
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__ == errors.__name__:
            parents = [each.__name__ for each in kind.__bases__ if each is not Exception]
            lines += ["", f"## {code(name)}", "", prose(kind.__doc__)]
            lines += ["", f"Is a {', '.join(map(code, parents))}."] if parents else []
            lines += table(["it says", "next step"], said.get(name, []))
    return finished(lines)


def _said() -> dict[str, list[tuple[str, str]]]:
    """By class: what it is made with, in the order of the modules, each once."""
    found: dict[str, dict[tuple[str, str], None]] = {}
    package = Path(str(pi_v_jupyter.__file__)).parent
    for file in sorted(package.rglob("*.py")):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and hasattr(errors, node.func.id)
            ):
                parts = [" / ".join(_texts(each)) for each in node.args[:PARTS]]
                given = {each.arg: each.value for each in node.keywords}
                if len(parts) < PARTS and "hint" in given:
                    parts.append(" / ".join(_texts(given["hint"])))
                if parts and any(map(str.isalpha, parts[0])):
                    row = (_cell(parts[0]), _cell(parts[1]) if len(parts) == PARTS else "")
                    found.setdefault(node.func.id, {})[row] = None
    return {name: list(rows) for name, rows in found.items()}


def _texts(node: ast.expr) -> Iterator[str]:
    """What an expression can be, as far as it is written there."""
    if isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for left in _texts(node.left):
            yield from (left + right for right in _texts(node.right))
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.Constant):
        yield str(node.value or "")
    else:
        yield "…"


def _cell(text: str) -> str:
    return " ".join(text.split())
