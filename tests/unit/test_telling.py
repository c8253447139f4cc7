"""What an agent does, told in a cell: everything once, in order, and harmless whatever it says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.swarm.changes import Change, Dialog
from pi_v_jupyter.swarm.runs import Run, ToolCall, Usage
from pi_v_jupyter.swarm.story import Story
from pi_v_jupyter.views import telling

COLOUR = re.compile(r"\x1b\[\d*m")


def says(text: str, *, stop: str = "stop", error: str = "", **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}] if text else []
    about = {
        "role": "assistant",
        "content": content,
        "stopReason": stop,
        "timestamp": 1000,
        "responseId": text,
    }
    return {"type": "message_end", "message": about | ({"errorMessage": error} if error else {}) | more}


def delta(text: str) -> dict[str, Any]:
    return {"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": text}}


def told(*records: dict[str, Any], task: str = "do it") -> str:
    """What a cell shows of a run with these records, without colours."""
    user = {"role": "user", "content": task, "timestamp": 1}
    story, shown = Story(), telling.Telling("a")
    begin = [
        {"type": "response", "command": "prompt", "success": True, "id": "1"},
        {"type": "agent_start"},
        {"type": "message_end", "message": user},
    ]
    end = [{"type": "agent_end"}, {"type": "agent_settled"}]
    changes: list[Change] = [change for record in [*begin, *records, *end] for change in story.feed(record)]
    return COLOUR.sub("", shown.text(changes))


def body(*records: dict[str, Any]) -> list[str]:
    """The same, but for the line of the end."""
    return told(*records).splitlines()[:-1]


def test_an_answer_is_shown_as_it_streams_and_once() -> None:
    assert told(delta("Hello "), delta("world."), says("Hello world.")).startswith("Hello world.\n✓ done")


def test_an_answer_that_did_not_stream_is_shown_when_it_is_complete() -> None:
    assert body(says("Hello.")) == ["Hello."]
    assert body(delta("Hel"), says("Hello.")) == ["Hello."]


def test_what_an_answer_turned_out_to_be_replaces_what_streamed() -> None:
    assert body(delta("Helo"), says("Hello.")) == ["Helo", "Hello."]


def test_the_task_is_not_repeated_and_what_is_said_meanwhile_is() -> None:
    later = {
        "type": "message_end",
        "message": {"role": "user", "content": "and tests\nplease", "timestamp": 5},
    }
    assert body(says("One."), later, says("Two.")) == ["One.", "» and tests please", "Two."]


def test_tool_calls_are_shown_with_what_they_are_about_and_what_they_changed() -> None:
    call = {"toolCallId": "1", "toolName": "edit"}
    patch = "--- x\n+++ x\n@@ -1 +1 @@\n-old\n+new\n"
    assert body(
        delta("Now"),
        {"type": "tool_execution_start", **call, "args": {"path": "x", "edits": []}},
        {"type": "tool_execution_end", **call, "result": {"details": {"patch": patch}}, "isError": False},
    ) == ["Now", "⚙ edit  x", "  ✓ edit", *patch.splitlines()]


def test_a_tool_that_fails_is_shown_with_the_beginning_of_what_it_said() -> None:
    call = {"toolCallId": "1", "toolName": "bash"}
    result = {"content": [{"type": "text", "text": "\n".join(map(str, range(15)))}]}
    lines = body(
        {"type": "tool_execution_start", **call, "args": {"command": "make\n  all"}},
        {"type": "tool_execution_end", **call, "result": result, "isError": True},
    )
    assert lines[:3] == ["⚙ bash  make all", "  ✗ bash failed", "    0"] and lines[-1] == "    … 5 more lines"


def test_retries_notices_and_errors_are_told() -> None:
    shown = told(
        {
            "type": "auto_retry_start",
            "attempt": 2,
            "maxAttempts": 3,
            "delayMs": 4000,
            "errorMessage": "529 busy",
        },
        {"type": "extension_ui_request", "method": "notify", "id": "1", "message": "look"},
        says("", stop="error", error="529 still busy"),
    )
    assert "↻ attempt 2 of 3 follows in 4 s: 529 busy\n! look\n" in shown
    assert shown.splitlines()[-1].startswith("✗ error") and shown.endswith("529 still busy\n")


def test_a_question_is_shown_with_how_to_answer_it() -> None:
    asked = {"type": "extension_ui_request", "id": "1", "method": "select", "title": "Which?"}
    assert body({**asked, "options": ["one", "two"]}) == [
        "? a asks: Which?",
        "    1. one",
        "    2. two",
        "    `%vers swarm answer a NUMBER` answers it, `%vers swarm answer a --cancel` does not choose.",
    ]
    assert "`%vers swarm answer a yes` or `%vers swarm answer a no` answers it." in told(
        {**asked, "method": "confirm"}
    )
    assert "`%vers swarm answer a TEXT` answers it" in told({**asked, "method": "input"})


HOSTILE = "\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m\r\x08gone \u202etxt.exe\u2028 \x9b2J"


def test_nothing_that_an_agent_says_steers_a_terminal() -> None:
    call = {"toolCallId": "1", "toolName": HOSTILE}
    result = {"content": [{"type": "text", "text": HOSTILE}], "details": {"patch": f"+{HOSTILE}"}}
    shown = told(
        *map(delta, HOSTILE),
        says(HOSTILE * 2),
        {"type": "tool_execution_start", **call, "args": {"command": HOSTILE}},
        {"type": "tool_execution_end", **call, "result": result, "isError": True},
        {"type": "tool_execution_start", **call, "toolCallId": "2", "args": {HOSTILE: HOSTILE}},
        {"type": "tool_execution_end", **call, "toolCallId": "2", "result": result, "isError": False},
        {
            "type": "extension_ui_request",
            "id": "1",
            "method": "select",
            "title": HOSTILE,
            "options": [HOSTILE],
        },
        {"type": "extension_ui_request", "id": "2", "method": "notify", "message": HOSTILE},
        {"type": "auto_retry_start", "errorMessage": HOSTILE},
        says("", stop="error", error=HOSTILE),
    )
    assert not {char for char in shown if not char.isprintable()} - {"\n"}


def test_letters_and_pictures_made_of_several_characters_stay_whole() -> None:
    assert telling.harmless("👩‍💻 é\tü\r\n") == "👩‍💻 é\tü\n"


def test_a_long_diff_is_cut() -> None:
    shown = COLOUR.sub("", telling.diff_text("\n".join(f"+{n}" for n in range(100)))).splitlines()
    assert len(shown) == telling.MOST_LINES + 1 and shown[-1] == "… 40 more lines"


@pytest.mark.parametrize(
    ("dialog", "words", "sent"),
    [
        (Dialog("1", "confirm", "Sure?"), "YES", {"confirmed": True}),
        (Dialog("1", "confirm", "Sure?"), "n", {"confirmed": False}),
        (Dialog("1", "select", "Which?", options=("one", "two")), "2", {"value": "two"}),
        (Dialog("1", "select", "Which?", options=("one", "two")), "one", {"value": "one"}),
        (Dialog("1", "select", "Which?", options=("2", "1")), "1", {"value": "1"}),
        (Dialog("1", "input", "Name?"), "no", {"value": "no"}),
        (Dialog("1", "editor", "Text?"), "", {"value": ""}),
    ],
)
def test_an_answer_in_words_is_what_the_question_takes(
    dialog: Dialog, words: str, sent: dict[str, Any]
) -> None:
    assert telling.reply(dialog, words) == sent
    assert telling.reply(dialog, words, cancel=True) == {"cancelled": True}


@pytest.mark.parametrize(
    ("dialog", "words", "message"),
    [
        (Dialog("1", "confirm", "Sure?"), "maybe", "'maybe' is neither yes nor no."),
        (Dialog("1", "select", "Which?", options=("one", "two")), "3", "'3' is none of the options."),
        (Dialog("1", "select", "Which?", options=("one", "two")), "0", "'0' is none of the options."),
        (Dialog("1", "select", "Which?", options=("one", "two")), "²", "'²' is none of the options."),
    ],
)
def test_an_answer_that_is_none_is_refused(dialog: Dialog, words: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        telling.reply(dialog, words)
    assert refused.value.message == message and refused.value.hint


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, ""), (0.42, "0.4 s"), (12.9, "12 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_times_are_told_as_people_read_them(seconds: float | None, told: str) -> None:
    assert telling.clock(seconds) == told


@pytest.mark.parametrize(("cost", "told"), [(0.0, "$0.00"), (0.0042, "$0.0042"), (12.3, "$12.30")])
def test_costs_are_told_in_dollars(cost: float, told: str) -> None:
    assert telling.money(cost) == told


def test_an_end_is_told_with_the_last_words_or_the_error() -> None:
    run = Run(
        answers=["One.", "Two.\nAll is well.\n"],
        usage=Usage(input=1000, output=4, cost=0.5),
        began=1,
        ended=13,
    )
    run.outcome = "done"
    assert telling.ended_text("a", run) == "✓ a: done  1,004 tokens  $0.5000  12 s\n    All is well."
    run.outcome, run.error = "error", "529\noverloaded"
    assert telling.ended_text("a", run).splitlines()[1] == "    529 overloaded"


def test_a_call_is_told_by_its_first_telling_argument_or_by_all() -> None:
    assert telling.call_text(ToolCall("1", "bash", {"timeout": 5, "command": "ls  -l"})) == "bash  ls -l"
    assert telling.call_text(ToolCall("1", "odd", {"a": [1]})) == 'odd  {"a": [1]}'
    assert telling.call_text(ToolCall("1", "now")) == "now"
    assert len(telling.call_text(ToolCall("1", "n" * 999, {"path": "p" * 9999}))) <= 142


def test_a_question_that_offers_very_much_shows_its_first_options() -> None:
    story = Story()
    story.feed({"type": "agent_start"})
    asked = {"type": "extension_ui_request", "method": "select", "title": "Which?"}
    for number in range(100):
        story.feed({**asked, "id": str(number), "options": [f"option {n}" for n in range(5000)]})
    assert len(story.dialogs) == 50 and story.dialogs[0].id == "0"
    lines = telling.question_text("a", story.dialogs[0]).splitlines()
    assert lines[60].strip() == "60. option 59" and lines[61].strip() == "… 940 more" and len(lines) == 63
    assert telling.reply(story.dialogs[0], "1000") == {"value": "option 999"}
