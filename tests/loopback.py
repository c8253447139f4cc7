"""An ordinary OpenSSH server behind TLS on loopback, run by and for the current user."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import getpass
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)  # where sshd starts a session, whatever $HOME is here
HOST = "loopback.vm.pi-v.localhost"
CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
MaxStartups 100:30:200
MaxSessions {sessions}
LogLevel ERROR
Subsystem sftp internal-sftp
{extra}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A self-signed certificate for `host`: (certificate, key) files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "tls.pem", folder / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate_file, key_file


@dataclass
class TLSFront:
    """Ends TLS on one port and passes the bytes to another; `cut()` breaks all that is open.

    Without a certificate it passes the TLS on as it is.
    """

    certificate: Path | None
    key: Path | None
    target: int

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._stalled: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.refuse = False
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)

    def _run(self, ready: threading.Event) -> None:
        context = None
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
        start = asyncio.start_server(self._serve, sock=self._listener, ssl=context, limit=1 << 20)
        self._server = self._loop.run_until_complete(start)
        ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refuse:
            writer.transport.abort()
            return
        inner, outer = await asyncio.open_connection("127.0.0.1", self.target, limit=1 << 20)
        self._writers |= {writer, outer}
        try:
            await asyncio.gather(self._pump(reader, outer), self._pump(inner, writer))
        except asyncio.CancelledError:  # `close`; asyncio's own callback would log it as an error
            return
        finally:
            for end in (writer, outer):
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18):
                if writer in self._stalled:
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    def cut(self) -> None:
        """Break every open connection, as a gateway that dies would."""

        def abort() -> None:
            for writer in self._writers:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def stall(self) -> None:
        """Swallow, from now on, what comes over the connections that are open."""
        self._stalled |= self._writers

    def close(self) -> None:
        self.cut()

        def stop() -> None:
            self._server.close()
            self._loop.stop()

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(10)


@dataclass
class Loopback:
    """The endpoint the tests connect to; it satisfies `remote.connection.Endpoint`."""

    folder: Path
    port: int
    ssh_port: int
    certificate: Path
    key: str = field(repr=False)
    front: TLSFront | None = None
    vm_id: str = "loopback"
    label: str = "build"
    username: str = field(default_factory=getpass.getuser)

    async def address(self) -> tuple[str, int, str | None]:
        return HOST, self.port, str(self.certificate)

    async def private_key(self) -> str:
        return self.key

    async def check(self) -> None:
        return None


class MemoryPins:
    """Host keys pinned for one test."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def pinned(self, vm_id: str) -> str | None:
        return self.known.get(vm_id)

    def pin(self, vm_id: str, fingerprint: str) -> None:
        self.known[vm_id] = fingerprint


def start_sshd(folder: Path, sessions: int, extra: str) -> tuple[subprocess.Popen[bytes], int]:
    """The server, listening, and its port; another port where somebody was quicker to take the first."""
    sshd = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin")
    assert sshd, "openssh-server is needed: apt-get install openssh-server"
    with contextlib.suppress(PermissionError):
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config, log_file = folder / "sshd_config", folder / "sshd.log"
    for _ in range(20):
        port = free_port()
        config.write_text(CONFIG.format(port=port, folder=folder, sessions=sessions, extra=extra))
        with log_file.open("wb") as log:
            server = subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=log)
        deadline = time.monotonic() + 20
        # Its own sign that it listens: a connection could have been to another's server.
        while server.poll() is None and not (folder / "sshd.pid").exists():
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.02)
        if server.poll() is None:
            return server, port
        assert "Address already in use" in log_file.read_text(), log_file.read_text()
    raise AssertionError("no port for sshd")


@contextlib.contextmanager
def loopback_sshd(folder: Path, extra: str = "", sessions: int = 500) -> Iterator[Loopback]:
    """Start sshd and its TLS front; end both."""
    client_key = asyncssh.generate_private_key("ssh-ed25519")
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(folder / "host_key")
    (folder / "host_key").chmod(0o600)
    (folder / "authorized_keys").write_bytes(client_key.export_public_key())
    private = client_key.export_private_key()
    (folder / "client_key").write_bytes(private)
    (folder / "client_key").chmod(0o600)
    server, ssh_port = start_sshd(folder, sessions, extra)
    certificate, key_file = make_certificate(folder, HOST)
    front = TLSFront(certificate, key_file, ssh_port)
    try:
        yield Loopback(folder, front.port, ssh_port, certificate, private.decode(), front)
    finally:
        front.close()
        server.terminate()
        server.wait(10)
