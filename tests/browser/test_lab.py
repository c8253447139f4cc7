"""What a person sees in JupyterLab: a notebook that makes a VM, runs cells on it, and stops one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import CHROMIUM, SECOND, browsing, finished, first, lab, run
from platforms import Platform
from playwright.sync_api import Page, expect

pytestmark = [
    pytest.mark.vm,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
CELLS = [
    "%load_ext pi_v_jupyter",
    "vm = %vers create --name build --use",
    "%%vm\nprintf '\\033[31mcrimson\\033[0m and \\033[1mbold\\033[0m\\n'; echo problem >&2",
    "%%vm\nfor i in 10 50 100; do printf '\\rprogress %d%%' $i; sleep 0.2; done; echo",
    "%%vm\n(sleep 0.5; echo asleep) & sleep 400; echo never",
    "%vm echo awake again",
    "%vers ls",
    "%%vm\nls /nonesuch",
    "%vers use bild",
    "%vers rm -f build",
]
_LOAD, CREATE, COLOURS, PROGRESS, SLEEP, AWAKE, LIST, FAIL, UNKNOWN, REMOVE = range(len(CELLS))


@pytest.fixture(scope="module")
def page(shared_platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The notebook in a browser, its kernel idle."""
    folder = tmp_path_factory.mktemp("lab")
    with lab(shared_platform.env, folder, CELLS) as address, browsing(address, len(CELLS)) as page:
        yield page


def test_a_first_notebook(page: Page, tmp_path: Path) -> None:
    shown = first(page)
    expect(shown).to_contain_text("embedded platform (QEMU, tcg)", timeout=60 * SECOND)

    expect(finished(page, CREATE)).to_contain_text("★ build")

    shown = finished(page, COLOURS)
    expect(shown.locator(".ansi-red-fg")).to_have_text("crimson")
    expect(shown.locator(".ansi-bold")).to_have_text("bold")
    expect(shown.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_text("problem\n")

    expect(finished(page, PROGRESS)).to_have_text("progress 100%", use_inner_text=True)

    shown = run(page, SLEEP)
    expect(shown).to_contain_text("asleep", timeout=30 * SECOND)
    page.locator("[data-command='notebook:interrupt-kernel']").first.click()
    expect(shown).to_contain_text("Stopped: interrupted (SIGINT) on build after", timeout=20 * SECOND)
    expect(shown).not_to_contain_text("never")
    expect(finished(page, AWAKE)).to_have_text("awake again\n")

    table = finished(page, LIST).locator("table")
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table.locator("tbody td").nth(1)).to_have_text("build")

    for number, said in (
        (FAIL, "RemoteCommandError: exit code 2 on build after"),
        (UNKNOWN, "Did you mean 'build'?"),
    ):
        shown = finished(page, number)
        expect(shown).to_contain_text(said)
        expect(shown).not_to_contain_text("Traceback")
    expect(finished(page, REMOVE)).to_contain_text("Deleted build.")
    page.screenshot(path=os.environ.get("LAB_SCREENSHOT", str(tmp_path / "lab.png")))
