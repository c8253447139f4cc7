"""`%bg`, `%%bg` and `%%vm --bg`: processes in the background, on a VM and on this computer alike."""

from __future__ import annotations

import re
import socket
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from kernels import Kernel, Outputs, refused, started


@dataclass(frozen=True)
class Where:
    """A kernel, and the machine that its `%bg` is told of by `option`."""

    kernel: Kernel
    option: str
    label: str

    def start(self, given: str) -> Outputs:
        """`%bg start` what is given, all of it after the ID."""
        process_id, _, rest = given.partition(" ")
        return good(self.kernel, f"process = %bg start {process_id} {self.option} {rest}")

    def bg(self, words: str) -> Outputs:
        """Another sub-command there."""
        return good(self.kernel, f"%bg {words} {self.option}")


def good(kernel: Kernel, code: str) -> Outputs:
    """What a cell that must succeed has shown."""
    shown = kernel.run(code, timeout=60)
    assert shown.error is None, shown
    return shown


@pytest.fixture(params=["VM", "here"])
def where(beside: Kernel, request: pytest.FixtureRequest) -> Where:
    """Each of the two machines."""
    if request.param == "VM":
        return Where(beside, "--on loopback", "loopback")
    return Where(beside, "--local", "this computer")


def rows(shown: Outputs) -> dict[str, list[str]]:
    """The rows of the table in a cell, by the id: its columns after that."""
    (table,) = shown.data
    header, *lines = (re.split(r" {2,}", line) for line in table.splitlines())
    assert header == ["id", "where", "state", "pid", "uptime", "CPU", "memory", "last line"]
    return {line[0]: line[1:] for line in lines}


# Starting.


def test_a_start_tells_of_the_process_and_shows_what_it_writes_at_first(where: Where) -> None:
    shown = where.start("web --wait 60000 -- echo begun; echo badly >&2; exit 0")
    pid = where.kernel.value("process.pid")
    first, *lines = shown.stdout.splitlines()
    assert first == f"▶ web  pid {pid} on {where.label}"
    assert lines == ["begun", f"web on {where.label} has ended: exit code 0 ✓"]
    assert shown.stderr == "badly\n" and shown.data == []


def test_a_process_goes_on_behind_its_cell_and_is_the_value_of_the_magic(where: Where) -> None:
    shown = where.start("web --wait 0 -- echo later; sleep 600")
    assert shown.stdout.splitlines()[1:] == []
    assert where.kernel.value("(process.id, process.state, process.machine.label)") == (
        *("web", "running", where.label),
    )
    assert good(where.kernel, "process").data == [
        f"web on {where.label}: running  pid {where.kernel.value('process.pid')}"
    ]


def test_a_command_runs_as_it_was_typed(where: Where) -> None:
    shown = where.start("""web --wait 60000 echo "$HOME {where}" 'a  b' -- --on x | tr a-z A-Z # done""")
    assert shown.stdout.splitlines()[1].endswith(" {WHERE} A  B -- --ON X")


def test_one_that_fails_at_once_fails_its_cell(where: Where) -> None:
    failed = where.kernel.run(f"%bg start web {where.option} --wait 60000 -- nosuchcommand")
    assert failed.error == "RemoteCommandError" and f"web on {where.label} has ended: exit code 127" in str(
        failed
    )
    assert "nosuchcommand: command not found" in failed.stderr
    assert failed.traceback.endswith(f"`%bg logs web {where.option}` shows what it wrote.")


