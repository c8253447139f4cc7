"""Whoever follows the README's badge has the first walkthrough before them, and it runs to its end."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from binders import MEMORY, PROCESSORS, Binder, binder, can_bound, wanted
from labs import CHROMIUM, SECOND, answers
from loopback import free_port
from pages import chromium
from platforms import ROOT
from playwright.sync_api import Page, expect

FIRST = "01-first-cells.ipynb"
AFTER_START = 300 * SECOND
pytestmark = [
    pytest.mark.vm,
    pytest.mark.browser,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="apt-get install bubblewrap"),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="control groups, and a tree with owners, are root's to make"
    ),
    pytest.mark.skipif(
        not can_bound(), reason="no control groups can be made here: run it outside a container"
    ),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Binder]:
    with binder(tmp_path_factory.mktemp("binder")) as built:
        yield built


def test_the_badge_opens_the_first_walkthrough_which_runs_to_its_end(built: Binder, tmp_path: Path) -> None:
    port = free_port()
    command = ["jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    token = secrets.token_hex()
    command += [f"--IdentityProvider.token={token}"]
    log = tmp_path / "log"
    with built.started(wanted().start, command, log) as server, chromium() as browser:
        assert answers(f"http://127.0.0.1:{port}/api/status?token={token}", server), log.read_text()
        page = browser.new_page(viewport={"width": 1200, "height": 1700})
        page.goto(f"http://127.0.0.1:{port}/?token={token}")
        page.wait_for_url(re.compile(f"lab/.*{FIRST}"))
        run_all(page)
        saved = nbformat.read(built.tree / "home/jovyan/notebooks" / FIRST, as_version=4)
    told = {cell.source: str(cell.outputs) for cell in saved.cells if cell.cell_type == "code"}
    failed = {cell.source for cell in saved.cells if "output_type': 'error" in str(cell.get("outputs"))}
    meant = {cell.source for cell in saved.cells if "raises-exception" in cell.metadata.get("tags", ())}
    assert failed == meant
    assert "Linux first" in told["%vm uname -a"]
    assert "QEMU, tcg" in told["%vers up"]
    assert "booting" not in told["%vers up"], "the image has a booted machine already"
    assert "Deleted first, second." in told["%vers rm -f first second"]


def test_the_platform_knows_how_little_it_has(built: Binder) -> None:
    told = built.run(
        "python3", "-c", "from pi_v_jupyter.local import bounds; print(bounds.memory(), bounds.processors())"
    )
    assert told.split() == [str(MEMORY), str(PROCESSORS)]


def test_the_image_has_no_keys_of_a_platform_and_is_small(built: Binder) -> None:
    assert not [path for path in built.home if path.startswith(".local")]
    image = [size for path, size in built.home.items() if path.startswith(".cache/pi_v_jupyter/images/")]
    assert 100 * 1024**2 < sum(image) < 500 * 1024**2


def run_all(page: Page) -> None:
    """Run all cells of the notebook, and save it."""
    walkthrough = nbformat.read(ROOT / "notebooks" / FIRST, as_version=4)
    last = sum(cell.cell_type == "code" for cell in walkthrough.cells)
    # Cells that are run before there is a kernel are cleared, no more, and the notebook says idle then too.
    expect(page.locator("#jp-main-statusbar")).to_contain_text(
        "Python 3 (ipykernel) | Idle", timeout=AFTER_START
    )
    page.get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    prompt = page.locator(".jp-Notebook .jp-CodeCell").last.locator(".jp-InputPrompt")
    expect(prompt).to_have_text(f"[{last}]:", timeout=AFTER_START)
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-mod-current.jp-mod-dirty")).to_have_count(0, timeout=30 * SECOND)
