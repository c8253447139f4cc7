"""The order in which a minder keeps what a process writes to two streams; without any clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A minder takes the signals of its whole process, so it has one of its own here.
CODE = """
import os, sys
from pi_v_jupyter.remote._resident import journal, minder

minder.BRIEF = minder.HOLD = 3600.0
made = minder.Minder(sys.argv[1], {})
made.regulate()
out, err = made.outputs
first, second = (out, err) if sys.argv[2] == "stdout" else (err, out)
os.write(first.writer, b"1\\n")
made.serve()
assert made.resting == {out, err}
made.rest({first})
os.write(first.writer, b"2\\n")
os.write(second.writer, b"3\\n")
made.serve()
sys.stdout.buffer.write(journal.read(sys.argv[1], 0)[1])
"""


@pytest.mark.parametrize("first", ["stdout", "stderr"])
def test_what_a_stream_that_rests_has_written_comes_before_what_the_other_begins(
    first: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path), first],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    one, other = ("o", "e") if first == "stdout" else ("e", "o")
    assert done.stdout == f"{one}1\n{one}2\n{other}3\n"
