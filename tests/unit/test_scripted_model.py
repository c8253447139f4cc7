"""The scripted model on the wire: what it answers to whom, as its script says."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pis import scripted_model

from pi_v_jupyter.plan.steps import plan_in, ticks
from pi_v_jupyter.swarm import _scripted
from pi_v_jupyter.swarm.planning import order
from pi_v_jupyter.swarm.scripted import program

TOOLS = [{"name": "write"}, {"name": "read"}]


class Model:
    """A model that is up, and the file with its script."""

    def __init__(self, url: str, script: Path) -> None:
        self.url = url
        self.script = script

    def follow(self, *turns: Any, **told: Any) -> None:
        self.script.write_text(json.dumps({"turns": turns, **told}))

    def ask(self, *messages: Any, agent: str = "", tools: Any = TOOLS) -> httpx.Response:
        body = {"model": "rehearsal", "messages": messages or [user("Hello")], "tools": tools, "stream": True}
        return httpx.post(f"{self.url}{agent}/v1/messages", json=body, timeout=30)


@pytest.fixture(name="model")
def a_model(tmp_path: Path) -> Iterator[Model]:
    script = tmp_path / "script.json"
    with scripted_model(tmp_path, script) as url:
        yield Model(url, script)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def text(answer: httpx.Response) -> str:
    deltas = [event["delta"] for event in events(answer) if event["type"] == "content_block_delta"]
    return "".join(delta.get("text", "") for delta in deltas)


def test_what_is_sent_to_vms_is_python_3_8_and_the_standard_library() -> None:
    for file in Path(_scripted.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text(), feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= sys.stdlib_module_names
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module is not None
                assert node.module.partition(".")[0] in sys.stdlib_module_names
    assert b"_scripted.program" in program()


def test_turns_are_given_one_after_the_other_and_a_changed_script_begins_anew(model: Model) -> None:
    model.follow("one", {"content": [{"say": "two"}], "times": 2}, "three")
    assert [text(model.ask()) for _ in range(4)] == ["one", "two", "two", "three"]
    model.follow("another")
    assert text(model.ask()) == "another"


def test_each_agent_has_turns_of_its_own(model: Model) -> None:
    model.follow("anyone", agents={"alpha": ["first", "second"]})
    assert text(model.ask(agent="/alpha")) == "first"
    assert text(model.ask(agent="/beta")) == "anyone"
    assert text(model.ask(agent="/alpha")) == "second"


def test_a_summary_uses_up_no_turn(model: Model) -> None:
    model.follow("a turn", summary="all in all")
    assert text(model.ask(tools=[])) == "all in all"
    assert text(model.ask()) == "a turn"


def test_an_answer_may_think_speak_and_call_several_tools(model: Model) -> None:
    calls = [
        {"call": "read", "with": {"path": "a"}},
        {"call": "write", "with": {"path": "b", "content": "é"}},
    ]
    model.follow({"content": [{"think": "Hm."}, {"say": "Both."}, *calls], "usage": {"output_tokens": 7}})
    told = events(model.ask())
    started = [event["content_block"] for event in told if event["type"] == "content_block_start"]
    assert [block["type"] for block in started] == ["thinking", "text", "tool_use", "tool_use"]
    assert len({block["id"] for block in started[2:]}) == 2
    arguments = ["", "", "", ""]
    for event in told:
        if event["type"] == "content_block_delta":
            arguments[event["index"]] += event["delta"].get("partial_json", "")
    assert json.loads(arguments[3]) == {"path": "b", "content": "é"}
    assert told[-2]["delta"]["stop_reason"] == "tool_use" and told[-2]["usage"]["output_tokens"] == 7
    assert told[-1]["type"] == "message_stop"


@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limit"), (500, "api"), (529, "overloaded")])
def test_a_status_is_an_error_as_anthropic_words_it(model: Model, status: int, kind: str) -> None:
    model.follow({"status": status, "retry_after": 3})
    answer = model.ask()
    assert answer.status_code == status and answer.headers["retry-after"] == "3"
    assert answer.json()["error"]["type"] == f"{kind}_error"
    model.follow({"status": status, "message": "Not now."})
    answer = model.ask()
    assert "retry-after" not in answer.headers and answer.json()["error"]["message"] == "Not now."


def test_a_stream_may_be_cut_or_malformed_or_end_in_an_error(model: Model) -> None:
    model.follow({"content": [{"say": "The su"}, {"cut": True}]})
    assert events(model.ask())[-1]["type"] == "content_block_stop"
    model.follow({"content": [{"malformed": "{oops"}, {"say": "on"}]})
    assert "data: {oops\n\n" in model.ask().text
    model.follow({"content": [{"say": "The su"}, {"error": "overloaded_error"}]})
    assert events(model.ask())[-1]["error"]["type"] == "overloaded_error"


def test_a_slow_stream_goes_on_when_it_is_let(model: Model, tmp_path: Path) -> None:
    go = tmp_path / "go"
    model.follow({"content": [{"say": "one"}, {"hold": str(go)}, {"say": "two"}], "pause": 0.001})
    body = {"messages": [user("Hello")], "tools": TOOLS}
    with httpx.stream("POST", f"{model.url}/v1/messages", json=body, timeout=30) as answer:
        seen = ""
        for piece in answer.iter_text():
            seen += piece
            if '"one"' in seen and not go.exists():
                assert '"two"' not in seen
                go.touch()
    assert '"two"' in seen and "message_stop" in seen


def test_without_a_script_it_notes_the_task_reads_that_and_answers(model: Model) -> None:
    task = user("Count the files.")
    first = events(model.ask(task))
    names = [event["content_block"].get("name") for event in first if event["type"] == "content_block_start"]
    assert names == [None, None, "write"]
    result = {"role": "user", "content": [{"type": "tool_result", "content": "done"}]}
    second = events(model.ask(task, result))
    assert [e["content_block"].get("name") for e in second if e["type"] == "content_block_start"][
        -1
    ] == "read"
    assert "“Count the files.”" in text(model.ask(task, result, result))
    assert "Count the files." in text(model.ask(task, tools=[{"name": "bash"}]))


def test_without_a_script_it_plans_where_it_may_only_look_and_ticks_what_it_does(model: Model) -> None:
    looking = [{"name": "ls"}, {"name": "read"}]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "so"}]}
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "ls", "input": {}}]}
    assert text(model.ask(user("Tidy up."), tools=looking)) == "I look around first."
    plan = plan_in(text(model.ask(user("Tidy up."), call, result, tools=looking)))
    assert plan is not None and [step.number for step in plan.steps] == [1, 2]
    said, told = [user(order(plan))], ""
    for _ in range(3):
        told += text(model.ask(*said))
        said += [call, result]
    assert plan.ticked(ticks(told)).finished


def test_a_script_that_cannot_be_followed_is_told_to_the_agent(model: Model) -> None:
    for wrong in ("{", "[]", json.dumps({"turns": [3]}), json.dumps({"turns": [{"size": "x"}]})):
        model.script.write_text(wrong)
        answer = model.ask()
        assert answer.status_code == 400
        assert "script" in answer.json()["error"]["message"]


def test_nonsense_is_refused_and_does_no_harm(model: Model) -> None:
    for body in (b"", b"{", b"[]", b'{"tools": [1], "messages": 1}', b'{"tools": [{}]}'):
        assert httpx.post(f"{model.url}/v1/messages", content=body).status_code in (400, 404)
    assert httpx.post(f"{model.url}/v1/models", json={}).status_code == 404
    model.follow("still here")
    assert text(model.ask()) == "still here"


def test_a_port_that_is_taken_is_said_in_a_sentence(model: Model, tmp_path: Path) -> None:
    words = [sys.executable, tmp_path / "scripted.py", "--port", model.url.rpartition(":")[2]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith("Port ") and done.stderr.endswith("choose another with --port.\n")


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "scripted.py").write_bytes(program())
    words = [sys.executable, tmp_path / "scripted.py", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as model:
        assert model.stdout is not None and model.stdout.readline().startswith("scripted model on http://127")
        model.send_signal(signal.SIGTERM)
        assert model.wait(30) == 0