def test_it_begins_where_cells_are_and_here_where_the_notebook_is(where: Where, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    if where.option == "--local":
        good(where.kernel, f"%cd -q {tmp_path}")
    else:
        good(where.kernel, f"%vm cd {tmp_path}")
    assert where.start("one --wait 60000 -- pwd").stdout.splitlines()[1] == str(tmp_path)
    assert where.start("two --wait 60000 --cwd below -- pwd").stdout.splitlines()[1] == f"{tmp_path}/below"
    assert where.start("home --wait 60000 --cwd ~ -- pwd").stdout.splitlines()[1] != str(tmp_path)
    assert where.start("root --wait 60000 --cwd / -- pwd").stdout.splitlines()[1] == "/"


def test_variables_are_set_for_it(where: Where) -> None:
    shown = where.start("web --wait 60000 -e A=1 --env B='two words' -- echo $A $B")
    assert shown.stdout.splitlines()[1] == "1 two words"


def test_an_id_that_runs_is_refused_and_restart_replaces_it(where: Where) -> None:
    where.start("web --ready first -- trap 'echo over; exit 5' TERM; echo first; while :; do sleep 0.1; done")
    again = f"%bg start web {where.option} {{}} --wait 0 -- echo second; sleep 600"
    refused(where.kernel, again.format(""), "UsageError", f"web runs already on {where.label}.")
    good(where.kernel, again.format("--restart"))
    log = where.bg("logs web --last 99").stdout.splitlines()
    assert log[:2] == ["first", "over"] and log[-1] in ("second", "over"), (
        "it waited for the end of the first"
    )


def test_ready_waits_for_a_line_and_shows_what_comes_until_then(where: Where) -> None:
    shown = where.start(
        "web --ready 'listening on [0-9]+' -- echo a; sleep 1; echo listening on 80; sleep 600"
    )
    assert shown.stdout.splitlines()[1:] == ["a", "listening on 80"]


def test_ready_waits_for_a_port_and_tunnel_leads_there(where: Where, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("served")
    port = free_port()
    shown = where.start(
        f"web --cwd {tmp_path} --ready {port} --tunnel {port} -- python3 -m http.server {port}"
    )
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+", shown.stdout)
    assert (f":{port}" in url) == (where.option == "--local")
    with urllib.request.urlopen(f"{url}/page") as answer:
        assert answer.read() == b"served"
    again = where.start(
        f"web --restart --cwd {tmp_path} --ready {port} --tunnel {port} -- python3 -m http.server {port}"
    )
    assert url in again.stdout, "the same way leads to the next"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


LATE = """
import asyncio
from pi_v_jupyter.remote.background import BackgroundProcess

output = BackgroundProcess.output

async def late(self, *how, **more):
    await asyncio.sleep(1)
    async for piece in output(self, *how, **more):
        yield piece

BackgroundProcess.output = late
"""


def test_one_that_ends_or_is_late_before_it_is_ready_says_so(where: Where) -> None:
    start = f"%bg start web {where.option} --ready never {{}} -- {{}}"
    late = refused(
        where.kernel, start.format("--timeout 0.2", "sleep 600"), "NotReadyError", "not ready after 0.2 s"
    )
    assert f"It goes on: `%bg logs web {where.option}` shows what it writes." in late.traceback
    assert rows(where.bg("list"))["web"][1] == "running"
    where.bg("stop web")
    ended = where.kernel.run(start.format("--timeout 0", "echo oh >&2; exit 4"))
    assert (
        ended.error == "RemoteCommandError" and "has ended before it was ready: exit code 4" in ended.message
    )
    assert ended.stderr == "oh\n"
    good(where.kernel, LATE)
    try:
        ended = where.kernel.run(start.format("--restart --timeout 0", "echo oh >&2; exit 4"))
    finally:
        good(where.kernel, "BackgroundProcess.output = output")
    assert ended.error == "RemoteCommandError" and ended.stderr == "oh\n", "also what comes to the cell late"


def test_a_stop_of_the_cell_leaves_the_process_running_and_says_so(where: Where) -> None:
    cell = where.kernel.start(
        f"%bg start web {where.option} --ready never --timeout 0 -- echo begun; sleep 600"
    )
    cell.wait_for("begun")
    where.kernel.interrupt()
    stopped = cell.finish()
    assert stopped.error == "CellInterrupted"
    assert stopped.traceback.endswith(f"It goes on: `%bg stop web {where.option}` ends it.")
    assert rows(where.bg("list"))["web"][1] == "running"


def test_a_cell_is_a_process_too(where: Where) -> None:
    body = "for n in 1 2; do\n  echo n is $n\ndone\n>>> not a prompt"
    shown = where.kernel.run(f"%%bg web {where.option} --wait 60000\n{body}")
    assert shown.stdout.splitlines()[1:] == ["n is 1", "n is 2"]
    assert shown.error == "RemoteCommandError" and "not" in shown.stderr


def test_with_no_active_vm_it_is_here_and_says_so(beside: Kernel) -> None:
    good(beside, "%vers local")
    shown = good(beside, "%bg start web --wait 0 -- sleep 600")
    assert re.fullmatch(r"\(local\)\n▶ web  pid \d+ on this computer\n", shown.stdout)
    assert "web on this computer" in good(beside, "%bg stop web").stdout


def test_on_and_local_name_the_machine_whatever_is_active(beside: Kernel) -> None:
    good(beside, "%bg start web --local --restart -- echo one; sleep 600")
    good(beside, "%%bg web --local --restart --ready here\necho here; sleep 600")
    good(beside, "%vers local")
    good(beside, "%%bg web --on loopback --restart --ready there\necho there; sleep 600")
    assert good(beside, "%bg logs web --local").stdout.endswith("here\n")
    assert good(beside, "%bg logs web --on loopback").stdout == "there\n"
    assert rows(good(beside, "%bg list --local"))["web"][0] == "this computer"
    assert rows(good(beside, "%bg list --on loopback"))["web"][0] == "loopback"
    assert good(beside, "%bg stop web --on loopback").stdout.startswith("web on loopback: ")
    assert good(beside, "%bg rm -f web --on loopback").stdout == "Forgot web on loopback.\n"
    assert rows(good(beside, "%bg list --local"))["web"][1] == "running"


# `%%vm --bg`.


def test_a_cell_of_vm_becomes_a_background_process(beside: Kernel) -> None:
    good(beside, "%%vm --bg web --cwd / -e A=1\necho $A in $PWD; sleep 600")
    following = beside.start("%bg logs web --on loopback --follow")
    following.wait_for("1 in /\n")
    beside.interrupt()
    assert following.finish().stdout == "1 in /\n"
    for kind, body in (
        ("python", "import sys, time\nprint(sys.argv[0][:5])\ntime.sleep(600)"),
        ("sh", "echo sh; sleep 600"),
        ("perl", "$| = 1; print qq(perl\\n); sleep 600"),
    ):
        shown = good(beside, f"%%vm {kind} --bg {kind} --on loopback\n{body}")
        assert re.match(rf"▶ {kind}  pid \d+ on loopback\n", shown.stdout)
        assert rows(good(beside, "%bg list --on loopback"))[kind][1] == "running"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--timeout 5", "--timeout does not go with --bg."),
        ("--fresh", "--fresh does not go with --bg."),
        ("--out x", "--out does not go with --bg."),
        ("--err x", "--err does not go with --bg."),
        ("--stdin x", "--stdin does not go with --bg."),
        ("--no-raise", "--no-raise does not go with --bg."),
        ("--silent", "--silent does not go with --bg."),
        ("--on a,b", "--bg needs one VM, not several."),
        ("--bg a/b", "a/b cannot name a background process."),
    ],
)
def test_what_has_no_meaning_in_the_background_is_refused(beside: Kernel, options: str, said: str) -> None:
    refused(beside, f"%%vm --bg web {options}\nsleep 600", "UsageError", said)
    assert good(beside, "%bg").data == ["No background processes.  `%bg start ID -- COMMAND` starts one."]


