"""`--stdin`, `--out`, `--err`, `--silent`: what a cell's command reads, and where what it writes goes."""

from __future__ import annotations

import pytest
from kernels import Kernel

pytestmark = pytest.mark.vm


@pytest.mark.parametrize(
    "how",
    [
        "--stdin text",
        "bash --stdin text",
        "--fresh --stdin text",
        "sh --stdin text",
        "--on build --stdin text",
    ],
)
def test_a_command_reads_what_is_in_a_variable(kernel: Kernel, how: str) -> None:
    kernel.run("text = 'first ä\\nsecond\\n'")
    shown = kernel.run(f'%%vm {how}\nread -r line; echo "<$line>"; cat; echo end')
    assert (shown.error, shown.stdout) == (None, "<first ä>\nsecond\nend\n"), shown


def test_bytes_go_as_they_are_and_all_of_them(kernel: Kernel) -> None:
    kernel.run("import hashlib, os\nraw = bytes(range(256)) * 40_000\nsum_ = hashlib.sha256(raw).hexdigest()")
    shown = kernel.run("%%vm --stdin raw --out summed\nsha256sum")
    assert shown.error is None, shown.traceback
    assert kernel.value("summed.split()[0] == sum_")
    assert kernel.run("%%vm --stdin raw\nhead -c 3 | od -An -tu1").stdout.split() == ["0", "1", "2"]
    assert kernel.run("%vm --stdin raw wc -c").stdout == "10240000\n"
    assert kernel.run("%%vm\ncat; echo nothing to read").stdout == "nothing to read\n"


def test_a_program_reads_it_and_not_its_own_text(kernel: Kernel) -> None:
    kernel.run("numbers = '1 2 3\\n'")
    shown = kernel.run("%%vm python3 --stdin numbers\nprint(sum(map(int, input().split())))")
    assert (shown.error, shown.stdout) == (None, "6\n"), shown


def test_each_of_several_vms_reads_all_of_it(kernel: Kernel) -> None:
    kernel.run("text = 'a\\nb\\n'\nother = %vers create --name other", timeout=60)
    try:
        shown = kernel.run("%%vm --on build,other --stdin text --out counted\nwc -l")
        assert shown.error is None, shown.traceback
        assert kernel.value("counted") == {"build": "2\n", "other": "2\n"}
    finally:
        kernel.run("%vers rm -f other")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%vm --stdin nothing_there\ncat", "There is no variable nothing_there here.  `%who` lists"),
        ("%%vm --stdin number\ncat", "number is of type int, which no command can read.  Make it a text"),
        ("%%vm --stdin half\ncat", "Character 1 of half is half of one (U+D800).  Take it out."),
        ("%%vm --stdin 1x\ncat", "'1x' cannot name a variable."),
        ("%%vm python --stdin number\n1", "--stdin is for shells, not for Python."),
    ],
)
def test_what_cannot_be_read_is_told_before_anything_runs(kernel: Kernel, cell: str, said: str) -> None:
    kernel.run("number, half = 1, 'a\\ud800'")
    refused = kernel.run(cell)
    assert refused.error == "UsageError" and said in refused.message and not refused.stdout


def test_a_silent_cell_shows_nothing_and_keeps_its_result(kernel: Kernel) -> None:
    code = "'--silent', 'echo out; echo err >&2'"
    shown = kernel.run(f"r = get_ipython().run_cell_magic('vm', {code})")
    assert (shown.error, shown.text.strip()) == (None, "")
    assert kernel.value("(r.stdout, r.stderr)") == ("out\n", "err\n")
    failed = kernel.run("%%vm --silent\necho out; (exit 3)")
    assert failed.error == "RemoteCommandError" and "exit code 3 on build" in failed.message
    assert failed.stdout == ""
    assert kernel.run("%vm --silent echo out").text.strip() == ""
    missing = kernel.run("%%vm nosuchprogram --silent\n1")
    assert missing.error == "RemoteCommandError" and "nosuchprogram: No such file" in missing.message
    assert (missing.stdout, missing.stderr) == ("", "")


def test_a_silent_python_cell_too(kernel: Kernel) -> None:
    loud = "print('out'); display('shown'); import sys; print('err', file=sys.stderr); 6 * 7"
    shown = kernel.run(f"%%vm python --silent --out kept\n{loud}", timeout=60)
    assert (shown.error, shown.text.strip()) == (None, "")
    assert kernel.value("kept") == 42
    assert kernel.run("%%vm python --silent\n1 / 0").error == "ZeroDivisionError"
    asked = kernel.run("%%vm python --silent\nx = input('name? ')", answer="Ada")
    assert asked.stdout == "name? "
    assert kernel.run("%%vm python\nx").data == ["'Ada'"]
