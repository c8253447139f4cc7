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
    """What to connect to for `host`. Names under `.localhost` are this machine (RFC 6761): not every
    resolver knows that."""
    return "127.0.0.1" if host.endswith(".localhost") else host


def untrusted(host: str, error: ssl.SSLCertVerificationError) -> CertificateError:
    """What to tell of a certificate that was refused."""
    return CertificateError(
        f"The TLS certificate of {host} is not trusted: {error.verify_message.rstrip('.')}.",
        "VERS_CA_FILE names an authority to trust, if this platform has its own.",
    )


class TLSTunnel:
    """What asyncssh takes as `tunnel=`: opens TLS to `host` in place of plain TCP."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, **_: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Connect, with SNI and certificate checked against `host`."""
        try:
            return await asyncio.get_running_loop().create_connection(
                protocol_factory, dialled(host), port, ssl=self._context, server_hostname=host
            )
        except ssl.SSLCertVerificationError as error:
            raise untrusted(host, error) from None
