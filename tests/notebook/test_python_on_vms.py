"""`%%vm python` on real machines: what a cell defines lasts, and comes along when its VM is copied."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from kernels import Kernel, refused
from PIL import Image
from platforms import Platform
from test_branches import good, tidy  # noqa: F401  the fixture that removes what a test has made
from walkthroughs import walked

pytestmark = pytest.mark.vm


def test_a_value_is_there_after_branch_commit_and_restore(tidy: Kernel) -> None:  # noqa: F811
    good(tidy, "%%vm python\ncount = 1\nkept = {'a': [1]}")
    good(tidy, "a, b = %vers branch -n 2")
    shown = tidy.run("%%vm --on a,b python\ncount += 1\nprint(count, kept)", timeout=90)
    assert shown.stdout.count("] 2 {'a': [1]}\n") == 2, shown
    good(tidy, "saved = %vers commit a")
    good(tidy, "%%vm --on a python\ncount = 100")
    good(tidy, "again = %vers restore saved")
    assert tidy.run("%%vm --on again python\ncount", timeout=90).data == ["2"]
    assert tidy.run("%%vm python\ncount", timeout=90).data == ["1"], "nor is the parent disturbed"


def test_it_outlives_the_notebooks_own_kernel(kernel: Kernel) -> None:
    good(kernel, "%%vm python\nbefore = 'the restart'")
    kernel.restart()
    kernel.run("%load_ext pi_v_jupyter")
    kernel.status()
    kernel.run("%vers use build")
    kernel.run("vm = %vers info build")
    assert kernel.run("%%vm python\nbefore", timeout=60).data == ["'the restart'"]


def test_two_vms_draw_different_numbers(tidy: Kernel) -> None:  # noqa: F811
    code = "%%vm python --on {}\nimport random\nprint(random.random())"
    good(tidy, "other = %vers create --name other")
    assert good(tidy, code.format("build")) != good(tidy, code.format("other"))
    good(tidy, "%vers rm -f other")


def test_one_that_fails_does_not_stop_the_others(tidy: Kernel) -> None:  # noqa: F811
    good(tidy, "child = %vers branch --name child")
    good(tidy, "%%vm --on child python\nwrong = True")
    code = "if 'wrong' in dir():\n    raise ValueError('only here')\nprint('fine')\n'value'"
    shown = tidy.run(f"%%vm --on build,child python\n{code}", timeout=90)
    assert (shown.error, shown.message) == ("RemoteCommandError", "failed on child")
    assert "[build] fine\n" in shown.stdout
    assert re.search(r"^\[build\] ✓ [\d.]+ s$", shown.stdout, re.MULTILINE)
    assert re.search(r"^\[child\] ✗ ValueError: only here [\d.]+ s$", shown.stdout, re.MULTILINE)
    assert shown.data == ["'value'"]


def test_a_stop_interrupts_all_of_them(tidy: Kernel) -> None:  # noqa: F811
    good(tidy, "child = %vers branch --name child")
    cell = tidy.start(
        "%%vm --on build,child python\nimport time\nprint('asleep', flush=True)\nwhile True: time.sleep(0.1)"
    )
    cell.wait_for("[build] asleep")
    cell.wait_for("[child] asleep")
    tidy.interrupt()
    assert cell.finish(30).stdout.count("✗ KeyboardInterrupt") == 2
    assert tidy.run("%%vm --on build,child python\n1", timeout=60).error is None


def test_a_stop_while_a_kernel_starts_runs_nothing(kernel: Kernel) -> None:
    cell = kernel.start("%%vm python --kernel third\nprint('it ran')")
    cell.wait_for("waiting for Python on build")
    kernel.interrupt()
    stopped = cell.finish(20)
    assert stopped.error == "CellInterrupted" and "it ran" not in stopped.stdout, stopped
    assert good(kernel, "%%vm python --kernel third\nprint('now')", timeout=120).endswith("now\n")
    good(kernel, "%vers kernels rm -f third")


def test_time_that_is_up_interrupts_and_says_so(kernel: Kernel) -> None:
    good(kernel, "%%vm python\nimport time\nkept = 1")
    late = kernel.run("%%vm python --timeout 0.5\nwhile True: time.sleep(0.1)")
    assert late.error == "RemoteTimeoutError" and "after 0.5 s" in late.message
    assert "--timeout" in late.message
    assert kernel.run("%%vm python\nkept").data == ["1"]


def test_kernels_are_apart_listed_restarted_and_ended(kernel: Kernel) -> None:
    good(kernel, "%%vm python\nx = 'first'")
    good(kernel, "%%vm python --kernel second\nx = 'second'", timeout=120)
    assert kernel.run("%%vm python\nx").data == ["'first'"]
    listed = kernel.run("%vers kernels")
    assert [line.split()[:2] for line in listed.data[0].splitlines()[1:]] == [
        ["python", "build"],
        ["second", "build"],
    ]
    assert "<table>" in listed.html[0]
    restarted = good(kernel, "%vers kernels restart second", timeout=120)
    assert restarted.endswith("second on build begins afresh.\n")
    assert kernel.run("%%vm python --kernel second\nx").error == "NameError"
    asked = kernel.run("%vers kernels rm second", answer="n")
    assert "End second on build and all that is defined in it? [y/N]" in asked.stdout
    assert good(kernel, "%vers kernels rm -f second") == "Ended second on build.\n"
    assert good(kernel, "%vers kernels rm -f second") == "No kernel second runs there.\n"
    assert kernel.run("%%vm python\nx").data == ["'first'"]


def test_values_travel_both_ways(tidy: Kernel) -> None:  # noqa: F811
    tidy.run("import pyarrow\ntext, deep, table = 'x', {'a': [1, None, b'\\0']}, pyarrow.table({'n': [1]})")
    sent = good(tidy, "%vers push text deep")
    assert re.search(r"text, deep → python on build  \d+ bytes\n$", sent)  # a slow one shows a bar first
    assert tidy.run("%%vm python\ntext, deep").data == ["('x', {'a': [1, None, b'\\x00']})"]
    refused = tidy.run("%vers push table")
    assert (
        refused.error == "UsageError" and "table needs pyarrow, which is not installed at" in refused.message
    )
    good(tidy, "child = %vers branch --name child")
    good(tidy, "%%vm --on build,child python\nfound = [len(deep), 2.5]\nother = {1, 2}")
    assert re.search(r"found ← python on child  \d+ bytes\n$", good(tidy, "%vers pull found --on child"))
    assert tidy.value("found") == [1, 2.5]
    good(tidy, "%vers pull found --on build,child")
    assert tidy.value("found") == {"build": [1, 2.5], "child": [1, 2.5]}
    refused = tidy.run("%vers pull other")
    assert (
        refused.error == "UsageError"
        and "other is a set" in refused.message
        and "--pickle" in refused.message
    )
    good(tidy, "%vers pull other --pickle")
    assert tidy.value("other") == {1, 2}
    assert (
        "There is no variable nothing in the kernel python on build."
        in tidy.run("%vers pull nothing").message
    )
    assert "There is no variable nothing here." in tidy.run("%vers push nothing").message
    assert good(tidy, "%vm ls -A ~/.local/share/pi-v/kernels | grep -c values || true") == "0\n", "left"


def test_arrays_and_tables_travel_both_ways(tidy: Kernel) -> None:  # noqa: F811
    tidy.run(
        "import numpy, pandas\n"
        "grid = numpy.arange(6, dtype='int16').reshape(2, 3)\n"
        "days = pandas.date_range('2025-01-01', periods=3, name='day')\n"
        "table = pandas.DataFrame({'degrees': [1.5, None, -2], 'word': ['a', 'ä', None]}, index=days)"
    )
    good(tidy, "%vers push grid table")
    shown = good(tidy, "%%vm python\nprint(grid.dtype, grid.tolist(), table.degrees.sum(), table.index.name)")
    assert shown == "int16 [[0, 1, 2], [3, 4, 5]] -0.5 day\n"
    good(tidy, "%%vm python\ngrid_there, table_there = grid * 2, table[['word']].iloc[:2]", timeout=60)
    good(tidy, "%vers pull grid_there table_there")
    assert tidy.value("bool((grid_there == 2 * grid).all()) and grid_there.dtype == grid.dtype")
    assert tidy.value("(table_there.word.tolist(), [str(day.date()) for day in table_there.index])") == (
        ["a", "ä"],
        ["2025-01-01", "2025-01-02"],
    )


def test_tables_and_plots_show_as_in_a_kernel_of_ones_own(kernel: Kernel) -> None:
    shown = kernel.run("%%vm python\nimport pandas\npandas.DataFrame({'n': [1, 2]})", timeout=90)
    assert shown.data == ["   n\n0  1\n1  2"] and "<table" in shown.html[0]
    shown = kernel.run("%%vm python\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);", timeout=90)
    assert shown.error is None and shown.stderr == "", shown
    assert shown.data == ["<Figure size 640x480 with 1 Axes>"]
    (png,) = [
        message["content"]["data"]["image/png"] for message in kernel.heard if "data" in message["content"]
    ]
    width, height = Image.open(io.BytesIO(base64.b64decode(png))).size
    assert width > 400 < height * 2, "and it is a picture"


def test_the_walkthrough_shows_what_it_tells_and_leaves_nothing(
    shared_platform: Platform, tmp_path: Path
) -> None:
    with walked("03-python-on-a-vm", shared_platform, tmp_path) as walk:
        assert walk.kernel.value("(sorted(frost, key=frost.get), min(means, key=means.get))") == (
            ["mild", "town", "harsh"],
            "winter",
        )
    assert "365.0" in walk.of("%%vm --on again").data[0]
    figures = [outputs.data for source, outputs in walk.shown if "show(" in source]
    assert [len(each) for each in figures] == [1, 2]


def test_the_last_value_is_kept_where_it_is_asked_for(tidy: Kernel) -> None:  # noqa: F811
    assert tidy.run("%%vm python --out kept\n[1, 'two']").data == ["[1, 'two']"]
    assert tidy.value("kept") == [1, "two"]
    good(tidy, "%%vm python --out kept\npass")
    assert tidy.value("kept") is None
    good(tidy, "child = %vers branch --name child")
    tidy.run("%%vm --on build,child --out kept python\nimport socket\nlen(socket.gethostname()) > 0")
    assert tidy.value("kept") == {"build": True, "child": True}
    assert "_ is a set" in tidy.run("%%vm python --out kept\n{1}").message


def test_an_error_that_is_not_raised_is_shown(kernel: Kernel) -> None:
    shown = kernel.run("%%vm python --no-raise\nprint('before')\n1 / 0")
    assert shown.stdout == "before\n" and "division by zero" in shown.traceback
    assert kernel.value("'the notebook goes on'") == "the notebook goes on"
    reply = kernel.client.execute("%%vm python --no-raise\n1 / 0", reply=True, timeout=30)
    assert reply["content"]["status"] == "ok"


def test_python_has_the_variables_a_vm_was_born_with(tidy: Kernel) -> None:  # noqa: F811
    good(tidy, "%vers env set GREETING='hello there'")
    try:
        good(tidy, "other = %vers create --name other")
        code = "%%vm python --on other\nimport os\nos.environ['GREETING']"
        assert tidy.run(code, timeout=90).data == ["'hello there'"]
        good(tidy, "%vers kernels restart --on other", timeout=120)
        assert tidy.run(code, timeout=90).data == ["'hello there'"]
    finally:
        tidy.run("%vers rm -f other")
        tidy.run("%vers env rm GREETING")


@pytest.mark.parametrize(
    ("cell", "error", "said"),
    [
        ("%%vm python --cwd /tmp\n1", "UsageError", "--cwd is for shells, not for Python."),
        ("%%vm python --fresh\n1", "UsageError", "--fresh is for shells"),
        ("%%vm python -e A=b\n1", "UsageError", "--env is for shells"),
        ("%%vm python --kernel a/b\n1", "UsageError", "'a/b' cannot name a kernel."),
        ("%%vm --kernel x\ntrue", "UsageError", "--kernel is for `%%vm python`."),
        ("%%vm python --kernl x\n1", "UsageError", "Did you mean --kernel?"),
        ("%%vm python --on nosuch\n1", "UnknownVMError", "No VM named 'nosuch'."),
        ("%%vm pyton x\n1", "UsageError", "Got unexpected extra argument"),
        ("%vers kernels restart a/b", "UsageError", "'a/b' cannot name a kernel."),
        ("%vers kernels lst", "UsageError", "Did you mean ls?"),
    ],
)
def test_wrong_use_is_one_line(kernel: Kernel, cell: str, error: str, said: str) -> None:
    refused(kernel, cell, error, said)


def test_without_a_vm_that_is_told(kernel: Kernel) -> None:
    kernel.run("%vers local")
    refused = kernel.run("%%vm python\n1")
    assert refused.error == "UnknownVMError" and "`%vers use VM`" in refused.message


def test_a_paused_vm_says_so(kernel: Kernel) -> None:
    good(kernel, "%%vm python\nbefore = 1")
    good(kernel, "%vers pause")
    try:
        paused = kernel.run("%%vm python\nbefore")
        assert paused.error == "VMPausedError" and "`%vers resume build`" in paused.message
    finally:
        good(kernel, "%vers resume")
    assert kernel.run("%%vm python\nbefore").data == ["1"]
