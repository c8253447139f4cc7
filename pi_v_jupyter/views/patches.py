"""What agents changed: patches in the colours of diffs, bounded; HTML and text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pi_v_jupyter.names import shown
from pi_v_jupyter.texts import harmless
from pi_v_jupyter.views.tables import in_html
from pi_v_jupyter.views.telling import diff_text

if TYPE_CHECKING:
    from pi_v_jupyter.swarm.workspace import Patch

LINES = 1000  # of a patch in a cell
SHOWN = 200_000  # characters likewise
COLOURS = {"-": "var(--jp-error-color1, #c62828)", "+": "var(--jp-success-color1, #2e7d32)"}
COLOURS["@"] = "var(--jp-info-color1, #0277bd)"


def files_text(patch: Patch) -> str:
    """Such as "a changed 3 files"."""
    files = patch.files
    return f"{shown(patch.agent)} changed {len(files)} file{'' if len(files) == 1 else 's'}"


def _more(patch: Patch) -> str:
    lines = patch.text.count("\n")
    if lines <= LINES and len(patch.text) <= SHOWN:
        return ""
    return f"… it has {lines:,} lines; `.text` of this value is all of it"


def patch_text(patch: Patch) -> str:
    """As `git diff` shows it."""
    if not patch:
        return f"{shown(patch.agent)} has changed nothing."
    return f"{files_text(patch)}\n{diff_text(patch.text[:SHOWN], LINES)}{_more(patch)}".rstrip("\n")


def patch_html(patch: Patch) -> str:
    """The same, in the theme's colours."""
    if not patch:
        return f"<p>{in_html(shown(patch.agent))} has changed nothing.</p>"
    lines = harmless(patch.text[:SHOWN]).rstrip("\n").split("\n")[:LINES]
    body = "\n".join(map(_coloured, lines))
    return (
        f"<p>{in_html(files_text(patch))}</p>"
        f'<pre style="max-height: 40em; overflow: auto">{body}</pre>'
        f"<p>{in_html(_more(patch))}</p>"
    )


def _coloured(line: str) -> str:
    colour = COLOURS.get(line[:1])
    return f'<span style="color: {colour}">{escape(line)}</span>' if colour else escape(line)
