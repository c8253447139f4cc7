"""Logging in to a VM: where it is, with which key, and what is asked of SSH."""

from __future__ import annotations

from typing import Protocol

import asyncssh

from pi_v_jupyter.remote.pins import PinnedClient, Pins
from pi_v_jupyter.remote.tls import TLSTunnel, tls_context

KEEPALIVE = 5  # seconds; three unanswered ones mean the connection is gone

# AES-GCM first: hardware does it, where ChaCha20 would cost this process most of its throughput.
CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]


class Endpoint(Protocol):
    """Where a VM is and how to log in, asked afresh at each connection."""

    vm_id: str

    @property
    def label(self) -> str:
        """What its user calls it."""

    async def address(self) -> tuple[str, int, str | None]:
        """Host name, TLS port, CA file (None: the system's)."""

    async def private_key(self) -> str:
        """The login key, OpenSSH format."""

    async def check(self) -> None:
        """Raise VMGoneError when the VM is known to be gone for good."""


async def login(endpoint: Endpoint, pins: Pins) -> asyncssh.SSHClientConnection:
    """An SSH connection inside TLS, host key verified.

    Raises:
        HostKeyError, CertificateError: it is not the VM it should be.
        asyncssh.Error, OSError: it did not let us in, or did not answer.
    """
    host, port, ca_file = await endpoint.address()
    key = asyncssh.import_private_key(await endpoint.private_key())
    client = PinnedClient(endpoint.vm_id, pins)
    try:
        return await asyncssh.connect(
            host,
            port,
            tunnel=TLSTunnel(tls_context(ca_file)),
            client_factory=lambda: client,
            username=getattr(endpoint, "username", "root"),
            client_keys=[key],
            known_hosts=b"",
            server_host_key_algs="default",
            preferred_auth="publickey",
            encryption_algs=CIPHERS,
            compression_algs=None,
            agent_path=None,
            config=None,
            keepalive_interval=KEEPALIVE,
        )
    except asyncssh.HostKeyNotVerifiable:
        if client.mismatch:
            raise client.mismatch from None
        raise
