"""A terminal on a VM: a real one, which a break does not touch and its user's end hangs up."""

from __future__ import annotations

import asyncio
import grp
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from loopback import Loopback, MemoryPins, loopback_sshd
from running import alive, collect, until
from test_plain import TOOLS, without_python

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.remote._resident.wire import TERMINAL_WINDOW
from pi_v_jupyter.remote.channel import Process, Request
from pi_v_jupyter.remote.connection import Connection

Connect = Callable[..., Connection]
SHELL = ("env", "PS1=ready> ", "HISTFILE=", "TERM=dumb", "bash", "--norc", "--noprofile", "-i")


class Screen:
    """Types at a terminal and sees what it shows; what is typed is seen too, so it says what it waits for in
    another way."""

    def __init__(self, process: Process) -> None:
        self.process, self.text = process, ""
        self._chunks = process.chunks()

    async def type(self, text: str) -> None:
        await self.process.write(text.encode())

    async def see(self, text: str) -> str:
        """Wait for `text`, and leave what follows for the next look."""
        async with asyncio.timeout(60):
            while text not in self.text:
                stream, data = await anext(self._chunks)
                assert stream == "stdout"
                self.text += data.decode()
        before, _, self.text = self.text.partition(text)
        return before + text


async def opened(connection: Connection, *argv: str, size: tuple[int, int] = (100, 30)) -> Screen:
    process = await connection.start(Request(argv=argv or SHELL, pty=size))
    return Screen(process)


def sshd_can_open_terminals() -> bool:
    """sshd has them belong to the group `tty`: only root can, where the system does not do it by itself."""
    ends = os.openpty()
    try:
        return os.getuid() == 0 or os.fstat(ends[1]).st_gid == grp.getgrnam("tty").gr_gid
    finally:
        for end in ends:
            os.close(end)


@pytest.fixture(params=["resident", "plain"])
async def terminals(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Connection]:
    """A connection through the resident program, or to a VM that has no python3."""
    extra = ""
    if request.param == "plain":
        if not sshd_can_open_terminals():
            pytest.skip("sshd of an ordinary user opens no terminals on this system")
        tools = tmp_path / "bin"
        tools.mkdir()
        for name in (*TOOLS, "stty", "tty"):
            (tools / name).symlink_to(shutil.which(name) or "")
        extra = without_python(tools)
    with loopback_sshd(tmp_path, extra) as server:
        connection = Connection(server, MemoryPins())
        yield connection
        await connection.close()


async def test_a_shell_has_a_terminal_and_job_control(terminals: Connection) -> None:
    screen = await opened(terminals)
    assert "job control" not in await screen.see("ready> ")
    await screen.type("tty; test -t 0 && test -t 1 && test -t 2 && echo all' 'three\n")
    assert "/dev/pts/" in await screen.see("all three")
    await screen.type("bash -c 'echo in\"\"front; exec sleep 300'\n")
    await screen.see("infront")
    await screen.type("\x1a")
    assert "Stopped" in await screen.see("ready> ")
    await screen.type("jobs; kill -9 %1; echo no' 'more\n")
    assert "[1]" in await screen.see("no more")
    await screen.type("exit 5\nexit 5\n")  # the first is refused while bash takes the job for stopped
    assert (await screen.process.wait()).code == 5


async def test_its_size_is_the_one_given_and_each_later_one(terminals: Connection) -> None:
    screen = await opened(terminals)
    await screen.type("stty size; trap 'echo now $(stty size)' WINCH; echo trap' 'set\n")
    await screen.see("30 100")
    await screen.see("trap set")
    screen.process.resize(120, 40)
    await screen.type("\n")  # readline runs a trap when it reads
    await screen.see("now 40 120")


async def test_backspace_takes_a_whole_character(terminals: Connection) -> None:
    screen = await opened(terminals, "cat")
    await screen.type("aé\x7fb\n")
    await screen.see("ab\r\n")


