"""Cells of `%%vm python` show what the same cells show in a kernel of one's own, of the same release."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel, started
from served import served

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a VM is logged in to as root")


@pytest.fixture(scope="module")
def here() -> Iterator[Kernel]:
    with started(os.environ) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def there(here: Kernel) -> Iterator[Kernel]:
    """A kernel whose active VM is this machine, by way of sshd."""
    with served() as env, started(env) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        used = kernel.run("%vers use loopback")
        assert used.error is None, used.traceback
        first = kernel.run("%%vm python\npass", timeout=60)
        assert first.error is None, first.traceback
        here_too = here.run("pass")  # so that both count alike
        assert here_too.error is None
        yield kernel
        kernel.run("%vers kernels rm -f python")


CELLS = Path(__file__).with_name("python_cells.txt").read_text().split("# %%\n")


def outputs(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a notebook keeps them, without what differs from run to run."""
    found: list[dict[str, Any]] = []
    for message in messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream" and found and found[-1].get("name") == content["name"]:
            found[-1]["text"] += content["text"]
        elif kind == "stream":
            found.append({"kind": kind, **content})
        elif kind in ("display_data", "execute_result", "update_display_data"):
            kept = {"data": content["data"], "metadata": content["metadata"]}
            if "display_id" in (content.get("transient") or {}):
                kept["id"] = content["transient"]["display_id"]
            found.append({"kind": kind, **kept})
        elif kind in ("error", "clear_output"):
            found.append({"kind": kind, **content})
    return [{name: alike(value) for name, value in each.items()} for each in found]


def alike(value: Any) -> Any:
    """Without addresses, times, and names of files and processes."""
    if isinstance(value, dict):
        return {name: alike(each) for name, each in value.items()}
    if isinstance(value, list):
        return [alike(each) for each in value]
    if not isinstance(value, str):
        return value
    for pattern, text in (
        (r"0x[0-9a-f]{6,}", "0xADDRESS"),
        (r"ipykernel_\d+/\d+", "ipykernel_N/N"),
        (r"In ?\[\d+\]", "In[N]"),  # other tests may have run cells in one alone
        (r"<dc:date>.*?</dc:date>", "<dc:date/>"),
    ):
        value = re.sub(pattern, text, value)
    return value


def ran(kernel: Kernel, code: str, answer: str | None) -> list[dict[str, Any]]:
    """All that a front end is told of a cell."""
    kernel.run(code, timeout=60, answer=answer)
    return outputs(kernel.heard)


def test_a_notebook_shows_the_same_as_in_a_kernel_of_ones_own(here: Kernel, there: Kernel) -> None:
    assert len(CELLS) >= 40
    for number, code in enumerate(CELLS):
        mine = ran(here, code, "bob")
        theirs = ran(there, f"%%vm python\n{code}", "bob")
        assert theirs == mine, (number, code)


def test_a_stop_is_the_kernels_own_interrupt(here: Kernel, there: Kernel) -> None:
    shown = []
    for kernel, magic in ((here, ""), (there, "%%vm python\n")):
        cell = kernel.start(f"{magic}import time\nprint('asleep')\nwhile True: time.sleep(0.1)")
        cell.wait_for("asleep")
        kernel.interrupt()
        ended = cell.finish(20)
        assert ended.error == "KeyboardInterrupt"
        shown.append(re.sub(r"In ?\[\d+\]|\x1b\[[\d;]*m", "", ended.traceback))
    assert shown[0] == shown[1]
    assert there.run("%%vm python\n6 * 7").data == ["42"]


def test_completion_and_help_are_the_kernels_own(here: Kernel, there: Kernel) -> None:
    for kernel, magic in ((here, ""), (there, "%%vm python\n")):
        assert kernel.run(magic + "import collections\nonly_there = {1: 2}").error is None
    for code in ("collections.Orde", "only_th", "import coll", "x = 1\nonly_there.it"):
        mine = completed(here, code)
        assert mine and completed(there, f"%%vm python\n{code}") == mine, code
    for kernel, magic in ((here, ""), (there, "%%vm python\n")):
        code = f"{magic}collections.OrderedDict"
        assert "remembers insertion order" in kernel.explains(code, len(code))["text/plain"]


def completed(kernel: Kernel, code: str) -> set[str]:
    """What the last line may become. The first answers of a kernel may come too late to be offered."""
    deadline = time.monotonic() + 60
    while True:
        found = {each.rpartition("\n")[2] for each in kernel.complete(code)}
        if found or time.monotonic() > deadline:
            return found
