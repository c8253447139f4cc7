"""The gateway's own certificate authority, which vouches for `*.vm.<domain>` and nothing else.

The authority is bound to the domain by a name constraint: even with its key no other name can be
vouched for. Keys stay in the user's private state folder, mode 0600.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pi_v_jupyter.settings import write_private

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 90  # made anew at each start of the daemon
_CLOCK_SKEW = timedelta(hours=1)


def authority_file(folder: Path) -> Path:
    """Where the authority's certificate (PEM), which clients are given, is kept in `folder`."""
    return folder / "ca.pem"


def server_context(folder: Path, domain: str) -> ssl.SSLContext:
    """A TLS context that serves `*.vm.<domain>`, with its authority in `folder` (made when absent)."""
    key, certificate = _authority(folder, domain)
    server_key = ec.generate_private_key(ec.SECP256R1())
    name = f"*.vm.{domain}"
    server = (
        _builder(_name(name), certificate.subject, server_key, _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = folder / "server.pem"
    write_private(chain, _key_pem(server_key) + server.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(chain)
    return context


def _authority(folder: Path, domain: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key = load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(authority_file(folder).read_bytes())
        lasts = certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=_SERVER_DAYS)
        if lasts and certificate.subject == _name(domain) and isinstance(key, ec.EllipticCurvePrivateKey):
            return key, certificate
    except (FileNotFoundError, ValueError):
        pass  # absent or damaged: a new one is as good, clients read it at each connection
    new_key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(f"vm.{domain}")], excluded_subtrees=None
    )
    certificate = (
        _builder(_name(domain), _name(domain), new_key, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(constraints, critical=True)
        .sign(new_key, hashes.SHA256())
    )
    write_private(folder / "ca.key", _key_pem(new_key))
    write_private(authority_file(folder), certificate.public_bytes(Encoding.PEM))
    return new_key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    # A common name holds at most 64 characters; the real name is in the extension.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "pi_v_jupyter embedded platform"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
