"""The shell session behind `%%vm`: what lasts from cell to cell, and what no cell can break."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from loopback import HOME, loopback_sshd
from running import Outcome, alive, collect, descriptors, resident_pid, run, until, until_there

from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Session:
    """Cells in one shell session."""

    def __init__(self, vm: Connection, name: str) -> None:
        self.vm, self.name = vm, name

    async def cell(self, code: str, **how: Any) -> Outcome:
        async with asyncio.timeout(60):
            return await run(self.vm, shell=self.name, code=code, **how)

    async def out(self, code: str, **how: Any) -> str:
        outcome = await self.cell(code, **how)
        assert (outcome.code, outcome.stderr) == (0, b""), outcome
        return outcome.stdout.decode()

    async def start(self, code: str, **how: Any) -> Any:
        return await self.vm.start(Request(shell=self.name, code=code, **how))


@pytest.fixture
def session(vm: Connection, shell: str) -> Session:
    return Session(vm, shell)


async def test_what_a_cell_sets_lasts(session: Session) -> None:
    await session.cell(
        """
        cd /usr/share; plain=1; export EXPORTED='it is'
        greet() { echo "hello $1"; }
        declare -A map=([k]=v); declare -i number=2; declare -a list=(x y)
        shopt -s expand_aliases; alias hi='echo aliased'
        set -o noglob; umask 027
        """
    )
    out = await session.out(
        """pwd; echo $plain; printenv EXPORTED; greet you; hi; echo ${map[k]} ${list[1]}
        number+=3; echo $number *; umask"""
    )
    assert out.splitlines() == [
        "/usr/share", "1", "it is", "hello you", "aliased", "v y", "5 *", "0027",
    ]  # fmt: skip


async def test_a_cell_reads_what_it_is_given_and_nothing_else_does(session: Session) -> None:
    large = bytes(range(256)) * 8192
    busy = await session.start('read -r nothing; sleep 0.3; echo "[$nothing]"')
    waits = asyncio.create_task(session.cell("read -r first; wc -c", stdin_data=b"first\n" + large))
    assert (await collect(busy)).stdout == b"[]\n"
    assert (await waits).stdout.split() == [b"2097152"]
    assert await session.out("echo $first; cat; read -r left || echo none left") == "first\nnone left\n"
    ignored = await session.cell("cd /usr; echo ignored", stdin_data=large)
    assert (ignored.code, ignored.stdout) == (0, b"ignored\n")
    given = await session.cell("pwd; echo $A; cat", cwd="/srv", env={"A": "b"}, stdin_data=b"all\n")
    assert given.stdout == b"/srv\nb\nall\n"
    reading = await session.start("cat; echo never", stdin=True)
    await reading.write(b"begun\n")
    chunks = reading.chunks()
    assert (await anext(chunks))[1] == b"begun\n"
    reading.kill(signal.SIGINT)
    assert b"never" not in (await collect(reading)).stdout
    before = descriptors(resident_pid(session.vm))
    assert await session.out("pwd") == "/usr\n"
    await until(lambda: descriptors(resident_pid(session.vm)) <= before)  # no pipe is left open


async def test_sessions_are_apart(vm: Connection, session: Session) -> None:
    await session.out("cd /usr; A=1")
    other = Session(vm, session.name + "-other")
    assert await other.out("pwd; echo [$A]") == f"{HOME}\n[]\n"


async def test_folder_and_variables_of_one_cell_do_not_last(session: Session) -> None:
    await session.out("cd /usr; A=plain; export B='old \"b\"'; unset C")
    env = {"A": "1", "B": "it's\nnew", "C": "3"}
    assert (
        await session.out("pwd; printenv A B C; cd /tmp; A=x", cwd="/etc", env=env)
        == "/etc\n1\nit's\nnew\n3\n"
    )
    out = await session.out('pwd; echo "$A|$B|${C-unset}"; printenv A C; printenv B')
    assert out == '/usr\nplain|old "b"|unset\nold "b"\n'


async def test_a_relative_folder_starts_where_the_session_is(session: Session) -> None:
    await session.out("cd /usr")
    assert await session.out("pwd", cwd="share") == "/usr/share\n"
    outcome = await session.cell("echo not run", cwd="no-such-folder")
    assert outcome.code == 1
    assert b"no-such-folder" in outcome.stderr
    assert outcome.stdout == b""
    assert await session.out("pwd") == "/usr\n"


async def test_a_missing_folder_is_named(session: Session) -> None:
    outcome = await session.cell("true", cwd="/no/such")
    assert (outcome.exit.error, outcome.exit.what) == ("ENOENT", "/no/such")


@pytest.mark.parametrize(
    "code", ["cat", "read x; echo -n $x", "python3 -c 'import sys; print(sys.stdin.read(), end=str())'"]
)
async def test_a_cell_that_reads_gets_the_end_of_file(session: Session, code: str) -> None:
    assert await session.out(code) == ""
    assert await session.out("echo on") == "on\n"


async def test_exit_ends_the_shell_and_the_next_cell_gets_a_fresh_one(session: Session) -> None:
    await session.out("A=1; cd /")
    outcome = await session.cell("echo bye; exit 3; echo no")
    assert (outcome.code, outcome.exit.shell_ended, outcome.stdout) == (3, True, b"bye\n")
    assert await session.out("echo [$A]; pwd") == f"[]\n{HOME}\n"


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("exec sleep 0.01", (0, None)),
        ("kill -9 $$", (None, "SIGKILL")),
        ("trap 'echo trapped' EXIT; exit 4", (4, None)),
        ("set -e; false; echo no", (1, None)),
        ("set -u; echo $no_such_variable; echo no", None),
        ("logout 6", (6, None)),
    ],
)
async def test_a_cell_that_ends_the_shell_says_so(
    session: Session, code: str, end: tuple[Any, Any] | None
) -> None:
    outcome = await session.cell(code)
    assert b"no\n" not in outcome.stdout
    if end is not None:
        assert (outcome.code, outcome.exit.signal) == end
        assert outcome.exit.shell_ended
    assert await session.out("echo next") == "next\n"


async def test_a_syntax_error_is_code_2_and_the_session_lives(session: Session) -> None:
    await session.out("A=kept")
    for code in ("if", "echo )", "for x in; do", "echo 'open", "cat <<X\n$(", "}"):
        outcome = await session.cell(code)
        assert outcome.code in (1, 2) and not outcome.exit.shell_ended, code
        assert outcome.stderr, code
    assert await session.out("echo $A") == "kept\n"


@pytest.mark.parametrize(
    "option",
    [
        "set -u",
        "set -x",
        "set -C",
        "set -v",
        "set -o pipefail",
        "set -a",
        "set -f",
        "set -b",
        "set -h",
        "set -P",
        "set -B",
        "set -E",
        "set -T",
        "set -o posix",
    ],
)
async def test_options_last_and_break_nothing(session: Session, option: str) -> None:
    await session.cell(option)
    outcome = await session.cell("echo one; (exit 3)")
    assert (outcome.code, outcome.stdout) == (3, b"one\n")
    assert (await session.cell("cd /; export Z=2")).code == 0
    assert (await session.cell("pwd; echo $Z; A=1 env >/dev/null")).stdout == b"/\n2\n"


async def test_set_x_shows_the_users_commands_and_none_of_ours(session: Session) -> None:
    await session.cell("set -x")
    assert (await session.cell("echo a")).stderr.split() == [b"++", b"echo", b"a"]


async def test_set_e_that_lasts_ends_the_shell_only_when_something_fails(session: Session) -> None:
    await session.out("set -e")
    assert await session.out("true; echo fine", env={"NEW": "1"}, cwd="/") == "fine\n"
    assert await session.out("echo fine") == "fine\n"
    outcome = await session.cell("echo a; false; echo b")
    assert (outcome.stdout, outcome.code, outcome.exit.shell_ended) == (b"a\n", 1, True)


async def test_here_documents(session: Session) -> None:
    assert await session.out("A=5\ncat <<X; cat <<'Y'\n$A é\nX\n$A\n\tt\nY\n") == "5 é\n$A\n\tt\n"


async def test_code_is_taken_as_it_is(session: Session) -> None:
    code = "# a comment first\n\n\necho 'x\ty' \\\n  two # é\n# last, without a newline"
    assert await session.out(code) == "x\ty two\n"
    assert await session.out("") == ""
    assert await session.out("\n\n") == ""
    big = "\n".join(f"v{i}=1" for i in range(100_000)) + "\necho $v99999"
    assert await session.out(big) == "1\n"


async def test_a_child_in_the_background_neither_holds_the_cell_nor_is_hurt(
    session: Session, tmp_path: Path
) -> None:
    outcome = await session.cell(
        f"""(while [ ! -e {tmp_path}/go ]; do sleep 0.01; done
        seq 50000; echo late; touch {tmp_path}/done) & child=$!"""
    )
    assert outcome.code == 0
    assert await session.out(f"touch {tmp_path}/go; echo second") == "second\n"
    await until((tmp_path / "done").exists)
    assert await session.out("wait $child; echo $?") == "0\n"


async def said_up(running: Any) -> None:
    seen = b""
    async for stream, data in running.chunks():
        seen += data if stream == "stdout" else b""
        if seen == b"up\n":
            return


async def interrupt(running: Any) -> Outcome:
    """Stop a cell that is well under way: bash may lose what arrives between fork and exec."""
    await asyncio.sleep(0.1)
    rest = asyncio.create_task(collect(running))
    for _ in range(10):
        running.kill(signal.SIGINT)
        if (await asyncio.wait([rest], timeout=1))[0]:
            break
    return await asyncio.wait_for(rest, 1)


LONG = {
    "sleep": "echo up; sleep 100; echo no",
    "a sleeping loop": "echo up; while true; do sleep 0.01; done; echo no",
    "a busy loop": "echo up; while :; do :; done; echo no",
    "a pipeline": "echo up; yes | cat >/dev/null; echo no",
    "a function": "f() { echo up; sleep 100; echo no; }; f; echo no",
    "a subshell": "(echo up; sleep 100; echo no); echo no",
    "a substitution": "echo up; x=$(sleep 100; echo no); echo no",
    "python": "python3 -uc 'print(\"up\"); import time; time.sleep(100)'; echo no",
    "wait": "sleep 100 & echo up; wait; echo no",
}


@pytest.mark.parametrize("name", LONG)
async def test_an_interrupt_ends_the_cell_and_the_state_survives(session: Session, name: str) -> None:
    await session.cell("A=kept; cd /usr; here() { echo there; }")
    running = await session.start(LONG[name])
    await said_up(running)
    rest = await interrupt(running)
    assert (rest.code, rest.exit.shell_ended) == (130, False)
    assert b"no" not in rest.stdout
    assert await session.out("echo $A $PWD; here") == "kept /usr\nthere\n"
    await session.cell("kill $!")  # what was started with & minds no interrupt


async def test_an_interrupt_at_the_end_of_a_cell_never_hangs(session: Session) -> None:
    await session.out("A=kept; n=0")
    for i in range(200):
        running = await session.start("n=$((n+1)); true")
        for _ in range(i % 4):
            await asyncio.sleep(0)
        if i % 3:
            await asyncio.sleep(0.0005 * (i % 5))
        running.kill(signal.SIGINT)
        async with asyncio.timeout(60):
            how = await running.wait()
        assert not how.shell_ended
        assert how.code in (0, 1, 130)
        if i % 10 == 0:
            assert await session.out("echo $A") == "kept\n"
    assert 0 < int(await session.out("echo $n")) <= 200


async def test_a_cell_never_runs_the_code_of_another(session: Session, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for i in range(100):
        running = await session.start(f"echo {i} >>{log}")
        running.kill(signal.SIGINT)
        async with asyncio.timeout(60):
            await running.wait()
    lines = log.read_text().split() if log.exists() else []
    assert len(lines) == len(set(lines))


async def test_a_hundred_interrupts_at_once(session: Session, tmp_path: Path) -> None:
    running = await session.start(f"trap '' INT; echo up; {until_there(tmp_path / 'go')}; trap - INT")
    await said_up(running)
    for _ in range(1000):
        running.kill(signal.SIGINT)
    await run(session.vm, command="sleep 0.5")  # by then they are given, and looked after
    (tmp_path / "go").touch()
    assert (await running.wait()).code == 0
    assert await session.out("echo on") == "on\n"


async def test_a_kill_ends_the_shell_and_the_next_cell_gets_a_fresh_one(session: Session) -> None:
    running = await session.start("trap '' INT; echo $BASHPID; sleep 100")
    _, pid = await anext(running.chunks())
    running.kill(signal.SIGKILL)
    how = await running.wait()
    assert (how.signal, how.shell_ended) == ("SIGKILL", True)
    await until(lambda: not alive(int(pid)))
    assert await session.out("echo next") == "next\n"


async def test_a_cell_whose_time_is_up_is_interrupted_and_the_state_survives(session: Session) -> None:
    await session.out("A=kept")
    outcome = await session.cell("sleep 100; echo no", timeout=0.1)
    assert (outcome.code, outcome.exit.timed_out, outcome.exit.shell_ended) == (130, True, False)
    assert await session.out("echo $A", timeout=60) == "kept\n"


async def test_a_cell_that_ignores_its_interrupt_is_killed(session: Session) -> None:
    await session.out("true")
    outcome = await session.cell("trap '' INT; sleep 100", timeout=8)
    assert (outcome.exit.signal, outcome.exit.timed_out, outcome.exit.shell_ended) == ("SIGKILL", True, True)


async def test_a_stop_while_the_shell_starts_leaves_nothing_running(vm: Connection, shell: str) -> None:
    for i in range(10):
        session = Session(vm, f"{shell}-{i}")
        running = await session.start("echo $BASHPID; sleep 100 & echo $!; wait")
        await asyncio.sleep(0.005 * i)
        running.kill(signal.SIGINT)
        outcome = await asyncio.wait_for(collect(running), 60)
        assert outcome.exit.signal == "SIGINT" or outcome.code == 130
        assert "m" not in await session.out("echo $-")
        running = await session.start("trap '' INT; echo $BASHPID; sleep 100; echo no")
        _, pid = await anext(running.chunks())
        running.kill(signal.SIGKILL)
        await running.wait()
        await until(lambda pid=pid: not alive(int(pid)))  # type: ignore[misc]


async def test_a_stop_that_bash_missed_while_it_began_to_wait_is_given_again(session: Session) -> None:
    missed_one = "trap 'trap - INT' INT; echo $BASHPID; sleep 100 & wait; wait; echo no"
    running = await session.start(missed_one)
    _, pid = await anext(running.chunks())
    bash = psutil.Process(int(pid))
    await until(lambda: [child for child in bash.children() if child.name() == "sleep"])
    running.kill(signal.SIGINT)
    outcome = await asyncio.wait_for(collect(running), 60)
    assert outcome.code == 130
    assert b"no" not in outcome.stdout
    assert await session.out("echo usable") == "usable\n"


async def test_a_login_script_that_never_ends_is_out_of_time(connect: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bash_profile").write_text("echo $$ >pid; while :; do sleep 0.05; done\n")
    own = f'ForceCommand exec env HOME={home} sh -c "$SSH_ORIGINAL_COMMAND"'
    with loopback_sshd(tmp_path, own) as server:
        connection = connect(server)
        outcome = await run(connection, shell="s", code="echo no", timeout=8)
        assert (outcome.stdout, outcome.exit.timed_out) == (b"", True)
        pid = int((home / "pid").read_text())
        await until(lambda: not alive(pid))
        (home / ".bash_profile").write_text("export HELLO=1\n")
        assert (await run(connection, shell="s", code="echo $HELLO")).stdout == b"1\n"
        await connection.close()


async def test_cells_run_one_after_another(session: Session) -> None:
    cells = [session.cell(f"n=$((n+1)); sleep 0.0{i}; echo $n") for i in (5, 1, 3, 0)]
    outcomes = await asyncio.gather(*cells)
    assert [o.stdout for o in outcomes] == [b"1\n", b"2\n", b"3\n", b"4\n"]


async def test_cells_that_wait_outlive_the_shell_of_the_cell_before(session: Session) -> None:
    outcomes = await asyncio.gather(
        session.cell("sleep 0.1; exit 9"), session.cell("echo a"), session.cell("echo b")
    )
    assert [(o.code, o.stdout) for o in outcomes] == [(9, b""), (0, b"a\n"), (0, b"b\n")]


async def test_a_cell_that_waits_can_be_stopped(session: Session, tmp_path: Path) -> None:
    first = await session.start(f"{until_there(tmp_path / 'go')}; echo first")
    second = await session.start("echo second")
    second.kill(signal.SIGINT)
    assert (await second.wait()).signal == "SIGINT"
    (tmp_path / "go").touch()
    assert (await collect(first)).stdout == b"first\n"


HOSTILE = {
    "a prompt command": "PROMPT_COMMAND='echo prompt'; PS1='$(echo ps1)'; PS0=x; PS4='$(echo ps4)'",
    "closed descriptors": 'for i in {3..30}; do eval "exec $i>&-"; done',
    "closed streams": "exec <&- >&- 2>&-",
    "moved streams": "exec >/dev/null 2>&1 </dev/zero",
    "a field separator": "IFS=0123456789/e",
    "functions in the way": "cd() { :; }; echo() { :; }; printf() { :; }; read() { :; }; "
    "eval() { :; }; local() { :; }; "
    "unset() { :; }; declare() { :; }; test() { :; }; true() { false; }",
    "aliases in the way": "shopt -s expand_aliases; "
    "alias builtin=false eval=false printf=false __pi_v_end=false __pi_v_load=false",
    "traps": "trap 'echo err' ERR; trap 'echo debug >&2' DEBUG; trap 'echo ret' RETURN",
    "waiting": "sleep 0.05 & wait; wait",
    "its own time-out": "TMOUT=1",
    "read-only names": "readonly IFS PS1 PWD OLDPWD",
    "job control": "set -m; sleep 0.01 & fg; set +m",
    "history": "set -o history -H; !echo",
    "a lost folder": "mkdir -p /tmp/pi-v-lost; cd /tmp/pi-v-lost; rmdir /tmp/pi-v-lost",
    "positional parameters": "set -- a b c; shift",
    "a broken path": "PATH=/nowhere",
    "a limit": "ulimit -n 30",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_cell_breaks_the_next(session: Session, name: str) -> None:
    await session.cell(HOSTILE[name])
    outcome = await session.cell("\\builtin echo next; (exit 7)")
    assert (outcome.code, outcome.stdout.replace(b"err\n", b"")) == (7, b"next\n")
    running = await session.start("\\builtin echo up; while :; do :; done")
    await said_up(running)
    assert (await interrupt(running)).code == 130
