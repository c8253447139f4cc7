"""`%%vm` and `%vm` on one VM: where they may stand, what they are told, what they show."""

from __future__ import annotations

import asyncio

import pytest
from kernels import Kernel, refused
from platforms import Platform

pytestmark = pytest.mark.vm

SHELL = "get_ipython().run_cell_magic('vm', '', {body!r})"


# Where a magic may stand.


def test_state_lasts_from_cell_to_cell(kernel: Kernel) -> None:
    kernel.run("%%vm\nmkdir -p /srv/demo && cd /srv/demo\nexport COLOUR=blue\ngreet() { echo hello $1; }")
    assert kernel.run("%vm pwd; echo $COLOUR; greet you").stdout == "/srv/demo\nblue\nhello you\n"


def test_it_runs_under_time_and_capture(kernel: Kernel) -> None:
    timed = kernel.run("%%time\n%vm echo timed")
    assert timed.stdout.startswith("timed\n") and "Wall time" in timed.stdout
    kernel.run("%%capture kept\n%vm echo captured; echo problem >&2")
    assert kernel.value("(kept.stdout, kept.stderr)") == ("captured\n", "problem\n")


def test_it_runs_in_a_function_a_loop_and_a_coroutine(kernel: Kernel) -> None:
    code = (
        "def f(i):\n    return " + SHELL.format(body="echo in a function") + "\nfor i in range(2):\n    f(i)"
    )
    assert kernel.run(code).stdout == "in a function\n" * 2
    code = "async def f():\n    " + SHELL.format(body="echo in a coroutine") + "\nawait f()"
    assert kernel.run(code).stdout == "in a coroutine\n"


def test_its_value_is_a_result_that_is_not_shown_twice(kernel: Kernel) -> None:
    shown = kernel.run("%vm echo once")
    assert shown.stdout == "once\n" and shown.data == []
    assigned = kernel.run("x = %vm echo out; echo err >&2")
    assert assigned.data == []
    assert kernel.value("(x.exit_code, x.ok, x.stdout, x.stderr, type(x).__name__)") == (
        0,
        True,
        "out\n",
        "err\n",
        "Result",
    )
    assert kernel.run("x").data[0].startswith("exit code 0 after ")
    assert len(kernel.run("x = get_ipython().run_line_magic('vm', 'true')\ndisplay(x)").data) == 1
    kernel.run("%vm true")
    assert kernel.value("type(_).__name__") == "Result"


def test_dollars_and_braces_stay_as_typed(kernel: Kernel) -> None:
    kernel.run("x = 'python'")
    assert kernel.run("%vm x=shell; echo $x ${x}s {x} '$x'").stdout == "shell shells {x} $x\n"
    assert kernel.run("%%vm\nx=shell; echo $x {x}").stdout == "shell {x}\n"


def test_the_users_tasks_go_on_meanwhile(kernel: Kernel) -> None:
    kernel.run(
        "import asyncio\n"
        "async def tick():\n"
        "    for _ in range(16):\n        await asyncio.sleep(0.1)\n"
        "    await vm.run('touch /tmp/ticked')\n"
        "ticker = asyncio.ensure_future(tick())"
    )
    shown = kernel.run("%vm until [ -e /tmp/ticked ]; do sleep 0.1; done; rm /tmp/ticked; echo over")
    assert shown.stdout == "over\n"


def test_two_tasks_may_run_cells_at_once(kernel: Kernel) -> None:
    kernel.strays.clear()
    kernel.run(
        "import asyncio\n"
        "async def f(word, pause):\n"
        "    code = f'for i in 1 2 3; do echo {word}; sleep {pause}; done'\n"
        "    get_ipython().run_cell_magic('vm', '--fresh', code)\n"
        "    return word\n"
        "first = asyncio.ensure_future(f('alpha', 0.2))"
    )
    shown = kernel.run("await asyncio.gather(first, f('beta', 0.3))")
    assert shown.error is None, shown.traceback
    assert shown.stdout.count("beta\n") == 3
    strays = "".join(m["content"]["text"] for m in kernel.strays if m["msg_type"] == "stream")
    assert (shown.stdout + strays).count("alpha\n") == 3
    assert "alpha" not in shown.stdout  # it belongs to the cell that started it


