"""Transcripts show everything and obey nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pi_v_jupyter.swarm.story import Story
from pi_v_jupyter.swarm.transcript import html, markdown, page, visible

RECORDINGS = Path(__file__).parent / "recordings"
EVIL = (
    "<script>alert(1)</script>\n```\n# Not ours\n![x](http://evil.example/a.png)\n"
    "\x1b]0;title\x07 \u202egnp.exe <img src=x onerror=alert(2)> ````` & '\""
)
PIECE = {"div", "h3", "h4", "p", "pre", "details", "summary", "code", "span"}
TAGS = PIECE | {"html", "head", "meta", "title", "body"}


def recorded(version: str, name: str) -> Story:
    story = Story()
    for line in (RECORDINGS / version / f"{name}.jsonl").read_bytes().split(b"\n"):
        if line:
            story.feed(json.loads(line))
    return story


def hostile() -> Story:
    story = Story()
    content = [
        {"type": "thinking", "thinking": EVIL},
        {"type": "text", "text": EVIL},
        {"type": "toolCall", "id": "t", "name": EVIL, "arguments": {EVIL: EVIL}},
    ]
    result = {"content": [{"type": "text", "text": EVIL}], "details": {"patch": "+" + EVIL}}
    told: list[dict[str, Any]] = [
        {"type": "response", "command": "prompt", "success": True},
        {
            "type": "response",
            "command": "set_model",
            "success": True,
            "data": {"provider": "<b>", "id": "<i>"},
        },
        {"type": "agent_start"},
        {"type": "message_end", "message": {"role": "user", "content": EVIL, "timestamp": 1000}},
        {"type": "message_end", "message": {"role": "assistant", "content": content, "errorMessage": EVIL}},
        {"type": "tool_execution_start", "toolCallId": "t"},
        {"type": "tool_execution_end", "toolCallId": "t", "result": result, "isError": True},
        {"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": EVIL}},
    ]
    for record in told:
        story.feed(record)
    return story


class Seen(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outside_fences(text: str) -> str:
    """What a Markdown renderer would render, by the rule of CommonMark for fences."""
    kept, fence = [], ""
    for line in text.split("\n"):
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if not fence and len(ticks) >= 3:
            fence = ticks
        elif fence and line == ticks and len(ticks) >= len(fence):
            fence = ""
        elif not fence:
            kept.append(line)
    assert not fence
    return "\n".join(kept)


@pytest.mark.parametrize("version", ["0.74.2", "0.87.1"])
def test_a_transcript_tells_the_task_the_calls_the_diff_and_the_answer(version: str) -> None:
    story = recorded(version, "tools")
    seen = Seen(html(story, "alpha")).text
    for text in (markdown(story, "alpha"), seen):
        told = ["alpha", "19 and 23", "Two digits are", "I correct that.", "print(19 + 23)", "The sum is 42."]
        assert all(words in text for words in told)
        assert "Task 1: done" in text and "failed" in text and "tokens · $0.0" in text
    assert html(story).count("<details>") == 5  # four calls, and what it thought
    assert html(story).count("<span style=") >= 2
    assert "```diff\n" in markdown(story)


def test_what_was_broken_off_retried_and_why_it_failed_is_told() -> None:
    recovered = markdown(recorded("0.87.1", "recovers"))
    assert "**Answer, broken off**\n\n```text\nThe su\n```" in recovered and "Attempt 1 of 3" in recovered
    storm = markdown(recorded("0.87.1", "storm"))
    assert "Task 1: error" in storm and "**Error**" in storm and "Overloaded" in storm


def test_an_answer_under_way_is_shown_as_far_as_it_is() -> None:
    story = recorded("0.87.1", "killed")
    assert "Task 1: working" in markdown(story) and "1 2 3" in markdown(story) and "1 2 3" in html(story)


def test_nothing_has_happened_yet() -> None:
    assert markdown(Story(), "alpha").startswith("# `alpha`\n\nstarting · 0 tokens")
    assert Seen(html(Story())).open == []


@pytest.mark.parametrize("write", [html, page])
def test_html_shows_hostile_text_and_has_no_tags_but_ours(write: Any) -> None:
    seen = Seen(write(hostile(), EVIL))
    assert seen.open == [] and seen.tags <= TAGS
    assert seen.attributes <= {"class", "style", "charset"}
    assert seen.text.count(visible("\x1b]0;title\x07 \u202egnp.exe <img src=x onerror=alert(2)>")) >= 5
    assert not set("\x1b\x07\u202e") & set(write(hostile(), EVIL))


def test_markdown_renders_nothing_that_an_agent_wrote() -> None:
    text = markdown(hostile(), EVIL)
    rendered = outside_fences(text)
    assert [line[:6] for line in rendered.split("\n") if line.startswith("#")] == ["# ````", "## Tas"]
    code = re.compile(r"(`{2,}) .* \1")  # the label and the tool's name
    assert len(code.findall(rendered)) == 2
    assert "evil.example" not in code.sub("", rendered) and "script" not in code.sub("", rendered)
    assert "&lt;b&gt;/&lt;i&gt;" in rendered
    assert not set("\x1b\x07\u202e") & set(text)


def test_a_time_that_no_calendar_has_is_left_out() -> None:
    story = Story()
    story.feed({"type": "agent_start"})
    story.feed({"type": "message_end", "message": {"role": "user", "content": "Go.", "timestamp": 9e15}})
    for told in (markdown(story), html(story)):
        assert "Go." in told and "UTC" not in told