def test_kernels_and_files_are_not_for_the_background(beside: Kernel) -> None:
    refused(beside, "%%vm python --bg web --kernel k\npass", "UsageError", "--kernel does not go with --bg.")
    refused(beside, "%%vm write --bg web /tmp/file\nx", "UsageError", "No such option: --bg.")


# Stopping.


def test_a_stop_says_which_signal_it_took(where: Where) -> None:
    where.start("web --wait 0 -- sleep 600")
    assert where.bg("stop web").stdout == f"web on {where.label}: ended by SIGTERM.\n"
    assert where.bg("stop web").stdout == f"web on {where.label} was ended by SIGTERM\n"


def test_one_that_does_not_obey_is_killed_with_all_its_children(where: Where) -> None:
    where.start("web --ready set -- trap '' TERM; (trap '' TERM; sleep 601.25) & echo set; sleep 601.25")
    told = where.bg("stop web").stdout
    assert told == (
        f"web on {where.label}: ended by SIGKILL (SIGTERM was not enough: it took SIGKILL after 5 s).\n"
    )
    assert where.kernel.run("!pgrep -fc '[s]leep 601.25'").stdout.strip() == "0"


def test_another_signal_and_several_at_once(where: Where) -> None:
    for name in ("one", "two"):
        where.start(f"{name} --ready set -- trap 'exit 3' INT; echo set; while :; do sleep 0.1; done")
    assert where.bg("stop one two --signal int").stdout.splitlines() == [
        f"{name} on {where.label}: exit code 3 (it took SIGINT)." for name in ("one", "two")
    ]


