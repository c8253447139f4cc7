"""`pi-v-jupyter ssh-proxy`: what OpenSSH runs as its ProxyCommand, to reach a VM through TLS.

Two threads that block, one a direction: the slower end holds up the other, and either direction may end
before the other, which asyncio's TLS does not offer. Nothing heavy is imported: every `ssh` waits for it.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

from pi_v_jupyter.errors import ConnectError
from pi_v_jupyter.remote.tls import dialled, tls_context, untrusted

CONNECT_TIMEOUT = 20.0  # seconds to connect, and again for each step of the handshake
CHUNK = 1 << 16  # bytes


def run(host: str, port: int, ca_file: str | None) -> bool:
    """Carry stdin to the VM at `host`, and what it sends to stdout until it ends; False when it broke off.

    Raises:
        ConnectError: it cannot be reached; CertificateError: its certificate is not trusted.
        SettingsError: the CA file cannot be used.
    """
    for number in (signal.SIGINT, signal.SIGPIPE):  # whoever uses us is gone: we go too, without a word
        signal.signal(number, signal.SIG_DFL)
    stream = connect(host, port, ca_file)
    threading.Thread(target=_send, args=(stream,), daemon=True).start()
    try:
        while data := stream.receive():
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(1, rest) :]
    except OSError:  # SSH tells its user, and better
        return False
    return True


def _send(stream: Stream) -> None:
    with suppress(OSError):  # it broke off: the other direction sees that as well
        while data := os.read(0, CHUNK):
            stream.send(data)
        stream.end()


def connect(host: str, port: int, ca_file: str | None) -> Stream:
    """TLS to `host`, its certificate verified."""
    context = tls_context(ca_file)
    try:
        connected = socket.create_connection((dialled(host), port), CONNECT_TIMEOUT)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(connected, context, host)
        connected.settimeout(None)
    except ssl.SSLCertVerificationError as error:
        raise untrusted(host, error) from None
    except (OSError, ValueError) as error:  # ValueError: no name that could be looked up
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConnectError(
            f"The VM at {host}:{port} cannot be reached: {why}.",
            "`%vers ls` shows whether it runs; `%vers ssh-config` tells its address anew.",
        ) from None
    return stream


class Stream:
    """TLS over a connected socket, for one thread that sends and one that receives."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Agree on keys, and see who is there."""
        self._socket = connected
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=host)
        self._turn = threading.Lock()  # held while TLS works, in memory; never while a socket is waited for
        self._over = False  # nothing more is received
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(connected.recv(CHUNK))
            except ssl.SSLError:
                self._flush()  # the other side should know why
                raise
        self._flush()
        self._early = b"".join(self._pieces())  # came along with the handshake

    def send(self, data: bytes) -> None:
        """Send it; waits while the other side takes no more."""
        with self._turn:
            self._tls.write(data)
        self._flush()

    def end(self) -> None:
        """Say that nothing more is sent. What is received goes on."""
        with self._turn, suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):  # for the other side's end
            self._tls.unwrap()
        self._flush()

    def receive(self) -> bytes:
        """What has come; empty at the end."""
        got, self._early = self._early, b""
        while not got and not self._over:
            data = self._socket.recv(CHUNK)
            with self._turn:
                self._feed(data)
                got = b"".join(self._pieces())
        return got

    def _pieces(self) -> Iterator[bytes]:
        """All that TLS has: it must be taken before `end`, which is an error with data unread."""
        try:
            while piece := self._tls.read(CHUNK):
                yield piece
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:  # it ended without saying so: what SSH makes of that is its own affair
            self._over = True
        else:
            self._over = True

    def _feed(self, data: bytes) -> None:
        if data:
            self._arrived.write(data)
        else:
            self._arrived.write_eof()

    def _flush(self) -> None:
        """Send what TLS has made. The thread that sends is the only one that does."""
        with self._turn:
            data = self._leaving.read()
        self._socket.sendall(data)
