"""Agents plan before they act: the contract of `%%task --plan`, `%plan` and `%%plan`, with the real pi."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from farm import Farm, farm
from kernels import Kernel, Outputs, refused, started
from pis import NEW, installed, scripted_model
from platforms import ROOT
from test_swarm import good
from test_task_cells import COLOUR

from pi_v_jupyter.swarm.scripted import MODEL, PROVIDER, provider

PLAN = "I have looked.\n\nPlan:\n1. Write `a.txt`.\n2. Write b.txt.\n3. Say so.\n"
STEPS = ["1. Write `a.txt`.", "2. Write b.txt.", "3. Say so."]
EXTENSION = "extensions/planning.ts"


@dataclass
class Room:
    """A kernel, a folder of VMs that is this machine, and the script of all models."""

    kernel: Kernel
    farm: Farm
    script: Path
    env: dict[str, str]

    def says(self, *turns: object) -> None:
        """Have the model answer so, from the next request on."""
        self.script.write_text(json.dumps({"turns": turns, "gate": os.urandom(4).hex()}))

    def held(self, *words: str) -> tuple[list[object], list[Path]]:
        """An answer that goes on from one of these words to the next when a gate between them is opened."""
        folder = Path(tempfile.mkdtemp(dir=self.farm.folder))
        gates = [folder / str(number) for number in range(1, len(words))]
        blocks: list[object] = [{"say": words[0]}]
        for gate, word in zip(gates, words[1:], strict=True):
            blocks += [{"hold": str(gate)}, {"say": word}]
        return blocks, gates


@pytest.fixture(scope="module")
def shared() -> Iterator[Room]:
    if os.geteuid() != 0:
        pytest.skip("a VM is logged in to as root")
    words = ["env", "PI_OFFLINE=1", *installed(NEW), "--model", f"{PROVIDER}/{MODEL}"]
    extension = ROOT / "golden" / "extensions" / "vers" / "plan.ts"
    with tempfile.TemporaryDirectory(prefix="pv-") as name:
        folder, script = Path(name), Path(name) / "script.json"
        script.write_text("{}")
        with scripted_model(folder, script) as url, farm(folder, shlex.join(words)) as (made, env):
            made.config["models.json"] = json.dumps({"providers": {PROVIDER: provider(url)}})
            made.config[EXTENSION] = f'import {{ plan }} from "{extension}";\nexport default plan;\n'
            env = env | {"ANTHROPIC_API_KEY": "key"}
            with started(env) as kernel:
                kernel.run("%load_ext pi_v_jupyter")
                yield Room(kernel, made, script, env)


@pytest.fixture
def room(shared: Room) -> Iterator[Room]:
    """Two agents, a and b, that were told nothing yet."""
    spawned = shared.kernel.run("team = %vers swarm spawn golden --labels a,b", timeout=120)
    assert spawned.error is None, spawned
    shared.kernel.late.clear()
    yield shared
    good(shared.kernel, "%vers swarm teardown -f")


def planned(room: Room, label: str = "a", plan: str = PLAN) -> Outputs:
    """What is shown of an agent that has planned."""
    room.says(plan)
    return good(room.kernel, f"%%task {label} --plan --wait\nMake two files.")


def late(kernel: Kernel, text: str) -> str:
    """Until a display of an earlier cell was changed to one with this in it."""
    for _ in range(1200):
        found = next((each for each in reversed(kernel.late) if text in each), None)
        if found is not None:
            return found
        kernel.run("import time; time.sleep(0.05)")
    pytest.fail(f"{text!r} never came: {kernel.late[-3:]}")


def test_a_planned_task_becomes_steps_that_are_run_ticked_and_summed_up(room: Room) -> None:
    kernel = room.kernel
    room.says({"content": [{"call": "write", "with": {"path": "a.txt", "content": "no"}}]}, PLAN)
    shown = good(kernel, "%%task a --plan --wait\nMake two files.")
    assert "✗ write failed" in COLOUR.sub("", shown.stdout), "it has no such tool"
    assert shown.data[-1].splitlines() == [
        "○ a: it has a plan, 0 of 3 steps done. `%plan run a` has it carried out",
        *(f"    ○ {step}" for step in STEPS),
    ]
    assert "<li>○ 2. Write b.txt.</li>" in shown.html[-1]
    write = {"call": "write", "with": {"path": "a.txt", "content": "yes"}}
    room.says({"content": [write]}, "[DONE:1] It is there.\n\n[DONE:2] [DONE:9]\n\n[DONE:3]")
    shown = good(kernel, "%plan run --wait")
    head, *steps, sums = shown.data[-1].splitlines()
    assert head == "✓ a: its plan is done, 3 of 3 steps done"
    assert steps == [f"    ✓ {step}" for step in STEPS]
    assert "$0." in sums and " s  " in sums and sums.endswith("1 file: a.txt")
    told = kernel.value("team.agents[0].run.prompt")
    assert "1. Write `a.txt`.\n2. Write b.txt.\n3. Say so." in told and "[DONE:n]" in told
    assert good(kernel, "%plan").data == good(kernel, "%plan show a").data == shown.data[-1:]
    refused(kernel, "%plan run a", "AgentError", "All steps of a's plan are done.")


def test_steps_are_ticked_in_the_cell_as_they_are_done_and_stay_as_they_were_last(room: Room) -> None:
    kernel = room.kernel
    planned(room)
    blocks, (first, second) = room.held("I begin. ", "So it is. [DONE:1] And on.", "Not that.")
    room.says({"content": blocks, "size": 4})
    shown = good(kernel, "%plan run a")
    assert shown.data[-1].splitlines()[:2] == [
        "⟳ a: working on its plan, 0 of 3 steps done",
        "    ▸ 1. Write `a.txt`.",
    ]
    refused(kernel, "%plan run a", "AgentError", "a works already.")
    first.touch()
    assert "✓ 1. Write `a.txt`." in late(kernel, "a: working on its plan, 1 of 3 steps done")
    second.touch()
    assert late(kernel, "a: stopped").splitlines()[0] == (
        "⊘ a: stopped, 1 of 3 steps done. `%plan run a` has it go on"
    )
    room.says("[DONE:2]\n\n[DONE:3]")
    good(kernel, "%plan run a --wait")
    assert "Done already: 1." in kernel.value("team.agents[0].run.prompt")
    assert "its plan is done" in good(kernel, "%plan show a").data[-1]


def test_a_plan_comes_into_the_cell_that_asked_for_it(room: Room) -> None:
    kernel = room.kernel
    blocks, (gate,) = room.held("I look. ", PLAN)
    room.says({"content": blocks})
    shown = good(kernel, "%%task a --plan\nMake two files.")
    assert shown.data == ["⟳ a: planning; it may only look"]
    refused(kernel, "%plan run a", "AgentError", "a is still planning.  `%vers swarm wait a`")
    gate.touch()
    assert "○ 3. Say so." in late(kernel, "0 of 3 steps done")


def test_a_plan_is_thought_over_and_steps_are_ticked_by_hand(room: Room) -> None:
    kernel = room.kernel
    planned(room)
    assert "    ✓ 2. Write b.txt." in good(kernel, "%plan done 2").data[-1]
    refused(kernel, "%plan done 9 a", "UsageError", "The plan of a has no step 9.  Its steps are 1, 2, 3.")
    shown = planned(room, plan="Better so.\n\n## Plan\n1. Write all.\n")
    assert shown.data[-1].splitlines()[0].startswith("○ a: it has a plan, 0 of 1 steps done.")
    room.says("I would not know.")
    shown = good(kernel, '%vers swarm task a --plan --wait "And now?"')
    assert "! No new plan: its answer has no numbered steps" in shown.data[-1]
    assert "○ 1. Write all." in shown.data[-1], "the one before stays"


def test_a_plan_can_be_written_in_a_cell(room: Room) -> None:
    kernel = room.kernel
    body = "# Monday\n\n1. Write `a.txt`,\n   with $x and {y}\n   - nested\n2. Rest.\n"
    shown = good(kernel, f"%%plan b\n{body}")
    assert "    ○ 1. Write `a.txt`, with $x and {y}" in shown.data[-1]
    room.says("[DONE:1]")
    good(kernel, "%plan run --wait")
    assert "   with $x and {y}\n   - nested\n2. Rest." in kernel.value("team.agents[1].run.prompt")
    assert "1 of 2 steps done" in good(kernel, "%plan show b").data[-1]
    refused(kernel, "%%plan b\nnothing", "UsageError", "There are no steps in this text.  Write them")


def test_an_ordinary_task_has_all_tools_again(room: Room) -> None:
    kernel = room.kernel
    planned(room)
    write = {"call": "write", "with": {"path": "c.txt", "content": "yes"}}
    room.says({"content": [write]}, "Written.")
    assert "✓ write" in COLOUR.sub("", good(kernel, "%%task a --wait\nWrite c.txt.").stdout)


def test_plans_are_known_to_a_kernel_that_is_started_again(room: Room) -> None:
    kernel = room.kernel
    planned(room)
    good(kernel, "%plan done 2 a")
    blocks, (gate,) = room.held("[DONE:1] ", "and on")
    room.says({"content": blocks})
    begun = "a: working on its plan, 2 of 3 steps done"
    shown = good(kernel, "%plan run a").data[-1]
    if begun not in shown:
        late(kernel, begun)
    with started(room.env) as other:
        other.run("%load_ext pi_v_jupyter")
        shown = good(other, "%plan show a").data[-1]
        assert "2 of 3 steps done" in shown and "▸ 3. Say so." in shown
        gate.touch()
        good(other, "%vers swarm wait a")
        assert "a: stopped, 2 of 3 steps done" in good(other, "%plan show a").data[-1]


def test_what_cannot_be_is_said_with_what_to_do(room: Room) -> None:
    kernel = room.kernel
    assert good(kernel, "%plan").data == ["No plans.  `%%task LABEL --plan` has an agent make one."]
    refused(kernel, "%plan run", "UsageError", "No agent has a plan.  `%%task LABEL --plan`")
    refused(kernel, "%plan run a", "AgentError", "a has no plan.  `%%task a --plan` asks it for one.")
    refused(kernel, "%plan show nobody", "UnknownAgentError", "There is no agent 'nobody'.")
    refused(kernel, "%%task a --plan --steer\nx", "UsageError", "--plan and --steer exclude each other.")
    shown = planned(room, plan="I would write two files.")
    assert shown.data[-1].startswith(
        "○ a: it has no plan\n    ! No new plan: its answer has no numbered steps"
    )
    refused(kernel, "%plan run a", "AgentError", "a has no plan: its answer has no numbered steps")
    planned(room), planned(room, "b")
    refused(kernel, "%plan done 1", "UsageError", "Several agents have plans.  Name one: a, b.")


def test_an_agent_of_an_older_golden_image_says_so_and_is_told_nothing(room: Room) -> None:
    kernel, extension = room.kernel, room.farm.config.pop(EXTENSION)
    try:
        good(kernel, "old = %vers swarm spawn golden --labels old")
        refused(
            kernel,
            "%%task old --plan\nMake two files.",
            "AgentError",
            "old cannot plan: it was made of a golden image that is older than this.  `%vers golden build`",
        )
        assert kernel.value("old.agents[0].story.runs") == []
    finally:
        room.farm.config[EXTENSION] = extension
