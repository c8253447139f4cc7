"""`%vers route on`: cells go to the Python kernel of the active VM, as if the notebook's kernel were there.

A cell goes as it was typed. That kernel is IPython too, so `!cmd`, `%%bash`, `%%writefile`, `%cd` and the
rest mean there, and to each other, what they mean here. Magics of ours stay, as do cells that begin with
`%%local`; a cell that has both is refused, for half of it would run where its user does not look.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from IPython.core.inputtransformer2 import TransformerManager
from IPython.display import display

from pi_v_jupyter.errors import UsageError

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.remote.kernel import Shown

LOCAL = "%%local"
OURS = "pi_v_jupyter"
_LEAVING = ("exit", "quit")
_ABOUT = {  # IPython's magics that concern this notebook when what they name does
    "load_ext": OURS,
    "reload_ext": OURS,
    "unload_ext": OURS,
    "config": "Vers",
}


class Route:
    """Whether cells are routed, and which of them."""

    def __init__(self, extension: Extension) -> None:
        self._extension = extension
        self._unmark: Callable[[], None] | None = None
        self._depth = 0  # of the cells that run: `%timeit` and the like transform parts of them

    @property
    def on(self) -> bool:
        """Are cells routed?"""
        return self._unmark is not None

    def begin(self) -> None:
        """Route cells from the next one on.

        Raises:
            UnknownVMError, VMGoneError: no VM is active, or it is not there.
        """
        from pi_v_jupyter.magics import python

        python.active(self._extension)
        if self._unmark is None:
            self._unmark = _mark(self._extension)

    def end(self) -> None:
        """Have cells run here again."""
        if self._unmark is not None:
            self._unmark()
            self._unmark = None

    def cell_begins(self) -> None:
        """For `pre_execute`."""
        self._depth += 1

    def cell_ends(self) -> None:
        """For `post_execute`, which comes after an empty cell too."""
        self._depth = max(self._depth - 1, 0)

    def transform(self, lines: list[str]) -> list[str]:
        """For `input_transformers_cleanup`, the first of them."""
        start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
        if start < len(lines) and lines[start].rstrip() == LOCAL:
            return lines[start + 1 :]
        cell = "".join(lines)
        if self._depth or not self.covers(cell):
            return lines
        return [f"get_ipython().run_cell_magic('vm', 'python --routed', {cell!r})\n"]

    # Whether a cell is complete is not a matter of where it runs.
    transform.has_side_effects = True  # type: ignore[attr-defined]

    def covers(self, cell: str) -> bool:
        """Is this a cell for the VM?"""
        return (
            self.on and bool(cell.strip()) and not cell.lstrip().startswith(LOCAL) and not self._stays(cell)
        )

    def check(self, cell: str) -> None:
        """Raises UsageError: parts of it belong here."""
        ours = sorted({_called(node) for node in ast.walk(_parsed(cell)) if self._is_ours(node)})
        if ours:
            raise UsageError(
                f"Of this cell, %{ours[0]} belongs here and the rest to the VM.",
                "Give each a cell of its own; `%%local` as its first line has all of it run here.",
            )

    def _stays(self, cell: str) -> bool:
        statements = _parsed(cell).body
        return bool(statements) and all(map(self._is_of_us, statements))

    def _is_of_us(self, statement: ast.stmt) -> bool:
        value = getattr(statement, "value", None)
        if self._is_ours(value):
            return True
        if isinstance(value, ast.Call):
            value = value.func
        in_terminal = not hasattr(self._extension.shell, "kernel")
        return in_terminal and isinstance(value, ast.Name) and value.id in _LEAVING

    def _is_ours(self, node: ast.AST | None) -> bool:
        name, line = _called(node), _argument(node, 1)
        magics = self._extension.magics
        if name in ("pinfo", "pinfo2"):
            return line.startswith("%") and line.lstrip("%") in {*magics["line"], *magics["cell"]}
        if name in _ABOUT:
            return line.strip().split(".")[0] == _ABOUT[name]
        return name in magics["line"] or name in magics["cell"]


def run(extension: Extension, body: str) -> Shown | None:
    """One routed cell: where it runs is shown first."""
    from pi_v_jupyter.magics import python
    from pi_v_jupyter.views import kernels as views

    extension.route.check(body)
    vm = python.active(extension)
    display({"text/plain": views.banner_text(vm), "text/html": views.banner_html(vm)}, raw=True)
    return python.alone(extension, vm, body)


def _parsed(cell: str) -> ast.Module:
    """What IPython makes of a cell; nothing of one that it cannot read: the VM's may."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.parse(TransformerManager().transform_cell(cell))
    return ast.Module([], [])


def _called(node: ast.AST | None) -> str:
    """The magic that a call runs, or ""."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return ""
    return _argument(node, 0) if node.func.attr in ("run_line_magic", "run_cell_magic") else ""


def _argument(node: ast.AST | None, index: int) -> str:
    found = node.args[index : index + 1] if isinstance(node, ast.Call) else []
    return next((str(each.value) for each in found if isinstance(each, ast.Constant)), "")


def _mark(extension: Extension) -> Callable[[], None]:
    """Have a terminal's prompt name the VM; call what is returned to undo it. A notebook has no prompt."""
    shell: Any = extension.shell
    before = getattr(shell, "prompts", None)
    if before is None:
        return lambda: None
    from pygments.token import Token

    from pi_v_jupyter.views import kernels as views

    class Marked(type(before)):  # type: ignore[misc]
        def in_prompt_tokens(self) -> list[tuple[Any, str]]:
            vm = extension.vers.fleet.current
            return [(Token.Prompt, f"{views.banner_text(vm)} " if vm else ""), *super().in_prompt_tokens()]

    def undo() -> None:
        shell.prompts = before

    shell.prompts = Marked(shell)
    return undo
