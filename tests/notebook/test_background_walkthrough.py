"""The walkthrough of background processes does what it tells."""

from __future__ import annotations

import re

import nbformat
from kernels import Outputs, started
from platforms import ROOT, Platform


def test_the_walkthrough_serves_from_both_branches_and_leaves_nothing(shared_platform: Platform) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "04-background.ipynb", as_version=4)
    before = {process.pid for process in shared_platform.qemus()}
    shown: dict[str, Outputs] = {}
    with started(shared_platform.env) as kernel:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                shown[cell.source] = outputs = kernel.run(cell.source, timeout=120)
                fails = "raises-exception" in cell.metadata.get("tags", ())
                assert (outputs.error is not None) == fails, (cell.source, outputs)
    assert {process.pid for process in shared_platform.qemus()} == before

    def of(text: str) -> Outputs:
        """What the first cell that has this in it has shown."""
        return next(outputs for source, outputs in shown.items() if text in source)

    visitors = [f"Hello, visitor {number}\n" for number in range(1, 8)]
    said = [f"said: {line}" for line in visitors]
    assert of("range(3)").stdout.splitlines(keepends=True) == visitors[:3]
    assert of("%bg logs web").stdout.splitlines(keepends=True) == said[:3]
    followed = of("--follow")
    assert followed.stdout.startswith("".join(said[1:3]))
    assert "".join(said[1:5]).startswith(followed.stdout)
    assert followed.error == "CellInterrupted" and "`%bg stop web --on site` ends it" in followed.traceback
    assert of("build.outcome").data == ["'exit code 0'"]
    assert re.findall("step (.) of 3", of("build.lines()").stdout) == ["1", "2", "3"]
    assert of('"branch:"').stdout == f"site:   {visitors[5]}branch: Good evening, visitor 6\n"
    logs = of("%bg logs web --last 2 --on branch").stdout
    assert logs == f"{said[4]}said: Good evening, visitor 6\n"
    assert "web on branch: ended by SIGTERM" in of("%bg stop web --on branch").stdout
    stopped_in_one = shown['print(httpx.get(here).text, end="")']
    assert stopped_in_one.stdout == visitors[6], "it goes on in the other"
    assert "web on site: ended by SIGTERM" in of("%bg stop --all").stdout
