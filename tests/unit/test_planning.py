"""What an agent has planned, and how far it is: told by its story, and by what a person wrote or ticked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pi_v_jupyter.errors import AgentError, UsageError
from pi_v_jupyter.plan.steps import Plan, Step
from pi_v_jupyter.state import State
from pi_v_jupyter.swarm import restraint
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.changes import Death
from pi_v_jupyter.swarm.planning import KIND, Plans, Progress, order
from pi_v_jupyter.swarm.story import ASIDE, Story
from pi_v_jupyter.views.plans import progress_html, progress_text, progresses_text

URL, VM_ID = "https://api.test", "vm-1"
PLAN = "I looked.\n\nPlan:\n1. One.\n2. Two.\n"


class Teller:
    """An agent, as far as plans know it, whose pi says what a test wants."""

    def __init__(self) -> None:
        self.story, self.label, self.vm, self.told = Story(), "ann", SimpleNamespace(id=VM_ID), list[str]()
        self._number = 0
        self.looking(on=False)

    async def attach(self) -> None:
        """It is heard."""

    async def task(self, prompt: str) -> None:
        self.told.append(prompt)

    def looking(self, *, on: bool) -> None:
        """Its extension says whether it may only look."""
        text = "on" if on else "off"
        self._feed("extension_ui_request", id="x", method="setStatus", statusKey="pi-v-plan", statusText=text)

    def begins(self) -> None:
        """A task was accepted."""
        self._number += 1
        self._feed("response", command="prompt", success=True, id=f"task-{self._number}")
        self._feed("agent_start")

    def hears(self, text: str) -> None:
        """Its pi shows what it was told."""
        self._number += 1
        content = [{"type": "text", "text": text}]
        self._feed("message_end", message={"role": "user", "content": content, "timestamp": self._number})

    def streams(self, *deltas: str) -> None:
        for delta in deltas:
            self._feed("message_update", assistantMessageEvent={"type": "text_delta", "delta": delta})

    def says(self, *content: dict[str, Any] | str, stop: str = "stop") -> None:
        blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
        self._number += 1
        about = {"responseId": str(self._number), "usage": {"cost": {"total": 0.25}}, "stopReason": stop}
        self._feed("message_end", message={"role": "assistant", "content": blocks, **about})

    def ends(self) -> None:
        self._feed("agent_end", messages=[])
        self._feed("agent_settled")

    def answers(self, text: str, *, looking: bool = False, stop: str = "stop") -> None:
        """A whole task."""
        self.looking(on=looking)
        self.begins()
        self.says(text, stop=stop)
        self.ends()

    def writes(self, path: str, *, failed: bool = False) -> None:
        """A call of a tool, and what comes of it."""
        about: dict[str, Any] = {"toolCallId": f"call {path}", "toolName": "write"}
        self._feed("tool_execution_start", **about, args={"path": path})
        self._feed("tool_execution_end", **about, result={}, isError=failed)

    def _feed(self, kind: str, **fields: Any) -> None:
        self.story.feed({"type": kind, **fields})


@pytest.fixture
def ann() -> Any:
    return Teller()


@pytest.fixture
async def plans(tmp_path: Path) -> Plans:
    state = State(tmp_path / "state.json")
    fleet: Any = SimpleNamespace(
        state=state, settings=SimpleNamespace(base_url=URL), home=asyncio.get_running_loop()
    )
    return Plans(fleet)


def how_far(progress: Progress | None) -> tuple[str, str]:
    """Its stage, and a letter a step: x for one that is done."""
    assert progress is not None
    steps = progress.plan.steps if progress.plan is not None else ()
    return progress.stage, "".join("x" if step.done else "-" for step in steps)


async def test_who_planned_nothing_has_no_plan_whatever_it_says(ann: Any, plans: Plans) -> None:
    assert plans.of(ann) is None
    ann.answers(f"{PLAN} [DONE:1]")
    assert plans.of(ann) is None


async def test_a_plan_comes_of_the_answer_to_a_task_that_was_to_plan(ann: Any, plans: Plans) -> None:
    ann.looking(on=True)
    ann.begins()
    ann.streams(PLAN)
    assert how_far(plans.of(ann)) == ("planning", "")
    ann.says(PLAN)
    ann.ends()
    assert how_far(plans.of(ann)) == ("planned", "--")
    ann.answers(PLAN.replace("One", "Better"), looking=True)
    progress = plans.of(ann)
    assert progress is not None and progress.plan is not None and progress.plan.steps[0].text == "Better."


@pytest.mark.parametrize(
    ("stop", "text", "why"), [("stop", "Well.", "no numbered steps"), ("error", PLAN, "ended as error")]
)
async def test_why_no_plan_came_is_said_and_the_one_before_stays(
    ann: Any, plans: Plans, stop: str, text: str, why: str
) -> None:
    ann.answers(text, looking=True, stop=stop)
    progress = plans.of(ann)
    assert progress is not None and progress.plan is None and why in progress.trouble
    with pytest.raises(AgentError, match=why):
        await plans.run(ann)
    ann.answers(PLAN, looking=True)
    ann.answers(text, looking=True, stop=stop)
    progress = plans.of(ann)
    assert how_far(progress) == ("planned", "--") and progress is not None and why in progress.trouble


async def test_marks_tick_as_they_come_also_in_pieces_repeated_or_of_no_step(ann: Any, plans: Plans) -> None:
    ann.answers(f"{PLAN}\n[DONE:1]", looking=True)
    assert how_far(plans.of(ann)) == ("planned", "--"), "what it plans is not done yet"
    ann.looking(on=False)
    ann.begins()
    assert how_far(plans.of(ann)) == ("working", "--")
    ann.streams("So. [DO", "NE:", "2")
    assert how_far(plans.of(ann)) == ("working", "--")
    ann.streams("]")
    assert how_far(plans.of(ann)) == ("working", "-x")
    ann.says("So. [DONE:2] [DONE:2] [DONE:3]")
    ann.ends()
    assert how_far(plans.of(ann)) == ("stopped", "-x")
    ann.answers("[DONE:1]")
    assert how_far(plans.of(ann)) == ("done", "xx")


async def test_a_summary_has_what_it_took_and_which_files_it_changed(ann: Any, plans: Plans) -> None:
    ann.answers(PLAN, looking=True)
    ann.looking(on=False)
    ann.begins()
    for path, failed in (("a", False), ("b", True), ("a", False), ("$c", False)):
        ann.writes(path, failed=failed)
    ann.says("[DONE:1] [DONE:2]")
    ann.ends()
    progress = plans.of(ann)
    assert progress is not None and (progress.cost, progress.files) == (0.25, ("a", "$c"))
    assert progress_text(progress).splitlines() == [
        "✓ ann: its plan is done, 2 of 2 steps done",
        "    ✓ 1. One.",
        "    ✓ 2. Two.",
        "    $0.2500  0.0 s  2 files: a, $c",
    ]


async def test_another_task_ticks_what_it_did_and_counts_for_nothing_else(ann: Any, plans: Plans) -> None:
    ann.answers(PLAN, looking=True)
    ann.looking(on=False)
    ann.begins()
    ann.hears("Say hello.")
    ann.writes("hello")
    ann.says("Hello. [DONE:1]")
    ann.ends()
    progress = plans.of(ann)
    assert how_far(progress) == ("planned", "x-")
    assert progress is not None and (progress.cost, progress.files) == (0.0, ())
    await plans.run(ann)
    ann.begins()
    ann.hears(ann.told[-1])
    assert how_far(plans.of(ann)) == ("working", "x-")
    ann.writes("mended")
    ann.says("[DONE:2]")
    ann.ends()
    progress = plans.of(ann)
    assert how_far(progress) == ("done", "xx")
    assert progress is not None and (progress.cost, progress.files) == (0.25, ("mended",))


async def test_it_is_told_the_steps_and_which_are_done(ann: Any, plans: Plans) -> None:
    with pytest.raises(AgentError, match="ann has no plan"):
        await plans.run(ann)
    ann.answers(PLAN, looking=True)
    await plans.run(ann)
    ann.answers("[DONE:1]")
    await plans.run(ann)
    first, second = ann.told
    assert "1. One.\n2. Two.\n\nAs soon" in first and "[DONE:n]" in first
    assert "1. One.\n2. Two.\n\nDone already: 1.\n\nAs soon" in second
    ann.answers("[DONE:2]")
    with pytest.raises(AgentError, match="All steps of ann's plan are done"):
        await plans.run(ann)


async def test_steps_are_ticked_by_hand_until_there_is_another_plan(ann: Any, plans: Plans) -> None:
    with pytest.raises(AgentError, match="ann has no plan"):
        await plans.tick(ann, 1)
    ann.answers(PLAN, looking=True)
    with pytest.raises(UsageError, match=r"no step 9\..*1, 2"):
        await plans.tick(ann, 9)
    assert how_far(await plans.tick(ann, 2)) == ("planned", "-x")
    ann.answers("[DONE:1]")
    assert how_far(plans.of(ann)) == ("done", "xx")
    ann.looking(on=True)
    ann.begins()
    with pytest.raises(AgentError, match="still planning"):
        await plans.tick(ann, 1)
    ann.says(PLAN)
    ann.ends()
    assert how_far(plans.of(ann)) == ("planned", "--")


async def test_a_plan_that_a_person_wrote_counts_from_then_on(ann: Any, plans: Plans) -> None:
    with pytest.raises(UsageError, match="no steps"):
        await plans.write(ann, "Let us see.")
    ann.answers(PLAN, looking=True)
    ann.answers("[DONE:1]")
    assert how_far(await plans.write(ann, "1. Mine.\n2. Yours.\n3. Ours.")) == ("planned", "---")
    ann.answers("[DONE:3]")
    assert how_far(plans.of(ann)) == ("stopped", "--x")
    again = Teller()
    again.answers("[DONE:2]")
    assert how_far(plans.of(again)) == ("stopped", "-x-"), "its story began anew, and what it wrote is kept"  # type: ignore[arg-type]


async def test_what_is_kept_is_of_one_vm_and_may_be_damaged(ann: Any, plans: Plans, tmp_path: Path) -> None:
    await plans.write(ann, "1. Mine.")
    other = Teller()
    other.vm.id = "vm-2"
    assert plans.of(other) is None  # type: ignore[arg-type]
    state = State(tmp_path / "state.json")
    for text in ("{", "[]", '{"steps": 1}'):
        state.set(URL, KIND, VM_ID, text)
        assert plans.of(ann) is None
    state.set(URL, KIND, VM_ID, 5)  # type: ignore[arg-type]
    assert plans.of(ann) is None and plans.kept() == {}
    await plans.write(ann, "1. Mine.")
    state.forget_vm(URL, VM_ID)
    assert plans.of(ann) is None


def test_a_command_of_the_extension_begins_no_run_and_a_new_pi_tells_anew_whether_it_plans() -> None:
    ann = Teller()
    ann.looking(on=True)
    assert ann.story.planning is True
    ann.story.feed({"type": "response", "command": "prompt", "success": True, "id": f"{ASIDE}1"})
    assert ann.story.runs == [] and ann.story.state == "idle" and not ann.story.wants_check
    ann.story.ended(Death(code=1))
    ann.story.began()
    assert ann.story.planning is None
    assert Story().planning is None


def test_what_an_agent_planned_is_shown_as_text() -> None:
    hostile = Plan((Step(1, "<b>x</b>\x1b[31m $1 `a` $2"), Step(2, "word " * 200)))
    progress = Progress("ann", "working", hostile, trouble="<i>")
    text, html = progress_text(progress), progress_html(progress)
    assert "\x1b" not in text + html and "<b>" not in html and "<i>" not in html
    assert "<code>a</code>" in html and "`a`" in text
    assert "▸ 1. <b>x</b>" in text and "○ 2. word" in text and len(text) < 600
    assert "$1" not in html, "notebooks take what is between two dollars for a formula"
    assert progresses_text([]).startswith("No plans.")
    assert "planning; it may only look" in progress_text(Progress("ann", "planning", None))
    assert "[DONE:n]" in order(hostile)


@pytest.mark.parametrize("prompt", ["/deploy", " /vers-plan off", "/deploy now\nand more", "/"])
async def test_a_command_of_an_extension_is_no_task_to_plan(prompt: str) -> None:
    here: Any = SimpleNamespace(home=asyncio.get_running_loop())
    with pytest.raises(UsageError, match="reads as a command"):
        await Agent.task(here, prompt, looking=True)


@pytest.mark.parametrize("prompt", ["/etc/hosts is wrong", "/skill:review this", "Say why /deploy fails", ""])
def test_a_task_that_names_a_path_or_a_skill_can_be_planned(prompt: str) -> None:
    restraint.check(prompt)
