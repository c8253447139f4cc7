"""What a person does at a terminal in a cell's output."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from labs import CHROMIUM, SECOND, browsing, finished, first, lab, run, save
from platforms import Platform
from playwright.sync_api import Locator, Page, expect

pytestmark = [
    pytest.mark.vm,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
CELLS = [
    "%load_ext pi_v_jupyter",
    "vm = %vers create --name desk --use",
    "t = %vers shell\nt",
    "t",
    "import time\nfor n in range(600): time.sleep(0.1)",
    "t.close()",
    "%vers shell desk -- sh -c 'echo waiting; read line; exit 3'",
    "%vers rm -f desk",
]
_LOAD, CREATE, SHELL, AGAIN, BUSY, CLOSE, COMMAND, REMOVE = range(len(CELLS))
WAIT = 60 * SECOND


@pytest.fixture(scope="module")
def page(shared_platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The notebook, with a VM that cells run on."""
    folder = tmp_path_factory.mktemp("lab")
    with lab(shared_platform.env, folder, CELLS) as address, browsing(address, len(CELLS)) as page:
        expect(first(page)).to_contain_text("embedded platform", timeout=WAIT)
        expect(finished(page, CREATE)).to_contain_text("★ desk", timeout=WAIT)
        yield page
        expect(finished(page, REMOVE)).to_contain_text("Deleted desk.")


@pytest.fixture
def terminal(page: Page) -> Iterator[Locator]:
    """A shell of the test's own at its first prompt."""
    shown = finished(page, SHELL)
    expect(rows(shown)).to_contain_text("root@desk", timeout=WAIT)
    yield shown
    finished(page, CLOSE)


def rows(shown: Locator) -> Locator:
    """What the screen shows."""
    return shown.locator(".xterm-rows")


def type_at(shown: Locator, line: str) -> None:
    """Click at the terminal and type a line."""
    shown.locator(".xterm-screen").click()
    shown.page.keyboard.type(line + "\n")


def columns(page: Page, shown: Locator) -> int:
    """What the shell takes the width for."""
    type_at(shown, "clear; echo ':'$(stty size)':'")
    expect(rows(shown)).to_contain_text(":24 ", timeout=WAIT)
    return int(rows(shown).inner_text().split(":24 ")[1].split(":")[0])


def test_a_shell_answers_and_follows_the_width_of_the_page(page: Page, terminal: Locator) -> None:
    type_at(terminal, "echo answer $((6*7))")
    expect(rows(terminal)).to_contain_text("answer 42", timeout=WAIT)
    wide = columns(page, terminal)
    page.set_viewport_size({"width": 800, "height": 1700})
    type_at(terminal, f"clear; until [ $(tput cols) -lt {wide} ]; do sleep 0.1; done; echo nar''row")
    expect(rows(terminal)).to_contain_text("narrow", timeout=WAIT)
    narrow = columns(page, terminal)
    page.set_viewport_size({"width": 1200, "height": 1700})
    assert 30 < narrow < wide
    assert terminal.get_by_role("group").get_attribute("aria-label") == "terminal on desk"


def test_a_program_has_the_whole_screen(terminal: Locator) -> None:
    type_at(terminal, "top")
    expect(rows(terminal)).to_contain_text("PID USER", timeout=WAIT)
    terminal.page.keyboard.type("q")
    type_at(terminal, "clear; echo left' 'it")
    expect(rows(terminal)).to_contain_text("left it", timeout=WAIT)


def test_ctrl_c_stops_a_flood(terminal: Locator) -> None:
    type_at(terminal, "yes flood")
    expect(rows(terminal)).to_contain_text("flood\nflood\nflood", timeout=WAIT, use_inner_text=True)
    terminal.page.keyboard.press("Control+c")
    type_at(terminal, "clear; echo dry' 'again")
    expect(rows(terminal)).to_contain_text("dry again", timeout=WAIT)


def test_it_opens_and_goes_on_while_a_cell_computes(page: Page) -> None:
    terminal = run(page, SHELL)
    run(page, BUSY)
    prompt = page.locator(".jp-Notebook .jp-CodeCell").nth(BUSY).locator(".jp-InputPrompt")
    expect(prompt).to_contain_text("*", timeout=WAIT)
    type_at(terminal, "echo meanwhile' '$((6*7))")
    expect(rows(terminal)).to_contain_text("meanwhile 42", timeout=WAIT)
    expect(prompt).to_contain_text("*")
    page.locator("[data-command='notebook:interrupt-kernel']").first.click()
    expect(prompt).not_to_contain_text("*", timeout=WAIT)
    finished(page, CLOSE)


