"""Tab completes paths on the VM that a magic's line is about."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from pi_v_jupyter.errors import VersError
from pi_v_jupyter.magics import words
from pi_v_jupyter.magics.options import SESSION

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.extension import Extension

TIMEOUT = 2.0  # seconds a Tab may take
MOST = 500  # paths offered at once
# A line whose words are paths, up to its last word.
_LINE = re.compile(
    r"(?:%%vm\s+(?:write|edit)|(?:.*=\s*)?%vers\s+(?:read|(?P<copy>cp)))\s(?P<rest>.*)", re.DOTALL
)
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
