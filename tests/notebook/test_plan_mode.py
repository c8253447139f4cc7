"""`%plan on`: cells of ours look only until `%plan off`; what may do more is refused, and says why."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel, Outputs, refused, started
from platforms import Platform

ERROR = "PlanModeError"


def good(kernel: Kernel, code: str, timeout: float = 60) -> Outputs:
    """What a cell that works has shown."""
    shown = kernel.run(code, timeout=timeout)
    assert shown.error is None, shown.traceback
    return shown


@pytest.fixture
def looking(beside: Kernel, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel in plan mode, whose VM is this machine; the shell session is in a folder of the test's."""
    good(beside, f"%vm cd {tmp_path}")
    good(beside, "%plan on --in readonly")
    yield beside
    good(beside, "%plan off")
    good(beside, "%vers use loopback")


def test_a_banner_says_so_and_off_ends_it(beside: Kernel) -> None:
    shown = good(beside, "%plan on --in readonly")
    assert shown.data == [
        "◎ Plan mode: `%vm`, `%vers`, `%bg`, `%%task` and routed cells look only; what may do more is "
        "refused. Python that runs in this kernel is not judged. "
        "Commands on loopback see it read-only. `%plan off` ends it."
    ]
    assert "<code>%plan off</code>" in shown.html[0]
    told = good(beside, "state = %plan status\nstate")
    assert told.data == shown.data and beside.value("(state.on, state.inside)") == (True, "readonly")
    assert good(beside, "%plan").data == [
        *shown.data,
        "No plans.  `%%task LABEL --plan` has an agent make one.",
    ]
    ended = good(beside, "%plan off")
    assert ended.data == ["Plan mode is off.  `%plan on` has `%vm`, `%vers`, `%bg` and `%%task` look only."]
    assert good(beside, "%vm echo acts").data == []


def test_a_command_that_only_looks_runs_under_a_mark(looking: Kernel, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("one\ntwo\n")
    shown = good(looking, "%%vm\ncat note.txt 2>/dev/null | grep -c o\nls > /dev/null && pwd")
    assert shown.data == ["◎ plan: loopback, read-only"]
    assert shown.stdout == f"2\n{tmp_path}\n" and shown.stderr == ""
    assert good(looking, "result = %vm cat note.txt").stdout == "one\ntwo\n"
    assert looking.value("(result.exit_code, result.stdout)") == (0, "one\ntwo\n")
    good(looking, "%vm --out text cat note.txt")
    assert looking.value("text") == "one\ntwo\n"


def test_the_folder_goes_on_from_cell_to_cell_and_the_session_stays_where_it_was(
    looking: Kernel, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    good(looking, "%vm cd src")
    assert good(looking, "%vm pwd").stdout == f"{tmp_path / 'src'}\n"
    good(looking, "%plan off")
    assert good(looking, "%vm pwd").stdout == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("%vm sort -o out note.txt", "sort -o writes a file."),
        ("%%vm\necho begun\ntouch new", "`touch"),
        ("%%vm\ncat note.txt > copy", "> writes a file"),
        ("%%vm bash --fresh\nrm note.txt", "`rm`"),
        ("%%vm -e PATH=/tmp\nls", "a variable may change what a command does."),
    ],
)
def test_a_command_that_may_do_more_is_refused_before_any_of_it_runs(
    looking: Kernel, tmp_path: Path, cell: str, rule: str
) -> None:
    (tmp_path / "note.txt").write_text("b\na\n")
    shown = refused(looking, cell, ERROR, rule)
    assert shown.message.startswith("Plan mode: `")
    assert "` is refused: " in shown.message and shown.message.endswith(".  `%plan off` ends plan mode.")
    assert shown.stdout == "" and [each.name for each in tmp_path.iterdir()] == ["note.txt"]
    assert (tmp_path / "note.txt").read_text() == "b\na\n"


