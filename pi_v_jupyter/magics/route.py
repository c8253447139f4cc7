"""`%vers route on`: cells go to the Python kernel of the active VM, as if the notebook's kernel were there.

A cell goes as it was typed. That kernel is IPython too, so `!cmd`, `%%bash`, `%%writefile`, `%cd` and the
rest mean there, and to each other, what they mean here. Magics of ours stay, as do cells that begin with
`%%local`; a cell that has both is refused, for half of it would run where its user does not look.
"""

from __future__ import annotations

import ast
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from IPython.core.inputtransformer2 import TransformerManager
from IPython.display import display

from pi_v_jupyter.errors import UnknownVMError, UsageError

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.remote.kernel import Shown

LOCAL = "%%local"
OURS = "pi_v_jupyter"
_LEAVING = ("exit", "quit")
_RUNNERS = ("time", "timeit", "prun", "capture")  # magics of IPython that run code, magics in it included
_ABOUT = {  # IPython's magics that concern this notebook when what they name does
    "load_ext": OURS,
    "reload_ext": OURS,
    "unload_ext": OURS,
    "config": "Vers",
}


@dataclass
class _Request:
    """A cell that came in, from a front end or at a terminal's prompt; what runs within it did not."""

    code: str
    expressions: dict[str, str]  # to be evaluated where it runs
    body: str | None = None  # as it goes to the VM, once that is decided
    answers: dict[str, Any] = field(default_factory=dict)


# Its tasks inherit it, and threads have none: only a cell that comes in is ever routed.
_request: ContextVar[_Request | None] = ContextVar("pi_v_jupyter: the cell that came in", default=None)


class Route:
    """Whether cells are routed, and which of them."""

    def __init__(self, extension: Extension) -> None:
        self._extension = extension
        self._unmark: Callable[[], None] | None = None

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

        self._extension.settle()
        python.active(self._extension)
        if self._unmark is None:
            self._unmark = _mark(self._extension)

    def end(self) -> None:
        """Have cells run here again."""
        if self._unmark is not None:
            self._unmark()
            self._unmark = None

    def attend(self) -> Callable[[], None]:
        """See the cells that come in; call what is returned to see them no more."""
        shell: Any = self._extension.shell
        kernel = getattr(shell, "kernel", None)
        return self._at_prompt(shell) if kernel is None else self._at_front_end(kernel)

    def _at_front_end(self, kernel: Any) -> Callable[[], None]:
        own = kernel.do_execute

        @functools.wraps(own)
        async def execute(
            code: str,
            silent: bool,
            store_history: bool = True,
            user_expressions: Any = None,
            *rest: Any,
            **more: Any,
        ) -> Any:
            request = _Request(code, user_expressions or {})
            # What is silent is no cell, but a tool's that looks at the kernel it knows.
            token = _request.set(None if silent else request)
            there = not silent and self.covers(code)
            try:
                reply = own(code, silent, store_history, None if there else user_expressions, *rest, **more)
                reply = await reply if inspect.isawaitable(reply) else reply
            finally:
                _request.reset(token)
            if there and reply.get("status") == "ok":
                reply["user_expressions"] = request.answers
            return reply

        kernel.do_execute = execute
        return lambda: delattr(kernel, "do_execute")  # the class has its own

    def _at_prompt(self, shell: Any) -> Callable[[], None]:
        own = shell.run_cell

        @functools.wraps(own)
        def run_cell(raw_cell: str, *rest: Any, **more: Any) -> Any:
            if _request.get() is not None or threading.current_thread() is not threading.main_thread():
                return own(raw_cell, *rest, **more)
            token = _request.set(_Request(raw_cell, {}))
            try:
                return own(raw_cell, *rest, **more)
            finally:
                _request.reset(token)

        shell.run_cell = run_cell
        return lambda: delattr(shell, "run_cell")

    def transform(self, lines: list[str]) -> list[str]:
        """For `input_transformers_cleanup`, the first of them."""
        start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
        if start < len(lines) and lines[start].strip() == LOCAL:
            return lines[start + 1 :]
        cell, request = "".join(lines), _request.get()
        if request is None or request.code.rstrip("\n") != cell.rstrip("\n") or not self.covers(cell):
            return lines
        request.body = cell
        return [f"get_ipython().run_cell_magic('vm', 'python', {cell!r})\n"]

    # Whether a cell is complete is not a matter of where it runs.
    transform.has_side_effects = True  # type: ignore[attr-defined]

    def takes(self, cell: str) -> bool:
        """Is this what `transform` has made of the cell that came in?"""
        request = _request.get()
        return request is not None and request.body == cell

    def covers(self, cell: str) -> bool:
        """Is this a cell for the VM?"""
        return self.on and bool(cell.strip()) and cell.split()[0] != LOCAL and not self._stays(cell)

    def check(self, cell: str) -> None:
        """Raises UsageError: parts of it belong here."""
        ours = sorted({_called(node) for node in _calls(cell) if self._is_ours(node)})
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
    from pi_v_jupyter.magics import cells, options, planmode, python
    from pi_v_jupyter.views import kernels as views

    extension.route.check(body)
    vm = extension.vers.active
    if vm is None:
        raise UnknownVMError(
            "Cells are routed, and no VM is active.",
            "`%vers use VM` makes one so; `%vers route off` has cells run here.",
        )
    if extension.vers.plan.is_on:
        cells.execute(extension, "bash", planmode.shell_of(body), options.UNSAID)
        return None
    display({"text/plain": views.banner_text(vm), "text/html": views.banner_html(vm)}, raw=True)
    request = _request.get()
    shown, answers = python.alone(extension, vm, body, request.expressions if request else {})
    if request is not None:
        request.answers = answers
    return shown


def _calls(cell: str) -> Iterator[ast.AST]:
    """All there is in a cell, and in what magics that run code are given."""
    for node in ast.walk(_parsed(cell)):
        yield node
        if _called(node) in _RUNNERS:
            yield from _calls(_argument(node, 1))
            yield from _calls(_argument(node, 2))


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
        if shell.prompts is marked:
            shell.prompts = before

    marked = shell.prompts = Marked(shell)
    return undo