def test_all_of_them_and_none(where: Where) -> None:
    assert where.bg("stop --all").stdout == f"No background process runs on {where.label}.\n"
    for name in ("one", "two"):
        where.start(f"{name} --wait 0 -- sleep 600")
    where.start("over --wait 60000 -- true")
    assert [line.split()[0] for line in where.bg("stop --all").stdout.splitlines()] == ["one", "two"]


def test_an_unknown_id_is_told_with_the_nearest_or_where_it_is(beside: Kernel) -> None:
    good(beside, "%bg start server --wait 0 -- sleep 600")
    good(beside, "%bg start elsewhere --local --wait 0 -- sleep 600")
    for word in ("stop", "logs", "rm -f"):
        near = refused(beside, f"%bg {word} servr", "UnknownProcessError", "Did you mean server?")
        assert near.traceback.endswith("`%bg list` shows those there are.")
        there = refused(
            beside, f"%bg {word} elsewhere", "UnknownProcessError", "no background process elsewhere"
        )
        assert there.traceback.endswith("There is one on this computer: `--local` means it.")
        there = refused(
            beside, f"%bg {word} server --local", "UnknownProcessError", "server on this computer."
        )
        assert there.traceback.endswith("There is one on loopback: `--on loopback` means it.")
    refused(beside, "%bg stop server nosuch", "UnknownProcessError", "nosuch")
    assert rows(good(beside, "%bg list --on loopback"))["server"][1] == "running", "none or all"


# Listing.


def test_a_list_has_all_there_is_to_know(where: Where) -> None:
    where.start("runs --ready done -- echo done; sleep 600")
    where.start("well --wait 60000 -- echo fine")
    where.kernel.run(f"%bg start badly {where.option} --wait 60000 -- exit 2")
    where.start("killed --wait 0 -- sleep 600")
    where.bg("stop killed --signal KILL")
    found = rows(where.bg("list"))
    pid = found["runs"][2]
    assert pid.isdecimal() and found["runs"][:2] == [where.label, "running"]
    assert found["runs"][4].endswith(" %") and found["runs"][5].endswith("MB") and found["runs"][6] == "done"
    assert [found[name][1] for name in ("well", "badly", "killed")] == [
        *("exit code 0 ✓", "exit code 2 ✗", "ended by SIGKILL"),
    ]


def test_a_list_has_both_machines_and_is_what_bg_alone_shows(beside: Kernel) -> None:
    good(beside, "%bg start there --wait 0 -- sleep 600")
    good(beside, "%bg start here --local --wait 0 -- sleep 600")
    for code in ("%bg list", "%bg"):
        assert [row[0] for row in rows(good(beside, code)).values()] == ["loopback", "this computer"]
    assert beside.value("[process.id for process in get_ipython().run_line_magic('bg', 'list')]") == (
        ["there", "here"]
    )


def test_what_a_process_writes_cannot_steer_a_table(where: Where) -> None:
    where.start(r"web --ready '<b>' -- printf '\e[31m\a10%%\r20%% <b>&\n'; sleep 600")
    shown = where.bg("list")
    assert rows(shown)["web"][6] == "20% <b>&"
    assert "20% &lt;b&gt;&amp;" in shown.html[0] and "\x1b" not in shown.text


