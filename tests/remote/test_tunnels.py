"""A port here leads to a port there: whole, both ways, whatever breaks, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import psutil
import pytest
from loopback import Loopback, TLSFront, loopback_sshd
from running import descriptors, memory_mb, until
from test_plain import without_python

from pi_v_jupyter.errors import UsageError, VMGoneError, VMPausedError
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.remote.tunnel import Tunnel, check_port

Connect = Callable[..., Connection]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]
MB = 1 << 20


@dataclass
class Build:
    """The loopback server as a tunnel's VM."""

    connection: Connection
    label: str = "build"
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = asyncio.get_running_loop()

    async def ssh(self) -> asyncssh.SSHClientConnection:
        return await self.connection.ssh()

    async def tunnel(self, port: int, local: int = 0) -> Tunnel:
        return await Tunnel.open(self, port, local, self.notices.append)


@dataclass
class Service:
    """Something that listens on the VM."""

    port: int
    over: list[bytes | None] = field(default_factory=list)  # what each client sent; None: it broke off


@contextlib.asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[Service]:
    server = await asyncio.start_server(handler, host, 0)
    try:
        yield Service(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def client(tunnel: Tunnel) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", tunnel.local_port)


async def said(tunnel: Tunnel, data: bytes = b"hello") -> bytes:
    """What is answered to `data` and its end."""
    reader, writer = await client(tunnel)
    try:
        writer.write(data)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


@pytest.fixture
async def build(own_server: Loopback, connect: Connect) -> Build:
    return Build(connect(own_server))


def front(server: Loopback) -> TLSFront:
    assert server.front is not None
    return server.front


def channels(build: Build) -> int:
    assert build.connection._ssh is not None
    return len(build.connection._ssh._channels)


def sessions(server: Loopback) -> list[psutil.Process]:
    """The processes of the server that serve a login."""
    main = psutil.Process(int((server.folder / "sshd.pid").read_text()))
    return [process for process in main.children(recursive=True) if process.name().startswith("sshd")]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_service_is_reached_wherever_it_listens_on_the_vm(build: Build, host: str) -> None:
    async with serving(echo, host) as service:
        tunnel = await build.tunnel(service.port)
        assert await said(tunnel) == b"hello"
        assert (tunnel.remote_port, tunnel.url) == (service.port, f"http://127.0.0.1:{tunnel.local_port}")
        await tunnel.close()


async def test_it_is_for_this_computer_alone(build: Build) -> None:
    tunnel = await build.tunnel(80)
    assert [at.getsockname()[0] for at in tunnel._server.sockets] == ["127.0.0.1"]  # type: ignore[union-attr]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", tunnel.local_port)
    await tunnel.close()


async def test_much_goes_both_ways_at_once_unchanged(build: Build) -> None:
    data = os.urandom(MB) * 40
    async with serving(echo) as service:
        tunnel = await build.tunnel(service.port)
        for got in await asyncio.gather(*(said(tunnel, data) for _ in range(3))):
            assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        assert not build.notices
        await tunnel.close()


async def test_either_side_may_end_first_and_go_on_reading(build: Build) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def ends_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"all I say")
        writer.write_eof()
        heard.put_nowait(await reader.read())
        writer.close()

    async with serving(ends_first) as service:
        tunnel = await build.tunnel(service.port)
        reader, writer = await client(tunnel)
        assert await reader.read() == b"all I say"
        for word in (b"and ", b"what ", b"I say"):
            writer.write(word)
            await writer.drain()
        writer.write_eof()
        assert await heard.get() == b"and what I say"
        writer.close()
        await until(lambda: not tunnel.connections)
        await tunnel.close()


