"""A port of this computer that leads to a port of a VM, through the VM's one SSH connection.

Each connection made to it becomes a channel of its own (`direct-tcpip`), to what is `localhost` over there,
on IPv4 or IPv6. Channels end with the SSH connection that carries them; the next connection made to the port
has that one made anew.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, Self

import asyncssh

from pi_v_jupyter.errors import ConnectionLostError, RemoteError, UsageError, VersError, VMGoneError
from pi_v_jupyter.loops import at_home

HERE = "127.0.0.1"
THERE = ("localhost", "::1")  # not on every machine does the first stand for the second too
CHUNK = 1 << 16  # bytes carried at once
OPEN_TIMEOUT = 60.0  # seconds a connection made here waits for the VM's answer
ABRUPTLY = struct.pack("ii", 1, 0)  # SO_LINGER: closing says that the stream broke off, not that it ended

Channel = tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]


class Way(Protocol):
    """A VM, as a tunnel needs it."""

    home: asyncio.AbstractEventLoop

    @property
    def label(self) -> str:
        """What to call it in a sentence."""

    async def ssh(self) -> asyncssh.SSHClientConnection:
        """The SSH connection, made (again) if need be."""


def check_port(port: int, least: int = 1) -> None:
    """Refuse a number that is no port.

    Raises:
        UsageError: it is not one.
    """
    if not least <= port <= 65535:
        raise UsageError(f"{port} is no port.", f"Ports are {least} to 65535.")


class Tunnels(list["Tunnel"]):
    """Open tunnels, which show as a table in a notebook."""


class Tunnel:
    """An open tunnel, such as `http://127.0.0.1:8080` to port 80 of a VM. It ends with the VM or its session.

    `on_notice` is told once of each kind of trouble: nobody else hears why a connection was closed.
    """

    def __init__(self, way: Way, port: int, on_notice: Callable[[str], None]) -> None:
        self.home = way.home
        self.remote_port = port
        self.local_port = 0
        self._way, self._on_notice = way, on_notice
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._told: set[type[Exception]] = set()

    @classmethod
    async def open(cls, way: Way, port: int, local: int, on_notice: Callable[[str], None]) -> Self:
        """Listen on port `local` of this computer's loopback; 0: on a free one.

        Raises:
            UsageError: that port cannot be listened on.
        """
        tunnel = cls(way, port, on_notice)
        try:
            tunnel._server = await asyncio.start_server(tunnel._accepted, HERE, local)
        except OSError:
            raise UsageError(
                f"Port {local} of this computer is taken, or not yours to take.",
                f"`%vers tunnel :{port}` (`local=0`) takes a free one; `%vers tunnel ls` shows your tunnels.",
            ) from None
        tunnel.local_port = tunnel._server.sockets[0].getsockname()[1]
        return tunnel

    @property
    def url(self) -> str:
        """Such as "http://127.0.0.1:8080"."""
        return f"http://{HERE}:{self.local_port}"

    @property
    def label(self) -> str:
        """What the VM at its other end is called."""
        return self._way.label

    @property
    def connections(self) -> int:
        """How many connections through it are open."""
        return len(self._serving)

    @property
    def closed(self) -> bool:
        """Has it ended?"""
        return self._server is None

    def __repr__(self) -> str:
        state = " (closed)" if self.closed else ""
        return f"<Tunnel {self.url} → port {self.remote_port} of {self.label}{state}>"

    @at_home
    async def close(self) -> None:
        """End it, and all connections through it."""
        self._refuse()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def _refuse(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:  # while this one was on its way
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)

        def ended(_: asyncio.Task[None]) -> None:  # one cancelled before it began cleans nothing up
            self._serving.discard(task)
            _break_off(writer)

        task.add_done_callback(ended)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            ssh, channel = await self._reach()
            await _join(reader, writer, ssh, *channel)
        except VersError as error:
            self._tell(error)

    async def _reach(self) -> tuple[asyncssh.SSHClientConnection, Channel]:
        """A channel to the port.

        Raises:
            VersError: there is none to be had.
        """
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                while True:
                    ssh = await self._way.ssh()
                    for host in THERE:
                        try:
                            return ssh, await _channel(ssh, host, self.remote_port)
                        except asyncssh.ChannelOpenError as error:
                            refused = error
                    if not ssh.is_closed():  # or it is no answer of the VM's: the connection broke
                        raise self._refusal(refused)
        except TimeoutError:
            raise ConnectionLostError(
                f"port {self.remote_port} of {self.label} did not answer within {OPEN_TIMEOUT:g} s."
            ) from None

    def _refusal(self, error: asyncssh.ChannelOpenError) -> RemoteError:
        if error.code == asyncssh.OPEN_CONNECT_FAILED:
            return RemoteError(f"nothing listens on port {self.remote_port} of {self.label}.")
        return RemoteError(
            f"{self.label} does not let tunnels through: {error.reason.rstrip('.')}.",
            "`AllowTcpForwarding yes` in its sshd_config does.",
        )

    def _tell(self, error: VersError) -> None:
        """Say why a connection was closed, once of each kind; a VM that is no more needs no tunnel."""
        if isinstance(error, VMGoneError):
            self._refuse()
        if type(error) not in self._told:
            self._told.add(type(error))
            self._on_notice(f"Tunnel {HERE}:{self.local_port}: {error}")


async def _channel(ssh: asyncssh.SSHClientConnection, host: str, port: int) -> Channel:
    """Open one. Cancelling leaves none behind: asyncssh would keep a channel that is granted afterwards."""
    opening = asyncio.ensure_future(ssh.open_connection(host, port))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_let_go)
        raise


def _let_go(opened: asyncio.Future[Channel]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result()[1].channel.abort()


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ssh: asyncssh.SSHClientConnection,
    far_reader: asyncssh.SSHReader[bytes],
    far_writer: asyncssh.SSHWriter[bytes],
) -> None:
    """Carry both ways until both have ended. Where one breaks off, so does the other."""

    async def arrived() -> bytes:
        data = await far_reader.read(CHUNK)
        if not data and ssh.is_closed():  # asyncssh has a stream that broke off look like one that ended
            raise ConnectionResetError
        return data

    try:
        async with asyncio.TaskGroup() as group:
            out = group.create_task(_carry(partial(reader.read, CHUNK), far_writer))
            back = group.create_task(_carry(arrived, writer))
            gone = group.create_task(far_writer.wait_closed())
            await asyncio.wait({out, gone}, return_when=asyncio.FIRST_COMPLETED)
            out.cancel()  # where it is not done, the VM takes no more; it may have said why
            await back
            gone.cancel()
            writer.close()
            await writer.wait_closed()
    except* (OSError, asyncssh.Error):
        _break_off(writer)
    finally:
        far_writer.channel.abort()


async def _carry(
    read: Callable[[], Awaitable[bytes]], writer: asyncio.StreamWriter | asyncssh.SSHWriter[bytes]
) -> None:
    """All that `read` gives, and its end, to `writer`, no faster than that takes it."""
    while data := await read():
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _break_off(writer: asyncio.StreamWriter) -> None:
    """Have the client see that the connection broke; nothing, where it has ended in order."""
    connected = writer.get_extra_info("socket")
    if connected.fileno() != -1:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPTLY)
        writer.transport.abort()
