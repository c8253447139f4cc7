"""`Machine.run` and `Machine.stream`, as the Python API gives them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from loopback import Loopback, MemoryPins
from running import alive, until

from pi_v_jupyter import loops
from pi_v_jupyter.errors import RemoteCommandError, RemoteTimeoutError, UsageError
from pi_v_jupyter.machine import Command, Machine
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection


class Loop(Machine):
    """The loopback server as a machine."""

    def __init__(self, server: Loopback, home: asyncio.AbstractEventLoop) -> None:
        self.home = home
        self._made = Connection(server, MemoryPins())

    @property
    def label(self) -> str:
        return "build"

    def _connection(self) -> Connection:
        return self._made

    @loops.at_home
    async def close(self) -> None:
        await self._made.close()


@pytest.fixture
def io_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The I/O loop, on its thread."""
    yield loops.io_loop()
    loops.stop_io_loop()


@pytest.fixture(params=["on its own loop", "from another loop"])
async def machine(request: pytest.FixtureRequest, server: Loopback) -> AsyncIterator[Loop]:
    if request.param == "on its own loop":
        made = Loop(server, asyncio.get_running_loop())
    else:
        made = Loop(server, loops.io_loop())
    yield made
    await made.close()
    await asyncio.to_thread(loops.stop_io_loop)


async def test_a_result_tells_what_the_command_did(machine: Loop) -> None:
    result = await machine.run("printf 'a\\xff'; echo é >&2", env={"A": "1"}, cwd="/")
    assert (result.exit_code, result.signal, result.ok) == (0, None, True)
    assert (result.stdout, result.stdout_bytes) == ("a\\xff", b"a\xff")
    assert result.stderr == "é\n"
    assert 0 < result.duration < 60
    assert (await machine.run(["echo", "$HOME"])).stdout == "$HOME\n"
    assert (await machine.run("cat", stdin="text é")).stdout == "text é"
    assert (await machine.run(["cat"], stdin=b"\0\xff")).stdout_bytes == b"\0\xff"


async def test_another_code_than_0_is_an_error_with_the_tail_of_stderr(machine: Loop) -> None:
    with pytest.raises(RemoteCommandError, match=r"exit code 3 on build after \d+\.\d\d s") as caught:
        await machine.run("seq 5000 >&2; exit 3")
    assert (caught.value.exit_code, caught.value.signal) == (3, None)
    assert caught.value.stderr.endswith("\n5000\n")
    assert len(caught.value.stderr) == 4096
    result = await machine.run("exit 3", check=False)
    assert (result.exit_code, result.ok) == (3, False)


async def test_a_signal_is_an_error_with_its_name(machine: Loop) -> None:
    with pytest.raises(RemoteCommandError, match="ended by SIGTERM on build") as caught:
        await machine.run("kill $$")
    assert (caught.value.exit_code, caught.value.signal) == (None, "SIGTERM")


async def test_a_missing_program_reads_as_a_shell_tells_it(machine: Loop) -> None:
    result = await machine.run(["no-such-program"], check=False)
    assert (result.exit_code, result.stderr) == (127, "no-such-program: No such file or directory\n")
    assert (await machine.run(["/"], check=False)).exit_code == 126


async def test_time_is_up(machine: Loop) -> None:
    with pytest.raises(RemoteTimeoutError, match="out of time") as caught:
        await machine.run("sleep 300", timeout=0.1)
    assert caught.value.signal == "SIGINT"
    assert "timeout" in caught.value.hint
    with pytest.raises(RemoteTimeoutError):
        await machine.run("trap 'kill $!; exit 0' INT; sleep 300 & wait", timeout=0.1)


async def test_the_last_words_of_a_command_that_failed_steer_no_terminal(machine: Loop) -> None:
    with pytest.raises(RemoteCommandError) as caught:
        await machine.run(
            r"printf 'first\n\033]0;title\007\033[2J50 %%\rdisk \033[31mfull\033[0m\b\n' >&2; exit 3"
        )
    assert caught.value.hint == "disk full\N{REPLACEMENT CHARACTER}"
    assert "\x1b[31mfull" in caught.value.stderr  # as it was written, for who asks


async def test_what_cannot_be_run_is_refused(machine: Loop) -> None:
    with pytest.raises(UsageError):
        await machine.run([])
    with pytest.raises(UsageError, match="NUL"):
        await machine.run("a\0b")
    with pytest.raises(UsageError, match="cannot name"):
        await machine.run("true", env={"a-b": "1"})


async def test_cancelling_kills_the_command(machine: Loop, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("pid") / "pid"
    running = asyncio.create_task(machine.run(f"echo $$ >{file}; exec sleep 300"))
    await until(lambda: file.exists() and file.read_text().strip())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not alive(int(file.read_text())))


async def test_a_stream_gives_text_as_it_comes_and_raises_at_the_end(machine: Loop) -> None:
    got: list[tuple[str, str]] = []

    async def read() -> None:
        text = "printf '\\xe6'; sleep 0.05; printf '\\x97\\xa5'; echo e >&2; exit 4"
        async for piece in machine.stream(text):
            got.append(piece)

    with pytest.raises(RemoteCommandError) as caught:
        await read()
    assert "".join(text for stream, text in got if stream == "stdout") == "日"
    assert ("stderr", "e\n") in got
    assert (caught.value.exit_code, caught.value.stderr) == (4, "e\n")


async def test_leaving_a_stream_early_kills_the_command(machine: Loop) -> None:
    stream = machine.stream("echo $$; exec sleep 300")
    async for _, text in stream:
        pid = int(text)
        break
    await stream.aclose()
    await until(lambda: not alive(pid))


async def test_cancelling_the_reader_of_a_stream_kills_the_command(machine: Loop) -> None:
    pids: list[int] = []

    async def read() -> None:
        async for _, text in machine.stream("echo $$; exec sleep 300"):
            pids.append(int(text))

    reader = asyncio.create_task(read())
    await until(lambda: pids)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await until(lambda: not alive(pids[0]))


async def test_a_hundred_streams_at_once(machine: Loop) -> None:
    async def read(i: int) -> str:
        return "".join([text async for _, text in machine.stream(["echo", str(i)])])

    assert await asyncio.gather(*map(read, range(100))) == [f"{i}\n" for i in range(100)]


async def test_a_signal_sent_before_it_started_arrives(machine: Loop) -> None:
    command = Command(machine, Request(argv=("sleep", "300")), None, lambda *_: None)

    @loops.at_home
    async def run(self: Loop) -> None:
        await command.run()

    command.signal(15)
    await run(machine)
    assert command.exit is not None
    assert command.exit.signal == "SIGTERM"


def test_a_command_may_be_run_from_plain_code(server: Loopback, io_loop: asyncio.AbstractEventLoop) -> None:
    machine = Loop(server, io_loop)
    assert loops.wait(machine.run("echo on")).stdout == "on\n"
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(loops.wait(machine.run("echo thread")).stdout))
    thread.start()
    thread.join(60)
    assert results == ["thread\n"]
    loops.wait(machine.close())
