"""A connection that breaks loses nothing, repeats nothing, and says so when it cannot come back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from loopback import Loopback, TLSFront
from running import alive, collect, memory_mb, resident_pid, run, until, until_there, working

from pi_v_jupyter.errors import ConnectionLostError
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection

Connect = Callable[..., Connection]


def front(server: Loopback) -> TLSFront:
    assert server.front is not None
    return server.front


async def test_output_survives_cuts_whole_and_in_order(
    own_server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    connection = connect(own_server)
    wait = f"[ $((i % 100)) = 0 ] && until [ -e {tmp_path}/$i ]; do sleep 0.01; done"  # for the cut
    process = await connection.start(
        Request(command=f"for i in {{1..400}}; do echo $i; echo e$i >&2; sleep 0.003; {wait}; done; exit 9")
    )
    (tmp_path / "400").touch()
    out, err, cuts = b"", b"", 0
    async for stream, data in process.chunks():
        if stream == "stdout":
            out += data
        else:
            err += data
        if out.count(b"\n") > 100 * cuts and cuts < 3:
            cuts += 1
            front(own_server).cut()
            await until(lambda: not connection._resident.attached)
            (tmp_path / f"{100 * cuts}").touch()
    assert out.split() == [b"%d" % i for i in range(1, 401)]
    assert err.split() == [b"e%d" % i for i in range(1, 401)]
    assert (await process.wait()).code == 9
    assert front(own_server).accepted == 4


async def test_a_flood_survives_cuts(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    process = await connection.start(Request(command="seq 4000000"))
    got, size, cuts = hashlib.sha256(), 0, 0
    async for _, data in process.chunks():
        got.update(data)
        size += len(data)
        if size > 7_000_000 * (cuts + 1) and cuts < 3:
            cuts += 1
            front(own_server).cut()
    assert got.digest() == hashlib.sha256("".join(f"{i}\n" for i in range(1, 4000001)).encode()).digest()
    assert front(own_server).accepted == 4


async def test_stdin_survives_cuts(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    data = os.urandom(1 << 20) * 24
    process = await connection.start(Request(argv=("sha256sum",), stdin=True))

    async def cut() -> None:
        for mark in (4 << 20, 12 << 20, 20 << 20):
            await until(lambda mark=mark: process._stdin_taken > mark)  # type: ignore[misc]
            front(own_server).cut()

    async def feed() -> None:
        await process.write(data)
        await process.write_eof()

    outcome, *_ = await asyncio.gather(collect(process), feed(), cut())
    assert outcome.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


async def test_a_slow_reader_is_not_sent_more_by_each_cut(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    process = await connection.start(Request(command="yes | head -c 60000000"))
    chunks = process.chunks()
    await anext(chunks)
    await until(lambda: process._received[0] > 4_000_000)
    for n in range(2, 6):
        front(own_server).cut()
        await until(lambda n=n: connection._resident.attached and front(own_server).accepted == n)  # type: ignore[misc]
        await run(connection, command="true")
    assert sum(len(data) for _, data in process._chunks) < 5_000_000
    assert memory_mb(resident_pid(connection)) < 100
    assert len((await collect(process)).stdout) > 59_000_000


async def test_commands_are_run_once_whatever_breaks(
    own_server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    connection = connect(own_server)
    await connection.open()
    commands = []
    for i in range(60):
        commands.append(asyncio.create_task(run(connection, command=f"echo {i} >>{tmp_path}/count")))
        if i % 20 == 10:
            front(own_server).cut()
        await asyncio.sleep(0.002)
    assert [outcome.code for outcome in await asyncio.gather(*commands)] == [0] * 60
    assert sorted(map(int, (tmp_path / "count").read_text().split())) == list(range(60))


async def test_a_way_that_is_shut_for_a_while_is_waited_for(
    own_server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    connection = connect(own_server)
    process = await connection.start(Request(command=f"echo up; {until_there(tmp_path / 'go')}; echo on"))
    await anext(process.chunks())
    front(own_server).refuse = True
    front(own_server).cut()
    await until(lambda: front(own_server).accepted > 3)
    (tmp_path / "go").touch()
    front(own_server).refuse = False
    assert (await collect(process)).stdout == b"on\n"


async def test_a_signal_sent_while_the_way_is_shut_arrives(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    process = await connection.start(
        Request(command="trap 'echo got; exit 5' USR1; echo up; while :; do sleep 0.01; done")
    )
    await anext(process.chunks())
    front(own_server).refuse = True
    front(own_server).cut()
    await until(lambda: not connection._resident.attached)
    process.kill(signal.SIGUSR1)
    front(own_server).refuse = False
    outcome = await collect(process)
    assert (outcome.stdout, outcome.code) == (b"got\n", 5)


async def test_a_signal_is_given_once_whatever_breaks(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    process = await connection.start(
        Request(
            command="trap 'n=$((n+1)); echo got' USR1; trap 'echo $n; exit' USR2; "
            "echo up; while :; do sleep 0.01; done"
        )
    )
    chunks = process.chunks()
    await anext(chunks)
    for n in range(2, 5):
        process.kill(signal.SIGUSR1)
        await asyncio.sleep(0)
        front(own_server).cut()
        await until(lambda n=n: connection._resident.attached and front(own_server).accepted == n)  # type: ignore[misc]
        while (told := await anext(chunks))[0] != "stdout":  # two that come at once are one to bash
            continue
        assert told[1] == b"got\n"
        await run(connection, command="true")
    process.kill(signal.SIGUSR2)
    assert (await collect(process)).stdout == b"3\n"


async def test_a_command_let_go_of_while_the_way_is_shut_is_killed(
    own_server: Loopback, connect: Connect
) -> None:
    connection = connect(own_server)
    process = await connection.start(Request(command="echo $$; exec sleep 300"))
    _, pid = await anext(process.chunks())
    front(own_server).refuse = True
    front(own_server).cut()
    await until(lambda: not connection._resident.attached)
    await process.close()
    assert alive(int(pid))
    front(own_server).refuse = False
    await run(connection, command="true")
    await until(lambda: not alive(int(pid)))


async def test_the_shell_session_survives_a_cut(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    await run(connection, shell="s", code="A=kept; cd /usr")
    front(own_server).cut()
    await until(lambda: not connection._resident.attached)
    assert (await run(connection, shell="s", code="echo $A $PWD")).stdout == b"kept /usr\n"


async def test_a_program_that_is_killed_takes_its_commands_along_and_the_next_works(
    own_server: Loopback, connect: Connect
) -> None:
    connection = connect(own_server)
    process = await connection.start(Request(command="echo up; cat", stdin=True))
    await anext(process.chunks())
    old, socket = resident_pid(connection), connection._resident.socket
    os.kill(old, signal.SIGKILL)
    with pytest.raises(ConnectionLostError, match="The command was lost") as caught:
        await process.wait()
    assert caught.value.hint
    assert (await run(connection, command="echo next")).stdout == b"next\n"
    assert resident_pid(connection) != old
    assert socket and not Path(socket).exists()


async def test_sshd_sessions_that_are_killed_lose_nothing(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    process = await connection.start(Request(command="for i in {1..100}; do echo $i; sleep 0.01; done"))
    chunks = process.chunks()
    _, got = await anext(chunks)
    main = psutil.Process(int((own_server.folder / "sshd.pid").read_text()))
    for session in [p for p in main.children(recursive=True) if p.name().startswith("sshd")]:
        session.kill()
    got += (await collect(process)).stdout
    assert got.split() == [b"%d" % i for i in range(1, 101)]


async def test_a_client_that_stays_away_loses_its_commands(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server, linger=0.3)
    process = await connection.start(Request(command="echo $$; sleep 300; true"))
    _, pid = await anext(process.chunks())
    program = resident_pid(connection)
    front(own_server).refuse = True
    front(own_server).cut()
    await until(lambda: not alive(int(pid)) and not alive(program))
    with pytest.raises(ConnectionLostError, match=r"within 0\.3 s"):
        await process.wait()
    front(own_server).refuse = False
    assert (await run(connection, command="echo again")).stdout == b"again\n"


async def test_a_program_whose_idle_client_stays_away_ends(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server, linger=0.2)
    await run(connection, argv=("true",))
    program = psutil.Process(resident_pid(connection))
    spares = [pid for pid, _ in working(program)]
    front(own_server).refuse = True
    front(own_server).cut()
    await until(lambda: not any(map(alive, [program.pid, *spares])))


async def test_a_client_that_comes_back_in_time_keeps_them(
    own_server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    connection = connect(own_server, linger=30)
    process = await connection.start(Request(command=f"echo up; {until_there(tmp_path / 'go')}; echo on"))
    await anext(process.chunks())
    for _ in range(3):
        front(own_server).cut()
        await until(lambda: not connection._resident.attached)
        await until(lambda: connection._resident.attached)
    (tmp_path / "go").touch()
    assert (await collect(process)).stdout == b"on\n"


async def test_a_server_without_socket_forwarding_says_what_was_lost(
    tmp_path: Path, connect: Connect
) -> None:
    from loopback import loopback_sshd

    with loopback_sshd(tmp_path, "AllowStreamLocalForwarding no") as server:
        connection = connect(server, linger=5)
        process = await connection.start(Request(command="echo $$; exec sleep 300"))
        _, pid = await anext(process.chunks())
        front(server).cut()
        with pytest.raises(ConnectionLostError, match="was lost"):
            await process.wait()
        assert (await run(connection, command="echo next")).stdout == b"next\n"
        await until(lambda: not alive(int(pid)))
        await connection.close()


async def test_closing_during_healing_ends_it(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server, linger=1)
    process = await connection.start(Request(command="echo up; sleep 300"))
    await anext(process.chunks())
    front(own_server).refuse = True
    front(own_server).cut()
    await until(lambda: connection._healing is not None)
    await connection.close()
    with pytest.raises(ConnectionLostError):
        await process.wait()
