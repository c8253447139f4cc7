"""`%vers shell` in a kernel: what it returns, says and ends. `tests/browser` looks at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel, refused, started
from platforms import Platform
from test_stop import is_gone

pytestmark = pytest.mark.vm


def test_a_notebook_that_is_read_without_its_kernel_says_what_was_there(kernel: Kernel) -> None:
    shown = kernel.run("%vers shell")
    assert shown.error is None, shown.traceback
    assert shown.data == ["terminal on build; it is live only while its kernel runs"]
    assert kernel.run("t = %vers shell").data == []
    assert kernel.value("t.label") == "terminal on build"


def runs(kernel: Kernel, what: str) -> None:
    """Until the VM has a process whose command line matches `what`."""
    looked = f"%vm --fresh until pgrep -f '[{what[0]}]{what[1:]}' >/dev/null; do sleep 0.1; done"
    shown = kernel.run(looked)
    assert shown.error is None, shown.traceback


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%vers shell build -- sleep 401.5", "sleep 401.5"),
        ("%vers shell -- sh -c 'sleep 402.5; true'", "sleep 402.5"),
    ],
)
def test_it_runs_a_command_until_it_is_closed(kernel: Kernel, line: str, words: str) -> None:
    opened = kernel.run(f"t = {line}")
    assert opened.error is None, opened.traceback
    runs(kernel, words)
    kernel.run("t.close()")
    assert is_gone(kernel, words)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%vers shell bild", "No VM named 'bild'"),
        ("%vers shell --tall", "No such option: --tall"),
        ("%vers shell build top", "unexpected extra argument"),
    ],
)
def test_what_cannot_be_is_one_line(kernel: Kernel, line: str, said: str) -> None:
    refused(kernel, line, None, said)


def test_without_an_active_vm_it_is_on_this_machine(kernel: Kernel) -> None:
    kernel.run("%vers local")
    assert kernel.run("%vers shell").data == [
        "terminal on this computer; it is live only while its kernel runs"
    ]


@pytest.fixture
def own(shared_platform: Platform) -> Iterator[Kernel]:
    """A kernel of the test's own."""
    with started(shared_platform.env) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        yield kernel


def test_unloading_hangs_up(own: Kernel, kernel: Kernel) -> None:
    opened = own.run("t = %vers shell build -- sleep 403.5")
    assert opened.error is None, opened.traceback
    runs(kernel, "sleep 403.5")
    unloaded = own.run("%unload_ext pi_v_jupyter")
    assert unloaded.error is None, unloaded.traceback
    assert is_gone(kernel, "sleep 403.5")
    assert own.run("t.close()").error is None


JUNK = """
t = %vers shell
for content in [
    {}, {"kind": "resize"}, {"kind": "resize", "view": "a", "cols": 80.5, "rows": 24},
    {"kind": "resize", "view": "a", "cols": None, "rows": 24}, {"kind": "opened", "view": "a", "have": 1.5},
    {"kind": "opened", "view": ["a"], "have": 0}, {"kind": "opened", "view": "a", "have": -(10**30)},
    {"kind": "typed", "view": "a", "offset": 0}, {"kind": "shown", "view": "a", "offset": "all"},
    {"kind": "resize", "view": "a", "cols": 10**30, "rows": -5}, {"kind": "left", "view": "nobody"},
]:
    t._received(t, content, [])
"""


def test_what_no_page_of_ours_would_say_breaks_nothing(kernel: Kernel) -> None:
    said = kernel.run(JUNK)
    assert said.error is None, said.traceback
    kernel.run("t._received(t, {'kind': 'typed', 'view': 'a', 'offset': 0}, [b'echo heard >/tmp/heard\\n'])")
    heard = kernel.run("%vm until [ -s /tmp/heard ]; do sleep 0.1; done; cat /tmp/heard")
    assert heard.stdout == "heard\n"
    kernel.run("t.close()")


ONCE = """
t, said = get_ipython().run_line_magic("vers", "shell -- echo only once"), []
t.send = lambda content, buffers=(): said.append((content, buffers))
t._received(t, {"kind": "opened", "view": "a", "have": 0}, [])
"""


def test_what_a_page_is_told_carries_its_bytes_once(kernel: Kernel) -> None:
    assert kernel.run(ONCE).error is None
    told = "[content for content, buffers in said if any(b'only once' in bytes(each) for each in buffers)]"
    kernel.run(f"import asyncio\nwhile not {told}: await asyncio.sleep(0.05)")
    assert kernel.value(f"{told}[0]['kind']") == "output"
    assert "only once" not in kernel.value("str([content for content, _ in said])")
    kernel.run("t.close()")


def test_on_this_machine_files_are_made_with_the_users_own_umask(own: Kernel) -> None:
    own.run("import os; _ = os.umask(0o077)")
    assert own.run("%vm umask").stdout == "(local)\n0077\n"
