"""Agents of the real pi in a real kernel: only the model follows a script."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from farm import farm
from kernels import Kernel, started
from pis import NEW, installed, scripted_model
from test_swarm import good, table
from test_task_cells import COLOUR

from pi_v_jupyter.swarm.scripted import MODEL, PROVIDER, provider


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[Kernel, Path]]:
    """A kernel with two agents, a and b, and the script that their model follows."""
    if os.geteuid() != 0:
        pytest.skip("a VM is logged in to as root")
    words = ["env", "PI_OFFLINE=1", *installed(NEW), "--model", f"{PROVIDER}/{MODEL}"]
    with tempfile.TemporaryDirectory(prefix="pv-") as name:
        folder, script = Path(name), Path(name) / "script.json"
        script.write_text("{}")
        with scripted_model(folder, script) as url, farm(folder, shlex.join(words)) as (made, env):
            made.config["models.json"] = json.dumps({"providers": {PROVIDER: provider(url)}})
            retry = {"baseDelayMs": 20, "provider": {"maxRetries": 0}}
            made.config["settings.json"] = json.dumps({"retry": retry})
            with started(env | {"ANTHROPIC_API_KEY": "key"}) as kernel:
                kernel.run("%load_ext pi_v_jupyter")
                spawned = kernel.run("team = %vers swarm spawn golden --labels a,b", timeout=120)
                assert spawned.error is None, spawned
                yield kernel, script
                good(kernel, "%vers swarm teardown -f")


def lines(kernel: Kernel, cell: str) -> list[str]:
    """What a cell shows, without colours."""
    return [line.rstrip() for line in COLOUR.sub("", good(kernel, cell).stdout).splitlines()]


def test_two_agents_rehearse_and_leave_their_files(real: tuple[Kernel, Path], tmp_path: Path) -> None:
    kernel, _ = real
    shown = lines(kernel, "%%task a,b --wait\nSay what you do.")
    for label in "ab":
        own = [line.removeprefix(f"[{label}] ") for line in shown if line.startswith(f"[{label}] ")]
        assert own[:3] == ["I note the task in notes.md first.", "⚙ write  notes.md", own[2]]
        assert "Now I read it again." in own and "⚙ read  notes.md" in own
        assert own[-2].startswith("The task was: “Say what you do.") and own[-1].startswith("✓ done")
    good(kernel, f"%vers swarm collect * notes.md {tmp_path}")
    assert "Say what you do." in (tmp_path / "a" / "notes.md").read_text()
    assert "+Say what you do." in COLOUR.sub("", good(kernel, "%vers swarm diff b").data[0])
    assert kernel.value("team.agents[0].run.usage.cost > 0")


def test_a_model_that_stays_away_ends_as_an_error_and_the_agent_goes_on(real: tuple[Kernel, Path]) -> None:
    kernel, script = real
    script.write_text(json.dumps({"turns": [{"status": 529, "times": 9}]}))
    shown = lines(kernel, "%%task a --wait\nTry.")
    assert shown[0].startswith("↻ attempt 1 of 3 follows in 0.02 s: ") and len(shown) == 4, shown
    assert shown[-1].startswith("✗ error") and "Overloaded" in shown[-1]
    assert table(good(kernel, "%vers swarm"))["a"].startswith("error Try.")
    script.write_text(json.dumps({"turns": ["I am back."]}))
    assert lines(kernel, "%%task a --wait\nAgain.")[0] == "I am back."


def test_one_is_aborted_in_the_middle_of_its_answer(real: tuple[Kernel, Path]) -> None:
    kernel, script = real
    gate = script.with_name("gate")
    script.write_text(json.dumps({"turns": [{"content": [{"say": "I begin."}, {"hold": str(gate)}]}]}))
    cell = kernel.start("%%task b --wait\nBegin.")
    cell.wait_for("I begin.")
    kernel.interrupt()
    assert cell.finish().error == "CellInterrupted"
    assert good(kernel, "%vers swarm abort b").stdout.startswith("⊘ b: aborted")
    gate.touch()
