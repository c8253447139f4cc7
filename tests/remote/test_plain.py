"""A VM without python3: the same interface over channels, and a notice."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from loopback import HOME, Loopback, MemoryPins, loopback_sshd
from running import alive, collect, run, until

from pi_v_jupyter.errors import ConnectionLostError
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOOLS = (
    "bash",
    "sh",
    "cat",
    "sleep",
    "seq",
    "env",
    "printenv",
    "sha256sum",
    "tail",
    "head",
    "perl",
    "true",
    "touch",
    "ps",
    "yes",
)


def without_python(tools: Path) -> str:
    """The line of a server's configuration that leaves its logins these tools alone."""
    return f'ForceCommand exec env -i HOME="$HOME" PATH={tools} {tools}/sh -c "$SSH_ORIGINAL_COMMAND"'


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A server whose logins find no python3, and get few channels at once."""
    folder = tmp_path_factory.mktemp("bare")
    tools = folder / "bin"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    with loopback_sshd(folder, without_python(tools)) as server:
        yield server


@pytest.fixture(scope="session")
def notices() -> list[str]:
    return []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plain(bare: Loopback, notices: list[str]) -> AsyncIterator[Connection]:
    connection = Connection(bare, MemoryPins(), notices.append)
    yield connection
    await connection.close()


async def test_it_says_so_once(plain: Connection, notices: list[str], bare: Loopback) -> None:
    for _ in range(3):
        await run(plain, command="true")
    assert bare.front
    bare.front.cut()
    await until(lambda: plain._ssh is None or plain._ssh.is_closed())
    assert (await run(plain, command="echo back")).stdout == b"back\n"
    (notice,) = notices
    assert notice.startswith("No python3 on VM build.")


async def test_how_commands_end(plain: Connection) -> None:
    outcome = await run(plain, command="echo out; echo err >&2; exit 3")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (3, b"out\n", b"err\n")
    assert (await run(plain, command="kill -TERM $$")).exit.signal == "SIGTERM"
    assert (await run(plain, argv=("sh", "-c", "exit 4"))).code == 4
    assert (await run(plain, shell="s", code="exit 5")).code == 5
    missing = await run(plain, argv=("no-such-program",))
    assert missing.code == 127
    assert b"no-such-program" in missing.stderr


async def test_folders(plain: Connection) -> None:
    assert (await run(plain, command="pwd", cwd="/usr")).stdout == b"/usr\n"
    assert (await run(plain, argv=("sh", "-c", "pwd"))).stdout.decode().strip() == str(HOME)
    missing = await run(plain, command="echo no", cwd="/no/such")
    assert (missing.code, missing.stdout) == (127, b"")
    assert b"/no/such" in missing.stderr


@pytest.mark.parametrize("kind", ["command", "argv"])
async def test_values_arrive_as_they_are_and_in_no_argument_list(plain: Connection, kind: str) -> None:
    values = {"A": 'it\'s "x" $(id) `id` \\ *', "B": "one\ntwo\n", "C": "日本語", "D": "", "E": "s3cr3t"}
    text = "for n in A B C D; do printf '%s\\0' \"$(printenv $n; echo .)\"; done; ps axww -o args"
    request = {"command": text} if kind == "command" else {"argv": ("bash", "-c", text)}
    *got, listing = (await run(plain, env=values, **request)).stdout.decode(errors="replace").split("\0")
    assert [value.removesuffix("\n.") for value in got] == list(values.values())[:4]
    assert "s3cr3t" not in listing


async def test_code_is_in_no_argument_list_and_may_be_large(plain: Connection) -> None:
    code = "x=s3cr3t\n" + "\n".join(f"v{i}=1" for i in range(20_000)) + "\necho $v19999 'é'\nps axww -o args"
    out = (await run(plain, command=code)).stdout.decode(errors="replace")
    assert out.startswith("1 é\n")
    assert "s3cr3t" not in out


async def test_code_reaches_an_interpreter(plain: Connection) -> None:
    outcome = await run(plain, argv=("perl",), code="print 6*7, qq(\\n);\nexit 3;", env={"A": "1"})
    assert (outcome.stdout, outcome.code) == (b"42\n", 3)


async def test_words_meet_no_shell(plain: Connection) -> None:
    words = ("$(id)", "`id`", "*", "a b", "", "'", '"', "\n", "é", "-n")
    outcome = await run(plain, argv=("bash", "-c", 'printf "%s\\0" "$@"', "x", *words))
    assert outcome.stdout.decode().split("\0")[:-1] == list(words)


async def test_stdin(plain: Connection) -> None:
    data = bytes(range(256)) * 20_000
    for request in ({"command": "sha256sum"}, {"argv": ("sha256sum",)}):
        outcome = await run(plain, stdin_data=data, **request)
        assert outcome.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert (await run(plain, command="cat; echo end")).stdout == b"end\n"
    assert (await run(plain, argv=("cat",), stdin_data=b"")).stdout == b""
    assert (
        await run(plain, command="sleep 0.1; echo unread", stdin_data=bytes(5_000_000))
    ).stdout == b"unread\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGUSR1])
async def test_signals_reach_the_group(plain: Connection, number: signal.Signals, tmp_path: Path) -> None:
    process = await plain.start(
        Request(command=f"bash -c 'echo $$ >{tmp_path}/pid; echo up; exec sleep 300'; echo no")
    )
    assert await anext(process.chunks()) == ("stdout", b"up\n")
    process.kill(number)
    outcome = await collect(process)
    assert outcome.exit.signal == number.name
    child = int((tmp_path / "pid").read_text())
    await until(lambda: not alive(child))


async def test_a_signal_sent_at_once_arrives(plain: Connection) -> None:
    process = await plain.start(Request(argv=("sleep", "300")))
    process.kill(signal.SIGTERM)
    assert (await process.wait()).signal == "SIGTERM"


async def test_time_is_up(plain: Connection) -> None:
    how = (await run(plain, argv=("sleep", "300"), timeout=0.2)).exit
    assert (how.signal, how.timed_out) == ("SIGINT", True)
    how = (await run(plain, command="trap '' INT; sleep 300 & wait; wait", timeout=8)).exit
    assert (how.signal, how.timed_out) == ("SIGKILL", True)


async def test_more_commands_at_once_than_the_server_has_channels(tmp_path: Path, bare: Loopback) -> None:
    with loopback_sshd(tmp_path, without_python(bare.folder / "bin"), sessions=4) as server:
        connection = Connection(server, MemoryPins())
        outcomes = await asyncio.gather(
            *(run(connection, command=f"sleep 0.05; echo {i}") for i in range(20))
        )
        assert [o.stdout for o in outcomes] == [b"%d\n" % i for i in range(20)]
        await connection.close()


async def test_a_child_in_the_background_does_not_hold_the_command_up(plain: Connection) -> None:
    outcome = await run(plain, command="sleep 300 & echo $!")
    pid = int(outcome.stdout)
    assert alive(pid)
    await run(plain, command=f"kill {pid}")


async def test_a_slow_reader_holds_nobody_up(plain: Connection) -> None:
    flood = await plain.start(Request(command="yes"))
    await anext(flood.chunks())
    assert (await run(plain, command="echo quick")).stdout == b"quick\n"
    assert flood._held < 8_000_000
    await flood.close()
    assert len((await run(plain, command="head -c 30000000 /dev/zero")).stdout) == 30_000_000


async def test_a_command_that_is_let_go_of_is_killed(plain: Connection) -> None:
    process = await plain.start(Request(command="echo $$; exec sleep 300"))
    _, pid = await anext(process.chunks())
    await process.close()
    await until(lambda: not alive(int(pid)))


async def test_a_break_takes_the_commands_along(bare: Loopback) -> None:
    connection = Connection(bare, MemoryPins())
    process = await connection.start(Request(command="echo $$; exec sleep 300"))
    _, pid = await anext(process.chunks())
    assert bare.front
    bare.front.cut()
    with pytest.raises(ConnectionLostError, match="took the command"):
        await process.wait()
    assert (await run(connection, command=f"kill {int(pid)}; echo next")).stdout == b"next\n"
    await connection.close()
