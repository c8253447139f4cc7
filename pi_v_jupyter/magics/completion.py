"""Tab completes paths on the VM that a magic's line is about."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from pi_v_jupyter.errors import VersError
from pi_v_jupyter.magics import words
from pi_v_jupyter.magics.options import CELL, SESSION
from pi_v_jupyter.remote.kernel import DEFAULT

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.remote.kernel import Kernel

TIMEOUT = 2.0  # seconds a Tab may take
QUICK = 0.15  # seconds the kernel of a cell has to say how it would go on
MOST = 500  # paths offered at once
_TYPES = "_jupyter_types_experimental"
# A line whose words are paths, up to its last word.
_LINE = re.compile(
    r"(?:%%vm\s+(?:write|edit)|(?:.*=\s*)?%vers\s+(?:read|(?P<copy>cp)))\s(?P<rest>.*)", re.DOTALL
)
_PYTHON = re.compile(r"%%vm[ \t].*\bpython\b")  # perhaps a cell for a kernel
_SPECIAL = re.compile(r"([^\w@%+=:,./~-])")


def matcher(extension: Extension) -> Callable[[CompletionContext], Any]:
    """For `IPCompleter.custom_matchers`."""

    @context_matcher()  # type: ignore[untyped-decorator]  # IPython does not type it
    def remote_paths(context: CompletionContext) -> Any:
        line = context.line_with_cursor[: context.cursor_position]
        found = _LINE.fullmatch(line)
        if found is None:
            return {"completions": []}
        typed, word = _last_word(found["rest"])
        name, path = _named(word) if found["copy"] else (_on(found["rest"]), word)
        if name is None:  # a local path: IPython's own matcher has it
            return {"completions": []}
        paths = _paths(extension, name, path)
        prefix = word[: len(word) - len(path)]
        return {
            "completions": [SimpleCompletion(text=quoted(prefix + each), type="path") for each in paths],
            "matched_fragment": typed,
            "suppress": True,
        }

    made: Callable[[CompletionContext], Any] = remote_paths
    return made


def python(extension: Extension) -> Callable[[CompletionContext], Any]:
    """What the kernel on the VM completes in a cell for it."""

    @context_matcher()  # type: ignore[untyped-decorator]
    def remote_python(context: CompletionContext) -> Any:
        lines = context.full_text.split("\n")
        cursor = len(
            "\n".join([*lines[: context.cursor_line], context.line_with_cursor[: context.cursor_position]])
        )
        answer = ask(extension, context.full_text, cursor, "complete_request", QUICK)
        if answer is None:
            return {"completions": []}
        body = answer["body"]
        typed = body[answer["cursor_start"] : answer["cursor_end"]]
        kinds = {each["text"]: each.get("type") for each in answer["metadata"].get(_TYPES, ())}
        return {
            "completions": [SimpleCompletion(text=each, type=kinds.get(each)) for each in answer["matches"]],
            "matched_fragment": typed,
            "suppress": True,
        }

    made: Callable[[CompletionContext], Any] = remote_python
    return made


def ask(
    extension: Extension, cell: str, cursor: int, kind: str, timeout: float, **more: Any
) -> dict[str, Any] | None:
    """What the kernel that `cell` is for says of its body; None where it does not run, or is busy."""
    line, _, body = cell.partition("\n")
    at = cursor - len(line) - 1
    if at < 0 or not _PYTHON.match(line):
        return None

    async def answered() -> dict[str, Any] | None:
        async with asyncio.timeout(timeout):
            kernel = await _kernel(extension, line.partition("%%vm")[2])
            if kernel is None or not kernel.connected:
                return None
            return await kernel.ask(kind, code=body, cursor_pos=at, **more)

    try:
        answer = extension.wait(answered(), speaks=True)
    except (VersError, TimeoutError):
        return None
    return {**answer, "body": body} if answer is not None and answer.get("status") == "ok" else None


async def _kernel(extension: Extension, line: str) -> Kernel | None:
    """Of the one VM that a line of `%%vm` is about."""
    given = CELL.make_context("vm", words.arguments(line), resilient_parsing=True).params
    if given["kind"] != "python":
        return None
    vm = extension.vers.active if given["on"] is None else await extension.find(given["on"])
    return None if vm is None else vm.kernel(given["kernel"] or DEFAULT)


def _last_word(rest: str) -> tuple[str, str]:
    """The word the cursor is at the end of: as it was typed, and what it means."""
    found, starts = words.split(rest)
    if not found or (rest[-1:].isspace() and not rest.endswith("\\ ")):
        return "", ""
    return rest[starts[-1] :], found[-1].strip("'\"")


def _named(word: str) -> tuple[str | None, str]:
    """`NAME:/path` or `:/path`; None where it is a path of this machine."""
    name, colon, path = word.partition(":")
    return (name or ".", path) if colon and "/" not in name else (None, word)


def _on(rest: str) -> str:
    given = words.split(rest)[0]
    return next((given[i + 1] for i, word in enumerate(given[:-1]) if word == "--on"), ".")


def _paths(extension: Extension, name: str, path: str) -> list[str]:
    """What in the folder of `path` begins as its last part; nothing where the machine is away."""
    folder, slash, begun = path.rpartition("/")

    async def listed() -> list[str]:
        async with asyncio.timeout(TIMEOUT):
            machine: Machine = extension.vers.machine if name == "." else await extension.find(name)
            entries = await machine.listdir(folder + slash, beside=SESSION)
            there = [entry for entry in entries if entry.name.startswith(begun)][:MOST]
            return [
                folder + slash + entry.name + "/" * (entry.kind == "directory")
                for entry in there
                if (begun or not entry.name.startswith(".")) and "\n" not in folder + entry.name
            ]

    try:
        return extension.wait(listed(), speaks=True)
    except (VersError, TimeoutError):
        return []


def quoted(path: str) -> str:
    """As it must be typed to be one word; a name with a line break cannot be typed in a line at all."""
    return _SPECIAL.sub(r"\\\1", path)