def test_its_keys_are_its_own(page: Page, terminal: Locator) -> None:
    prompt = page.locator(".jp-Notebook .jp-CodeCell").nth(SHELL).locator(".jp-InputPrompt")
    before = prompt.inner_text()
    terminal.locator(".xterm-screen").click()
    page.keyboard.type("echo dd' 'a")
    page.keyboard.press("Shift+Enter")
    expect(rows(terminal)).to_contain_text("dd a", timeout=WAIT)
    page.keyboard.type("echo go' 'on; cat")
    page.keyboard.press("Control+Enter")
    expect(rows(terminal)).to_contain_text("go on", timeout=WAIT)
    page.keyboard.press("Escape")
    page.keyboard.type("dd")
    expect(rows(terminal)).to_contain_text("^[dd", timeout=WAIT)
    page.keyboard.press("Control+c")
    expect(prompt).to_have_text(before)
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(len(CELLS))


def test_text_is_copied_and_pasted(page: Page, terminal: Locator) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    type_at(terminal, "clear; echo mark''ed")
    expect(rows(terminal)).to_contain_text("marked", timeout=WAIT)
    box = rows(terminal).get_by_text("marked", exact=True).bounding_box()
    assert box
    page.mouse.dblclick(box["x"] + 8, box["y"] + box["height"] / 2)
    page.keyboard.press("Control+c")
    page.wait_for_function("navigator.clipboard.readText().then((text) => text === 'marked')")
    page.keyboard.type("echo un")
    page.keyboard.press("Control+v")
    page.keyboard.press("Enter")
    expect(rows(terminal)).to_contain_text("\nunmarked", timeout=WAIT, use_inner_text=True)


def test_a_view_opened_later_shows_what_was_and_both_what_comes(page: Page, terminal: Locator) -> None:
    type_at(terminal, "echo be''fore")
    expect(rows(terminal)).to_contain_text("before", timeout=WAIT)
    second = finished(page, AGAIN)
    expect(rows(second)).to_contain_text("before", timeout=WAIT)
    type_at(second, "echo aft''er")
    for shown in (terminal, second):
        expect(rows(shown)).to_contain_text("after", timeout=WAIT)


def test_a_page_that_is_loaded_again_finds_it_as_it_was(page: Page, terminal: Locator) -> None:
    type_at(terminal, "clear; echo be''fore; cd /srv")
    expect(rows(terminal)).to_contain_text("root@desk:/srv", timeout=WAIT)
    save(page)
    page.reload()
    expect(rows(terminal)).to_contain_text("before", timeout=WAIT)
    type_at(terminal, "echo now in $PWD")
    expect(rows(terminal)).to_contain_text("now in /srv", timeout=WAIT)


def test_a_page_that_is_loaded_again_types_nothing_and_waits_for_nothing(
    page: Page, terminal: Locator
) -> None:
    # It is answered in the order in which it was asked, where the cursor is last: that ends with R.
    type_at(terminal, "printf '\\e[c\\e]11;?\\a\\e[6n'; read -s -d R x; clear; seq 100000; echo be''fore")
    expect(rows(terminal)).to_contain_text("before", timeout=WAIT)
    save(page)
    page.reload()
    expect(rows(terminal)).to_contain_text("before", timeout=WAIT)
    type_at(terminal, "")
    expect(rows(terminal)).to_contain_text(
        "before\nroot@desk:~# \nroot@desk:~#", timeout=WAIT, use_inner_text=True
    )
    type_at(terminal, "clear; seq 300000; echo af''ter")
    expect(rows(terminal)).to_contain_text("after", timeout=WAIT)


def test_a_sequence_that_repeats_without_end_does_not_stop_the_page(page: Page, terminal: Locator) -> None:
    for final in "bILMSTZ":
        type_at(terminal, f"printf 'a\\e[2147483647{final}'")
    type_at(terminal, "clear; echo still' 'alive")
    expect(rows(terminal)).to_contain_text("still alive", timeout=WAIT)


def test_twelve_megabytes_are_pasted_whole(page: Page, terminal: Locator) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText(('x'.repeat(99) + '\\n').repeat(120000))")
    type_at(terminal, "clear; stty -echo; echo re''ady; head -c 12000000 | sha256sum; stty echo")
    expect(rows(terminal)).to_contain_text("ready", timeout=WAIT)  # and bash marks no paste as one any more
    page.keyboard.press("Control+v")
    digest = hashlib.sha256((b"x" * 99 + b"\n") * 120_000).hexdigest()
    expect(rows(terminal)).to_contain_text(digest, timeout=200 * SECOND)


def test_how_its_program_ended_is_told(page: Page) -> None:
    shown = finished(page, COMMAND)
    expect(rows(shown)).to_contain_text("waiting", timeout=WAIT)
    type_at(shown, "")
    expect(rows(shown)).to_contain_text("[ended: exit code 3]", timeout=WAIT)


def test_it_has_the_colours_of_the_theme(page: Page, terminal: Locator) -> None:
    for theme, colour in (("Dark", "rgb(255, 255, 255)"), ("Light", "rgb(0, 0, 0)")):
        page.get_by_role("menuitem", name="Settings").click()
        page.get_by_text("Theme", exact=True).hover()
        page.get_by_role("menuitem", name=f"JupyterLab {theme}", exact=True).click()
        expect(rows(terminal)).to_have_css("color", colour, timeout=WAIT)