async def test_a_size_that_is_none_ends_nothing(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    session = await connection.start(Request(shell="s", code="read -t 300 </dev/zero || sleep 300"))
    screen = await opened(connection)
    await screen.see("ready> ")
    for size in ((80.5, 24), (10**9, -1), (0, 0)):
        screen.process.resize(*size)  # type: ignore[arg-type]
    await screen.type("echo still' 'here\n")
    await screen.see("still here")
    assert session._exit is None  # type: ignore[attr-defined]


async def test_what_closes_its_terminal_may_open_it_again(own_server: Loopback, connect: Connect) -> None:
    code = "import os, time; os.closerange(0, 3); time.sleep(0.3); os.write(os.open('/dev/tty', 1), b'again')"
    screen = await opened(connect(own_server), "python3", "-c", code)
    await screen.see("again")


async def test_ctrl_c_interrupts_what_is_in_front_alone(terminals: Connection) -> None:
    screen = await opened(terminals)
    await screen.type("echo shell' '$$; bash -c 'echo in\"\"front; exec sleep 300'; echo came' 'back\n")
    await screen.see("shell ")
    shell = int(await screen.see("\r\n"))
    await screen.see("infront")
    await screen.type("\x03")
    assert "came back" not in await screen.see("ready> ")
    await screen.type("echo still' '$$\n")
    await screen.see(f"still {shell}")


async def test_a_program_that_is_let_go_of_is_hung_up_on(terminals: Connection, tmp_path: Path) -> None:
    file = tmp_path / "hung-up"
    screen = await opened(terminals, "bash", "-c", f"trap 'echo HUP >{file}; exit' HUP; echo $$; read")
    pid = int(await screen.see("\r\n"))
    await screen.process.close()
    await until(lambda: not alive(pid))
    assert file.read_text() == "HUP\n"


async def test_how_it_ended_and_all_it_wrote_are_told(terminals: Connection) -> None:
    process = await terminals.start(Request(argv=("bash", "-c", "seq 5000; exit 3"), pty=(80, 24)))
    outcome = await collect(process)
    assert outcome.stdout.split() == [b"%d" % i for i in range(1, 5001)]
    assert (outcome.code, outcome.stderr) == (3, b"")
    process = await terminals.start(Request(argv=("no-such-program",), cwd="/usr", pty=(80, 24)))
    outcome = await collect(process)
    assert (outcome.code, b"no-such-program" in outcome.stdout) == (127, True)


async def test_what_was_not_read_yet_when_it_ended_is_not_lost(
    own_server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    go, full = tmp_path / "go", b"x" * TERMINAL_WINDOW
    (tmp_path / "full").write_bytes(full)
    command = (
        f"cat {tmp_path}/full; until [ -e {go} ]; do sleep 0.02; done; printf end; echo $$ >{tmp_path}/pid"
    )
    process = await connect(own_server).start(Request(argv=("bash", "-c", command), pty=(80, 24)))
    await until(lambda: process._received[0] == len(full))
    go.touch()
    await until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    await until(lambda: not alive(int((tmp_path / "pid").read_text())))
    assert (await collect(process)).stdout == full + b"end"


async def test_what_was_left_in_the_background_does_not_hold_it_up(
    own_server: Loopback, connect: Connect
) -> None:
    screen = await opened(connect(own_server))
    await screen.type("(trap '' HUP; echo le'ft '$BASHPID; exec sleep 300) &\n")
    await screen.see("left ")
    pid = int(await screen.see("\r\n"))
    await screen.type("exit 0\n")
    assert (await screen.process.wait()).code == 0
    assert alive(pid)
    await connect(own_server).start(Request(command=f"kill {pid}"))
    await until(lambda: not alive(pid))


async def test_bytes_pass_as_they_are_and_each_once_though_the_connection_is_cut(
    own_server: Loopback, connect: Connect
) -> None:
    assert own_server.front
    data = bytes(range(256)) * 80_000  # 20 MB
    source = own_server.folder / "data"
    source.write_bytes(data)
    command = f"stty raw -echo; cat {source}; stty sane; echo; tty"
    process = await connect(own_server).start(Request(argv=("bash", "-c", command), pty=(80, 24)))
    got, cuts = bytearray(), 0
    async for _, piece in process.chunks():
        got += piece
        if len(got) > 5_000_000 * (cuts + 1) and cuts < 3:
            cuts += 1
            own_server.front.cut()
    assert own_server.front.accepted == 4
    assert hashlib.sha256(got[: len(data)]).digest() == hashlib.sha256(data).digest()
    assert got[len(data) :].startswith(b"\r\n/dev/pts/")


async def test_what_is_typed_and_sized_while_the_connection_is_cut_arrives(
    own_server: Loopback, connect: Connect
) -> None:
    assert own_server.front
    connection = connect(own_server)
    screen = await opened(connection)
    away: list[bool] = []
    screen.process.on_away = away.append
    await screen.see("ready> ")
    own_server.front.refuse = True
    own_server.front.cut()
    await until(lambda: away == [True])
    screen.process.resize(111, 44)
    await screen.type("stty size\n")
    own_server.front.refuse = False
    await screen.see("44 111")
    assert away == [True, False]


async def test_a_client_that_stays_away_hangs_up(
    own_server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    assert own_server.front
    file = tmp_path / "hung-up"
    screen = await opened(
        connect(own_server, linger=0.3), "bash", "-c", f"trap 'echo HUP >{file}; exit' HUP; echo $$; read"
    )
    pid = int(await screen.see("\r\n"))
    own_server.front.refuse = True
    own_server.front.cut()
    await until(lambda: not alive(pid))
    assert file.read_text() == "HUP\n"


async def test_a_terminal_nobody_reads_stops_its_program(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    screen = await opened(connection, "bash", "-c", "yes & echo; wait")
    await screen.see("y")
    other = await connection.start(Request(command="sleep 0.3; echo quick"))
    assert (await collect(other)).stdout == b"quick\n"
    assert sum(len(data) for _, data in screen.process._chunks) < 600_000
    assert not screen.process.over
    await screen.process.close()


def test_only_a_program_runs_at_a_terminal() -> None:
    with pytest.raises(UsageError, match="not a cell"):
        Request(command="top", pty=(80, 24))
