"""However much a cell prints: the notebook stays small, the kernel too, and nothing is lost."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from kernels import Kernel

pytestmark = pytest.mark.vm

MB = 1_000_000


def test_a_hundred_megabytes_in_one_cell(kernel: Kernel) -> None:
    kernel.run("import psutil; me = psutil.Process()\n%vm seq 200000 > /dev/null; seq 100000")
    before = kernel.value("me.memory_info().rss")
    shown = kernel.run(
        "import threading\npeak, over = 0, threading.Event()\n"
        "def watch():\n    global peak\n"
        "    while not over.wait(0.05): peak = max(peak, me.memory_info().rss)\n"
        "watcher = threading.Thread(target=watch); watcher.start()\n"
        "flood = 'yes 0123456789abcdef | head -c 100000000'\n"
        "result = get_ipython().run_cell_magic('vm', '--fresh --timeout 0', flood)\n"
        "over.set(); watcher.join()",
        timeout=200,
    )
    assert shown.error is None, shown.traceback
    assert kernel.value("peak") - before < 100 * MB
    assert shown.size <= 1 * MB
    assert shown.updates <= 20 * shown.seconds + 2
    assert shown.stdout.startswith("0123456789abcdef\n") and shown.stdout.endswith("\n0123456789abcdef")
    told = re.search(r"… 100\.0 MB in all; all of it is in (\S+)\. The end of it:", shown.stdout)
    assert told, shown.stdout[-5000:-4000]
    whole = Path(told[1]).read_bytes()
    expected = (b"0123456789abcdef\n" * (100 * MB // 17 + 1))[: 100 * MB]
    assert hashlib.sha256(whole).digest() == hashlib.sha256(expected).digest()
    assert Path(told[1]).stat().st_mode & 0o777 == 0o600
    assert kernel.value("(result.ok, result.truncated, len(result.stdout))") == (True, True, 1 << 20)


def test_old_files_are_removed(kernel: Kernel) -> None:
    for _ in range(22):
        shown = kernel.run("%vm seq 100000")
    folder = Path(re.search(r"in (\S+)\. The end", shown.stdout)[1]).parent  # type: ignore[index]
    assert len(list(folder.iterdir())) == 20
    assert folder.stat().st_mode & 0o777 == 0o700


def test_both_streams_at_once_lose_nothing(kernel: Kernel) -> None:
    shown = kernel.run("%vm --fresh --out o --err e (seq 200000 >&2) & seq 200000; wait")
    assert shown.error is None, shown.traceback
    assert kernel.value("(o == ''.join(f'{i}\\n' for i in range(1, 200001)), o == e)") == (True, True)
