"""Boxes of ipywidgets that hold what was closed."""

from __future__ import annotations

from ipywidgets import Box, HBox, Label, Tab, VBox

from pi_v_jupyter.views.boxes import give_up_closed


def test_in_place_of_what_was_closed_is_an_empty_box_and_all_else_stays_where_it_was() -> None:
    first, stays, last = Label("first"), Label("stays"), Label("last")
    tab = Tab([first, stays, last], titles=("First", "Stays", "Last"), selected_index=2)
    outer = VBox([HBox([stays, first]), tab])
    first.close()
    last.close()
    give_up_closed()
    assert [type(each) for each in tab.children] == [Box, Label, Box]
    assert (tab.children[1], tab.titles, tab.selected_index) == (stays, ("First", "Stays", "Last"), 2)
    assert outer.children[0].children[0] is stays and outer.children[1] is tab
    assert all(each.comm is not None for each in (*tab.children, *outer.children[0].children))
