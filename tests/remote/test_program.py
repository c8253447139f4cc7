"""The programs that are sent to VMs, as text: what they may use on a VM's oldest Python."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pi_v_jupyter.remote import _kernel, _resident, kernel, resident

FOLDER = Path(_resident.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
KEEPER = sorted(Path(_kernel.__file__).parent.glob("*.py"))
AGENTS = sorted((Path(__file__).parents[2] / "golden" / "lib" / "swarm_agent").glob("*.py"))
QUICK = {
    "__future__", "collections", "contextlib", "errno", "fcntl", "heapq", "itertools", "json", "os",
    "_thread", "io", "resource", "select", "selectors", "signal", "socket", "stat", "struct", "subprocess",
    "termios", "time",
}  # fmt: skip
LATE = {"copying", "editing", "background", "minder", "journal", "descendants", "frames"}
TAKES_LONGER = {"ctypes", "gc", "re", "shlex", "shutil"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_python_3_8(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    later = {
        "removeprefix",
        "removesuffix",
        "bit_count",
        "pidfd_open",
        "waitid",
        "F_SETPIPE_SZ",
        "cache",
        "batched",
    }
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & later
    keywords = {word.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords}
    assert not keywords & {"strict", "process_group", "pipesize", "slots"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_imports_only_what_starts_fast(file: Path) -> None:
    checked = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
    modules = {
        name
        for node in checked
        if not (isinstance(node, ast.ImportFrom) and node.level)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    assert modules <= (QUICK | TAKES_LONGER if file.stem in LATE else QUICK)


def test_every_module_is_sent() -> None:
    sent = re.findall(r"'pi_v_resident[.](\w+)'", resident.program().decode().partition("\n")[0])
    assert sorted(sent) == [file.stem for file in FILES]


@pytest.mark.parametrize("file", [*KEEPER, *AGENTS], ids=lambda file: file.name)
def test_what_keeps_a_kernel_and_what_talks_to_an_agent_are_python_3_8(file: Path) -> None:
    ast.parse(file.read_text(), feature_version=(3, 8))


def test_what_keeps_a_kernel_is_sent_without_what_cells_send() -> None:
    sent = set(re.findall(r"'pi_v_kernel[.](\w+)'", kernel.keeper().decode().partition("\n")[0]))
    assert sent == {file.stem for file in KEEPER} - {"travel"}


def test_what_copies_edits_and_runs_in_the_background_is_compiled_only_when_it_is_needed() -> None:
    code = resident.program().replace(b"\nmain(sys.argv[1:])", b"")
    late = {f"pi_v_resident.{module}" for module in LATE}
    look = f"import sys; exec(sys.stdin.buffer.read())\nprint(set(sys.modules) & {late})\n"
    look += "import pi_v_resident.copying; print(pi_v_resident.copying.pack.__module__)"
    words = [sys.executable, "-I", "-S", "-W", "error", "-c", look]
    done = subprocess.run(words, input=code, capture_output=True, check=True, timeout=30)
    assert done.stdout == b"set()\npi_v_resident.pack\n"


def test_what_is_sent_holds_up_alone() -> None:
    code = resident.program().replace(b"\nmain(sys.argv[1:])", b"")
    slow = {"typing", "asyncio", "pathlib", "tempfile", "dataclasses", "random"}
    look = f"import sys; exec(sys.stdin.buffer.read())\nprint(sorted(set(sys.modules) & {slow}))"
    words = [sys.executable, "-I", "-S", "-W", "error", "-c", look]
    done = subprocess.run(words, input=code, capture_output=True, check=True, timeout=30)
    assert done.stdout == b"[]\n"
