"""SSH keys: each VM has one to log in with and one it proves itself by. Ed25519, the quickest to emulate."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)


@dataclass(frozen=True)
class KeyPair:
    """A key in OpenSSH's formats: the private one as a PEM text, the public one as a line."""

    private: str = field(repr=False)
    public: str

    @classmethod
    def generate(cls) -> KeyPair:
        """A new key."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, private: str) -> KeyPair:
        """The pair that a private key belongs to.

        Raises:
            ValueError: it is none of ours.
        """
        key = load_ssh_private_key(private.encode(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("no Ed25519 key")  # noqa: TRY004 - of a text that was read
        return cls._of(key)

    @classmethod
    def _of(cls, key: Ed25519PrivateKey) -> KeyPair:
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return cls(private=private.decode(), public=public.decode())
