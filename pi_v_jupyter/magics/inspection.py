"""Shift-Tab in a cell of `%%vm python` shows what the kernel on the VM knows of the name at the cursor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pi_v_jupyter.magics.completion import python

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

TIMEOUT = 1.0  # seconds


def teach(extension: Extension) -> Callable[[], None]:
    """Have the kernel that runs here pass on what is asked of such a cell; call what is returned to undo it.

    Jupyter has no place for such a thing: its kernel gives IPython the name alone, not the cell.
    """
    kernel = getattr(extension.shell, "kernel", None)
    if kernel is None:
        return lambda: None
    own = kernel.do_inspect

    def inspect(code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()) -> Any:
        answer = python.inspect(extension, code, cursor_pos, TIMEOUT, detail_level)
        return own(code, cursor_pos, detail_level, omit_sections) if answer is None else answer

    kernel.do_inspect = inspect

    def forget() -> None:
        del kernel.do_inspect  # the class has its own

    return forget
