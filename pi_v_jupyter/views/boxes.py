"""Boxes that hold a widget which is closed.

`close` of ipywidgets leaves it among their children; and where JupyterLab, having loaded a page again, misses
one child of one box, it shows no widget of that kernel any more.
"""

from __future__ import annotations

from ipywidgets import Box, Widget
from ipywidgets.widgets import widget as widgets


def take_out(closing: Widget) -> None:
    """Have no box hold it any more."""
    for box in [*widgets._instances.values()]:
        if isinstance(box, Box) and closing in box.children:
            box.children = [child for child in box.children if child is not closing]
