"""Boxes that hold a widget which was closed.

`close` of ipywidgets leaves it among their children; and where JupyterLab, having loaded a page again, misses
one child of one box, it shows no widget of that kernel any more.
"""

from __future__ import annotations

from ipywidgets import Box
from ipywidgets.widgets import widget


def give_up_closed() -> None:
    """Have boxes hold an empty one in place of each: titles of tabs, and places, stay as they are."""
    for each in [*widget._instances.values()]:
        if isinstance(each, Box) and any(child.comm is None for child in each.children):
            each.children = [Box() if child.comm is None else child for child in each.children]
