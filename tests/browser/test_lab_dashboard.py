"""The dashboard in JupyterLab: live with its kernel, and what its notebook shows without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from labs import CHROMIUM, SECOND, browsing, finished, first, lab, run, save
from playwright.sync_api import Locator, Page, expect
from served import served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a VM is logged in to as root"),
]
CELLS = [
    "%load_ext pi_v_jupyter",
    "%vers",
    "import ipywidgets\nboard = %vers\nipywidgets.VBox([ipywidgets.Label('above it'), board])",
    "import time\nfor n in range(600): time.sleep(0.1)",
    "%unload_ext pi_v_jupyter",
    "board = %vers\nboard.close()",
]
_LOAD, DASHBOARD, BOX, BUSY, UNLOAD, CLOSE = range(len(CELLS))
WAIT = 60 * SECOND
COMPLAINT = "Error displaying widget"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """With this machine as the one VM, and a trust in notebooks of its own."""
    data = tmp_path_factory.mktemp("data")
    with served() as env:
        yield env | {"XDG_DATA_HOME": str(data), "JUPYTER_DATA_DIR": str(data / "jupyter")}


@pytest.fixture
def page(env: dict[str, str], tmp_path: Path) -> Iterator[Page]:
    """The notebook, its extension loaded."""
    with lab(env, tmp_path, CELLS) as address, browsing(address, len(CELLS)) as page:
        expect(first(page)).to_contain_text("1 VM", timeout=WAIT)
        yield page


def cell(page: Page, number: int) -> Locator:
    """What a cell shows."""
    return page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".jp-Cell-outputArea")


def live(shown: Locator) -> Locator:
    """Its dashboard, once it has heard from the kernel."""
    found = shown.locator(".pi-v-live")
    expect(found).to_contain_text("loopback", timeout=WAIT)
    return found


def kept(shown: Locator) -> None:
    """There are its tables, and nothing else."""
    expect(shown.locator(".pi-v-saved")).to_be_visible(timeout=WAIT)
    expect(shown.locator(".pi-v-saved")).to_contain_text("loopback")
    expect(shown.locator(".pi-v-dashboard")).to_be_hidden()
    expect(shown.get_by_text(COMPLAINT)).to_be_hidden()


def test_it_lives_in_place_of_its_tables_also_in_a_box_and_in_a_page_that_is_loaded_again(page: Page) -> None:
    shown = finished(page, DASHBOARD)
    live(shown)
    expect(shown.locator(".pi-v-saved")).to_be_hidden()
    box = finished(page, BOX)
    expect(box).to_contain_text("above it")
    live(box)
    save(page)
    page.reload()
    live(cell(page, DASHBOARD))
    expect(cell(page, DASHBOARD).locator(".pi-v-saved")).to_be_hidden()


def test_one_that_was_closed_in_a_box_keeps_no_other_from_a_page_that_is_loaded_again(page: Page) -> None:
    live(finished(page, BOX))
    finished(page, CLOSE)
    expect(cell(page, BOX).locator(".pi-v-dashboard")).to_have_count(0, timeout=WAIT)
    expect(cell(page, BOX)).to_contain_text("above it")
    live(finished(page, DASHBOARD))
    save(page)
    page.reload()
    live(cell(page, DASHBOARD))


def test_a_click_is_answered_and_a_terminal_opens_while_a_cell_computes(page: Page) -> None:
    shown = live(finished(page, DASHBOARD))
    run(page, BUSY)
    prompt = page.locator(".jp-Notebook .jp-CodeCell").nth(BUSY).locator(".jp-InputPrompt")
    expect(prompt).to_contain_text("*", timeout=WAIT)
    shown.get_by_role("row", name="loopback").get_by_role("checkbox").check()
    shown.get_by_role("button", name="Use", exact=True).click()
    expect(shown.get_by_role("button", name="Run here")).to_be_enabled(timeout=WAIT)
    shown.get_by_role("button", name="Terminal", exact=True).click()
    screen = shown.locator(".xterm-rows")
    expect(screen).to_contain_text("#", timeout=WAIT)
    shown.locator(".xterm-screen").click()
    page.keyboard.type("echo answer' '$((6*7))\n")
    expect(screen).to_contain_text("answer 42", timeout=WAIT)
    expect(prompt).to_contain_text("*")
    page.locator("[data-command='notebook:interrupt-kernel']").first.click()
    expect(prompt).not_to_contain_text("*", timeout=WAIT)


def test_what_is_left_when_the_extension_is_unloaded_are_its_tables(page: Page) -> None:
    shown = finished(page, DASHBOARD)
    live(shown)
    finished(page, UNLOAD)
    kept(shown)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_notebook_opened_without_its_kernel_shows_its_tables(
    page: Page, tmp_path: Path, trusted: bool
) -> None:
    live(finished(page, DASHBOARD))
    save(page)
    saved = (tmp_path / "first.ipynb").read_text()
    notebook = nbformat.reads(saved, as_version=4)
    shown = [each for each in notebook.cells[DASHBOARD].outputs if "text/html" in each.data]  # but for a wait
    assert COMPLAINT not in saved and len(shown) == 2
    if not trusted:
        notebook.metadata["changed"] = "by somebody else"
    nbformat.write(notebook, tmp_path / "again.ipynb")
    page.goto(page.url.replace("lab/tree/first", "doc/tree/again"))
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible(timeout=WAIT)
    if trusted:  # else JupyterLab shows no widget at all
        expect(cell(page, DASHBOARD).get_by_text(COMPLAINT)).to_have_count(1, timeout=WAIT)
    kept(cell(page, DASHBOARD))