def test_what_a_task_prints_belongs_to_its_cell_and_does_not_wait_for_another_task(kernel: Kernel) -> None:
    kernel.strays.clear()
    begun = kernel.start(
        "import asyncio\n"
        "async def f(code):\n"
        "    get_ipython().run_cell_magic('vm', '--fresh', code)\n"
        "first = 'for i in 1 2 3; do sleep 0.2; echo alpha; done'\n"
        "second = 'echo beta; until rm /tmp/go 2>/dev/null; do sleep 0.1; done; echo beta'\n"
        "outer = asyncio.ensure_future(f(first))\n"
        "inner = asyncio.ensure_future(f(second))"
    )
    begun.finish()

    def printed() -> str:
        said = [message for message in kernel.strays if message["msg_type"] == "stream"]
        assert {message["parent_header"]["msg_id"] for message in said} <= {begun.id}
        return "".join(message["content"]["text"] for message in said)

    while "alpha\n" * 3 not in printed().replace("beta\n", ""):
        kernel.run("await asyncio.sleep(0.1)")
    kernel.run("%vm touch /tmp/go")
    assert kernel.run("await asyncio.gather(outer, inner)").stdout == ""
    assert (printed().count("alpha\n"), printed().count("beta\n")) == (3, 2)
    assert printed().endswith("beta\n")


def test_threads_may_run_cells_at_once(kernel: Kernel) -> None:
    shown = kernel.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def f(word):\n"
        "    code = f'for i in 1 2 3; do echo {word}; sleep 0.1; done'\n"
        "    return get_ipython().run_cell_magic('vm', '--fresh', code).stdout.split()\n"
        "with ThreadPoolExecutor(3) as pool:\n"
        "    words = list(pool.map(f, ['a', 'b', 'c']))\n"
        "%vm echo main\n"
    )
    assert shown.error is None, shown.traceback
    assert kernel.value("words") == [["a"] * 3, ["b"] * 3, ["c"] * 3]
    assert shown.stdout.endswith("main\n")


# Text.


def test_text_arrives_as_it_was_written(kernel: Kernel) -> None:
    split = kernel.run(
        "%%vm\nprintf '\\303'; sleep 0.3; printf '\\244\\360\\237'; sleep 0.3; printf '\\230\\200\\n'"
    )
    assert split.stdout == "ä😀\n"
    assert kernel.run(r"%vm printf '10%%\r20%%\r\n'").stdout == "10%\r20%\r\n"
    assert kernel.run(r"%vm printf '\033[31mred\033[0m\n'").stdout == "\x1b[31mred\x1b[0m\n"
    assert kernel.run(r"%vm printf 'a\377b\n'").stdout == "a\\xffb\n"
    apart = kernel.run("%%vm\necho out; echo err >&2")
    assert (apart.stdout, apart.stderr) == ("out\n", "err\n")


def test_output_comes_while_the_command_runs(kernel: Kernel, shared_platform: Platform) -> None:
    vm_id = kernel.value("vm.id")
    kernel.run("%vm mkfifo /tmp/gate")
    cell = kernel.start("%%vm\necho first; cat /tmp/gate; echo last")
    cell.wait_for("first")
    with asyncio.Runner() as runner:
        runner.run(shared_platform.inside(vm_id, "echo > /tmp/gate"))
    assert cell.finish().stdout.endswith("last\n")
    kernel.run("%vm rm /tmp/gate")


def test_the_streams_keep_their_order_at_a_readable_pace(kernel: Kernel) -> None:
    shown = kernel.run("%%vm\nfor i in $(seq 300); do echo out $i; echo err $i >&2; done")
    assert shown.stdout.splitlines() == [f"out {i}" for i in range(1, 301)]
    assert shown.stderr.splitlines() == [f"err {i}" for i in range(1, 301)]
    assert shown.updates <= 20 * shown.seconds + 16


# What they are told.


def test_output_goes_to_variables(kernel: Kernel) -> None:
    shown = kernel.run("%%vm --out o --err e --no-raise\necho out; echo err >&2; (exit 4)")
    assert "out" not in shown.stdout and shown.error is None
    assert kernel.value("(o, e)") == ("out\n", "err\n")
    assert kernel.run("%%vm --out 'a b'\ntrue").message.startswith(
        "Invalid value for '--out': 'a b' cannot name"
    )


def test_a_directory_variables_and_a_shell_of_its_own(kernel: Kernel) -> None:
    shown = kernel.run("%%vm --cwd /etc -e A=x=y -e 'B=two words' -e C=\npwd; echo \"$A|$B|$C|\"")
    assert shown.stdout == "/etc\nx=y|two words||\n"
    kernel.run("%vm cd /srv; export KEPT=1")
    assert kernel.run("%vm --fresh pwd; echo [$KEPT]").stdout == "/root\n[]\n"
    assert kernel.run("%vm pwd; echo [$KEPT]").stdout == "/srv\n[1]\n"


