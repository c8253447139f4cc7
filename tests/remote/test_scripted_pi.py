"""Real pis, an old one and a new one, with the scripted model: it speaks to them as Anthropic's does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pis import NEW, OLD, Pi, running_pi

OVER = ("done", "error", "aborted")
SUM = "What is the sum of 19 and 23?"
ANSWER = "The sum is 42."
each_version = pytest.mark.parametrize("version", [OLD, NEW])


def told(pi: Pi, *turns: Any) -> None:
    """Follow this script from now on, to the end of one task."""
    pi.follow(turns=list(turns))
    pi.prompt(SUM)
    pi.state(*OVER)


@pytest.fixture(name="pi", scope="module", params=[OLD, NEW])
def a_pi(request: pytest.FixtureRequest) -> Iterator[Pi]:
    with running_pi(request.param) as pi:
        yield pi


def test_without_a_script_it_rehearses_in_the_workspace_and_costs_something(pi: Pi) -> None:
    told(pi)
    run = pi.story.runs[-1]
    assert run.outcome == "done" and [call.name for call in run.calls] == ["write", "read"]
    assert SUM in (pi.workspace / "notes.md").read_text()
    assert f"“{SUM}”" in run.answer and 0 < run.usage.cost < 1


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 529},
        {"status": 429, "retry_after": 0},
        {"status": 500},
        {"content": [{"say": "The s"}, {"cut": True}]},
        {"content": [{"say": "The s"}, {"error": "overloaded_error"}]},
    ],
    ids=["529", "429", "500", "cut", "error event"],
)
def test_pi_gets_over_what_a_provider_does_at_times(pi: Pi, fault: dict[str, Any]) -> None:
    told(pi, fault, ANSWER)
    run = pi.story.runs[-1]
    assert (run.outcome, run.answers, run.retries) == ("done", [ANSWER], 1)


@pytest.mark.parametrize(
    "fault",
    [
        {"content": [{"say": "No."}], "stop": "refusal"},
        {"status": 400, "message": "No such thing."},
        {"content": [{"say": "The s"}, {"malformed": '{"type": oops'}]},
    ],
    ids=["refusal", "400", "malformed"],
)
def test_other_faults_are_errors(pi: Pi, fault: dict[str, Any]) -> None:
    told(pi, fault, ANSWER)
    run = pi.story.runs[-1]
    assert run.outcome == "error" and run.error and run.answers == []


def test_thoughts_words_and_several_calls_come_in_one_turn(pi: Pi) -> None:
    calls = [{"call": "bash", "with": {"command": f"echo {word}"}} for word in ("one", "two", "three")]
    told(pi, {"content": [{"think": "Hm."}, {"say": "All."}, *calls], "usage": {"output_tokens": 99}}, ANSWER)
    run = pi.story.runs[-1]
    assert [call.result.strip() for call in run.calls] == ["one", "two", "three"]
    assert run.answers == ["All.", ANSWER] and run.usage.output > 99


def test_a_slow_answer_is_seen_as_it_comes_and_stops_at_a_limit(pi: Pi) -> None:
    go = pi.home / "go"
    pi.follow(turns=[{"content": [{"say": "one "}, {"hold": str(go)}, {"say": "two"}], "stop": "max_tokens"}])
    pi.prompt(SUM)
    pi.until(lambda _: pi.story.partial == "one ")
    go.touch()
    pi.state(*OVER)
    run = pi.story.runs[-1]
    assert (run.outcome, run.stop) == ("done", "length") and "two" in run.answer


def test_a_script_with_a_mistake_is_the_error_of_the_agent(pi: Pi) -> None:
    pi.script.write_text("{")
    pi.prompt(SUM)
    pi.state(*OVER)
    assert "cannot be read" in pi.story.runs[-1].error


@each_version
def test_a_storm_is_an_error_after_all_retries(version: str) -> None:
    with running_pi(version) as pi:
        told(pi, {"status": 529, "times": 4}, ANSWER)
        run = pi.story.runs[-1]
        assert (run.outcome, run.retries, run.answers) == ("error", 3, [])
        assert "Overloaded" in pi.story.error


@each_version
def test_a_pi_takes_up_another_model_while_it_runs(version: str) -> None:
    with running_pi(version) as pi:
        pi.send("set_model", id="model", provider="scripted", modelId="rehearsal")
        assert pi.response("model")["success"]
        assert pi.story.model == "scripted/rehearsal"
        told(pi, ANSWER)
        assert pi.story.runs[-1].answer == ANSWER
