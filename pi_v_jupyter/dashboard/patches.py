"""The difference between two snapshots, and what it does to the first: JSON merge patches (RFC 7396).

`js/dashboard/patch.js` applies the same; `tests/unit/dashboard_patches.json` has cases for both. A string
that has grown is told by what was added, as {"+": "…"}: text that streams would else be sent again and again.
An object that has no other key than "+" does not occur in a snapshot, nor does a null.
"""

from __future__ import annotations

from typing import Any

MANY = 64  # characters of a string from which on only what was added is told


def diff(old: Any, new: Any) -> dict[str, Any]:
    """What `apply` makes `new` of `old` by; both are objects. Empty: nothing has changed."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
            continue
        before = old[key]
        if before is value or before == value:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            patch[key] = diff(before, value)
        elif (
            isinstance(value, str)
            and isinstance(before, str)
            and len(before) >= MANY
            and value.startswith(before)
        ):
            patch[key] = {"+": value[len(before) :]}
        else:
            patch[key] = value
    return patch


def apply(old: Any, patch: Any) -> Any:
    """What comes of `old`, which stays as it is."""
    if not isinstance(patch, dict):
        return patch
    if patch.keys() == {"+"}:
        return old + patch["+"]
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = apply(new.get(key), value)
    return new
