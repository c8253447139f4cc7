"""What agents write, as the dashboard shows it: it streams in, and nothing of it is obeyed."""

from __future__ import annotations

import re

import pytest
from labs import CHROMIUM
from pages import Dashboard
from playwright.sync_api import expect
from swarmpages import opened, step, talk, tell, transcript

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
HOSTILE = """<img src=x onerror="window.owned = 1"> <script>window.owned = 2</script>
<svg onload="window.owned = 3"></svg> <b class="jp-Button" id="main" style="position:fixed">bold</b>

<style>body { display: none }</style>

<iframe src="https://evil.test/frame"></iframe>

<form action="https://evil.test/form"><input name="q"><button>Go</button></form>

![a picture](https://evil.test/pixel.png) [script](javascript:window.owned=4)
[JaVa](JaVaScRiPt&colon;window.owned=5)
[data](data:text/html,<script>window.owned=6</script>) [ok](https://example.org/a?b=1&c=2)
[relative](/lab/tree/x)
<a href="javascript:window.owned=7" target=_top>raw</a> <https://auto.example.org> [vb](vbscript:x)
[quote](https://example.org/"onmouseover="window.owned=8)
"""
MARKDOWN = ("text", "partial", "broken")
SHAPES = {
    kind: step(kind, HOSTILE, name=HOSTILE, result=HOSTILE, diff=HOSTILE, state="ok")
    for kind in ("text", "partial", "broken", "thinking", "prompt", "note", "call")
}


def test_what_streams_in_leaves_the_blocks_before_it_as_they_are(shown: Dashboard) -> None:
    opened(shown)
    text = "# One\r\n\n- a\n- b\n\n```\ncode\n\nmore\n```\n\nThe last"
    tell(shown, "vm-a", 0, {"cut": 0, "runs": {"0": talk(step("partial", text))}})
    blocks = transcript(shown).locator(".pi-v-streaming > *")
    expect(blocks).to_have_count(4)
    blocks.first.evaluate("it => it.firstElementChild.mark = 'the same'")
    tell(shown, "vm-a", 1, {"runs": {"0": {"steps": {"0": {"text": text + " words.\n\nAnd *more*"}}}}})
    expect(blocks).to_have_count(5)
    assert blocks.first.evaluate("it => it.firstElementChild.mark") == "the same"
    expect(blocks.last).to_have_text("And more")


@pytest.mark.parametrize("kind", SHAPES)
def test_hostile_words_of_an_agent_run_nothing_and_load_nothing(shown: Dashboard, kind: str) -> None:
    asks: list[str] = []
    shown.page.on("request", lambda request: asks.append(request.url))
    shown.patch(
        {"agents": {"vm-a": {"words": HOSTILE, "task": HOSTILE, "trouble": HOSTILE, "calls": [HOSTILE]}}}
    )
    opened(shown)
    tell(shown, "vm-a", 0, {"cut": 0, "runs": {"0": talk(SHAPES[kind], error=HOSTILE)}})
    said = transcript(shown)
    expect(said).to_contain_text('onerror="window.owned = 1"')  # as text
    if kind in MARKDOWN:
        expect(said.locator(".pi-v-markdown").first).to_contain_text('<img src=x onerror="window.owned = 1">')
        picture = said.get_by_role("link", name="a picture")
        expect(picture.first).to_have_attribute("href", "https://evil.test/pixel.png")
    for name in ("img", "script", "svg", "iframe", "style", "form", "input", "b", "object", "video"):
        assert said.locator(name).count() == 0, name
    attributes = said.evaluate("""it => [...it.querySelectorAll(".pi-v-markdown *")].flatMap((node) =>
      [...node.attributes].map(({ name }) => name))""")
    assert {*attributes} <= {"href", "rel", "target", "start", "align", "tabindex"}
    links = said.locator("a").evaluate_all(
        "all => all.map(it => [it.getAttribute('href'), it.rel, it.target]).filter(([href]) => href !== null)"
    )
    assert all(re.match("https?://", href) for href, _, _ in links)
    assert all((rel, target) == ("noopener noreferrer", "_blank") for _, rel, target in links)
    assert ("https://example.org/a?b=1&c=2" in [href for href, _, _ in links]) == (kind in MARKDOWN)
    assert shown.page.evaluate("window.owned") is None
    assert asks == []


@pytest.mark.parametrize("kind", ["text", "partial"])
def test_words_that_no_parser_takes_are_shown_as_they_are(shown: Dashboard, kind: str) -> None:
    opened(shown)
    deep = ">" * 20_000 + " <img src=x>"
    tell(shown, "vm-a", 0, {"cut": 0, "runs": {"0": talk(step(kind, deep))}})
    expect(transcript(shown).locator(".pi-v-markdown pre")).to_have_text(deep)


WIDE = "|" + "a|" * 3000 + "\n|" + "-|" * 3000 + "\n" + "a\n" * 3300
COSTLY = {
    "a table that is filled up": (WIDE[:19_000], "th, td, tr"),
    "emphasis": ("*a* " + "_a" * 5000, "em"),
    "two kinds of it": ("***a_" * 3000, "em, strong"),
    "links": ("[a](b) " + "[a](" * 4000, "a"),
    "an address": ("a" * 5000 + "@example.org", "a"),
    "lists in lists": ("".join(" " * 2 * deep + "- a\n" for deep in range(100)), "li"),
    "quotations in lists": ("- > " * 1000 + "a", "li, blockquote"),
    "a long list": ("- a\n" * 50_000, "li:nth-child(5001)"),
    "a long text": ("a\n\n" * 100_000, "p:nth-child(7000)"),
}


@pytest.mark.parametrize("kind", ["text", "partial"])
@pytest.mark.parametrize("costly", COSTLY)
def test_words_that_would_take_the_page_long_are_shown_as_they_are(
    shown: Dashboard, kind: str, costly: str
) -> None:
    words, never = COSTLY[costly]
    opened(shown)
    tell(shown, "vm-a", 0, {"cut": 0, "runs": {"0": talk(step(kind, words))}})
    said = transcript(shown).locator(".pi-v-markdown").first
    expect(said).to_contain_text("a")
    expect(said.locator(never)).to_have_count(0)
    letters = "it => it.textContent.replace(/[^a-z@.]/g, '').length"
    assert said.evaluate(letters) == sum(char in "abcdefghijklmnopqrstuvwxyz@." for char in words)


def test_what_agents_write_of_tables_and_emphasis_is_shown_as_such(shown: Dashboard) -> None:
    opened(shown)
    table = "|a|b|\n|-|-|\n" + "|1|**2**|\n" * 500
    tell(shown, "vm-a", 0, {"cut": 0, "runs": {"0": talk(step("text", table + "\n" + "*a* " * 100))}})
    expect(transcript(shown).locator("td strong")).to_have_count(500)
    expect(transcript(shown).locator("em")).to_have_count(100)
