"""What `%vers?`, `%%vm?`, `%bg?`, `%%task?` and `%plan?` show: the whole help, made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def explained(page: Callable[[], str]) -> Callable[[F], F]:
    """Have IPython show `page()` of a magic in place of its docstring."""

    def mark(function: F) -> F:
        function.getdoc = page  # type: ignore[attr-defined]  # where IPython's `?` looks first
        return function

    return mark


def vers() -> str:
    """Of `%vers`."""
    from pi_v_jupyter.magics import vers, words

    return words.help_of(vers.vers, "%vers")


def vm() -> str:
    """Of `%%vm` in all its kinds, and of `%vm`: one magic to IPython."""
    from pi_v_jupyter.magics import cells, words

    return "\n\n".join(words.help_of(command, path) for path, command in cells.COMMANDS.items())


def bg() -> str:
    """Of `%bg` and `%%bg`."""
    from pi_v_jupyter.magics import background, words

    return "\n\n".join(words.help_of(command, path) for path, command in background.COMMANDS.items())


def task() -> str:
    """Of `%%task`."""
    from pi_v_jupyter.magics import tasks, words

    return "\n\n".join(words.help_of(command, path) for path, command in tasks.COMMANDS.items())


def plan() -> str:
    """Of `%plan` and `%%plan`."""
    from pi_v_jupyter.magics import plan, words

    return "\n\n".join(words.help_of(command, path) for path, command in plan.COMMANDS.items())
