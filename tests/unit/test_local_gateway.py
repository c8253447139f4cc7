"""The gateway leads a TLS name to the VM of that name, and to nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from pi_v_jupyter.local import certificates
from pi_v_jupyter.local.gateway import Gateway

DOMAIN = "test.localhost"
REFUSED = (ssl.SSLError, ConnectionResetError)


@dataclass
class Server:
    """Stands for a VM's SSH server: greets, then sends back what it gets."""

    port: int
    open: int = 0
    most_open: int = 0


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    told = Server(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.open += 1
        told.most_open = max(told.most_open, told.open)
        await asyncio.sleep(0.02)
        told.open -= 1
        with contextlib.suppress(ConnectionError):
            writer.write(b"SSH-2.0-test\r\n")
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        await closed(writer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    told.port = listening.sockets[0].getsockname()[1]
    yield told
    listening.close()
    if serving := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(serving, timeout=10)  # they end because the gateway, made later, has ended


@pytest.fixture
def gateway(server: Server, tmp_path: Path) -> Iterator[Gateway]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    gateway = Gateway(listener, certificates.server_context(tmp_path, DOMAIN), DOMAIN)
    gateway.port = listener.getsockname()[1]  # type: ignore[attr-defined]
    gateway.start()
    yield gateway
    gateway.stop()


@contextlib.asynccontextmanager
async def connected(
    gateway: Gateway, folder: Path, name: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = ssl.create_default_context(cafile=certificates.authority_file(folder))
    with socket.create_connection(("127.0.0.1", gateway.port)) as sock:  # type: ignore[attr-defined]
        reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
        yield reader, writer
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


async def test_a_name_leads_to_its_vm_both_ways(gateway: Gateway, server: Server, tmp_path: Path) -> None:
    gateway.route("one", server.port)
    sent = bytes(range(256)) * 40_000  # more than all buffers on the way

    async def send(writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(sent), 65536):
            writer.write(sent[start : start + 65536])
            await writer.drain()

    async with connected(gateway, tmp_path, f"ONE.vm.{DOMAIN}") as (reader, writer):
        assert await reader.readline() == b"SSH-2.0-test\r\n"
        sending = asyncio.create_task(send(writer))
        assert await reader.readexactly(len(sent)) == sent
        await sending


@pytest.mark.parametrize("name", [f"two.vm.{DOMAIN}", "one.vm.elsewhere.localhost", DOMAIN])
async def test_any_other_name_fails_in_the_handshake(
    gateway: Gateway, server: Server, tmp_path: Path, name: str
) -> None:
    gateway.route("one", server.port)
    with pytest.raises(REFUSED):
        async with connected(gateway, tmp_path, name):
            pass


async def test_a_vm_that_is_gone_takes_its_connections_along(
    gateway: Gateway, server: Server, tmp_path: Path
) -> None:
    gateway.route("one", server.port)
    async with connected(gateway, tmp_path, f"one.vm.{DOMAIN}") as (reader, _):
        await reader.readline()
        gateway.route("one", None)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
    with pytest.raises(REFUSED):
        async with connected(gateway, tmp_path, f"one.vm.{DOMAIN}"):
            pass


async def test_a_vm_that_cannot_be_reached_closes_the_connection(gateway: Gateway, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gateway.route("one", nobody.getsockname()[1])
        async with connected(gateway, tmp_path, f"one.vm.{DOMAIN}") as (reader, _):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)


async def test_connections_to_one_vm_are_opened_one_after_another(
    gateway: Gateway, server: Server, tmp_path: Path
) -> None:
    gateway.route("one", server.port)

    async def greet() -> bytes:
        async with connected(gateway, tmp_path, f"one.vm.{DOMAIN}") as (reader, _):
            return await reader.readline()

    assert set(await asyncio.gather(*(greet() for _ in range(8)))) == {b"SSH-2.0-test\r\n"}
    assert server.most_open == 1


def test_the_authority_vouches_for_vms_of_its_domain_alone_and_its_key_is_private(tmp_path: Path) -> None:
    certificates.server_context(tmp_path, DOMAIN)
    authority = x509.load_pem_x509_certificate(certificates.authority_file(tmp_path).read_bytes())
    constraint = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraint.critical
    assert list(constraint.value.permitted_subtrees or []) == [x509.DNSName(f"vm.{DOMAIN}")]
    for name in ("ca.key", "server.pem"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_the_authority_is_kept_for_its_domain_and_made_anew_for_another(tmp_path: Path) -> None:
    made = []
    for domain in (DOMAIN, DOMAIN, "other.localhost"):
        certificates.server_context(tmp_path, domain)
        made.append(certificates.authority_file(tmp_path).read_bytes())
    assert made[0] == made[1]
    assert made[1] != made[2]
