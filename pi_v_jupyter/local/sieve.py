"""What leaves a VM goes through here: the outside may be reached, this computer's loopback may not.

QEMU's user-mode network (slirp) leads 10.0.3.2, and what a guest calls 127.0.0.1, to the loopback of
the host, and has no switch against that. So QEMU hands over every Ethernet frame that a guest sends
and takes back those that pass (`Machine.let_out`); on both ways a frame's length goes before it, four
bytes with the highest first. What comes in to a guest is an answer to what went out, and is not looked at.

Each frame is judged by itself, by its own header, and nothing is remembered: a hostile guest has
nothing to fill up. One that sends faster than it can be served loses frames, as on any network.
It has a thread and an event loop of its own, so that a flood through it delays no request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from pi_v_jupyter.local.additions import NAME_SERVER
from pi_v_jupyter.local.hardware import HOST_SEEN, INSIDE, OUTSIDE

log = logging.getLogger(__name__)

_LENGTH = struct.Struct("!I")
_LONGEST_FRAME = 4096 + 65536  # QEMU's own bound
_BUFFER = 2 * _LONGEST_FRAME  # bytes that may have been read and not been judged
_MOST_WAITING = 512 * 1024  # bytes that QEMU has not taken back yet; what would come on top is lost
_END_TIMEOUT = 10.0

_ARP = 0x0806
_IP = 0x0800
_SHORTEST_ARP = 42
# Ethernet: type. IPv4: version and length of the header, length of it all, fragment, protocol, destination.
_HEADERS = struct.Struct("!12xH BxH2xH xB6xI")
_ETHERNET_BYTES = 14
_PLAIN_HEADER = 0x45  # version 4, no options: nobody has a use for them but to mislead
_PART = 0x3FFF  # "more fragments", and this one's place among them; not "don't fragment"
_DESTINATION_PORT = struct.Struct("!2xH")
_ICMP, _TCP, _UDP = 1, 6, 17

# This computer's loopback under all its names (0.0.0.0 is one, and all of slirp's own network), what
# is no single machine, and link-local addresses, where clouds serve a machine's credentials.
_CLOSED = tuple(
    IPv4Network(network)
    for network in ("0.0.0.0/8", "127.0.0.0/8", INSIDE, OUTSIDE, "169.254.0.0/16", "224.0.0.0/3")
)
_HOST = int(IPv4Address(HOST_SEEN))
_NAMES = int(IPv4Address(NAME_SERVER))
_DOMAIN = 53


def passes(frame: memoryview | bytes, opened: frozenset[int]) -> bool:
    """Whether a VM may send `frame`, when TCP ports `opened` of this computer's loopback are for it."""
    if len(frame) < _HEADERS.size:
        return False
    kind, header, length, part, protocol, destination = _HEADERS.unpack_from(frame)
    if kind == _ARP:
        return len(frame) >= _SHORTEST_ARP
    if kind != _IP or header != _PLAIN_HEADER or protocol not in (_TCP, _UDP, _ICMP):
        return False
    if not _HEADERS.size <= _ETHERNET_BYTES + length <= len(frame):
        return False
    if _is_outside(destination):
        return True
    # By its port. A part of a packet may say one port and, put together, be another's.
    if protocol == _ICMP or part & _PART or _ETHERNET_BYTES + length < _HEADERS.size + _DESTINATION_PORT.size:
        return False
    (port,) = _DESTINATION_PORT.unpack_from(frame, _HEADERS.size)
    if destination == _NAMES:
        return bool(port == _DOMAIN)
    return destination == _HOST and protocol == _TCP and port in opened


@lru_cache(maxsize=1024)
def _is_outside(address: int) -> bool:
    return not any(IPv4Address(address) in network for network in _CLOSED)


