"""One TLS port in front of all VMs: the name a client asks for (SNI) says which VM it is led to.

It has a thread and an event loop of its own, so that a flood through it never delays the API. Each
direction reads into one buffer and stops reading while the other side is behind.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future

log = logging.getLogger(__name__)

_BUFFER = 512 * 1024
_HANDSHAKE_TIMEOUT = 20.0
# How long one connection may keep others to the same VM waiting until the VM's first byte.
_FIRST_BYTE_TIMEOUT = 15.0
_START_TIMEOUT = 10.0


class Gateway:
    """Leads `<vm-id>.vm.<domain>` on one loopback port to that VM's SSH server."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, domain: str) -> None:
        self._listener = listener
        self._context = context
        self._suffix = f".vm.{domain}".lower()
        self._ports: dict[str, int] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._targets: weakref.WeakKeyDictionary[ssl.SSLObject, str] = weakref.WeakKeyDictionary()
        self._sides: set[_Side] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        context.sni_callback = self._choose

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()
        self._call(self._serve()).result(_START_TIMEOUT)

    def route(self, vm_id: str, port: int | None) -> None:
        """Lead to the VM by loopback `port`; with None, to it no more: its connections are closed."""
        if port is not None:
            self._ports[vm_id] = port
        elif self._ports.pop(vm_id, None) is not None:
            self._loop.call_soon_threadsafe(self._drop, vm_id)

    def stop(self) -> None:
        """Close everything and end the thread."""
        self._call(self._close()).result(_START_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_TIMEOUT)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        pending = asyncio.all_tasks(self._loop)  # handshakes, for the most part
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _call(self, work: Coroutine[object, object, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _serve(self) -> None:
        self._server = await self._loop.create_server(
            lambda: _Client(self),
            sock=self._listener,
            ssl=self._context,
            ssl_handshake_timeout=_HANDSHAKE_TIMEOUT,
            backlog=512,
        )

    async def _close(self) -> None:
        self._server.close()
        while self._sides:
            for side in list(self._sides):
                side.abort()
            await asyncio.sleep(0.01)  # the transports close, and then tell their protocols

    def _drop(self, vm_id: str) -> None:
        self._turns.pop(vm_id, None)
        for side in list(self._sides):
            if isinstance(side, _Client) and side.vm_id == vm_id:
                side.abort()

    def _choose(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        """During the handshake: refuse a name that leads to no running VM."""
        vm_id = (name or "").lower().removesuffix(self._suffix)
        if vm_id not in self._ports or not isinstance(tls, ssl.SSLObject):
            log.info("no running VM at %.100r", name)
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        self._targets[tls] = vm_id
        return None

    def target(self, tls: ssl.SSLObject) -> str:
        """The VM that the handshake of `tls` asked for."""
        return self._targets.pop(tls)

    def joined(self, side: _Side) -> None:
        """A connection is there."""
        self._sides.add(side)

    def left(self, side: _Side) -> None:
        """A connection has ended."""
        self._sides.discard(side)

    async def connect(self, client: _Client) -> None:
        """Connect `client` to its VM. Half-open connections jam QEMU's network: one at a time per VM."""
        turn = self._turns.setdefault(client.vm_id, asyncio.Lock())
        async with turn:
            port = self._ports.get(client.vm_id)
            if port is None or client.closed:
                client.abort()
                return
            try:
                _, upstream = await self._loop.create_connection(
                    lambda: _Upstream(self, client), "127.0.0.1", port
                )
                async with asyncio.timeout(_FIRST_BYTE_TIMEOUT):
                    await upstream.first_byte
            except TimeoutError:
                log.info("%s is silent", client.vm_id)  # it may still speak: the client decides
            except OSError as error:
                log.warning("%s cannot be reached: %s", client.vm_id, error.strerror)
                client.abort()


class _Side(asyncio.BufferedProtocol):
    """One end of a pump: what it reads, it writes to `peer`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.transport: asyncio.Transport | None = None
        self.peer: _Side | None = None
        self.closed = False
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self.transport = transport
        transport.set_write_buffer_limits(high=4 * _BUFFER)
        self.gateway.joined(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        peer = self.peer
        if peer is not None and peer.transport is not None and not peer.closed:
            # A copy: a transport may keep what it cannot send at once, and the buffer is used again.
            peer.transport.write(bytes(self._view[:nbytes]))

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.closed:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.closed:
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.gateway.left(self)
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()


class _Client(_Side):
    """The TLS side."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.vm_id = ""
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None  # noqa: S101 - for the type checker
        self.transport.pause_reading()  # until there is someone to pass it to
        self.vm_id = self.gateway.target(transport.get_extra_info("ssl_object"))
        self._connecting = asyncio.get_running_loop().create_task(self.gateway.connect(self))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._connecting is not None:
            self._connecting.cancel()


class _Upstream(_Side):
    """The VM's side. `first_byte` is done once the VM has spoken, or will not."""

    def __init__(self, gateway: Gateway, client: _Client) -> None:
        super().__init__(gateway)
        self.peer = client
        self.first_byte: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        client = self.peer
        if client is None or client.transport is None or client.closed:
            self.abort()
            return
        client.peer = self
        client.transport.resume_reading()

    def buffer_updated(self, nbytes: int) -> None:
        self._spoken()
        super().buffer_updated(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._spoken()
        super().connection_lost(exc)

    def _spoken(self) -> None:
        if not self.first_byte.done():
            self.first_byte.set_result(None)
