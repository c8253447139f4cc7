"""What README and docs have a reader type does what they say: in a real kernel, on real VMs, page by page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import WRITTEN, executed
from fenced import Block
from kernels import Kernel, started
from platforms import Platform, build_golden_image, new_platform

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]
SLOW = 400  # seconds for a block: a golden image is kept in one
OWN = {"docs/how-to/embedded-platform.md"}  # which ends the platform it is about
PAGES = [page for page in WRITTEN if executed(page)]


@pytest.fixture
def place(page: str, shared_platform: Platform) -> Iterator[Platform]:
    """The platform of a page."""
    if page not in OWN:
        yield shared_platform
        return
    platform = new_platform()
    try:
        platform.up()
        yield platform
    finally:
        platform.end()


@pytest.fixture
def reader(place: Platform, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with an empty folder, an installed package and no keys."""
    env = {name: value for name, value in place.env.items() if not name.endswith("_API_KEY")}
    return env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}", "PWD": str(tmp_path)}


def type_in_shell(block: Block, env: dict[str, str]) -> None:
    """A block of commands, each of which must succeed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        env=env,
        cwd=env["PWD"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SLOW,
        check=False,
    )
    assert done.returncode == 0, f"{block.where}\n{done.stdout}\n{done.stderr}"


def type_in_notebook(block: Block, kernel: Kernel) -> None:
    """A block as a cell; one that is said to fail does so, without a traceback of ours."""
    shown = kernel.run(block.text.rstrip("\n"), timeout=SLOW, answer="y")
    assert (shown.error is not None) == (block.place == "fails"), f"{block.where}\n{shown}"
    assert "pi_v_jupyter/" not in shown.traceback, f"{block.where}\n{shown.traceback}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_followed_word_for_word_works_and_leaves_no_machine(
    page: str, place: Platform, reader: dict[str, str]
) -> None:
    blocks = executed(page)
    if any("golden" in block.text for block in blocks):
        build_golden_image()
    before = {process.pid for process in place.qemus()}
    with started(reader) as kernel:
        kernel.run(f"%cd -q {reader['PWD']}")
        for block in blocks:
            if block.language == "bash":
                type_in_shell(block, reader)
            else:
                type_in_notebook(block, kernel)
    assert {process.pid for process in place.qemus()} <= before, "it has cleaned up"
