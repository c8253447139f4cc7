"""A notebook in JupyterLab, in a real browser, as somebody uses it who has nothing else."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from loopback import free_port
from playwright.sync_api import Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-smooth-scrolling",  # or a test reads where something is while it is on its way
]
SECOND = 1000  # milliseconds


@contextmanager
def lab(env: Mapping[str, str], folder: Path, cells: Sequence[str]) -> Iterator[str]:
    """The address of a notebook of these cells in a JupyterLab of its own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "first.ipynb")
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ServerApp.port_retries=0"]
    command += ["--ServerApp.allow_root=True", f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1"]
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    token = secrets.token_hex()  # its own: whoever has the port instead does not know it
    env, log = {**env, "JUPYTER_TOKEN": token}, folder / "lab.log"
    for _ in range(5):
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        with serving([*command, f"--ServerApp.port={port}"], env, log) as server:
            if answers(f"{address}/api/status?token={token}", server):
                yield f"{address}/lab/tree/first.ipynb?token={token}"
                return
        told = log.read_text()
        assert re.search(rf"port {port} is (not available|already in use)", told), told
    pytest.fail("others took each port that JupyterLab was to have")


@contextmanager
def serving(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, which is ended at the end; what it writes goes to `log`."""
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield server
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        server.kill()
        server.wait()


def answers(url: str, server: subprocess.Popen[bytes]) -> bool:
    """Wait until the server answers or ends: whether it answers."""
    deadline = time.monotonic() + 120
    while server.poll() is None:
        assert time.monotonic() < deadline, "the server has not answered for two minutes"
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (OSError, http.client.HTTPException):  # those of urllib are among them
            time.sleep(0.2)
        else:
            return True
    return False


@contextmanager
def browsing(address: str, cells: int, height: int = 1700) -> Iterator[Page]:
    """That notebook in a browser, its kernel idle."""
    with sync_playwright() as playwright:
        flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": height})
        page.goto(address)
        expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(cells, timeout=60 * SECOND)
        expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible(
            timeout=60 * SECOND
        )
        yield page
        browser.close()


def run(page: Page, number: int) -> Locator:
    """Run a cell; what it shows."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number)
    cell.locator(".cm-content").press("Control+Enter")
    return cell.locator(".jp-Cell-outputArea")


def first(page: Page) -> Locator:
    """Run the first cell; what it shows. A JupyterLab that has just opened may lose a key."""
    prompt = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").first
    for _ in range(5):
        shown = run(page, 0)
        with contextlib.suppress(AssertionError):
            expect(prompt).to_contain_text(re.compile(r"[*\d]"), timeout=10 * SECOND)
            return shown
    pytest.fail("JupyterLab takes no keys")


def save(page: Page) -> None:
    """Save the notebook, and wait until it is saved."""
    page.locator("[data-command='docmanager:save']").first.click()
    expect(page.locator(".jp-mod-current.jp-mod-dirty")).to_have_count(0, timeout=60 * SECOND)


def finished(page: Page, number: int) -> Locator:
    """Run a cell to its end; what it shows."""
    shown = run(page, number)
    prompt = page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".jp-InputPrompt")
    expect(prompt).not_to_contain_text("*", timeout=90 * SECOND)
    return shown
