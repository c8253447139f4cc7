"""Walkthroughs run as a reader runs them: all cells from top to bottom, in an empty folder, without keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from kernels import Kernel, Outputs, started
from nbformat import NotebookNode
from platforms import ROOT, Platform

SLOW = 600  # seconds for a cell: an image for agents is built in one
FOLDER = ROOT / "notebooks"
NAMES = sorted(file.stem for file in FOLDER.glob("*.ipynb"))


@dataclass
class Walked:
    """A walkthrough that ran. `shown`: the code cells in their order, each with what it has shown."""

    kernel: Kernel
    shown: list[tuple[str, Outputs]]

    def of(self, text: str, which: int = 0) -> Outputs:
        """What a cell that has this in it has shown: the first such cell, or another."""
        return [outputs for source, outputs in self.shown if text in source][which]


def notebook(name: str) -> NotebookNode:
    """A walkthrough as it is in the repository."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(walkthrough: NotebookNode) -> list[NotebookNode]:
    """Its cells that run."""
    return [cell for cell in walkthrough.cells if cell.cell_type == "code"]


def may_fail(cell: NotebookNode) -> bool:
    """Whether its error is the point of it."""
    return "raises-exception" in cell.metadata.get("tags", ())


@contextmanager
def walked(name: str, platform: Platform, folder: Path) -> Iterator[Walked]:
    """Run a walkthrough in `folder`, which is empty; its kernel ends with the context.

    A cell fails where that is its point, and no other. It shows what is saved of it in the repository: output
    of the same kinds. No key of the platform is shown, and no machine, commit, tag, agent or file is left.
    """
    before = asyncio.run(_what_there_is(platform))
    key = Path(platform.description.key_file).read_text().strip()
    shown = []
    env = {name: value for name, value in platform.env.items() if not name.endswith("_API_KEY")}
    with started(env) as kernel:
        kernel.run(f"%cd -q {folder}")
        for cell in code(notebook(name)):
            outputs = kernel.run(cell.source, timeout=SLOW)
            assert (outputs.error is not None) == may_fail(cell), (cell.source, outputs)
            assert _kinds(outputs) == _saved_kinds(cell), (cell.source, outputs)
            assert key not in outputs.text, cell.source
            shown.append((cell.source, outputs))
        agents = kernel.run("%vers swarm").text
        assert "No agents." in agents, agents
        files = sorted(file.name for file in folder.iterdir())
        assert not files, f"left: {files}"
        yield Walked(kernel, shown)
    after = asyncio.run(_what_there_is(platform))
    assert after == before, f"there is {after}, and was {before}"


async def _what_there_is(platform: Platform) -> dict[str, set[str]]:
    return {
        "processes": {str(process.pid) for process in platform.qemus()},
        "machines": {vm["vm_id"] for vm in await platform.get("/vms")},
        "commits": {commit["commit_id"] for commit in (await platform.get("/commits"))["commits"]},
        "tags": {tag["tag_name"] for tag in (await platform.get("/commit_tags"))["tags"]},
    }


def _kinds(outputs: Outputs) -> set[str]:
    """Of what a cell has shown; how long it waited, and what it was waiting for, comes and goes."""
    parts = {"output": outputs.stdout, "errors": outputs.stderr, "error": outputs.error, "html": outputs.html}
    return {kind for kind, part in parts.items() if part}


def _saved_kinds(cell: NotebookNode) -> set[str]:
    names = {"stdout": "output", "stderr": "errors"}
    kinds = {names[output.name] for output in cell.outputs if output.output_type == "stream"}
    kinds |= {"error" for output in cell.outputs if output.output_type == "error"}
    return kinds | {"html" for output in cell.outputs if "text/html" in output.get("data", {})}
