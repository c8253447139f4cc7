"""Names that people give to VMs: what can be one, which are free, how one is shown."""

from __future__ import annotations

import difflib
import itertools
import unicodedata
from collections.abc import Collection, Iterable, Iterator

from pi_v_jupyter.errors import UsageError

SHORTEST_PREFIX = 4  # characters of an id that may stand for it
LONGEST = 64
GUESS = "Did you mean"


def shown(text: str) -> str:
    """`text` from a platform without what steers a terminal or breaks a line."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def nearest(name: str, names: Iterable[str]) -> str:
    """Such as " Did you mean 'build'?"; empty when none is near."""
    near = difflib.get_close_matches(name, [known for known in names if known], 1)
    return f" {GUESS} {near[0]!r}?" if near else ""


def is_name(name: str) -> bool:
    """Can it be typed, and mean one thing?"""
    plain = unicodedata.normalize("NFKC", name) == name  # or two names could look the same
    plain = plain and name[:1].isalnum() and all(c.isalnum() or c in "-_." for c in name)
    return plain and len(name) <= LONGEST


def check(name: str, taken: Collection[str], ids: Collection[str]) -> None:
    """Refuse what cannot name a new VM beside those of these names and ids.

    Raises:
        UsageError: it cannot be a name, or is taken.
    """
    if not is_name(name):
        raise UsageError(
            f"{name!r} cannot name a VM.",
            "Use letters, digits, '-', '_' and '.', a letter or digit first, at most 64 of them.",
        )
    if _begins_id(name, ids):
        raise UsageError(f"A VM's id begins with {name!r} already.", "Another name avoids that.")
    if name in taken:
        raise UsageError(
            f"There is a VM named {name!r} already.", "`%vers use` takes it, another name avoids it."
        )


def numbered(name: str, count: int) -> list[str]:
    """What `count` VMs are called that are to be named `name`: so, or NAME-1, NAME-2, …"""
    return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]


def free(parent: str, count: int, taken: Collection[str], ids: Collection[str]) -> list[str]:
    """The first `count` of PARENT-1, PARENT-2, … that are free."""

    def candidates() -> Iterator[str]:
        for number in itertools.count(1):
            name = f"{parent[: LONGEST - len(str(number)) - 1]}-{number}"
            if name not in taken and not _begins_id(name, ids):
                yield name

    return list(itertools.islice(candidates(), count))


def _begins_id(name: str, ids: Collection[str]) -> bool:
    return len(name) >= SHORTEST_PREFIX and any(known.startswith(name.lower()) for known in ids)
