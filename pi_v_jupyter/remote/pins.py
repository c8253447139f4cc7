"""Host keys of VMs: trusted on first sight, pinned from then on."""

from __future__ import annotations

from typing import Protocol

import asyncssh

from pi_v_jupyter.errors import HostKeyError


class Pins(Protocol):
    """Remembers the host key of each VM, as an OpenSSH fingerprint (`SHA256:…`)."""

    def pinned(self, vm_id: str) -> str | None:
        """The fingerprint seen first, or None."""

    def pin(self, vm_id: str, fingerprint: str) -> None:
        """Remember it."""


def mismatch(vm_id: str, fingerprint: str, known: str) -> HostKeyError:
    """What to tell of a host key that is not the one pinned."""
    return HostKeyError(
        f"VM {vm_id} answered with another SSH host key ({fingerprint}) than before ({known}).",
        f"If you know why: `%vers forget-host-key {vm_id}` accepts the new one.",
    )


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
            self.mismatch = mismatch(self._vm_id, fingerprint, known)
            return False
        self._seen = fingerprint
        return True

    def auth_completed(self) -> None:
        """Called by asyncssh once the VM has proven that the key is its own: only now it is worth a pin."""
        if self._pins.pinned(self._vm_id) is None:
            self._pins.pin(self._vm_id, self._seen)
