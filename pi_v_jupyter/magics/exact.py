"""The body of a `%%vm`, `%%bg`, `%%task` or `%%plan` cell as it was typed.

IPython takes what looks like a Python prompt (`>>>`, `...`, `In [1]:`) off every line of a cell before it
looks whether a magic is to have it: other languages use such lines, and so do edits and people.
"""

from __future__ import annotations

import re

_FIRST = re.compile(r"%%(vm|bg|task|plan)(?:[ \t]+(.*))?")


def transform(lines: list[str]) -> list[str]:
    """For `input_transformers_cleanup`, before IPython's own: leaves other cells as they are."""
    start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    first = _FIRST.fullmatch(lines[start].rstrip()) if start + 1 < len(lines) else None
    if first is None:
        return lines
    body = "".join(lines[start + 1 :])
    return [f"get_ipython().run_cell_magic({first[1]!r}, {first[2] or ''!r}, {body!r})\n"]


# IPython runs the cleanups also to see whether what is typed in a terminal is a whole cell, all but those
# said to have side effects. It has to find the `%%` there: such a cell goes on to an empty line.
transform.has_side_effects = True  # type: ignore[attr-defined]