@pytest.mark.parametrize(
    "cell",
    [
        "%%vm python\nopen('new', 'w')",
        "%%vm node\n1",
        "%%vm sh\nls",
        "%%vm write new\ntext",
        "%%vm edit new\n<<<<<<<\na\n=======\nb\n>>>>>>>",
        "%%vm --bg web\nls",
        "%bg start web -- ls",
        "%%bg web\nls",
        "%bg stop web",
        "%vers create",
        "%vers rm -f loopback",
        "%vers rename loopback other",
        "%vers cp :/etc/hostname .",
        "%vers push x",
        "%vers shell",
        "%vers tag ready",
        "%vers config ssh_timeout 5",
        "%vers swarm spawn golden",
        "%%task api\nDo it.",
        "%plan run",
    ],
)
def test_what_acts_is_refused_with_its_rule(looking: Kernel, tmp_path: Path, cell: str) -> None:
    refused(looking, cell, ERROR, "is refused: ")
    assert list(tmp_path.iterdir()) == []


def test_what_looks_works_as_ever(looking: Kernel, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("one\n")
    for line in ("ls", "config", "config ssh_timeout", "tunnel", "use loopback"):
        good(looking, f"%vers {line}")
    assert good(looking, "%vers read note.txt").data[0].endswith("one")
    good(looking, "%bg list")
    assert good(looking, "%vers create --help").stdout.startswith("Usage: %vers create")


def test_a_dashboard_looks_only_too(looking: Kernel) -> None:
    told = (
        "from pi_v_jupyter.dashboard.intents import Intents\n"
        "from pi_v_jupyter.dashboard.terminals import Terminals\n"
        "def asked(name, **args):\n"
        "    return extension.wait(Intents(extension.vers, str, Terminals(None)).do(name, args))\n"
        "vm = sync.vm('loopback').id"
    )
    good(looking, told)
    created = looking.value("(lambda a: (a.ok, a.text))(asked('create'))")
    assert created == (False, "Plan mode: `create` is refused: it makes VMs.")
    looked = looking.value("(lambda a: (a.ok, a.text))(asked('exec', vms=[vm], command='cat /etc/hostname'))")
    assert looked == (True, Path("/etc/hostname").read_text().strip())
    touched = looking.value("(lambda a: (a.ok, a.text))(asked('exec', vms=[vm], command='touch /tmp/x'))")
    assert not touched[0] and "Plan mode: `touch" in touched[1]


def test_a_stop_and_a_time_out_end_a_command_and_all_it_has_started(looking: Kernel) -> None:
    late = refused(
        looking, "%vm --timeout 1 while true; do pwd >/dev/null; done", "RemoteTimeoutError", "out of time"
    )
    assert "--timeout SECONDS" in late.traceback
    cell = looking.start("%vm echo begun; while true; do pwd >/dev/null; done")
    cell.wait_for("begun")
    looking.interrupt()
    assert cell.finish().error == "CellInterrupted"


def test_python_has_it_too(looking: Kernel, tmp_path: Path) -> None:
    good(looking, "seen = sync.plan.machine(sync.vm('loopback'), 'cells')")
    assert looking.value("(sync.plan.status.on, seen.run('pwd').stdout)") == (True, f"{tmp_path}\n")
    refused(looking, "seen.run('touch new')", ERROR, "Plan mode: `touch")
    refused(looking, "seen.write('/tmp/new', 'text')", ERROR, "nothing but a command of its shell is judged")
    good(looking, "sync.plan.off()\nsync.plan.on('readonly')")


def test_output_without_an_end_is_bounded(looking: Kernel) -> None:
    shown = looking.run("%vm --timeout 5 while true; do cat /proc/self/maps; done", timeout=60)
    assert shown.error == "RemoteTimeoutError" and shown.size < 2_000_000


def test_this_computer_is_looked_at_from_a_namespace_where_there_is_one(
    looking: Kernel, tmp_path: Path
) -> None:
    new = Path("/var") / f"new-{os.getpid()}"
    good(looking, "%vers local")
    shown = good(looking, "%plan on")
    assert "this computer see it read-only" in shown.data[0]
    shown = good(looking, f"%%vm --cwd {tmp_path}\npwd")
    assert shown.stdout == f"(local)\n{tmp_path}\n"
    refused(looking, f"%vm touch {new}", ERROR, "Plan mode: `touch")
    good(
        looking,
        "from pi_v_jupyter.plan import readonly\njudge, readonly.judge = readonly.judge, lambda text: None",
    )
    try:
        failed = looking.run(f"%vm touch {new}")
        assert failed.error == "RemoteCommandError" and "Read-only file system" in failed.stderr
    finally:
        good(looking, "readonly.judge = judge")
    assert not new.exists()


def test_where_there_is_none_that_is_said(looking: Kernel, tmp_path: Path) -> None:
    good(looking, "%vers local")
    good(
        looking,
        "grounds = extension.vers.plan._grounds\nbefore, grounds.missing = grounds.missing, 'not allowed'",
    )
    try:
        told = good(looking, "%plan on").data[0]
        assert "are judged by their text alone, for it cannot confine them (not allowed)" in told
        assert good(looking, f"%vm --cwd {tmp_path} pwd").stdout == f"(local)\n{tmp_path}\n"
    finally:
        good(looking, "grounds.missing = before")


@pytest.mark.vm
def test_routed_cells_that_are_a_shells_are_looked_with_and_others_refused(kernel: Kernel) -> None:
    good(kernel, "%vers route on")
    good(kernel, "%plan on --in readonly")
    try:
        shown = good(kernel, "%cd /etc\n!cat hostname")
        assert (shown.data, shown.stdout) == (["◎ plan: build, read-only"], "build\n")
        assert good(kernel, "%%bash\npwd").stdout == "/etc\n"
        assert "hostname" in good(kernel, "%ls").stdout
        for cell in (
            "x = 1",
            "!touch new",
            "%%writefile new\ntext",
            "names = !ls",
            "%env A=1",
            "!ls\nx = 1",
            "os.system('ls')",
        ):
            refused(kernel, cell, ERROR, "is refused: ")
    finally:
        good(kernel, "%plan off")
        good(kernel, "%vers route off")
    assert good(kernel, "%vm ls /root/new || echo none").stdout.endswith("none\n")


@pytest.mark.vm
@pytest.mark.parametrize("way", ["branch", "readonly"])
def test_a_vm_that_is_paused_can_go_on_only_after_plan_mode_and_says_so(kernel: Kernel, way: str) -> None:
    good(kernel, "%vers pause build")
    try:
        good(kernel, f"%plan on --in {way}")
        paused = refused(kernel, "%vm ls", "VMPausedError", "VM build is paused.")
        assert "`%plan off` ends plan mode, and then `%vers resume build`" in paused.message
    finally:
        good(kernel, "%plan off")
        good(kernel, "%vers resume build")


@pytest.mark.vm
def test_it_outlives_a_restart_and_the_branch_goes_with_its_kernel(shared_platform: Platform) -> None:
    with started(shared_platform.env | {"JPY_SESSION_NAME": "/plans.ipynb"}) as own:
        good(own, "%load_ext pi_v_jupyter")
        own.status()
        good(own, "%vers create --name plans --use", timeout=120)
        try:
            good(own, "%plan on --in branch")
            shown = good(own, "%vm hostname", timeout=120)
            assert shown.data == ["◎ plan: plans, in a branch"]
            listed = good(own, "%vers ls").data[0]
            assert "plans-plan-1" in listed and "for plan mode" in listed
            own.late.clear()
            own.restart()
            good(own, "%load_ext pi_v_jupyter")
            deadline = time.monotonic() + 60
            while "Plan mode" not in "".join(own.late):
                assert time.monotonic() < deadline, own.late
                own.run("pass")
            assert "Commands on plans run in a branch of it, which is deleted" in own.late[-1]
            assert "plans-plan-1" not in good(own, "%vers ls").data[0], "the killed kernel's is gone"
            refused(own, "%vers create", ERROR, "it makes VMs.")
            good(own, "%vm ls /", timeout=120)
            own.client.shutdown(restart=False, reply=True, timeout=30)
            with started(shared_platform.env) as other:
                good(other, "from pi_v_jupyter import Vers\nvers = Vers()")
                names = other.value("[vm.name for vm in vers.sync.list()]")
                assert "plans" in names and not [name for name in names if name.startswith("plans-plan")]
        finally:
            with started(shared_platform.env) as other:
                other.run("%load_ext pi_v_jupyter\n%vers rm -f -r plans", timeout=60)
