"""`pi-v-jupyter demo` runs the walkthrough as the README says."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import platformdirs
from platforms import Platform


def test_the_demo_shows_the_guest_writes_both_copies_and_leaves_nothing(
    shared_platform: Platform, tmp_path: Path
) -> None:
    image = {"XDG_CACHE_HOME": str(platformdirs.user_cache_path())}
    demo = Platform(shared_platform.folder, shared_platform.env | image)
    before = {process.pid for process in demo.qemus()}
    done = demo.run("demo", "--output", str(tmp_path), timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^Linux first \S+cloud\S* .*GNU/Linux$", done.stdout, re.MULTILINE)
    executed = nbformat.read(tmp_path / "01-first-cells.ipynb", as_version=4)
    failed = [
        cell.source
        for cell in executed.cells
        if cell.cell_type == "code" and any(output.output_type == "error" for output in cell.outputs)
    ]
    tagged = [cell.source for cell in executed.cells if "raises-exception" in cell.metadata.get("tags", ())]
    assert failed == tagged
    assert "Linux first" in (tmp_path / "01-first-cells.html").read_text()
    assert {process.pid for process in demo.qemus()} == before