def test_a_machine_that_cannot_be_reached_is_named_and_hides_no_other(two_places: dict[str, str]) -> None:
    with started({**two_places, "VERS_VM_PORT": str(free_port())}) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        kernel.status()
        good(kernel, "from pi_v_jupyter.magics import background; background.PATIENCE = 5")
        good(kernel, "vers = get_ipython().magics_manager.registry['Extension'].vers")
        good(kernel, "vers.fleet._active = (await vers.list())[0]  # as if it had been reached once")
        good(kernel, "%bg start web --local --wait 0 -- sleep 600")
        try:
            shown = good(kernel, "%bg list")
            assert shown.stdout == "loopback is left out: it did not answer within 5 s.\n"
            assert list(rows(shown)) == ["web"]
            good(kernel, "vers.fleet._active, vers.fleet._missing = None, ('a platform', 'deadbeef-1')")
            shown = good(kernel, "%bg list")
            assert "on VM deadbeef of a platform, which was not found again." in shown.stdout
            assert list(rows(shown)) == ["web"]
            refused(kernel, "%bg stop web", "VMGoneError", "which was not found again.")
        finally:
            good(kernel, "%bg stop --all --local")
            good(kernel, "%bg rm -f web --local")


# Logs.


def test_logs_are_the_last_lines_of_one_stream_or_both(where: Where) -> None:
    where.start("web --wait 60000 -- for n in $(seq 60); do echo out $n; echo err $n >&2; done")
    both = where.bg("logs web")
    assert len(both.stdout.splitlines()) + len(both.stderr.splitlines()) == 50
    assert where.bg("logs web --last 2 --stream stdout").stdout == "out 59\nout 60\n"
    only = where.bg("logs web --last 200 --stream stderr")
    assert only.stdout == "" and only.stderr == "".join(f"err {n}\n" for n in range(1, 61))
    where.start("mute --wait 60000 -- true")
    assert where.bg("logs mute").stdout == f"mute on {where.label} has written nothing.\n"


def test_logs_are_in_the_order_in_which_they_were_written(where: Where) -> None:
    kept = 'grep -qs "$1" "${XDG_DATA_HOME:-$HOME/.local/share}"/pi-v/background/web/*.log'
    wait = f"kept() {{ until {kept}; do sleep 0.01; done; }}"
    both = 'for n in $(seq 20); do echo out $n; kept "out $n"; echo err $n >&2; kept "err $n"; done'
    where.start(f"web --wait 60000 -- {wait}; {both}")
    where.kernel.heard.clear()
    where.bg("logs web")
    shown = [each["content"]["text"] for each in where.kernel.heard if each["msg_type"] == "stream"]
    assert "".join(shown) == "".join(f"out {n}\nerr {n}\n" for n in range(1, 21))


def test_logs_keep_colours_and_progress_as_cells_do(where: Where) -> None:
    shown = where.start(r"web --wait 60000 -- printf '\e[31mred\e[0m 10%%\r20%%\n'")
    assert "\x1b[31mred\x1b[0m 10%\r20%\n" in shown.stdout
    assert where.bg("logs web").stdout == "\x1b[31mred\x1b[0m 10%\r20%\n"


def test_following_shows_all_until_the_end(where: Where, tmp_path: Path) -> None:
    go = tmp_path / "go"
    where.start(f"web --ready ^2 -- echo 1; echo 2; until [ -e {go} ]; do sleep 0.1; done; echo 3; exit 4")
    cell = where.kernel.start(f"%bg logs web --follow --last 1 {where.option}")
    cell.wait_for("2\n")
    go.touch()
    shown = cell.finish()
    assert shown.stdout == f"2\n3\nweb on {where.label} has ended: exit code 4 ✗\n" and shown.error is None


def test_what_a_cell_does_not_show_of_a_log_is_said_at_once(where: Where, tmp_path: Path) -> None:
    go = tmp_path / "go"
    where.start(f"web --wait 0 -- seq 200000; until [ -e {go} ]; do sleep 0.05; done; echo over")
    following = where.kernel.start(f"%bg logs web {where.option} --last 999999 --follow")
    following.wait_for(f"`%bg logs web {where.option}` has the latest", 60)
    go.touch()
    shown = following.finish(60)
    assert shown.error is None and "\n199999\n200000\nover\n" in shown.stdout


