"""What pi's events mean: by recordings of real pis, an old one and a new one (`recordings/record.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pi_v_jupyter.swarm.changes import (
    AnswerEnded,
    Compacted,
    Death,
    DialogAsked,
    Noticed,
    Prompted,
    PromptRefused,
    QueueChanged,
    RunEnded,
    RunStarted,
    StateChanged,
    TextDelta,
    ToolEnded,
    ToolStarted,
)
from pi_v_jupyter.swarm.story import Story

RECORDINGS = Path(__file__).parent / "recordings"
VERSIONS = ["0.74.2", "0.87.1"]
NAMES = sorted(file.stem for file in (RECORDINGS / VERSIONS[0]).glob("*.jsonl"))
STATES = {
    "text": "starting idle working done",
    "tools": "starting idle working done",
    "storm": "starting idle working retrying working retrying working retrying working error",
    "recovers": "starting idle working retrying working done",
    "abort": "starting idle working aborted",
    "abort_tool": "starting idle working aborted",
    "abort_retry": "starting idle working retrying working aborted",
    "queue": "starting idle working done working done",
    "refused": "starting idle working done",
    "dialog": "starting idle working waiting working done working done",
    "compaction": "starting idle working done working done",
    "killed": "starting idle working",
    "refusal": "starting idle working error",
    "length": "starting idle working done",
}

Record = dict[str, Any]
each_version = pytest.mark.parametrize("version", VERSIONS)
each_recording = pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version in VERSIONS for name in NAMES]
)


def records(version: str, name: str) -> list[Record]:
    # Not splitlines(): other separators occur within strings.
    data = (RECORDINGS / version / f"{name}.jsonl").read_bytes()
    return [json.loads(line) for line in data.split(b"\n") if line]


def folded(told: list[Record], story: Story | None = None) -> Story:
    story = story or Story()
    for record in told:
        story.feed(record)
    return story


def everything(story: Story) -> dict[str, Any]:
    told = {name: getattr(story, name) for name in dir(story) if not name.startswith("_")}
    own = {key: value for key, value in told.items() if not callable(value)}
    return own | {"conversation": None, "again": story._dialogs}


def cost_of(record: Record) -> float:
    message = record["message"] if record["type"] == "message_end" else {}
    return float(message["usage"]["cost"]["total"]) if message.get("role") == "assistant" else 0.0


def all_changes(told: list[Record]) -> list[Any]:
    story = Story()
    return [change for record in told for change in story.feed(record)]


@each_recording
def test_the_states_of_a_recording_are_these(version: str, name: str) -> None:
    story = Story()
    states = [story.state]
    for record in records(version, name):
        before = story.state
        changes = [change for change in story.feed(record) if isinstance(change, StateChanged)]
        if story.state != before:
            assert changes == [StateChanged(before, story.state)]
            states.append(story.state)
        else:
            assert not changes
    assert " ".join(states) == STATES[name]


@each_recording
def test_whoever_reads_from_the_beginning_has_the_same_story_wherever_another_stopped(
    version: str, name: str
) -> None:
    told = records(version, name)
    whole = everything(folded(told))
    for cut in range(len(told)):
        first = folded(told[:cut])
        assert everything(folded(told[:cut])) == everything(first)
        assert everything(folded(told[cut:], first)) == whole


@each_recording
def test_records_that_come_twice_change_nothing(version: str, name: str) -> None:
    told = records(version, name)
    once, twice = folded(told), folded([record for record in told for _ in range(2)])
    if name != "killed":  # there, the answer under way has been told twice
        assert twice.runs == once.runs
    assert (twice.state, twice.totals, twice.dialogs) == (once.state, once.totals, once.dialogs)
    kinds = (RunStarted, RunEnded, AnswerEnded, Prompted, ToolStarted, ToolEnded, StateChanged, Compacted)
    once_and_twice = [told, [record for record in told for _ in range(2)]]
    one, two = ([c for c in all_changes(each) if isinstance(c, kinds)] for each in once_and_twice)
    assert [type(change) for change in two] == [type(change) for change in one]


@each_recording
def test_unknown_and_malformed_records_change_nothing(version: str, name: str) -> None:
    nonsense: list[Any] = [
        {"type": "of_the_future", "message": {"role": "assistant"}},
        {"type": 7}, {}, [], None, "agent_end",
        {"type": "message_end", "message": 3},
        {"type": "message_end", "message": {"role": ["user"], "content": 1e400, "timestamp": 1e400}},
        {"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": 5}},
        {"type": "tool_execution_end", "toolCallId": {}, "result": [1]},
        {"type": "extension_ui_request", "method": "confirm", "id": 4},
        {"type": "extension_ui_request", "method": "setStatus", "statusKey": "pi-v-clock", "statusText": "²"},
        {"type": "response", "command": ["prompt"], "success": "true"},
        {"type": "auto_retry_end", "success": None},
    ]  # fmt: skip
    told = records(version, name)
    plain = everything(folded(told))
    if name in ("storm", "recovers", "abort_retry"):
        nonsense.pop()
    mixed = [record for each in told for record in (each, *nonsense)]
    assert everything(folded(mixed)) == plain


@each_version
def test_text_is_streamed_and_then_exact(version: str) -> None:
    changes = all_changes(records(version, "text"))
    deltas = [change for change in changes if isinstance(change, TextDelta)]
    assert "".join(delta.text for delta in deltas if not delta.thinking) == "The sum is\u2028 42."
    assert "".join(delta.text for delta in deltas if delta.thinking) == "Easy."
    assert AnswerEnded("The sum is\u2028 42.", "stop") in changes
    story = folded(records(version, "text"))
    (run,) = story.runs
    assert (run.id, run.prompt, run.answer) == (
        "task",
        "What is the sum of 19 and 23?",
        "The sum is\u2028 42.",
    )
    assert (run.stop, run.error, run.outcome, run.turns) == ("stop", "", "done", 1)
    assert story.model == "scripted/rehearsal" and story.session.endswith(".jsonl")
    assert story.partial == ""


@each_version
def test_what_streams_in_belongs_to_the_new_task_and_is_gone_when_it_is_broken_off(version: str) -> None:
    story, seen = Story(), ""
    for record in records(version, "recovers"):
        story.feed(record)
        seen = story.partial or seen
        if story.state == "retrying":
            assert story.partial == "" and story.retry is not None and story.retry.attempt == 1
    (run,) = story.runs
    assert run.answers == ["The sum is 42."] and run.retries == 1
    assert [step.text for step in run.steps if getattr(step, "kind", "") == "broken"] == ["The su"]


@each_version
def test_tool_calls_have_arguments_results_diffs_and_times(version: str) -> None:
    told = records(version, "tools")
    (run,) = folded(told).runs
    write, edit, wrong, last = run.calls
    assert [call.name for call in run.calls] == ["write", "edit", "bash", "bash"]
    assert write.arguments["path"] == "sum.py" and write.failed is False
    assert "print(19 + 32)" in edit.diff and "print(19 + 23)" in edit.diff
    assert wrong.failed is True and "wrong" in wrong.result
    assert last.result.strip() == "42" and last.seconds is not None and last.seconds < 30
    changes = all_changes(told)
    assert [c.call.name for c in changes if isinstance(c, ToolStarted)] == ["write", "edit", "bash", "bash"]
    assert len([change for change in changes if isinstance(change, ToolEnded)]) == 4
    assert run.answers == ["I correct that.", "The sum is 42."] and run.answer == "The sum is 42."


@each_version
def test_the_tool_call_under_way_is_known(version: str) -> None:
    story, names = Story(), []
    for record in records(version, "tools"):
        story.feed(record)
        if record["type"] == "tool_execution_start":
            names.append([call.name for call in story.calls])
    # Of two calls in one turn, both may be under way.
    assert names[0] == ["write"] and names[1] == ["edit"] and names[2] in (["bash"], ["edit", "bash"])
    assert story.calls == []


@each_version
def test_tokens_and_cost_are_those_of_the_messages_and_not_zero(version: str) -> None:
    told = records(version, "tools")
    story = folded(told)
    usages = [
        record["message"]["usage"]
        for record in told
        if record["type"] == "message_end" and record["message"]["role"] == "assistant"
    ]
    assert story.totals.input == sum(usage["input"] for usage in usages) > 0
    assert story.totals.total == sum(usage["totalTokens"] for usage in usages)
    assert story.totals.cost == pytest.approx(sum(usage["cost"]["total"] for usage in usages))
    assert story.runs[0].usage == story.totals and story.totals.cost > 0


@each_version
def test_a_storm_is_an_error_after_its_retries_and_not_before(version: str) -> None:
    story = Story()
    for record in records(version, "storm"):
        story.feed(record)
        if record["type"] != "agent_settled" and record.get("id") != "check":
            assert story.state != "error"
    (run,) = story.runs
    assert run.outcome == "error" and run.retries == 3 and run.answer == ""
    assert "Overloaded" in run.error and "Overloaded" in story.error


@each_version
def test_a_refused_prompt_changes_nothing(version: str) -> None:
    story = Story()
    for record in records(version, "refused"):
        if record.get("id") == "early":
            before = everything(story)
            (refused,) = story.feed(record)
            assert (
                isinstance(refused, PromptRefused) and refused.id == "early" and "processing" in refused.error
            )
            assert everything(story) == before
        else:
            story.feed(record)
    (run,) = story.runs
    assert run.prompts == ["Count to 30."] and run.answer == "1 2 3"


@each_version
def test_it_works_from_the_ack_on_and_the_old_answer_is_not_the_new_tasks(version: str) -> None:
    story = Story()
    for record in records(version, "queue"):
        changes = story.feed(record)
        if record.get("id") == "next":
            assert story.state == "working" and story.run is story.runs[-1]
            assert (story.runs[-1].prompt, story.runs[-1].answer, story.partial) == ("", "", "")
            assert [type(change) for change in changes] == [RunStarted, StateChanged]
    assert [run.prompts for run in story.runs] == [
        ["Count to 30.", "Count backwards.", "Then say goodbye."],
        ["And now?"],
    ]
    assert [run.answers for run in story.runs] == [["30 29 28", "Goodbye."], ["Nothing."]]


@each_version
def test_the_queue_is_known(version: str) -> None:
    changes = [
        change for change in all_changes(records(version, "queue")) if isinstance(change, QueueChanged)
    ]
    assert changes == [
        QueueChanged(("Count backwards.",), ()),
        QueueChanged(("Count backwards.",), ("Then say goodbye.",)),
        QueueChanged((), ("Then say goodbye.",)),
        QueueChanged((), ()),
    ]


@each_version
def test_aborted_is_aborted_whatever_it_did(version: str) -> None:
    story = folded(records(version, "abort"))
    assert story.state == story.runs[0].outcome == "aborted"
    assert story.runs[0].answer.startswith("1 2 3")
    in_a_tool = folded(records(version, "abort_tool"))
    assert in_a_tool.state == in_a_tool.runs[0].outcome == "aborted"
    assert in_a_tool.runs[0].calls[0].failed and not in_a_tool.calls
    waiting = folded(records(version, "abort_retry"))
    assert waiting.state == "aborted" and waiting.retry is None


@each_version
def test_a_dialog_is_asked_and_over_when_its_tool_has_returned(version: str) -> None:
    story, asked = Story(), []
    for record in records(version, "dialog"):
        changes = story.feed(record)
        asked += [change.dialog for change in changes if isinstance(change, DialogAsked)]
        if story.state == "waiting":
            assert story.dialogs and not story.wants_check
    (dialog,) = asked
    assert (dialog.method, dialog.title, dialog.text) == ("confirm", "May it run?", "date +%A")
    assert story.dialogs == []


@each_version
def test_an_answer_that_was_sent_ends_the_wait(version: str) -> None:
    story = Story()
    for record in records(version, "dialog"):
        story.feed(record)
        if story.dialogs:
            assert story.answered(story.dialogs[0].id) == [StateChanged("waiting", "working")]
            assert story.answered("another") == []
    assert story.state == "done"


@each_version
def test_a_prompt_that_an_extension_handles_begins_no_run(version: str) -> None:
    story = folded(records(version, "dialog"))
    assert [run.id for run in story.runs] == ["task"]
    assert [(notice.level, notice.text) for notice in story.notices] == [("warning", "Hello.")]
    assert any(isinstance(change, Noticed) for change in all_changes(records(version, "dialog")))


@each_version
def test_a_run_goes_on_while_it_is_summed_up_and_that_is_counted(version: str) -> None:
    told = records(version, "compaction")
    story = Story()
    for record in told:
        story.feed(record)
        if story.compacting and len(story.runs) == 1:
            assert story.state == "working" and not story.wants_check
    assert story.runs[0].steps[-1].text.endswith("199578 tokens.")  # type: ignore[union-attr]
    compacted = [change for change in all_changes(told) if isinstance(change, Compacted)]
    assert [change.reason for change in compacted] == ["threshold", "manual", "manual"]
    assert compacted[2].error == "Compaction failed: Already compacted"
    own = [record["result"].get("usage") for record in told if record.get("result")]
    spent = sum(usage["cost"]["total"] for usage in own if usage)
    assert story.totals.cost == pytest.approx(spent + sum(cost_of(record) for record in told))
    assert story.state == "done"


@each_version
def test_a_killed_pi_is_lost_with_its_exit_and_stderr_and_its_run_an_error(version: str) -> None:
    story = folded(records(version, "killed"))
    partial = story.partial
    assert partial.startswith("1 2 3")
    changes = story.ended(Death(None, "SIGKILL", "Out of memory\n"))
    assert story.state == "lost" and story.error == "pi was ended by SIGKILL: Out of memory"
    (run,) = story.runs
    assert run.outcome == "error" and run.error == story.error and run.steps[-1].text == partial  # type: ignore[union-attr]
    assert changes == [RunEnded(run), StateChanged("working", "lost")]
    assert not story.wants_check and story.calls == []


@each_version
def test_another_pi_takes_over_and_the_runs_stay(version: str) -> None:
    story = folded(records(version, "killed"))
    story.ended(Death(137))
    assert story.began() == [StateChanged("lost", "starting")]
    folded(records(version, "text"), story)
    assert story.state == "done" and [run.outcome for run in story.runs] == ["error", "done"]


@each_version
def test_a_pi_that_ends_because_it_was_asked_to_is_no_error(version: str) -> None:
    story = folded(records(version, "text"))
    story.ended(Death(0))
    assert story.state == "ended" and story.error == "" and story.runs[0].outcome == "done"


@each_version
def test_a_refusal_is_an_error_and_an_answer_cut_at_its_limit_is_none(version: str) -> None:
    assert folded(records(version, "refusal")).runs[0].error
    story = folded(records(version, "length"))
    assert story.state == "done" and story.runs[0].stop == "length" and story.runs[0].answer == "The sum"


@each_version
def test_times_are_those_of_the_messages_until_better_is_told(version: str) -> None:
    told = records(version, "tools")
    (run,) = folded(told).runs
    stamps = [
        record["message"]["timestamp"] / 1000
        for record in told
        if record["type"] == "message_end" and record["message"]["role"] != "system"
    ]
    assert (run.began, run.ended) == (min(stamps), max(stamps))
    story = Story()
    for number, record in enumerate(told):
        story.feed(record, at=stamps[-1] + number)
    last = [record["type"] for record in told].index("agent_end")
    assert (story.runs[0].began, story.runs[0].ended) == (stamps[-1] + 1, stamps[-1] + last)
    by_extension = folded(records(version, "dialog")).runs[0]
    clock = [r["statusText"] for r in records(version, "dialog") if r.get("statusKey") == "pi-v-clock"]
    assert by_extension.ended == int(clock[-1]) / 1000
    assert by_extension.calls[0].began == int(clock[0]) / 1000


@each_version
def test_prompts_are_told_as_the_model_gets_them(version: str) -> None:
    prompts = [c.text for c in all_changes(records(version, "queue")) if isinstance(c, Prompted)]
    assert prompts == ["Count to 30.", "Count backwards.", "Then say goodbye.", "And now?"]
