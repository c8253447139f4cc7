"""What a dashboard is shown of what was said to an agent and by it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tellings import LONG, delta, fed, said, texts, told
from test_story import NAMES, VERSIONS, records

from pi_v_jupyter.dashboard import patches
from pi_v_jupyter.dashboard.transcript import PIECE, RUNS, STEPS, STRIDE, Transcripts, part, step_of
from pi_v_jupyter.swarm.runs import SHOWN, ToolCall, small
from pi_v_jupyter.swarm.story import Story
from pi_v_jupyter.texts import harmless


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_transcript_told_bit_by_bit_is_the_one_told_at_once(version: str, name: str) -> None:
    story, transcripts, told = Story(), Transcripts(), {}
    for record in records(version, name):
        story.feed(record)
        told = patches.apply(told, json.loads(json.dumps(patches.diff(told, transcripts.of(story)))))
    assert told == Transcripts().of(story)
    assert len(told["runs"]) == len(story.runs)
    for run, shown in zip(story.runs, told["runs"].values(), strict=True):
        assert shown["outcome"] == (run.outcome or "") and len(shown["steps"]) >= len(run.steps)


def test_a_transcript_tells_prompts_calls_with_their_diffs_and_what_is_being_written() -> None:
    about = {"toolCallId": "1", "toolName": "write"}
    result = {"content": [{"type": "text", "text": "wrote it"}], "details": {"patch": "+new"}}
    story = fed(
        {"type": "agent_start"},
        told("Write."),
        {"type": "tool_execution_start", **about, "args": {"path": "x", "content": "new"}},
    )
    running = Transcripts().of(story)["runs"]["0"]["steps"]["1"]
    assert (running["kind"], running["name"], running["text"]) == ("call", "write", "x")
    assert (running["state"], running["diff"]) == ("running", "+new")
    fed({"type": "tool_execution_end", **about, "result": result}, delta("And **now**"), story=story)
    steps = Transcripts().of(story)["runs"]["0"]["steps"]
    assert [step["kind"] for step in steps.values()] == ["prompt", "call", "partial"]
    assert (steps["1"]["state"], steps["1"]["result"], steps["1"]["diff"]) == ("ok", "wrote it", "+new")
    assert steps["2"]["text"] == "And **now**"


def test_what_a_file_was_written_with_is_told_where_pi_tells_of_no_difference() -> None:
    steps = [
        ToolCall("1", "write", {"path": "x", "content": "one\ntwo\n"}, failed=False),
        ToolCall("2", "write", {"path": "x", "content": "one"}, failed=True),
        ToolCall("3", "paint", {"content": "one"}, failed=False),
        ToolCall("4", "write", {"path": "x", "content": 1}, failed=False),
        ToolCall("5", "write", {"path": "x", "content": ""}, failed=False),
    ]
    assert [step_of(step, going=False)["diff"] for step in steps] == ["+one\n+two", "", "", "", ""]
    never_ran = ToolCall("6", "write", {"path": "x", "content": "one\f\u2028"})
    assert step_of(never_ran, going=False)["diff"] == ""
    assert step_of(never_ran, going=True)["diff"] == harmless("+one\f\u2028"), (
        "a line ends where one of a file does"
    )
    cut = ToolCall("7", "write", small({"path": "x", "content": "line\n" * 10_000}), failed=False)
    told = step_of(cut, going=False)["diff"].split("\n")
    assert [line for line in told if line != "+line"] == ["+", "… 30000 characters left out …"]


def test_the_last_runs_are_told_and_their_texts_are_bounded_and_harmless() -> None:
    story = Story()
    for number in range(RUNS + 3):
        fed(
            {"type": "agent_start"},
            told(f"{number} {LONG}", number),
            said(f"{number} {LONG}"),
            {"type": "agent_end"},
            {"type": "agent_settled"},
            story=story,
        )
    transcript = Transcripts().of(story)
    assert transcript["cut"] == 3 and [*transcript["runs"]] == [str(n) for n in range(3, RUNS + 3)]
    for text in texts(transcript):
        assert len(text) < SHOWN + 100 and all(char.isprintable() or char in "\n\t" for char in text)


def test_a_long_transcript_is_told_piece_by_piece_the_latest_first() -> None:
    story = Story()
    for number in range(5):
        fed({"type": "agent_start"}, told(f"Task {number}.", number), story=story)
        fed(*(said(f"{number}-{at} {'word ' * 2000}") for at in range(20)), story=story)
        fed({"type": "agent_end"}, {"type": "agent_settled"}, story=story)
    whole = Transcripts().of(story)
    seen: dict[str, Any] = {}
    sizes = []
    while patch := patches.diff(seen, whole):
        sent = part(patch)
        sizes.append(len(json.dumps(sent)))
        seen = patches.apply(seen, sent)
        if len(sizes) == 1:
            assert [*seen["runs"]] == ["4"] and "20" in seen["runs"]["4"]["steps"]
    assert seen == whole and len(sizes) > 10 and max(sizes) < PIECE + 15_000


def test_the_last_steps_are_told_however_many_there_are_and_the_first_go_many_at_once() -> None:
    story, transcripts, told_so_far = fed({"type": "agent_start"}, told("Work.")), Transcripts(), {}
    firsts = set()
    for number in range(3 * STEPS):
        fed(said(f"Step {number}."), story=story)
        now = transcripts.of(story)
        told_so_far = patches.apply(told_so_far, json.loads(json.dumps(patches.diff(told_so_far, now))))
        run = now["runs"]["0"]
        assert [*run["steps"]] == [str(n) for n in range(run["cut"], number + 2)]
        assert len(run["steps"]) <= STEPS
        firsts.add(run["cut"])
    assert told_so_far == now and firsts == {*range(0, max(firsts) + 1, STRIDE)}
    assert max(firsts) > STEPS


def test_of_many_runs_the_last_steps_are_told() -> None:
    story = Story()
    for number in range(3):
        fed({"type": "agent_start"}, told(f"Task {number}.", number), story=story)
        fed(*(said(f"{number}-{at}") for at in range(STEPS // 2 + STRIDE - 1)), story=story)
        fed({"type": "agent_end"}, {"type": "agent_settled"}, story=story)
    told_now = Transcripts().of(story)
    assert told_now["cut"] == 1 and [*told_now["runs"]] == ["1", "2"]
    assert told_now["runs"]["1"]["cut"] > 0 and told_now["runs"]["2"]["cut"] == 0
    assert sum(len(run["steps"]) for run in told_now["runs"].values()) <= STEPS


def test_runs_that_are_over_are_not_made_again() -> None:
    begun = ({"type": "agent_start"}, told("Work."), said("Done."), {"type": "agent_end"})
    story, transcripts = fed(*begun, {"type": "agent_settled"}), Transcripts()
    first = transcripts.of(story)["runs"]["0"]["steps"]["0"]
    fed({"type": "agent_start"}, told("More.", 1), story=story)
    assert transcripts.of(story)["runs"]["0"]["steps"]["0"] is first