def test_a_stop_ends_the_following_and_not_the_process(where: Where) -> None:
    where.start("web --wait 0 -- echo begun; sleep 600")
    cell = where.kernel.start(f"%bg logs web --follow {where.option}")
    cell.wait_for("begun")
    where.kernel.interrupt()
    stopped = cell.finish()
    assert stopped.error == "CellInterrupted" and "following web" in stopped.message
    assert rows(where.bg("list"))["web"][1] == "running"


# Forgetting.


def test_what_has_ended_is_forgotten_when_that_is_said(where: Where) -> None:
    where.start("runs --wait 0 -- sleep 600")
    where.start("over --wait 60000 -- true")
    refused(where.kernel, f"%bg rm -f over runs {where.option}", "UsageError", f"runs runs on {where.label}.")
    refused(where.kernel, f"%bg rm over {where.option}", "UsageError", "Nobody can be asked here.")
    asked = where.kernel.run(f"%bg rm over {where.option}", answer="n")
    assert f"Forget over on {where.label}, and the logs?" in asked.stdout and asked.error == "UsageError"
    told = where.kernel.run(f"%bg rm over {where.option}", answer="y")
    assert told.stdout.endswith(f"Forgot over on {where.label}.\n")
    assert list(rows(where.bg("list"))) == ["runs"]
    for name in ("one", "two"):
        where.start(f"{name} --wait 60000 -- true")
    assert where.bg("rm -f --all").stdout == f"Forgot one, two on {where.label}.\n"
    assert list(rows(where.bg("list"))) == ["runs"]
    assert where.bg("rm --all").stdout == f"No background process of {where.label} has ended.\n"


# Wrong.

USAGE = "UsageError"


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("%bg strat web -- true", USAGE, "No such command: %bg strat. Did you mean start?"),
        ("%bg start", USAGE, "Missing argument 'ID'."),
        ("%bg start web", USAGE, "There is no command to run."),
        ("%%bg web\n  \n", USAGE, "There is no command to run."),
        ("%%bg\ntrue", USAGE, "Missing argument 'ID'."),
        ("%%bg web extra\ntrue", USAGE, "Got unexpected extra argument (extra)."),
        ("%bg start '' -- true", USAGE, "'' cannot name a background process."),
        ("%bg start a/b -- true", USAGE, "a/b cannot name a background process."),
        ("%bg start .. -- true", USAGE, ".. cannot name a background process."),
        (
            "%bg start web --cwd /nosuch -- true",
            "RemoteFileError",
            "No such file or directory: /nosuch on loopback.",
        ),
        ("%bg start web --cwd /etc/hostname -- true", "RemoteFileError", "Not a directory: /etc/hostname"),
        ("%bg start web --local --cwd nosuch -- true", "RemoteFileError", "/nosuch on this computer."),
        ("%bg start web --on loopback --local -- true", USAGE, "--local and --on exclude each other."),
        ("%bg start web --on nosuch -- true", "UnknownVMError", "No VM named 'nosuch'."),
        ("%bg start web --wait -1 -- true", USAGE, "-1 is not in the range x>=0."),
        ("%bg start web --wait soon -- true", USAGE, "'soon' is no whole number."),
        ("%bg start web --ready '(' -- true", USAGE, "'(' is no regular expression"),
        ("%bg start web --ready 70000 -- true", USAGE, "70000 is no port."),
        ("%bg start web --tunnel http -- true", USAGE, "'http' is no port."),
        ("%bg start web --timeout nan --ready x -- true", USAGE, "'nan' is not a number of seconds"),
        ("%bg start web -e 1A=b -- true", USAGE, "'1A' does not begin K=V."),
        ("%bg start web --restrat -- true", USAGE, "No such option: --restrat. Did you mean --restart?"),
        ("%%bg web\ntrue\0", USAGE, "NUL"),
        ("%%vm nosuchprogram --bg web\ntrue", "RemoteCommandError", "nosuchprogram: command not found on"),
        ("%bg stop", USAGE, "Which of them?"),
        ("%bg stop web --all", USAGE, "--all takes no IDs."),
        ("%bg stop web", "UnknownProcessError", "There is no background process web on loopback."),
        ("%bg stop web --signal SIGNOSUCH", USAGE, "There is no signal SIGNOSUCH."),
        ("%bg stop web --local --on loopback", USAGE, "--local and --on exclude each other."),
        ("%bg logs", USAGE, "Missing argument 'ID'."),
        ("%bg logs web --last -1", USAGE, "-1 is not in the range x>=0."),
        ("%bg logs web --stream out", USAGE, "'out' is not one of 'stdout', 'stderr', 'both'."),
        ("%bg rm", USAGE, "Which of them?"),
        ("%bg rm web --all", USAGE, "--all takes no IDs."),
        ("%bg start web --timeout 5 -- true", USAGE, "--timeout is how long --ready may take."),
        ("%bg stop web --signal SIGTREM", USAGE, "There is no signal SIGTREM. Did you mean SIGTERM?"),
        ("%bg list web", USAGE, "Got unexpected extra argument (web)."),
        ("%bg list --on nosuch", "UnknownVMError", "No VM named 'nosuch'."),
        ("%bg 'stop", USAGE, "A quote in the line does not end."),
    ],
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_started(
    beside: Kernel, code: str, error: str, said: str
) -> None:
    refused(beside, code, error, said)
    assert good(beside, "%bg").data == ["No background processes.  `%bg start ID -- COMMAND` starts one."]


