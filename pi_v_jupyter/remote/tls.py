"""SSH inside TLS: the tunnel asyncssh connects through, certificate verified, and the pins of host keys."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Protocol

import asyncssh

from pi_v_jupyter.errors import CertificateError, HostKeyError, SettingsError


class Pins(Protocol):
    """Remembers the host key of each VM, as an OpenSSH fingerprint (`SHA256:…`)."""

    def pinned(self, vm_id: str) -> str | None:
        """The fingerprint seen first, or None."""

    def pin(self, vm_id: str, fingerprint: str) -> None:
        """Remember it."""


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A verifying context; `ca_file` (PEM) replaces the system's authorities."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"The CA file {ca_file} cannot be used: {error}.", "Set another, or none."
        ) from None


class TLSTunnel:
    """What asyncssh takes as `tunnel=`: opens TLS to `host` in place of plain TCP."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, **_: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Connect, with SNI and certificate checked against `host`.

        Names under `.localhost` are this machine (RFC 6761), which not every resolver knows.
        """
        address = "127.0.0.1" if host.endswith(".localhost") else host
        try:
            return await asyncio.get_running_loop().create_connection(
                protocol_factory, address, port, ssl=self._context, server_hostname=host
            )
        except ssl.SSLCertVerificationError as error:
            raise CertificateError(
                f"The TLS certificate of {host} is not trusted: {error.verify_message}.",
                "VERS_CA_FILE names an authority to trust, if this platform has its own.",
            ) from None


class PinnedClient(asyncssh.SSHClient):
    """Trusts a VM's host key on first sight, and from then on only that one."""

    def __init__(self, vm_id: str, pins: Pins) -> None:
        self._vm_id, self._pins = vm_id, pins
        self._seen = ""
        self.mismatch: HostKeyError | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called by asyncssh for a key no known-hosts file vouches for, which is every key here."""
        fingerprint = key.get_fingerprint()
        known = self._pins.pinned(self._vm_id)
        if known is not None and known != fingerprint:
            self.mismatch = HostKeyError(
                f"VM {self._vm_id} answered with another SSH host key ({fingerprint}) than before ({known}).",
                f"If you know why: `%vers forget-host-key {self._vm_id}` accepts the new one.",
            )
            return False
        self._seen = fingerprint
        return True

    def auth_completed(self) -> None:
        """Called by asyncssh once the VM has proven that the key is its own: only now it is worth a pin."""
        if self._pins.pinned(self._vm_id) is None:
            self._pins.pin(self._vm_id, self._seen)
