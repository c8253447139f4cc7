"""This computer, through the same program."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from running import alive, resident_pid, run, until

from pi_v_jupyter.errors import ConnectionLostError
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.here import HereConnection


@pytest.fixture
async def here() -> AsyncIterator[HereConnection]:
    connection = HereConnection()
    yield connection
    await connection.close()


async def test_commands_run_here(here: HereConnection) -> None:
    outcome = await run(here, command="echo out; echo err >&2; exit 3")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (3, b"out\n", b"err\n")
    assert (await run(here, argv=("cat",), stdin_data=b"\0\xff")).stdout == b"\0\xff"
    assert (await run(here, argv=("sleep", "100"), timeout=0.1)).exit.timed_out


async def test_the_shell_session_lasts_here(here: HereConnection) -> None:
    await run(here, shell="s", code="cd /usr; A=1")
    assert (await run(here, shell="s", code="echo $A $PWD")).stdout == b"1 /usr\n"


async def test_commands_have_the_notebooks_own_environment(
    here: HereConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"/own/bin:{os.environ['PATH']}")
    monkeypatch.setenv("OWN", "1")
    assert (await run(here, command="echo $PATH $OWN")).stdout.startswith(b"/own/bin:")


async def test_commands_can_be_interrupted_whatever_the_notebook_itself_ignores() -> None:
    """A kernel ignores SIGINT between its cells, and nohup leaves programs that ignore SIGHUP."""
    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    here = HereConnection()
    try:
        ignored = await run(here, command="grep SigIgn /proc/self/status")
        in_shell = await run(here, shell="s", code="sh -c 'kill -INT $$; echo not interrupted'")
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        await here.close()
    mask = int(ignored.stdout.split()[1], 16)
    assert not [number for number in numbers if mask >> (number - 1) & 1]
    assert in_shell.stdout == b""


async def test_many_first_users_share_one_program(here: HereConnection) -> None:
    outcomes = await asyncio.gather(*(run(here, command="echo $PPID") for _ in range(20)))
    assert {int(outcome.stdout) for outcome in outcomes} == {resident_pid(here)}


async def test_a_program_that_ends_is_noticed_and_made_anew(here: HereConnection) -> None:
    process = await here.start(Request(command="echo up; cat", stdin=True))
    await anext(process.chunks())
    os.kill(resident_pid(here), signal.SIGKILL)
    with pytest.raises(ConnectionLostError, match="this computer ended"):
        await process.wait()
    assert (await run(here, command="echo on")).stdout == b"on\n"


async def test_closing_ends_it_and_all_it_runs() -> None:
    here = HereConnection()
    process = await here.start(Request(command="echo $$; exec sleep 300"))
    _, pid = await anext(process.chunks())
    program = resident_pid(here)
    await here.close()
    await until(lambda: not alive(int(pid)) and not alive(program))
    with pytest.raises(ConnectionLostError):
        await process.wait()


async def test_a_start_that_is_given_up_leaves_no_program_behind() -> None:
    connection = HereConnection()
    starting = asyncio.create_task(connection.start(Request(command="true")))
    await until(lambda: connection._process)
    process = connection._process
    assert process is not None
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled() and await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    await connection.close()
