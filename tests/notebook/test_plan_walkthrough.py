"""The walkthrough of plans does what it tells, on a real machine; its model is the scripted one."""

from __future__ import annotations

import nbformat
from kernels import Outputs, started
from platforms import ROOT, Platform, build_golden_image


def test_the_walkthrough_has_an_agent_plan_and_do_it_and_leaves_nothing(shared_platform: Platform) -> None:
    build_golden_image()
    notebook = nbformat.read(ROOT / "notebooks" / "06-plan.ipynb", as_version=4)
    before = {process.pid for process in shared_platform.qemus()}
    shown: dict[str, Outputs] = {}
    without_key = {name: value for name, value in shared_platform.env.items() if name != "ANTHROPIC_API_KEY"}
    with started(without_key) as kernel:
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                shown[f"{number} {cell.source}"] = outputs = kernel.run(cell.source, timeout=400)
                assert outputs.error is None, (cell.source, outputs)
        assert "walkthrough" not in kernel.run("%vers commits").text
        assert "No agents." in kernel.run("%vers swarm").text
    assert {process.pid for process in shared_platform.qemus()} == before

    def of(text: str, which: int = 0) -> Outputs:
        """What a cell that has this in it has shown."""
        return [outputs for source, outputs in shown.items() if text in source][which]

    assert "○ 2. Read `notes.md` again, to see that it is whole." in of("%%task ann --plan").data[-1]
    assert "ann has changed nothing." in of("swarm diff").text
    assert of("plan run").data[-1].startswith("✓ ann: its plan is done, 2 of 2 steps done")
    assert "1 file: notes.md" in of("plan show").text
    assert "+++ b/notes.md" in of("swarm diff", 1).text