async def test_a_vm_that_takes_no_more_lets_go_of_a_client_that_stays(
    build: Build, own_server: Loopback
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(hang_up) as service:
        tunnel = await build.tunnel(service.port)
        await build.connection.open()
        before = channels(build)
        reader, writer = await client(tunnel)
        assert await reader.read() == b""

        def connected() -> bool:
            found = [one for session in sessions(own_server) for one in session.net_connections()]
            return any(one.raddr and one.raddr.port == service.port for one in found)

        writer.write(b"the first it is refused")
        await until(lambda: not connected())
        writer.write(b"the second it cannot be given")
        await until(lambda: channels(build) == before)
        await until(lambda: not tunnel.connections)  # though the client says nothing more
        writer.close()
        await tunnel.close()


async def test_a_reader_that_is_slow_here_holds_up_the_sender_there(build: Build) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            while sent < 200 * MB:
                writer.write(bytes(MB))
                await writer.drain()
                sent += MB
        writer.close()

    async with serving(flood) as service:
        tunnel = await build.tunnel(service.port)
        reader, writer = await client(tunnel)
        before, steady = memory_mb(os.getpid()), 0
        while steady != sent or not sent:  # until it gets no further
            steady = sent
            await asyncio.sleep(0.5)
        assert sent < 60 * MB
        assert memory_mb(os.getpid()) - before < 40
        got = 0
        while data := await reader.read(MB):
            got += len(data)
        assert got == 200 * MB
        writer.close()
        await tunnel.close()


async def test_a_reader_that_is_slow_there_holds_up_the_sender_here(build: Build) -> None:
    go, got = asyncio.Event(), 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await go.wait()
        while data := await reader.read(MB):
            got += len(data)
        writer.close()

    async with serving(slow) as service:
        tunnel = await build.tunnel(service.port)
        reader, writer = await client(tunnel)
        sent, steady = 0, 0

        async def flood() -> None:
            nonlocal sent
            while sent < 200 * MB:
                writer.write(bytes(MB))
                await writer.drain()
                sent += MB
            writer.write_eof()

        before, flooding = memory_mb(os.getpid()), asyncio.create_task(flood())
        while steady != sent or not sent:
            steady = sent
            await asyncio.sleep(0.5)
        assert sent < 60 * MB
        assert memory_mb(os.getpid()) - before < 40
        go.set()
        await flooding
        assert await reader.read() == b""
        assert got == 200 * MB
        writer.close()
        await tunnel.close()


async def test_a_thousand_short_connections_leave_nothing(build: Build, own_server: Loopback) -> None:
    async with serving(echo) as service:
        tunnel = await build.tunnel(service.port)
        assert await said(tunnel) == b"hello"
        there = [session.pid for session in sessions(own_server)]
        await until(lambda: not tunnel.connections)

        def left() -> tuple[int, ...]:
            ours = descriptors(os.getpid()), channels(build), len(asyncio.all_tasks())
            return *ours, *map(descriptors, there)

        before = left()
        for _ in range(20):
            assert await asyncio.gather(*(said(tunnel) for _ in range(50))) == [b"hello"] * 50
        await until(lambda: all(now <= then for now, then in zip(left(), before, strict=True)))
        await tunnel.close()


async def test_clients_that_break_off_leave_nothing(build: Build) -> None:
    ended = 0

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended += 1
        writer.close()

    async with serving(wait) as service:
        tunnel = await build.tunnel(service.port)
        await build.connection.open()
        before = channels(build)
        for _ in range(50):
            _, writer = await client(tunnel)
            writer.write(b"x")
            connected: socket.socket = writer.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
            writer.transport.abort()
        await until(lambda: not tunnel.connections and channels(build) == before)
        assert ended <= 50
        assert not build.notices
        await tunnel.close()


async def test_a_port_nobody_listens_on_is_told_once_and_clients_are_not_kept(build: Build) -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else will
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        tunnel = await build.tunnel(port)
        for _ in range(3):
            with pytest.raises(ConnectionResetError):
                await said(tunnel)
        assert build.notices == [
            f"Tunnel 127.0.0.1:{tunnel.local_port}: nothing listens on port {port} of build."
        ]
        taken.listen()
        _, writer = await client(tunnel)
        await until(lambda: tunnel.connections)
        writer.close()
        await tunnel.close()


async def test_a_vm_that_forbids_tunnels_is_told_so(tmp_path: Path, connect: Connect) -> None:
    with loopback_sshd(tmp_path, "AllowTcpForwarding no") as server:
        build = Build(connect(server))
        tunnel = await build.tunnel(80)
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await said(tunnel)
        (notice,) = build.notices
        assert "build does not let tunnels through" in notice and "AllowTcpForwarding" in notice
        await tunnel.close()
        await build.connection.close()


async def test_a_break_ends_what_was_open_on_both_sides_and_the_next_connection_works(
    build: Build, own_server: Loopback
) -> None:
    ended: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"first")
        with contextlib.suppress(ConnectionError):
            ended.put_nowait(await reader.read())
        writer.close()

    async with serving(talk) as service:
        tunnel = await build.tunnel(service.port)
        for logins in (1, 2, 3):
            reader, writer = await client(tunnel)
            writer.write(b"unfinished")
            assert await reader.readexactly(5) == b"first"
            assert front(own_server).accepted == logins
            front(own_server).cut()
            with pytest.raises(ConnectionResetError):  # an end in order would pass for the whole of it
                await reader.read()
            assert await ended.get() in (b"unfinished", b"")
            writer.close()
        await until(lambda: not tunnel.connections)
        assert not build.notices
        await tunnel.close()


async def test_a_break_while_the_vm_has_not_answered_is_no_answer(build: Build, own_server: Loopback) -> None:
    async with serving(echo) as service:
        tunnel = await build.tunnel(service.port)
        await build.connection.open()
        before = channels(build)
        for session in sessions(own_server):
            session.suspend()
        asked = asyncio.create_task(said(tunnel))
        await until(lambda: channels(build) > before)
        front(own_server).cut()
        assert await asked == b"hello"
        assert not build.notices
        await tunnel.close()


