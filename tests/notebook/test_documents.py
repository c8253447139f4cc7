"""What README and docs have a reader type does what they say: in a real kernel, on real VMs, page by page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from documents import WRITTEN, executed
from fenced import Block
from kernels import Kernel, started
from platforms import Platform, build_golden_image, running_platform

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]
SLOW = 600  # seconds for a block: a golden image is kept in one
OWN = {"docs/how-to/embedded-platform.md"}  # which ends the platform it is about
UNINSTALL = "docs/how-to/uninstall.md"
GOES_ON = {"docs/how-to/agents.md": "docs/how-to/budgets.md"}  # with what the former has made
PAGES = [page for page in WRITTEN if executed(page) and page not in (UNINSTALL, *GOES_ON.values())]


@pytest.fixture
def place(page: str, shared_platform: Platform) -> Iterator[Platform]:
    """The platform of a page."""
    if page not in OWN:
        yield shared_platform
        return
    with running_platform() as platform:
        yield platform


@pytest.fixture
def reader(place: Platform, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with an empty folder, an installed package and no keys."""
    env = {name: value for name, value in place.env.items() if not name.endswith("_API_KEY")}
    programs, folder = tmp_path / "programs", tmp_path / "folder"
    for each in (programs, folder):
        each.mkdir()
    for program in ("ssh", "scp"):  # they look for a configuration where the system says HOME is
        (programs / program).write_text(
            f'#!/bin/sh\nexec {shutil.which(program)} -F "$HOME/.ssh/config" "$@"\n'
        )
        (programs / program).chmod(0o755)
    path = (str(programs), str(Path(sys.executable).parent), env["PATH"])
    return env | {"PATH": os.pathsep.join(path), "PWD": str(folder)}


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
    blocks = executed(page) + (executed(GOES_ON[page]) if page in GOES_ON else [])
    if any("%vers golden" in block.text for block in blocks):
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


def test_nothing_of_ours_is_left_after_uninstalling(tmp_path: Path) -> None:
    kept = [
        tmp_path / ".local/state/pi_v_jupyter",
        tmp_path / ".cache/pi_v_jupyter",
        tmp_path / ".local/share/pi-v",
    ]
    for folder in kept:
        (folder / "something").mkdir(parents=True)
    known = ("XDG_", "VERS_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(known)}
    env |= {"HOME": str(tmp_path), "PWD": str(tmp_path)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    with started(env) as kernel:
        kernel.run("%load_ext pi_v_jupyter\nweb = %bg start web --local -- exec sleep 1000")
        assert kernel.value("web.state") == "running"
        pid = kernel.value("web.pid")
        for block in executed(UNINSTALL):
            if block.language == "python":
                type_in_notebook(block, kernel)
    assert not psutil.pid_exists(pid)
    for block in executed(UNINSTALL):
        if block.language == "bash":
            type_in_shell(block, env)
    assert not any(folder.exists() for folder in kept)
