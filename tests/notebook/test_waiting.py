"""A cell that waits says for what, and for how long, in one line that changes in place."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Cell, Kernel, started
from test_terminal import Terminal

WAITS = (  # for a file, which is there when the test has seen enough
    "import asyncio, os\n"
    "extension = get_ipython().magics_manager.registry['Extension']\n"
    "async def work(gate):\n"
    "    while not os.path.exists(gate): await asyncio.sleep(0.02)\n"
    "    return 'done'\n"
    "async def broken(gate):\n"
    "    await work(gate)\n"
    "    raise ValueError('it broke')\n"
    "async def interrupted(gate):\n"
    "    await work(gate)\n"
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


def test_a_long_wait_is_one_line_that_counts_and_stays_with_its_whole_time(
    kernel: Kernel, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    cell = kernel.start(f"print(extension.wait(work({str(gate)!r}), 'creating build'))")
    cell.until(lambda: len(states(kernel.heard)) > 1)
    gate.touch()
    shown = cell.finish()
    *counted, last = states(kernel.heard)
    assert rising(counted, "creating build")
    assert re.fullmatch(r"creating build: \d+\.\d s", last)
    assert shown.stdout == "done\n" and shown.stderr == ""


def test_a_short_wait_shows_nothing(kernel: Kernel) -> None:
    shown = kernel.run("extension.wait(work('/'), 'creating build');")
    assert (shown.data, shown.waits) == ([], [])


def test_what_fails_leaves_a_final_line_too(kernel: Kernel, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    cell = kernel.start(f"extension.wait(broken({str(gate)!r}), 'creating build')")
    cell.wait_for("creating build … ")
    gate.touch()
    assert cell.finish().error == "ValueError"
    assert re.fullmatch(r"creating build: \d+\.\d s", states(kernel.heard)[-1])


def test_what_is_stopped_leaves_a_final_line_too(kernel: Kernel) -> None:
    cell: Cell = kernel.start("extension.wait(work('/never'), 'creating build')")
    cell.wait_for("creating build … ")
    kernel.interrupt()
    assert cell.finish().error == "CellInterrupted"
    assert states(kernel.heard)[-1].startswith("creating build: ")
    assert kernel.run("extension.wait(work('/'), 'x')").data == ["'done'"]


def test_captured_output_has_no_such_line(kernel: Kernel, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    cell = kernel.start(f"%%capture caught\nprint(extension.wait(work({str(gate)!r}), 'creating build'))")
    time.sleep(3)  # in which there would be one
    gate.touch()
    assert cell.finish().error is None
    assert states(kernel.heard) == []
    assert kernel.value("(caught.stdout, caught.stderr, caught.outputs)") == ("done\n", "", [])


def test_it_belongs_to_the_cell_that_started_the_task(kernel: Kernel, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kernel.strays.clear()
    kernel.run(
        "async def later():\n"
        f"    return extension.wait(work({str(gate)!r}), 'in a task')\n"
        "task = asyncio.ensure_future(later())"
    )
    cell = kernel.start("await task")
    cell.until(lambda: states(kernel.strays))
    gate.touch()
    assert cell.finish().data == ["'done'"]
    *counted, last = states(kernel.strays)
    assert counted and counted[0].startswith("in a task … ") and last.startswith("in a task: ")


def waited(terminal: Terminal, line: str, gate: Path) -> str:
    """What a line shows that waits for that file, which is there once its wait has been drawn twice."""
    terminal.child.sendline(line.format(str(gate)))
    before = ""
    for _ in range(2):
        terminal.child.expect(r" … \d+ s")
        before += terminal.child.before + terminal.child.after
    gate.touch()
    return (before + terminal.rest()).strip()


def test_a_terminal_has_it_no_longer_when_the_wait_ends(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    terminal = Terminal(environment)
    try:
        terminal.run("%load_ext pi_v_jupyter")
        terminal.run(f"%run -i {script}")
        shown = waited(terminal, "print(extension.wait(work({!r}), 'creating build'))", tmp_path / "one")
        *drawn, last = [part.strip() for part in shown.split("\r") if part.strip()]
        assert rising(drawn, "creating build") and last == "done"
        assert shown.endswith(f"{drawn[-1]}\r{' ' * len(drawn[-1])}\rdone")
        noticed = waited(terminal, "extension.wait(interrupted({!r}), 'creating build')", tmp_path / "other")
        assert re.search(r"creating build … \d+ s\r +\rby the way$", noticed)
        assert "… " not in terminal.run("print(extension.wait(work('/'), 'creating build'))")
    finally:
        terminal.close()