async def test_a_connection_made_while_the_way_is_shut_waits_for_it(
    build: Build, own_server: Loopback
) -> None:
    async with serving(echo) as service:
        tunnel = await build.tunnel(service.port)
        assert await said(tunnel) == b"hello"
        front(own_server).refuse = True
        front(own_server).cut()
        waiting = asyncio.create_task(said(tunnel, b"patience"))
        await until(lambda: front(own_server).accepted > 3)
        front(own_server).refuse = False
        assert await waiting == b"patience"
        await tunnel.close()


async def test_a_vm_without_python_has_tunnels_too(tmp_path: Path, connect: Connect) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "bash"):
        (tools / name).symlink_to(f"/bin/{name}")
    with loopback_sshd(tmp_path, without_python(tools)) as server:
        build = Build(connect(server))
        async with serving(echo) as service:
            tunnel = await build.tunnel(service.port)
            assert await said(tunnel) == b"hello"
            assert build.connection._plain is not None
            front(server).cut()
            await until(lambda: build.connection._ssh is None or build.connection._ssh.is_closed())
            assert await said(tunnel) == b"hello"
            await tunnel.close()
        await build.connection.close()


async def test_closing_ends_all_connections_and_frees_the_port(build: Build) -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"up")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    async with serving(wait) as service:
        tunnel = await build.tunnel(service.port)
        before = channels(build) if build.connection._ssh else 0
        reader, writer = await client(tunnel)
        assert await reader.readexactly(2) == b"up"
        assert tunnel.connections == 1
        await tunnel.close()
        await tunnel.close()
        assert tunnel.closed and tunnel.connections == 0
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await ended.wait()
        with pytest.raises(ConnectionRefusedError):
            await client(tunnel)
        again = await build.tunnel(service.port, tunnel.local_port)
        assert again.local_port == tunnel.local_port
        await again.close()
        writer.close()
        await until(lambda: channels(build) <= before + 1)


async def test_closing_while_the_vm_has_not_answered_leaves_no_channel(
    build: Build, own_server: Loopback
) -> None:
    accepted, ended = 0, 0

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted, ended
        accepted += 1
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended += 1
        writer.close()

    async with serving(wait) as service:
        await build.connection.open()
        before = channels(build)
        for count in range(1, 6):
            tunnel = await build.tunnel(service.port)
            for session in sessions(own_server):
                session.suspend()
            _, writer = await client(tunnel)
            await until(lambda: channels(build) > before)
            await tunnel.close()
            for session in sessions(own_server):
                session.resume()
            await until(lambda count=count: accepted == ended == count)  # type: ignore[misc]
            await until(lambda: channels(build) == before)
            writer.close()


async def test_closing_forgets_no_client_that_was_accepted_just_now(build: Build) -> None:
    await build.connection.open()
    for _ in range(20):
        tunnel = await build.tunnel(80)
        reader, writer = await client(tunnel)
        while not tunnel.connections:  # not a turn of the loop later
            await asyncio.sleep(0)
        await tunnel.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_slow_client_does_not_hold_up_closing(build: Build) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(4 * MB))
        writer.close()

    async with serving(flood) as service:
        tunnel = await build.tunnel(service.port)
        _, writer = await client(tunnel)
        writer.write_eof()
        await until(lambda: tunnel.connections)
        await tunnel.close()
        writer.transport.abort()


async def test_a_paused_vm_is_told_once_and_its_tunnel_goes_on_with_it(
    build: Build, own_server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def paused() -> None:
        raise VMPausedError("VM build is paused.", "`%vers resume build` has it go on.")

    async with serving(echo) as service:
        tunnel = await build.tunnel(service.port)
        reader, writer = await client(tunnel)
        writer.write(b"x")
        await reader.readexactly(1)
        with monkeypatch.context() as patched:
            patched.setattr(own_server, "check", paused)
            await build.connection.suspend()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            for _ in range(2):
                with pytest.raises(ConnectionResetError):
                    await said(tunnel)
        (notice,) = build.notices
        assert notice.endswith("VM build is paused.  `%vers resume build` has it go on.")
        assert await said(tunnel) == b"hello"
        writer.close()
        await tunnel.close()


async def test_a_vm_that_is_gone_takes_its_tunnel_along(
    build: Build, own_server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone() -> None:
        raise VMGoneError("VM build was deleted.", "`%vers ls` shows those that are there.")

    tunnel = await build.tunnel(80)
    await build.connection.open()
    monkeypatch.setattr(own_server, "check", gone)
    front(own_server).refuse = True
    front(own_server).cut()
    with pytest.raises(ConnectionResetError):
        await said(tunnel)
    (notice,) = build.notices
    assert "VM build was deleted." in notice
    assert tunnel.closed


async def test_a_port_that_is_taken_here_is_one_sentence_and_the_next_step(build: Build) -> None:
    tunnel = await build.tunnel(80)
    with pytest.raises(UsageError, match=rf"^Port {tunnel.local_port} of this computer is taken") as caught:
        await build.tunnel(81, tunnel.local_port)
    assert "`%vers tunnel :81`" in caught.value.hint
    await tunnel.close()


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(UsageError, match=f"^{port} is no port"):
        check_port(port)
