"""What a person sees in JupyterLab: a notebook that makes a VM, runs cells on it, and stops one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from platforms import Platform
from playwright.sync_api import Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.vm,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
FLAGS = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "lab-test-token"
SECOND = 1000  # milliseconds
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
LOAD, CREATE, COLOURS, PROGRESS, SLEEP, AWAKE, LIST, FAIL, UNKNOWN, REMOVE = range(len(CELLS))


@pytest.fixture(scope="module")
def lab(shared_platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a notebook in JupyterLab, which is run by somebody who has nothing else."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "first.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--ServerApp.port={port}"]
    command += ["--ServerApp.allow_root=True", f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1"]
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    env = shared_platform.env | {"JUPYTER_TOKEN": TOKEN}
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", server, folder / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree/first.ipynb?token={TOKEN}"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"JupyterLab did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def page(lab: str) -> Iterator[Page]:
    """The notebook in a browser, its kernel idle."""
    with sync_playwright() as playwright:
        flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": 1700})
        page.goto(lab)
        expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(len(CELLS), timeout=60 * SECOND)
        expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible(
            timeout=60 * SECOND
        )
        yield page
        browser.close()


def run(page: Page, number: int) -> Locator:
    """Run a cell; what it shows."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number)
    cell.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+Enter")
    return cell.locator(".jp-Cell-outputArea")


def finished(page: Page, number: int) -> Locator:
    """Run a cell to its end; what it shows."""
    shown = run(page, number)
    prompt = page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".jp-InputPrompt")
    expect(prompt).not_to_contain_text("*", timeout=90 * SECOND)
    return shown


def test_a_first_notebook(page: Page, tmp_path: Path) -> None:
    shown = run(page, LOAD)
    expect(shown).to_contain_text("embedded platform (QEMU, tcg)", timeout=60 * SECOND)

    expect(finished(page, CREATE)).to_contain_text("★ build")

    shown = finished(page, COLOURS)
    expect(shown.locator(".ansi-red-fg")).to_have_text("crimson")
    expect(shown.locator(".ansi-bold")).to_have_text("bold")
    expect(shown.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_text("problem\n")

    shown = finished(page, PROGRESS)
    assert shown.inner_text().strip() == "progress 100%"

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
