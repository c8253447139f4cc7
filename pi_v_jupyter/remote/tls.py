"""TLS in front of a VM: the certificate verified, and the tunnel that asyncssh connects through.

`remote/proxy.py`, which must start fast, needs it: nothing heavy is imported here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from pi_v_jupyter.errors import CertificateError, SettingsError


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A verifying context; `ca_file` (PEM) replaces the system's authorities."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"The CA file {ca_file} cannot be used: {error}.", "Set another, or none."
        ) from None


def dialled(host: str) -> str:
    """What to connect to for `host`. Names under `.localhost` are this computer (RFC 6761): not every
    resolver knows that."""
    return "127.0.0.1" if host.endswith(".localhost") else host


def untrusted(host: str, error: ssl.SSLCertVerificationError) -> CertificateError:
    """What to tell of a certificate that was refused."""
    return CertificateError(
        f"The TLS certificate of {host} is not trusted: {error.verify_message.rstrip('.')}.",
        "VERS_CA_FILE names an authority to trust, if this platform has its own.",
    )


class _Gathered(asyncio.Transport):
    """A transport of which what is written in one turn of the loop goes out as one TLS record.

    asyncssh writes an empty packet before each of its own, which would be a record, a system call and a turn
    of the server for itself.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._held: list[bytes] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(bytes(data))

    def _flush(self) -> None:
        held, self._held = self._held, []
        self._transport.write(b"".join(held))

    def abort(self) -> None:
        self._transport.abort()


class _Gathering(asyncio.Protocol):
    """Gives `protocol` its transport as `_Gathered`."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  as asyncio has it for streams
        self.protocol.connection_made(_Gathered(transport))

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.protocol.connection_lost(exc)


class TLSTunnel:
    """What asyncssh takes as `tunnel=`: opens TLS to `host` in place of plain TCP."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int, **_: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Connect, with SNI and certificate checked against `host`."""
        try:
            transport, between = await asyncio.get_running_loop().create_connection(
                lambda: _Gathering(protocol_factory()),
                dialled(host),
                port,
                ssl=self._context,
                server_hostname=host,
            )
        except ssl.SSLCertVerificationError as error:
            raise untrusted(host, error) from None
        return transport, between.protocol
