"""What a kernel on a VM says of the code in a cell for it: how it may go on, and what its names are."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

from pi_v_jupyter import loops
from pi_v_jupyter.errors import VersError
from pi_v_jupyter.magics import words
from pi_v_jupyter.magics.completion.tab import Tab, known
from pi_v_jupyter.magics.options import CELL
from pi_v_jupyter.magics.parameters import TYPES
from pi_v_jupyter.remote.kernel import DEFAULT
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.remote.kernel import Kernel

_PYTHON = re.compile(r"%%vm[ \t].*\bpython\b")  # perhaps a cell for a kernel


def complete(tab: Tab, cell: str, cursor: int) -> tuple[str, list[CompletionItem[str]]]:
    """What stands where the answers belong, and they; none where no kernel runs, or it is busy."""
    found = _body(tab.extension, cell, cursor)
    if found is None:
        return "", []
    answer = tab.ask((cell, cursor), lambda: _asked(tab.extension, found, "complete_request"))
    if answer is None:
        return "", []
    matches, start, end = (answer.get(name) for name in ("matches", "cursor_start", "cursor_end"))
    if not isinstance(matches, list) or not isinstance(start, int) or end != found.cursor:
        return "", []
    typed = found.code[max(start, 0) : end]
    if "\n" in typed:  # no name goes over lines, and what stands there is the user's
        return "", []
    kinds = _kinds(answer)
    return typed, [
        CompletionItem(each, type=kinds.get(each, "<unknown>")) for each in matches if isinstance(each, str)
    ]


def _kinds(answer: dict[str, Any]) -> dict[str, str]:
    """Of what kind each completion is, as far as the kernel says."""
    metadata = answer.get("metadata")
    told = metadata.get(TYPES) if isinstance(metadata, dict) else None
    return {
        str(each.get("text")): str(each.get("type") or "<unknown>")
        for each in (told if isinstance(told, list) else ())
        if isinstance(each, dict)
    }


def inspect(
    extension: Extension, cell: str, cursor: int, timeout: float, detail_level: int
) -> dict[str, Any] | None:
    """What the kernel that `cell` is for says of the name at `cursor`; None for any other cell."""
    found = _body(extension, cell, cursor)
    if found is None:
        return None
    nothing = {"status": "ok", "found": False, "data": {}, "metadata": {}}

    async def answered() -> dict[str, Any] | None:
        async with asyncio.timeout(timeout):
            return await _asked(extension, found, "inspect_request", detail_level=detail_level)

    try:
        answer = loops.wait(answered())
    except (VersError, TimeoutError):
        return nothing
    if answer is None or not isinstance(answer.get("data"), dict):
        return nothing
    data = {str(kind): str(text) for kind, text in answer["data"].items()}
    return {"status": "ok", "found": bool(answer.get("found")), "data": data, "metadata": {}}


@dataclass(frozen=True)
class _Code:
    """What is for a kernel; `line` is what follows `%%vm`."""

    line: str
    code: str
    cursor: int


def _body(extension: Extension, cell: str, cursor: int) -> _Code | None:
    if extension.route.covers(cell):
        return _Code("python", cell, cursor)
    blank = len(cell) - len(cell.lstrip("\n"))
    line, _, body = cell[blank:].partition("\n")
    at = cursor - blank - len(line) - 1
    return _Code(line.partition("%%vm")[2], body, at) if at >= 0 and _PYTHON.match(line) else None


async def _asked(extension: Extension, found: _Code, kind: str, **more: Any) -> dict[str, Any] | None:
    kernel = await _kernel(extension, found.line)
    if kernel is None or not kernel.connected:
        return None
    answer = await kernel.ask(kind, code=found.code, cursor_pos=found.cursor, **more)
    return answer if answer.get("status") == "ok" else None


async def _kernel(extension: Extension, line: str) -> Kernel | None:
    """Of the one VM that a line of `%%vm` is about."""
    given = CELL.make_context("vm", words.arguments(line), resilient_parsing=True).params
    if given["kind"] != "python":
        return None
    name = given["on"] or "."
    machine = known(extension, name) or await extension.find(name)
    return machine.kernel(given["kernel"] or DEFAULT) if isinstance(machine, VM) else None
