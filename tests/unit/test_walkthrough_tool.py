"""`python -m tools.walkthroughs`: what it saves of a run. That notebooks run is tested with real ones."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from pi_v_jupyter import demo
from pi_v_jupyter.errors import VersError
from tools import walkthroughs

ABOUT = {"language_info": {"name": "python"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A notebook of one cell."""
    file = tmp_path / "08-one.ipynb"
    cell = nbformat.v4.new_code_cell("1 + 1", id="cell-1")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=ABOUT), file)
    return file


def test_what_its_cells_show_is_saved_and_what_the_kernel_says_of_itself_is_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "of-a-user")

    def execute(notebook: NotebookNode) -> None:
        assert "ANTHROPIC_API_KEY" not in os.environ, "its model is the one that any reader has"
        notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="2\n")]
        notebook.metadata.language_info.version = "3.11"

    monkeypatch.setattr(demo, "execute", execute)
    assert walkthroughs.main([str(file)]) == 0
    saved = nbformat.read(file, as_version=4)
    assert saved.cells[0].outputs[0].text == "2\n" and saved.metadata == ABOUT


def test_one_that_fails_stays_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(notebook: NotebookNode) -> None:
        notebook.cells[0].source = "half of it"
        raise VersError("The walkthrough failed: NameError")

    monkeypatch.setattr(demo, "execute", execute)
    before = file.read_bytes()
    assert walkthroughs.main([str(file)]) == 1
    assert file.read_bytes() == before
    assert "The walkthrough failed: NameError" in capsys.readouterr().err
