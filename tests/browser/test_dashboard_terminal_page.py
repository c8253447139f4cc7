"""A terminal's built bundle in a page of its own: how keys go in, and how the focus comes out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labs import CHROMIUM
from pages import ADDRESS, BUNDLE, SHOTS
from playwright.sync_api import Browser, Page, Route, expect

HEAR = """window.heard = [];
document.addEventListener("keydown", ({ key, target }) =>
  target.closest("[data-lm-suppress-shortcuts]") || heard.push(key), true);"""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
SCRIPT = """
import terminal from "./terminal.js";
window.typed = "";
const model = {
  get: () => "terminal on desk",
  on: (_, hear) => (window.hear = hear),
  off() {},
  send(content, _, buffers) {
    window.view = content.view;
    if (content.kind === "typed") window.typed += new TextDecoder().decode(buffers[0]);
  },
};
window.show = (text) => {
  const said = { kind: "output", to: window.view, offset: 0, answered: 0, modes: "", over: false };
  window.hear(said, [new DataView(new TextEncoder().encode(text).buffer)]);
};
terminal.render({ model, el: document.querySelector("main") });
"""
PAGE = """<!doctype html><html lang="en"><title>Terminal</title><link rel="stylesheet" href="terminal.css">
<button>before</button><main></main><button>after</button><script type="module" src="page.js"></script>"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """It, between two buttons."""

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(ADDRESS)
        if name in ("terminal.js", "terminal.css"):
            route.fulfill(path=BUNDLE.parent / "terminal" / name)
        elif name == "page.js":
            route.fulfill(body=SCRIPT, content_type="text/javascript")
        else:
            route.fulfill(body=PAGE, content_type="text/html")

    page = browser.new_page()
    page.route("**/*", serve)
    page.goto(ADDRESS)
    yield page
    page.close()


def test_all_keys_are_the_programs_but_one_which_leads_out_and_is_told(page: Page) -> None:
    box = page.get_by_role("textbox", name="terminal on desk")
    expect(box).to_have_accessible_description(
        "Ctrl+Shift+Space leaves the terminal; Tab goes on from there."
    )
    expect(page.get_by_text("Ctrl+Shift+Space leaves the terminal")).to_be_visible()
    box.focus()
    for key in ("Tab", "Shift+Tab", "Escape", "Control+Space"):
        page.keyboard.press(key)
    expect(box).to_be_focused()
    page.keyboard.press("Control+Shift+Space")
    expect(box).not_to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="after")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(box).to_be_focused()
    page.keyboard.press("Control+Shift+Space")
    page.keyboard.press("Shift+Tab")
    expect(box).to_be_focused()
    assert page.evaluate("typed") == "\t\x1b[Z\x1b\0"


def test_the_notebook_is_saved_by_its_key_once_the_terminal_was_left(page: Page) -> None:
    page.evaluate(HEAR)
    page.get_by_role("textbox", name="terminal on desk").focus()
    for key in ("Control+s", "Control+Shift+Space", "d", "Control+s"):
        page.keyboard.press(key)
    assert page.evaluate("heard") == ["s"]


def test_reverse_video_has_the_colours_of_the_page_the_other_way_round(page: Page) -> None:
    page.wait_for_function("Boolean(window.view)")
    page.evaluate("show('plain \\x1b[7mreversed\\x1b[0m \\x1b[7;44mon blue\\x1b[0m \\x1b[33myellow\\x1b[0m')")
    reversed_ = page.get_by_text("reversed", exact=True)
    page.screenshot(path=SHOTS / "terminal-reversed.png")
    expect(reversed_).to_have_css("background-color", "rgb(0, 0, 0)")
    expect(reversed_).to_have_css("color", "rgb(255, 255, 255)")
    expect(page.get_by_text("plain")).to_have_css("color", "rgb(0, 0, 0)")
    expect(page.get_by_text("yellow")).not_to_have_css("color", "rgb(0, 0, 0)")
