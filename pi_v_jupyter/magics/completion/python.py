"""What a kernel on a VM says of the code in a cell for it: how it may go on, and what its names are."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

from pi_v_jupyter import loops
from pi_v_jupyter.errors import VersError
from pi_v_jupyter.magics import words
from pi_v_jupyter.magics.completion.tab import QUICK, known
from pi_v_jupyter.magics.options import CELL
from pi_v_jupyter.magics.parameters import TYPES
from pi_v_jupyter.remote.kernel import DEFAULT
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.remote.kernel import Kernel

_PYTHON = re.compile(r"%%vm[ \t].*\bpython\b")  # perhaps a cell for a kernel


def complete(extension: Extension, cell: str, cursor: int) -> tuple[str, list[CompletionItem[str]]]:
    """What stands where the answers belong, and they; none where no kernel runs, or it is busy."""
    answer = ask(extension, cell, cursor, "complete_request", QUICK)
    if answer is None:
        return "", []
    kinds = {each["text"]: each.get("type") for each in answer["metadata"].get(TYPES, ())}
    typed = answer["body"][answer["cursor_start"] : answer["cursor_end"]]
    return typed, [CompletionItem(each, type=kinds.get(each) or "<unknown>") for each in answer["matches"]]


def ask(
    extension: Extension, cell: str, cursor: int, kind: str, timeout: float, **more: Any
) -> dict[str, Any] | None:
    """What the kernel that `cell` is for says of its body; None where it does not run, or is busy."""
    line, _, body = cell.partition("\n")
    at = cursor - len(line) - 1
    if extension.route.covers(cell):
        line, body, at = "%%vm python", cell, cursor
    if at < 0 or not _PYTHON.match(line):
        return None

    async def answered() -> dict[str, Any] | None:
        async with asyncio.timeout(timeout):
            kernel = await _kernel(extension, line.partition("%%vm")[2])
            if kernel is None or not kernel.connected:
                return None
            return await kernel.ask(kind, code=body, cursor_pos=at, **more)

    try:
        answer = loops.wait(answered())
    except (VersError, TimeoutError):
        return None
    return {**answer, "body": body} if answer is not None and answer.get("status") == "ok" else None


async def _kernel(extension: Extension, line: str) -> Kernel | None:
    """Of the one VM that a line of `%%vm` is about."""
    given = CELL.make_context("vm", words.arguments(line), resilient_parsing=True).params
    if given["kind"] != "python":
        return None
    name = given["on"] or "."
    machine = known(extension, name) or await extension.find(name)
    return machine.kernel(given["kernel"] or DEFAULT) if isinstance(machine, VM) else None