def sift(data: memoryview, opened: frozenset[int]) -> tuple[int, bytes]:
    """How many bytes of `data` are whole frames, and those that pass; each has its length before it.

    Raises:
        ValueError: these are no frames.
    """
    done, passed = 0, []
    while done + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, done)
        if length > _LONGEST_FRAME:
            raise ValueError(f"a frame of {length} bytes")
        start, end = done + _LENGTH.size, done + _LENGTH.size + length
        if end > len(data):
            break
        if passes(data[start:end], opened):
            passed.append(data[done:end])
        done = end
    return done, b"".join(passed)


class Sieve:
    """Stands between the VMs of one daemon and the outside."""

    def __init__(self) -> None:
        self._opened: dict[str, frozenset[int]] = {}
        self._passages: set[_Passage] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sieve", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def connect(self, vm_id: str) -> tuple[socket.socket, socket.socket]:
        """QEMU's ends for a VM: where it sends the guest's frames, and where it takes back those that pass.

        A VM that was connected before is so no more; one that ends is forgotten by itself.
        """
        sends, sent = socket.socketpair()
        takes, passed = socket.socketpair()
        asyncio.run_coroutine_threadsafe(self._join(vm_id, sent, passed), self._loop)
        return sends, takes

    def open(self, vm_id: str, ports: frozenset[int]) -> None:
        """Let the VM reach TCP `ports` of this computer's loopback, at 10.0.3.2, and no others."""
        self._opened[vm_id] = ports

    def opened(self, vm_id: str) -> frozenset[int]:
        """The ports that are open for the VM."""
        return self._opened.get(vm_id, frozenset())

    def stop(self) -> None:
        """Cut every VM off and end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_END_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_TIMEOUT)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _join(self, vm_id: str, sent: socket.socket, passed: socket.socket) -> None:
        for former in self._passages:
            if former.vm_id == vm_id:
                former.abort()
        passage = _Passage(self, vm_id)
        self._passages.add(passage)
        await self._loop.create_connection(lambda: _Back(passage), sock=passed)
        await self._loop.create_connection(lambda: passage, sock=sent)

    def left(self, passage: _Passage) -> None:
        """Both ways of `passage` have ended."""
        self._passages.discard(passage)

    async def _close(self) -> None:
        while self._passages:
            for passage in self._passages:
                passage.abort()
            await asyncio.sleep(0.001)  # the transports close, and then tell their protocols


class _Passage(asyncio.BufferedProtocol):
    """Reads what one guest sends and writes what passes to its way back."""

    def __init__(self, sieve: Sieve, vm_id: str) -> None:
        self.vm_id = vm_id
        self._sieve = sieve
        self._back: asyncio.WriteTransport | None = None
        self._ways: list[asyncio.WriteTransport] = []
        self._lost = 0
        self._aborted = False
        self._buffer = memoryview(bytearray(_BUFFER))
        self._filled = 0

    def lead_back(self, transport: asyncio.BaseTransport) -> None:
        """Write what passes to `transport`."""
        self._back = self._has(transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._has(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        try:
            done, passed = sift(self._buffer[: self._filled], self._sieve.opened(self.vm_id))
        except ValueError as error:
            log.error("%s: QEMU sent %s: the VM is cut off", self.vm_id, error)  # noqa: TRY400
            self.abort()
            return
        rest = bytes(self._buffer[done : self._filled])
        self._filled = len(rest)
        self._buffer[: self._filled] = rest
        if passed and self._back is not None and self._back.get_write_buffer_size() < _MOST_WAITING:
            self._back.write(passed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost += 1
        self.abort()
        if self._lost == 2:  # both ways
            self._sieve.left(self)

    def abort(self) -> None:
        """Cut the VM off."""
        self._aborted = True
        for way in self._ways:
            way.abort()

    def _has(self, transport: asyncio.BaseTransport) -> asyncio.WriteTransport:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - for the type checker
        self._ways.append(transport)
        if self._aborted:
            transport.abort()
        return transport


class _Back(asyncio.Protocol):
    """The way back to QEMU, which says nothing on it."""

    def __init__(self, passage: _Passage) -> None:
        self._passage = passage

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._passage.lead_back(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._passage.connection_lost(exc)
