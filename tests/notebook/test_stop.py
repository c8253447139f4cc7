"""The stop button: what runs on the VM is stopped there, and the notebook is free at once."""

from __future__ import annotations

import pytest
from kernels import Kernel

pytestmark = pytest.mark.vm

# Looks at the VM from outside the cells' own shell, for a while; prints what is left.
LEFT = (
    "%vm --fresh for i in $(seq 100); do pgrep -f '{what}' >/dev/null || exit 0; sleep 0.1; done; echo left"
)

# Says so once the next command is well under way.
SAID = "(sleep 0.5; echo started) &"


def is_gone(kernel: Kernel, what: str) -> bool:
    """Is no process whose command line matches `what` left on the VM? The first letter is bracketed."""
    shown = kernel.run(LEFT.format(what=f"[{what[0]}]{what[1:]}"))
    assert shown.error is None, shown.traceback
    return shown.stdout == ""


@pytest.mark.parametrize(
    ("head", "body", "mark"),
    [
        ("%%vm", f"{SAID} sleep 301.5; echo never", "sleep 301.5"),
        ("%%vm", f"{SAID} sleep 302.5 | cat; echo never", "sleep 302.5"),
        ("%%vm --fresh", f"{SAID} sleep 303.5; echo never", "sleep 303.5"),
        ("%%vm", "echo started; while true; do sleep 0.05; done", "[n]othing"),
        # In naps: a signal between Python's last look for one and a sleep is heeded only after that sleep.
        ("%%vm python3", "import time; print('started', flush=True)\nwhile 1: time.sleep(0.1)", "python3 -$"),
        ("%%vm", "echo started; while true; do echo flood; done", "[n]othing"),
    ],
)
def test_a_stop_ends_the_remote_process_group(kernel: Kernel, head: str, body: str, mark: str) -> None:
    kernel.run("%vm cd /srv; export KEPT=yes")
    cell = kernel.start(f"{head}\n{body}")
    cell.wait_for("started")
    kernel.interrupt()
    shown = cell.finish(timeout=20)
    assert shown.error == "CellInterrupted"
    assert shown.message.startswith("interrupted (SIGINT) on build after ")
    assert "never" not in shown.stdout and "Traceback" not in shown.traceback
    assert is_gone(kernel, mark)
    assert kernel.run("%vm pwd; echo $KEPT").stdout == "/srv\nyes\n"


def test_a_process_that_ignores_the_stop_is_killed_by_the_second_and_can_be_come_back_to(
    kernel: Kernel,
) -> None:
    cell = kernel.start("%%vm --fresh\ntrap '' INT\necho started; sleep 305.5; sleep 305.5; echo never")
    cell.wait_for("started")
    kernel.interrupt()
    cell.wait_for("Interrupted (SIGINT), and still running. Stop again to kill it")
    kernel.interrupt()
    shown = cell.finish(timeout=20)
    assert shown.error == "CellInterrupted"
    assert "SIGKILL sent on build (process group " in shown.message
    number = shown.traceback.partition("`%vm --attach ")[2].partition("` comes back to it")[0]
    assert is_gone(kernel, "sleep 305.5")
    back = kernel.run(f"%vm --attach {number}")
    assert back.error == "RemoteCommandError" and "ended by SIGKILL on build" in back.message
    assert kernel.run(f"%vm --attach {number}").error == "UsageError"


def test_what_a_command_wrote_while_nobody_looked_is_shown_on_coming_back(kernel: Kernel) -> None:
    # A child in a group of its own outlives the kill, as one that was started with setsid does.
    cell = kernel.start(
        "%%vm --fresh\ntrap '' INT\necho started\n"
        "setsid sh -c 'until [ -e /tmp/go ]; do sleep 0.1; done; echo rest' &\nwait; wait; wait"
    )
    cell.wait_for("started")
    kernel.interrupt()
    cell.wait_for("still running")
    kernel.interrupt()
    number = cell.finish().traceback.partition("--attach ")[2].split("`")[0]
    kernel.run("%vm --fresh touch /tmp/go")
    back = kernel.run(f"%vm --attach {number}")
    assert "started" not in back.stdout
    assert back.error == "RemoteCommandError"
    kernel.run("%vm rm /tmp/go")


def test_a_stop_ends_all_of_a_cell_for_several(kernel: Kernel) -> None:
    assert kernel.run("%vers create --name second", timeout=60).error is None
    try:
        cell = kernel.start(f"%%vm --on build,second\n{SAID} sleep 306.5; echo never")
        cell.wait_for("[build] started")
        cell.wait_for("[second] started")
        kernel.interrupt()
        shown = cell.finish(timeout=20)
        assert shown.error == "CellInterrupted" and "on build, second after" in shown.message
        for name in ("build", "second"):
            left = kernel.run(f"%vm --on {name} " + LEFT.removeprefix("%vm ").format(what="[s]leep 306.5"))
            assert left.stdout == ""
    finally:
        kernel.run("%vers rm -f second")


def test_a_stop_while_the_vm_is_made_says_what_may_have_become_of_it(kernel: Kernel) -> None:
    cell = kernel.start("print('asking')\n%vers create --name slow --mem 640")  # this size boots the slow way
    cell.wait_for("asking")
    cell.wait_for("creating slow")
    kernel.interrupt()
    shown = cell.finish(timeout=20)
    assert shown.error == "CellInterrupted"
    assert "creating slow" in shown.message and "`%vers ls` shows it" in shown.traceback
    assert "Traceback" not in shown.traceback
    assert kernel.run("%vm echo usable").stdout == "usable\n"
    kernel.run(
        "for vm in get_ipython().run_line_magic('vers', 'ls'):\n    if vm.name == 'slow': await vm.delete()"
    )


def test_a_stop_reaches_a_cell_nested_in_the_wait_of_another(kernel: Kernel) -> None:
    cell = kernel.start(
        "import asyncio\n"
        "async def f(word):\n"
        "    cell = f'(sleep 0.5; echo {word}) & sleep 307.5; echo never'\n"
        "    get_ipython().run_cell_magic('vm', '--fresh', cell)\n"
        "await asyncio.gather(f('one'), f('two'))"
    )
    cell.wait_for("one")
    cell.wait_for("two")
    kernel.interrupt()
    shown = cell.finish(timeout=30)
    assert shown.error == "CancelledError"
    assert "Stopped: interrupted (SIGINT) on build after " in shown.stdout
    assert "never" not in shown.stdout
    assert is_gone(kernel, "sleep 307.5")


def test_the_users_tasks_survive_a_stop(kernel: Kernel) -> None:
    kernel.run("import asyncio\nmine = asyncio.ensure_future(asyncio.sleep(3600))")
    cell = kernel.start(f"%vm {SAID} sleep 308.5")
    cell.wait_for("started")
    kernel.interrupt()
    cell.finish(timeout=20)
    assert kernel.value("mine.done()") is False
    kernel.run("mine.cancel()")
