"""Boxes of ipywidgets that hold what is closed."""

from __future__ import annotations

from ipywidgets import HBox, Label, VBox

from pi_v_jupyter.views.boxes import take_out


def test_what_is_closed_leaves_every_box_and_nothing_else_does() -> None:
    closing, stays = Label("closing"), Label("stays")
    inner = HBox([closing, stays, closing])
    outer = VBox([inner, closing])
    take_out(closing)
    assert (inner.children, outer.children) == ((stays,), (inner,))
