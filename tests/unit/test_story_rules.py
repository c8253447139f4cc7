"""What a story makes of streams that are hard to record: races, strangers, lost beginnings, hostile text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pi_v_jupyter.swarm.changes import Death, PromptRefused, RunStarted
from pi_v_jupyter.swarm.runs import SHORT, SHOWN
from pi_v_jupyter.swarm.story import Story

Record = dict[str, Any]
START, END, SETTLED = {"type": "agent_start"}, {"type": "agent_end"}, {"type": "agent_settled"}


def response(command: str, id: str = "x", **data: Any) -> Record:
    return {"type": "response", "command": command, "id": id, "success": True, "data": data}


def state(streaming: bool = False, compacting: bool = False, pending: int = 0) -> Record:
    return response("get_state", isStreaming=streaming, isCompacting=compacting, pendingMessageCount=pending)


def ended(role: str, stamp: int, content: Any, **more: Any) -> Record:
    return {"type": "message_end", "message": {"role": role, "timestamp": stamp, "content": content, **more}}


def user(text: str, stamp: int = 1000) -> Record:
    return ended("user", stamp, text)


def model(text: str, stamp: int = 2000, stop: str = "stop", **more: Any) -> Record:
    return ended("assistant", stamp, [{"type": "text", "text": text}], stopReason=stop, **more)


def asked(id: str, method: str = "confirm", **more: Any) -> Record:
    return {"type": "extension_ui_request", "id": id, "method": method, "title": "Well?", **more}


def tool(what: str, id: str) -> Record:
    return {"type": f"tool_execution_{what}", "toolCallId": id, "toolName": "bash", "args": {}, "result": {}}


def story(*told: Record) -> Story:
    made = Story()
    for record in told:
        made.feed(record)
    return made


def test_it_starts_and_is_idle_once_pi_has_said_anything() -> None:
    assert story().state == "starting"
    assert story(state()).state == "idle"


@pytest.mark.parametrize("disposition", ["handled", "queued"])
def test_a_newer_pi_says_itself_that_a_prompt_begins_no_run(disposition: str) -> None:
    told = story(state(), response("prompt", disposition=disposition))
    assert told.state == "idle" and not told.runs and not told.wants_check


def test_a_check_tells_whether_an_accepted_prompt_began_a_run() -> None:
    told = story(state(), response("prompt"))
    assert told.state == "working" and told.wants_check
    told.feed(state())
    assert told.state == "idle" and not told.runs


def test_a_run_that_begins_after_a_hasty_check_is_the_same_run() -> None:
    told = story(state(), response("prompt", "task"), state())
    for record in (START, user("Go."), model("Gone."), SETTLED):
        told.feed(record)
    assert [(run.id, run.prompt, run.outcome) for run in told.runs] == [("task", "Go.", "done")]


def test_an_old_pi_is_over_when_a_check_says_so_and_not_while_anything_is_left() -> None:
    told = story(response("prompt"), START, user("Go."), model("Gone."))
    assert not told.wants_check
    told.feed(END)
    assert told.state == "working" and told.wants_check
    for not_yet in (state(streaming=True), state(compacting=True), state(pending=1)):
        told.feed(not_yet)
        assert told.state == "working" and told.wants_check
    told.feed(state())
    assert told.state == "done" and not told.wants_check


def test_a_hasty_check_between_an_error_and_its_retry_does_no_harm() -> None:
    told = story(response("prompt"), START, user("Go."), model("", stop="error", errorMessage="529"), END)
    told.feed(state())
    assert told.state == "error"
    told.feed(
        {"type": "auto_retry_start", "attempt": 1, "maxAttempts": 3, "delayMs": 2000, "errorMessage": "529"}
    )
    assert told.state == "retrying" and told.retry is not None and told.retry.delay == 2
    assert told.run is told.runs[0] and told.run.retries == 1
    for record in (START, model("Gone.", 9000), END, state()):
        told.feed(record)
    assert [(run.outcome, run.answer, run.error) for run in told.runs] == [("done", "Gone.", "")]


def test_an_old_pi_that_takes_another_prompt_has_finished_the_one_before() -> None:
    told = story(response("prompt", "one"), START, user("One."), model("1"), END, response("prompt", "two"))
    assert [(run.id, run.outcome) for run in told.runs] == [("one", "done"), ("two", None)]


def test_a_run_that_goes_on_by_itself_is_the_same_run() -> None:
    told = story(response("prompt"), START, user("Go."), model("One."), END, state())
    for record in (START, {"type": "turn_start"}, model("Two.", 3000), END, state()):
        told.feed(record)
    assert [run.answers for run in told.runs] == [["One.", "Two."]]


def test_what_an_extension_begins_is_a_run_of_its_own() -> None:
    told = story(response("prompt"), START, user("Go."), model("One."), SETTLED, START)
    assert told.state == "working"
    (started,) = told.feed(user("By the way.", 3000))[:1]
    assert isinstance(started, RunStarted) and started.run.prompt == "By the way."
    assert told.runs[0].outcome == "done"


def test_a_run_whose_beginning_is_lost_is_found_by_a_check() -> None:
    told = story(tool("update", "t"), state(streaming=True))
    assert told.state == "working"
    for record in (tool("start", "t"), tool("end", "t"), model("Gone."), SETTLED):
        told.feed(record)
    assert told.state == "done" and told.runs[0].answer == "Gone."


def test_a_model_that_never_answers_is_an_error() -> None:
    told = story(response("prompt"), START, user("Go."), END, SETTLED)
    assert told.state == "error" and told.error == "The model did not answer."


def test_a_prompt_refused_before_the_first_run_leaves_it_idle() -> None:
    refused = {"type": "response", "command": "prompt", "id": "p", "success": False, "error": "No API key."}
    told = story(state())
    assert told.feed(refused) == [PromptRefused("p", "No API key.")]
    assert told.state == "idle" and not told.runs


def test_dialogs_wait_as_long_as_a_tool_that_may_have_asked_runs() -> None:
    told = story(response("prompt"), START, user("Go."), tool("start", "a"), tool("start", "b"), asked("1"))
    told.feed(tool("end", "a"))
    assert told.state == "waiting" and [dialog.id for dialog in told.dialogs] == ["1"]
    told.feed(tool("end", "b"))
    assert told.state == "working"


def test_dialogs_of_all_kinds_hold_what_is_asked() -> None:
    told = story(
        asked("1", "select", options=["a", "b", 3], timeout=1500),
        asked("2", "input", placeholder="here"),
        asked("3", "editor", prefill="x\ny"),
        asked("4", "setWidget"),
    )
    select, entry, editor = told.dialogs
    assert (select.options, select.timeout) == (("a", "b"), 1.5)
    assert (entry.text, editor.text) == ("here", "x\ny")
    assert told.state == "waiting"
    for dialog in told.dialogs:
        told.answered(dialog.id)
    assert told.state == "idle"


def test_a_dialog_of_a_command_is_over_when_that_has_returned() -> None:
    told = story(state(), asked("1"), response("prompt", "greet"))
    assert told.dialogs == [] and told.state == "working"


def test_the_dead_ask_nothing_and_say_why() -> None:
    told = story(response("prompt"), START, user("Go."), tool("start", "a"), asked("1"))
    told.ended(Death(1, stderr="e" * 10_000))
    assert told.state == "lost" and told.dialogs == [] and len(told.error) < SHORT + 200
    assert told.error.startswith("pi ended with exit code 1: e")
    assert told.runs[0].outcome == "error"


def test_after_another_pi_began_what_the_last_one_did_is_not_its_state() -> None:
    told = story(response("prompt"), START, user("Go."))
    told.ended(Death())
    assert told.error == "pi is gone"
    told.began()
    told.feed(state())
    assert told.state == "idle" and told.error == "" and len(told.runs) == 1


def test_texts_that_are_shown_are_bounded_and_answers_are_exact() -> None:
    huge = "x" * (5 * SHOWN)
    call = {
        "type": "toolCall",
        "id": "t",
        "name": "write" * 1000,
        "arguments": {"content": huge, "n": [1] * 9999},
    }
    told = story(response("prompt"), START, user(huge), model(huge))
    told.feed(ended("assistant", 3000, [call], stopReason="toolUse"))
    told.feed(tool("start", "t"))
    told.feed(
        {
            **tool("end", "t"),
            "result": {"content": [{"type": "text", "text": huge}], "details": {"diff": huge}},
        }
    )
    (run,) = told.runs
    assert run.answer == huge and run.prompt == huge
    kept = run.calls[0]
    assert len(json.dumps(kept.arguments)) < 2 * SHOWN and len(kept.name) <= SHORT
    assert max(len(kept.result), len(kept.diff)) < SHOWN + 100 and "left out" in kept.result
    told.feed({"type": "extension_ui_request", "id": "n", "method": "notify", "message": huge})
    assert len(told.notices[0].text) < SHORT + 100


def test_arguments_nested_without_end_are_cut() -> None:
    deep: Any = "bottom"
    for _ in range(500):
        deep = {"a": [deep]}
    call = {"type": "toolCall", "id": "t", "name": "x", "arguments": {"deep": deep}}
    told = story(response("prompt"), START, ended("assistant", 1, [call], stopReason="toolUse"))
    assert len(json.dumps(told.runs[0].calls[0].arguments)) < 200


def test_many_long_answers_take_time_in_proportion() -> None:
    """A partial answer that was put together at each delta would take minutes here."""
    told = story(response("prompt"), START, user("Go."))
    update = {"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": "x" * 50}}
    for _ in range(200_000):
        told.feed(update)
    assert len(told.partial) == 10_000_000


def test_a_record_that_cannot_be_folded_changes_nothing_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise TypeError("unhashable")

    told = story(response("prompt"), START, user("Go."))
    with monkeypatch.context() as patched:
        patched.setattr(told.conversation, "message_ended", fail)
        assert told.feed(model("Lost.")) == [] and told.noise == 1
    told.feed({"type": "process_noise", "text": "no record"})
    for record in (model("Done."), END, SETTLED):
        told.feed(record)
    assert told.state == "done" and told.runs[0].answer == "Done." and told.noise == 2


def budget(text: str) -> Record:
    return {
        "type": "extension_ui_request",
        "method": "setStatus",
        "statusKey": "pi-v-budget",
        "statusText": text,
    }


def test_a_question_for_more_is_answered_when_the_limit_is_told() -> None:
    told = story(state(), START, user("Go."), asked("more") | {"title": "Budget: a has cost $5.02 of $5.00."})
    told.feed(asked("other"))
    assert told.state == "waiting"
    told.feed(budget("10"))
    assert told.budget == 10 and [dialog.id for dialog in told.dialogs] == ["other"]


@pytest.mark.parametrize("text", ["", "much", "nan", "inf", "9" * 5000])
def test_a_limit_that_is_none_changes_nothing(text: str) -> None:
    assert story(state(), budget("5"), budget(text)).budget == 5
