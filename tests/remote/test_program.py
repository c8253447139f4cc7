"""The resident program as text: what it may use on a VM's oldest Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pi_v_jupyter.remote import _resident, resident

FOLDER = Path(_resident.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
QUICK = {
    "__future__", "collections", "contextlib", "errno", "fcntl", "heapq", "itertools", "json", "os",
    "resource", "selectors", "signal", "socket", "struct", "subprocess", "termios", "time",
}  # fmt: skip


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
    assert modules <= QUICK


def test_every_module_is_sent() -> None:
    assert {*resident.MODULES, "__init__"} == {file.stem for file in FILES}


def test_what_is_sent_holds_up_alone() -> None:
    code = resident.program().replace(b'sys.modules["pi_v_resident.program"].main(sys.argv[1:])', b"")
    slow = {"typing", "asyncio", "pathlib", "tempfile", "dataclasses", "random"}
    look = f"import sys; exec(sys.stdin.buffer.read())\nprint(sorted(set(sys.modules) & {slow}))"
    words = [sys.executable, "-I", "-S", "-W", "error", "-c", look]
    done = subprocess.run(words, input=code, capture_output=True, check=True, timeout=30)
    assert done.stdout == b"[]\n"
