"""The walkthrough of a swarm does what it tells, on real machines; its model is the scripted one."""

from __future__ import annotations

import nbformat
from kernels import Outputs, started
from platforms import ROOT, Platform, build_golden_image


def test_the_walkthrough_has_two_agents_work_and_leaves_nothing(shared_platform: Platform) -> None:
    build_golden_image()
    notebook = nbformat.read(ROOT / "notebooks" / "05-swarm.ipynb", as_version=4)
    before = {process.pid for process in shared_platform.qemus()}
    shown: dict[str, Outputs] = {}
    without_key = {name: value for name, value in shared_platform.env.items() if name != "ANTHROPIC_API_KEY"}
    with started(without_key) as kernel:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                shown[cell.source] = outputs = kernel.run(cell.source, timeout=400)
                assert outputs.error is None, (cell.source, outputs)
        assert "walkthrough" not in kernel.run("%vers commits").text
        assert "No agents." in kernel.run("%vers swarm").text
    assert {process.pid for process in shared_platform.qemus()} == before

    def of(text: str) -> Outputs:
        """What the first cell that has this in it has shown."""
        return next(outputs for source, outputs in shown.items() if text in source)

    assert "a scripted model plays the real one" in of("import os").stdout
    work = of("--wait").stdout
    assert all(f"[{label}] ⚙ write  notes.md" in work for label in ("ann", "bob"))
    assert "finished" in of("swarm wait").text
    assert "+Examples in Python, please." in of("swarm diff").text
    assert "three rules for good names" in of("read_text").stdout
    assert "of $1.00" in of("swarm stats").text
