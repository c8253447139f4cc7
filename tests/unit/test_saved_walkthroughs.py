"""The walkthroughs as they are saved: what a reader of the repository sees, before running anything."""

from __future__ import annotations

import re

import pytest
from walkthroughs import NAMES, code, may_fail, notebook

LAST = NAMES[-1]
BINDER = "It needs more than Binder gives (2 GB, one processor): run it on a computer of yours"
OF_AGENTS = ("/root/workspace", "/root/.pi/agent")  # on any machine of theirs
OF_A_COMPUTER = ("/root", "/home/", "/Users/", "/tmp/", ".cache/")
A_KEY = re.compile(r"\bsk-\w|key\W{1,4}[\w-]{20}|PRIVATE KEY|Bearer \S", re.IGNORECASE)
pytestmark = pytest.mark.parametrize("name", NAMES)


def test_it_was_run_once_from_top_to_bottom(name: str) -> None:
    cells = code(notebook(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    numbers = [
        output.execution_count for cell in cells for output in cell.outputs if "execution_count" in output
    ]
    assert set(numbers) <= {cell.execution_count for cell in cells}


def test_a_cell_shows_an_error_where_that_is_its_point_and_nowhere_else(name: str) -> None:
    for cell in code(notebook(name)):
        failed = any(output.output_type == "error" for output in cell.outputs)
        assert failed == may_fail(cell), cell.source


def test_nothing_of_the_computer_it_ran_on_and_no_key_is_in_it(name: str) -> None:
    for cell in code(notebook(name)):
        for output in cell.outputs:
            shown = str(output)
            for place in OF_AGENTS:
                shown = shown.replace(place, "")
            assert not [place for place in OF_A_COMPUTER if place in shown], (cell.source, shown)
            assert not A_KEY.search(shown), (cell.source, shown)


def test_no_cell_was_left_waiting_for_what_it_shows(name: str) -> None:
    for cell in code(notebook(name)):
        assert "asking the platform" not in str(cell.outputs), cell.source


def test_it_holds_no_more_than_cells_and_what_they_show(name: str) -> None:
    saved = notebook(name)
    assert saved.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    kept = {word for cell in saved.cells for word in (*cell.metadata, *cell.metadata.get("tags", ()))}
    assert kept <= {"tags", "raises-exception"}


def test_it_starts_the_platform_and_says_what_it_needs_and_what_is_next(name: str) -> None:
    cells = notebook(name).cells
    first, last = cells[0], cells[-1]
    assert [cell.source for cell in code(notebook(name))[:2]] == ["%load_ext pi_v_jupyter", "%vers up"]
    assert first.cell_type == last.cell_type == "markdown" and first.source.startswith("# ")
    assert "minute" in first.source and "network" in first.source and "memory" in first.source
    agents = any("%vers golden" in cell.source for cell in cells)
    assert (BINDER in first.source) == agents
    assert ("ANTHROPIC_API_KEY" in first.source) == agents
    following = "docs/" if name == LAST else NAMES[NAMES.index(name) + 1]
    assert "Next: " in last.source and following in last.source, last.source
