"""SSH keys: each VM has one to log in with and one it proves itself by. Ed25519, the quickest to emulate."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass(frozen=True)
class KeyPair:
    """A key in OpenSSH's formats: the private one as a PEM text, the public one as a line."""

    private: str = field(repr=False)
    public: str

    @classmethod
    def generate(cls) -> KeyPair:
        """A new key."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return cls(private=private.decode(), public=public.decode())