# Around it.


def test_tab_offers_processes_signals_and_what_a_shell_would(beside: Kernel) -> None:
    good(beside, "%bg start runs --wait 0 -- sleep 600")
    good(beside, "%bg start over --wait 60000 -- true")
    good(beside, "%bg start local --local --wait 0 -- sleep 600")
    for code, offered in (
        ("%bg st", ["%bg start", "%bg stop"]),
        ("%bg stop ", ["%bg stop runs"]),
        ("%bg stop --local ", ["%bg stop --local local"]),
        ("%bg rm ", ["%bg rm over"]),
        ("%bg logs o", ["%bg logs over"]),
        ("%bg stop runs --signal SIGK", ["%bg stop runs --signal SIGKILL"]),
        ("%bg start web --cwd /et", ["%bg start web --cwd /etc/"]),
        ("%bg start web --local -- cat /etc/hostn", ["%bg start web --local -- cat /etc/hostname"]),
        ("%bg start web cat /etc/hostn", ["%bg start web cat /etc/hostname"]),
        ("%%bg web --on loop", ["%%bg web --on loopback"]),
        ("%%bg web\ncat /etc/hostn", ["%%bg web\ncat /etc/hostname"]),
        ("%%vm --bg ov", ["%%vm --bg over"]),
    ):
        beside.offers(code, offered)


def test_help_begins_with_examples(beside: Kernel) -> None:
    for path in ("%bg", "%bg start", "%bg stop", "%bg list", "%bg logs", "%bg rm"):
        shown = good(beside, f"{path} --help").stdout
        assert shown.startswith(f"Usage: {path}") and "Examples:" in shown
    assert good(beside, "%%bg --help\nx").stdout.startswith("Usage: %%bg [OPTIONS] ID")
    (payload,) = beside.client.execute("%bg?", reply=True, timeout=30)["content"]["payload"]
    assert "Usage: %bg " in payload["data"]["text/plain"] and "Usage: %%bg " in payload["data"]["text/plain"]


def test_bg_stays_here_while_cells_are_routed(beside: Kernel) -> None:
    good(beside, "%vers route on")
    try:
        good(beside, "%bg start here --local --wait 0 -- sleep 600")
        assert rows(good(beside, "%bg list"))["here"][0] == "this computer"
        good(beside, "%%bg there --wait 0\nsleep 600")
    finally:
        good(beside, "%vers route off")
