"""A cell that waits says for what, and for how long, in one line that changes in place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Cell, Kernel, started
from test_terminal import Terminal

WAITS = (
    "import asyncio\n"
    "extension = get_ipython().magics_manager.registry['Extension']\n"
    "async def work(seconds):\n"
    "    await asyncio.sleep(seconds)\n"
    "    return 'done'\n"
    "async def broken(seconds):\n"
    "    await asyncio.sleep(seconds)\n"
    "    raise ValueError('it broke')\n"
    "async def interrupted(seconds):\n"
    "    await asyncio.sleep(seconds)\n"
    "    extension.notice('by the way')\n"
    "    await asyncio.sleep(0.2)\n"
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of someone who has neither key nor platform."""
    home = str(tmp_path_factory.mktemp("home"))
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("VERS_", "XDG_"))}
    return plain | {"HOME": home, "XDG_STATE_HOME": home, "XDG_CACHE_HOME": home}


@pytest.fixture(scope="module")
def kernel(environment: dict[str, str]) -> Iterator[Kernel]:
    with started(environment) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        kernel.status()
        shown = kernel.run(WAITS)
        assert shown.error is None, shown.traceback
        yield kernel


def states(messages: list[dict[str, Any]]) -> list[str]:
    """What the one display of a cell said, one after the other."""
    found = [one for one in messages if one["msg_type"] in ("display_data", "update_display_data")]
    assert len({one["content"]["transient"]["display_id"] for one in found}) <= 1
    assert [one["msg_type"] for one in found[1:]] == ["update_display_data"] * len(found[1:])
    return [one["content"]["data"]["text/plain"] for one in found]


def rising(lines: list[str], doing: str) -> bool:
    """Do they count seconds, from 2 or more?"""
    seconds = [int(re.fullmatch(rf"{doing} … (\d+) s", line)[1]) for line in lines]  # type: ignore[index]
    return len(seconds) > 1 and seconds[0] >= 2 and seconds == sorted(seconds)


def test_a_long_wait_is_one_line_that_counts_and_stays_with_its_whole_time(kernel: Kernel) -> None:
    shown = kernel.run("print(extension.wait(work(3.5), 'creating build'))")
    *counted, last = states(kernel.heard)
    assert rising(counted, "creating build")
    assert re.fullmatch(r"creating build: \d\.\d s", last)
    assert shown.stdout == "done\n" and shown.stderr == ""


def test_a_short_wait_shows_nothing(kernel: Kernel) -> None:
    shown = kernel.run("extension.wait(work(0), 'creating build');")
    assert (shown.data, shown.waits) == ([], [])


def test_what_fails_leaves_a_final_line_too(kernel: Kernel) -> None:
    assert kernel.run("extension.wait(broken(2.3), 'creating build')").error == "ValueError"
    assert re.fullmatch(r"creating build: \d\.\d s", states(kernel.heard)[-1])


def test_what_is_stopped_leaves_a_final_line_too(kernel: Kernel) -> None:
    cell: Cell = kernel.start("extension.wait(work(600), 'creating build')")
    cell.wait_for("creating build … ")
    kernel.interrupt()
    assert cell.finish().error == "CellInterrupted"
    assert states(kernel.heard)[-1].startswith("creating build: ")
    assert kernel.run("extension.wait(work(0), 'x')").data == ["'done'"]


def test_captured_output_has_no_such_line(kernel: Kernel) -> None:
    kernel.run("%%capture caught\nprint(extension.wait(work(3.2), 'creating build'))")
    assert states(kernel.heard) == []
    assert kernel.value("(caught.stdout, caught.stderr, caught.outputs)") == ("done\n", "", [])


def test_it_belongs_to_the_cell_that_started_the_task(kernel: Kernel) -> None:
    kernel.strays.clear()
    kernel.run(
        "async def later():\n"
        "    return extension.wait(work(2.5), 'in a task')\n"
        "task = asyncio.ensure_future(later())"
    )
    assert kernel.run("await task").data == ["'done'"]
    *counted, last = states(kernel.strays)
    assert counted and counted[0].startswith("in a task … ") and last.startswith("in a task: ")


def test_a_terminal_has_it_no_longer_when_the_wait_ends(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    terminal = Terminal(environment)
    try:
        terminal.run("%load_ext pi_v_jupyter")
        terminal.run(f"%run -i {script}")
        shown = terminal.run("print(extension.wait(work(3.2), 'creating build'))")
        *drawn, last = [part.strip() for part in shown.split("\r") if part.strip()]
        assert rising(drawn, "creating build") and last == "done"
        assert shown.endswith(f"{drawn[-1]}\r{' ' * len(drawn[-1])}\rdone")
        noticed = terminal.run("extension.wait(interrupted(2.3), 'creating build')")
        assert re.search(r"creating build … \d s\r +\rby the way$", noticed)
        assert "… " not in terminal.run("print(extension.wait(work(0), 'creating build'))")
    finally:
        terminal.close()
