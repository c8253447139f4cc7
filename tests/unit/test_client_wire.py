"""The client against real servers on loopback: connections that break, stall, redirect or never end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VMConfig
from pi_v_jupyter.errors import ApiError, PlatformUnreachableError
from pi_v_jupyter.settings import Settings

KEY = "vers-key-5f0c9a77e1"
VM = {"vm_id": "vm-1", "state": "running", "created_at": "2026-11-22T09:00:00Z"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Speaks as `script` says: given a request's head, it writes what it likes. Keeps the heads."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.heads: list[bytes] = []
        self.hung_up = asyncio.Event()
        self.port = 0
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lines(self) -> list[str]:
        return [head.split(b" HTTP/")[0].decode() for head in self.heads]

    @contextlib.asynccontextmanager
    async def up(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._talks.add(asyncio.create_task(self._talk(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for talk in self._talks:
                talk.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)
            await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if length:
                    await reader.readexactly(int(length[0].split(b":")[1]))
                await self.script(head, writer)
                if writer.is_closing():
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()


def whole(body: Any, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, headers, len(text), text)


def first(*answers: bytes) -> Script:
    """Writes the answers in turn, the last over and over; None of them whole means: hang up after it."""
    left = list(answers)

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        answer = left.pop(0) if len(left) > 1 else left[0]
        writer.write(answer)
        if CUT in answer:
            writer.close()

    return script


CUT = HEAD + b'Content-Length: 1000\r\n\r\n{"vm_id": "vm-'
CUT_CHUNKED = HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"vm_'


async def at_once(_: float) -> None:
    """Stands in for sleeping between tries."""


def client_of(url: str, timeout: float = 30.0) -> VersClient:
    settings = Settings(environ={"VERS_API_KEY": KEY, "VERS_BASE_URL": url, "HOME": "/nonexistent"})
    return VersClient(settings, timeout=timeout, sleep=at_once)


async def test_a_newer_and_an_older_platform_both_answer() -> None:
    async def old(head: bytes, writer: asyncio.StreamWriter) -> None:
        known = head.startswith(b"GET /api/v1/vms ")
        writer.write(whole([VM]) if known else whole({"error": "no route"}, b"404 Not Found"))

    async def new(head: bytes, writer: asyncio.StreamWriter) -> None:
        known = head.startswith(b"GET /api/v1/vm ")
        writer.write(whole([VM]) if known else whole({"error": "no route"}, b"405 Method Not Allowed"))

    for script, lines in (
        (old, ["GET /api/v1/vm", "GET /api/v1/vms", "GET /api/v1/vms"]),
        (new, ["GET /api/v1/vm", "GET /api/v1/vm"]),
    ):
        async with Server(script).up() as server, client_of(server.url) as client:
            for _ in range(2):
                assert [vm.vm_id for vm in await client.list_vms()] == ["vm-1"]
            assert server.lines == lines


async def test_calls_share_a_connection_and_run_side_by_side() -> None:
    async with Server(first(whole(VM))).up() as server, client_of(server.url) as client:
        answers = await asyncio.gather(*(client.vm_status(f"vm-{n}") for n in range(50)))
    assert len(answers) == 50 and len(server.lines) == 50


async def test_an_answer_cut_short_is_asked_for_again() -> None:
    async with Server(first(CUT, CUT, whole(VM))).up() as server, client_of(server.url) as client:
        assert (await client.vm_status("vm-1")).vm_id == "vm-1"
        assert len(server.heads) == 3


async def test_a_new_vm_whose_answer_is_cut_short_is_not_asked_for_again() -> None:
    async with Server(first(CUT)).up() as server, client_of(server.url) as client:
        with pytest.raises(PlatformUnreachableError, match="broke off its answer") as caught:
            await client.create_vm(VMConfig())
        assert len(server.heads) == 1
    assert "`%vers ls` shows" in caught.value.hint
    assert caught.value.__context__ is None


async def test_a_server_that_speaks_something_else_is_one_sentence() -> None:
    async with Server(first(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")).up() as server, client_of(server.url) as client:
        with pytest.raises(
            PlatformUnreachableError, match=rf"127.0.0.1:{server.port} broke off .* HTTP \(GET"
        ):
            await client.vm_status("vm-1")


@pytest.mark.parametrize("start", [b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{"])
async def test_a_server_that_stalls_is_a_time_out(start: bytes) -> None:
    async with Server(first(start)).up() as server, client_of(server.url, timeout=1.5) as client:
        with pytest.raises(PlatformUnreachableError, match="gave no"):
            await client.vm_status("vm-1")
        assert len(server.heads) == 3


async def test_an_answer_that_drips_in_for_ever_ends_in_time() -> None:
    async def drip(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with Server(drip).up() as server, client_of(server.url, timeout=0.3) as client:
        with pytest.raises(PlatformUnreachableError, match=r"no whole answer within 0\.3 s"):
            await client.create_vm(VMConfig(), wait_boot=False)
        assert len(server.heads) == 1
        await asyncio.wait_for(server.hung_up.wait(), timeout=10)


async def test_a_port_where_nobody_listens_is_told() -> None:
    with socket.socket() as unused:  # bound, so that nobody else takes it; not listening, so it refuses
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with client_of(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(PlatformUnreachableError) as caught:
                await client.create_vm(VMConfig())
    assert caught.value.message == f"127.0.0.1:{port} refused the connection (POST /vm/new_root)."
    assert "ls" not in caught.value.hint  # it cannot have been done


async def test_a_cancelled_call_hangs_up_and_the_next_one_works() -> None:
    asked = asyncio.Event()

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET"):
            writer.write(whole([VM]))
        else:
            asked.set()
            writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")

    async with Server(script).up() as server, client_of(server.url) as client:
        call = asyncio.create_task(client.create_vm(VMConfig()))
        await asyncio.wait_for(asked.wait(), timeout=10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, timeout=10)
        await asyncio.wait_for(server.hung_up.wait(), timeout=10)
        assert len(await client.list_vms()) == 1
        assert server.lines == ["POST /api/v1/vm/new_root?wait_boot=true", "GET /api/v1/vm"]


async def test_the_key_does_not_follow_a_redirect() -> None:
    async with Server(first(whole([VM]))).up() as elsewhere:
        there = whole({}, b"307 Temporary Redirect", b"Location: %s/api/v1/vm\r\n" % elsewhere.url.encode())
        async with Server(first(there)).up() as server, client_of(server.url) as client:
            with pytest.raises(ApiError, match="points to another address") as caught:
                await client.list_vms()
        assert elsewhere.heads == []
    assert elsewhere.url in caught.value.message and caught.value.status == 307


async def test_an_endless_answer_is_cut_off() -> None:
    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
            await writer.drain()

    async with Server(endless).up() as server, client_of(server.url) as client:
        with pytest.raises(PlatformUnreachableError, match="answered with over 16 MB"):
            await client.list_vms()
        assert len(server.heads) == 1
        await asyncio.wait_for(server.hung_up.wait(), timeout=10)


async def test_loopback_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server(first(whole(VM))).up() as proxy, Server(first(whole(VM))).up() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for host in ("127.0.0.1", "localhost"):
            async with client_of(f"http://{host}:{server.port}") as client:
                await client.vm_status("vm-1")
        assert proxy.heads == [] and len(server.heads) == 2


async def test_others_are_asked_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with Server(first(whole(VM))).up() as proxy:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with client_of("http://api.example.invalid") as client:
            await client.vm_status("vm-1")
        assert proxy.lines == ["GET http://api.example.invalid/api/v1/vm/vm-1/status"]


async def test_a_proxy_that_is_away_is_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://me:hunter2@127.0.0.1:{unused.getsockname()[1]}")
        async with client_of("http://api.example.invalid") as client:
            with pytest.raises(PlatformUnreachableError) as caught:
                await client.list_vms()
    assert "Is the environment's proxy right?" in caught.value.hint
    assert "hunter2" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PEM file of a key and a certificate for 127.0.0.1 that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_a_certificate_is_checked_against_what_the_system_trusts(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with Server(first(whole(VM))).up(tls) as server:
        url = server.url.replace("http:", "https:")
        async with client_of(url) as client:
            with pytest.raises(PlatformUnreachableError, match="certificate that is not trusted") as caught:
                await client.vm_status("vm-1")
        assert "SSL_CERT_FILE" in caught.value.hint and server.heads == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with client_of(url) as client:
            assert (await client.vm_status("vm-1")).vm_id == "vm-1"


async def test_a_server_without_tls_where_tls_was_meant_is_told() -> None:
    async with Server(first(whole(VM))).up() as server:
        async with client_of(server.url.replace("http:", "https:"), timeout=0.6) as client:
            with pytest.raises(PlatformUnreachableError, match=r"\(GET /vm\)"):
                await client.list_vms()
        assert all(KEY.encode() not in head for head in server.heads)