def test_the_time_it_may_take(kernel: Kernel) -> None:
    late = kernel.run("%vm --timeout 1 sleep 71.5")
    assert late.error == "RemoteTimeoutError"
    assert late.message.startswith("out of time: ") and " on build after " in late.message
    assert "`--timeout SECONDS` gives it more" in late.message
    assert kernel.run("%vm --no-raise pgrep -f '[s]leep 71.5'").stdout == ""


def test_interpreters_read_the_cell(kernel: Kernel) -> None:
    assert kernel.run("%%vm python3\nimport sys\nprint('from', sys.executable, 6 * 7)").stdout.endswith(
        " 42\n"
    )
    assert kernel.run("%%vm sh\necho $0").stdout == "sh\n"
    unknown = kernel.run("%%vm nonesuch\nx")
    assert unknown.error == "RemoteCommandError" and "exit code 127" in unknown.message
    assert "nonesuch" in unknown.stderr


def test_a_cell_that_reads_stdin_gets_its_end_at_once(kernel: Kernel) -> None:
    assert kernel.run("%%vm\ncat; read line || echo end of file").stdout == "end of file\n"


def test_a_child_in_the_background_does_not_hold_the_cell(kernel: Kernel) -> None:
    assert kernel.run("%%vm\nsleep 600 &\necho started", timeout=30).stdout == "started\n"
    kernel.run("%vm kill %1")


# What goes wrong.


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("%%vm\nfalse", "RemoteCommandError", "exit code 1 on build after"),
        ("%vm nosuchcommand", "RemoteCommandError", "exit code 127 on build"),
        ("%vm --fresh kill -9 $$", "RemoteCommandError", "ended by SIGKILL on build"),
        ("%%vm --tmeout 3\nls", "UsageError", "Did you mean --timeout?"),
        ("%vm --timeout -1 ls", "UsageError", "'--timeout'"),
        ("%vm --timeout nan ls", "UsageError", "not a number of seconds"),
        ("%vm --timeout inf ls", "UsageError", "not a number of seconds"),
        ("%vm --timeout soon ls", "UsageError", "'--timeout'"),
        ("%vm -e bad ls", "UsageError", "does not begin K=V"),
        ("%vm -e 1=2 ls", "UsageError", "does not begin K=V"),
        ("%vm --cwd /nonesuch pwd", "RemoteCommandError", "on build"),
        ("%vm", "UsageError", "There is no command to run"),
        ("%vm --fresh", "UsageError", "There is no command to run"),
        ("%vm --on , ls", "UsageError", "--on names no VM"),
        ("%vm --on bild ls", "UnknownVMError", "Did you mean 'build'?"),
        ("%%vm bash extra\nls", "UsageError", "extra"),
        ("%vm --attach 7", "UsageError", "No command 7 was left running"),
        ("%vm --attach seven", "UsageError", "'seven'"),
        ("get_ipython().run_cell_magic('vm', '', 'echo a\\0b')", "UsageError", "NUL"),
    ],
)
def test_an_error_is_one_clear_line(kernel: Kernel, code: str, error: str, message: str) -> None:
    refused(kernel, code, error, message)
    assert kernel.run("%vm echo usable").stdout == "usable\n"


def test_an_error_can_be_caught(kernel: Kernel) -> None:
    shown = kernel.run(
        "from pi_v_jupyter import RemoteCommandError\n"
        "try:\n    get_ipython().run_cell_magic('vm', '', 'echo why >&2; (exit 7)')\n"
        "except RemoteCommandError as error:\n    print('caught', error.exit_code, error.stderr)"
    )
    assert shown.error is None and shown.stdout.startswith("caught 7 why")


def test_the_end_of_stderr_comes_with_the_error_however_long_it_was(kernel: Kernel) -> None:
    kernel.run(
        "from pi_v_jupyter import RemoteCommandError\n"
        "try:\n    get_ipython().run_cell_magic('vm', '', 'seq 400000 >&2; echo the end >&2; false')\n"
        "except RemoteCommandError as error:\n    tail = error.stderr"
    )
    assert kernel.value("(len(tail), tail[-16:])") == (4096, "\n400000\nthe end\n")


def test_exit_in_a_cell_is_told_and_the_next_one_gets_a_fresh_shell(kernel: Kernel) -> None:
    kernel.run("%vm export OLD=1")
    shown = kernel.run("%%vm\nexit 3")
    assert "exit code 3 on build" in shown.message
    assert "The shell on build ended; the next cell gets a fresh one." in shown.stderr
    assert kernel.run("%vm echo [$OLD]").stdout == "[]\n"


def test_help_is_shown_and_nothing_runs(kernel: Kernel) -> None:
    for code in ("%vm --help", "%%vm --help\necho ran"):
        shown = kernel.run(code)
        assert shown.error is None and "--timeout S" in shown.stdout and "ran\n" not in shown.stdout
