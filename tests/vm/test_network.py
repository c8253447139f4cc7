"""A VM reaches the outside as this computer does, but not its loopback, save for what is opened by name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncssh
import psutil
import pytest

if TYPE_CHECKING:
    from platforms import Platform

pytestmark = pytest.mark.vm

# Run in a VM: what it gets from each of a list of [host, port], or that it gets nothing.
ASK = """
import json, socket, sys
for host, port in json.loads(sys.argv[1]):
    try:
        with socket.create_connection((host, port), timeout=float(sys.argv[2])) as s:
            print(host, s.recv(100).decode())
    except OSError:
        print(host, "nothing")
"""
# Run in a VM: to each address a TCP handshake is begun and a datagram sent, past the VM's own routes,
# by the network card and the gateway given; plain, with IP options, and in parts.
FORGE = """
import json, socket, struct, sys
card, gateway, source, addresses, port = json.loads(sys.argv[1])

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF

def packet(to, protocol, body, options=b"", part=0):
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + len(body), 7, part, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(to)) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body

def handshake(to):
    body = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 5 << 4, 2, 64240, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!BBH", 0, 6, len(body))
    return body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
    link.bind((card, 0))
    with open(f"/sys/class/net/{card}/address") as file:
        own = bytes.fromhex(file.read().strip().replace(":", ""))
    for to in addresses:
        datagram = struct.pack("!HHHH", 40000, port, 8 + 8, 0) + b"datagram"
        for protocol, body in ((6, handshake(to)), (17, datagram)):
            for forged in (
                packet(to, protocol, body),
                packet(to, protocol, body, options=b"\\1\\1\\1\\1"),
                packet(to, protocol, body[:8], part=0x2000),
                packet(to, protocol, body[8:], part=1),
            ):
                link.send(bytes.fromhex(gateway) + own + b"\\x08\\x00" + forged)
"""
LOOPBACK = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.3.2",
    "10.0.3.3",
    "10.0.3.77",
    "10.0.3.255",
    "10.0.2.2",
]


@dataclass
class Server:
    """Greets whoever comes, over TCP; and remembers all, datagrams too."""

    address: str
    port: int = 0
    came: list[str] = field(default_factory=list)

    async def greet(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.append("connection")
        with contextlib.suppress(ConnectionError):
            writer.write(b"welcome")
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(address: str) -> AsyncIterator[Server]:
    server = Server(address)

    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            server.came.append("datagram")

    listening = await asyncio.start_server(server.greet, address, 0)
    server.port = listening.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, local_addr=(address, server.port)
    )
    try:
        yield server
    finally:
        transport.close()
        listening.close()


@pytest.fixture
async def outside() -> AsyncIterator[Server]:
    """A server on this computer's address in its network, which is outside for a VM."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this computer is in no network")
        address = probe.getsockname()[0]
    async with serving(address) as server:
        yield server


@pytest.fixture
async def inside() -> AsyncIterator[Server]:
    """A server on this computer's loopback."""
    async with serving("127.0.0.1") as server:
        yield server


async def asked(platform: Platform, vm: str, *targets: tuple[str, int], seconds: float = 2) -> list[str]:
    """What the VM gets from each of `targets`, for which it waits so long."""
    command = f"python3 -c {shlex.quote(ASK)} {shlex.quote(json.dumps(targets))} {seconds}"
    return [line.partition(" ")[2] for line in (await platform.shell(vm, command)).splitlines()]


async def welcomed(platform: Platform, vm: str, server: Server) -> bool:
    """Is the VM greeted by it?"""
    return await asked(platform, vm, (server.address, server.port), seconds=60) == ["welcome"]


@pytest.fixture
async def vm(platform: Platform) -> str:
    """A VM for one test."""
    return await platform.create()


async def test_the_outside_is_reached_from_the_first_moment(
    platform: Platform, vm: str, outside: Server
) -> None:
    assert await welcomed(platform, vm, outside)


async def test_a_large_transfer_arrives_whole_both_ways(platform: Platform, vm: str, outside: Server) -> None:
    size = 20_000_000

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(size)
        writer.write(bytes(size))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(echo, outside.address, 0)
    port = listening.sockets[0].getsockname()[1]
    client = (
        f"import socket; s = socket.create_connection(({outside.address!r}, {port}))\n"
        f"s.sendall(bytes({size}))\ngot = 0\n"
        "while data := s.recv(1 << 20): got += len(data)\nprint(got)"
    )
    assert await platform.shell(vm, f"python3 -c {shlex.quote(client)}") == f"{size}\n"
    listening.close()


async def test_this_computers_loopback_is_reached_by_none_of_its_names(
    platform: Platform, vm: str, outside: Server, inside: Server
) -> None:
    targets = [(address, inside.port) for address in LOOPBACK if address not in ("127.0.0.1", "127.9.9.9")]
    assert await asked(platform, vm, *targets) == ["nothing"] * len(targets)
    api, gateway = (
        int(platform.description.base_url.split(":")[2].split("/")[0]),
        platform.description.vm_port,
    )
    assert await asked(platform, vm, ("10.0.3.2", api), ("10.0.3.2", gateway)) == ["nothing"] * 2
    assert inside.came == []


@pytest.mark.parametrize(
    ("card", "gateway", "source"),
    [("eth1", "52550a000302", "10.0.3.15"), ("eth0", "52550a000202", "10.0.2.15")],
)
async def test_nor_by_frames_that_no_honest_guest_would_send(
    platform: Platform, vm: str, outside: Server, inside: Server, card: str, gateway: str, source: str
) -> None:
    arguments = json.dumps([card, gateway, source, LOOPBACK, inside.port])
    await platform.shell(vm, f"python3 -c {shlex.quote(FORGE)} {shlex.quote(arguments)}")
    # The same frames do get out where they may; whatever was sent before them has been dealt with by then.
    arguments = json.dumps(["eth1", "52550a000302", "10.0.3.15", [outside.address], outside.port])
    await platform.shell(vm, f"python3 -c {shlex.quote(FORGE)} {shlex.quote(arguments)}")
    async with asyncio.timeout(20):
        while set(outside.came) < {"connection", "datagram"}:
            await asyncio.sleep(0.05)
    assert inside.came == []


async def test_vms_do_not_reach_each_other(platform: Platform, vm: str) -> None:
    other = await platform.create()
    ports = [
        (host, connection.laddr.port)
        for process in platform.qemus()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
        for host in ("10.0.3.2", "10.0.2.2")
    ]
    assert len(ports) >= 4
    assert set(await asked(platform, vm, *ports)) == {"nothing"}
    await platform.delete(other)


async def test_a_vm_with_a_key_makes_vms_of_its_own_and_no_others(platform: Platform, vm: str) -> None:
    other = await platform.create()
    async with platform.api() as api:
        told = (await api.post(f"/vm/{vm}/api_key", json={"max_vms": 1})).json()
    curl = (
        f"curl -s -m 60 -H 'Authorization: Bearer {told['api_key']}' -w ' %{{http_code}}' {told['base_url']}"
    )
    made = await platform.shell(vm, f"{curl}/vm/new_root?wait_boot=true --json '{{\"vm_config\": {{}}}}'")
    assert made.endswith(" 200")
    child = json.loads(made.removesuffix(" 200"))["vm_id"]
    listed = json.loads((await platform.shell(vm, f"{curl}/vm")).removesuffix(" 200"))
    assert {each["vm_id"] for each in listed} == {vm, child}
    assert (await platform.shell(vm, f"{curl}/vm/{child}/ssh_key")).endswith(" 200")
    for path, status in (
        (f"vm/{other}/ssh_key", 404),
        (f"vm/{other} -X DELETE", 404),
        ("env_vars", 403),
        (f"vm/{vm}/api_key -X POST", 403),
        ("vm/new_root --json '{\"vm_config\": {}}'", 403),
    ):
        assert (await platform.shell(vm, f"{curl}/{path}")).endswith(f" {status}"), path
    host, port = told["gateway"].split(":")
    assert await asked(platform, child, (host, int(port))) == ["nothing"]
    given = await platform.shell(vm, f"{curl}/vm/{child}/api_key --json '{{\"max_vms\": 5}}'")
    assert given.endswith(" 200"), "to what it made it may give a key"
    theirs = curl.replace(told["api_key"], json.loads(given.removesuffix(" 200"))["api_key"])
    seen = json.loads((await platform.shell(child, f"{theirs}/vm")).removesuffix(" 200"))
    assert [each["vm_id"] for each in seen] == [child]
    more = await platform.shell(child, f"{theirs}/vm/new_root --json '{{\"vm_config\": {{}}}}'")
    assert more.endswith(" 403"), "the limit of the first key holds for what is made with the second"

    async with platform.api() as api:
        assert (await api.delete(f"/vm/{vm}/api_key")).status_code == 200
    assert (await platform.shell(vm, f"{curl.replace('-m 60', '-m 2')}/vm || true")).endswith(" 000")
    for each in (child, other):
        await platform.delete(each)


async def test_without_its_daemon_nothing_gets_out_of_a_vm_and_with_the_next_all_does(
    own_platform: Platform, outside: Server
) -> None:
    platform = own_platform
    platform.up()
    vm = await platform.create()
    async with platform.api() as api:
        await api.post(f"/vm/{vm}/api_key")
    assert await welcomed(platform, vm, outside)
    key = asyncssh.import_private_key((await platform.get(f"/vm/{vm}/ssh_key"))["ssh_private_key"])
    (qemu,) = platform.qemus()
    (ssh_port,) = (c.laddr.port for c in qemu.net_connections() if c.status == psutil.CONN_LISTEN)
    daemon = psutil.Process(platform.description.pid)
    daemon.send_signal(signal.SIGKILL)
    psutil.wait_procs([daemon], timeout=10)

    outside.came.clear()
    targets = shlex.quote(json.dumps([(outside.address, outside.port)]))
    async with asyncssh.connect(
        "127.0.0.1",
        ssh_port,
        username="root",
        client_keys=[key],
        known_hosts=None,
        config=None,
        agent_path=None,
    ) as straight:
        done = await straight.run(f"python3 -c {shlex.quote(ASK)} {targets} 2", check=True)
        datagrams = (
            "import socket\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
            f"    for _ in range(5000): s.sendto(b'flood', ({outside.address!r}, {outside.port}))"
        )
        await straight.run(f"python3 -c {shlex.quote(datagrams)}", check=True)
    assert str(done.stdout).endswith("nothing\n")
    assert outside.came == []
    folder = platform.state / "vms" / vm
    kept = sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".qcow2")
    assert kept < 100_000  # whatever QEMU has to say about each of them

    platform.up()
    assert await welcomed(platform, vm, outside)
    api_port = int(platform.description.base_url.split(":")[2].split("/")[0])
    told = await platform.shell(vm, f"curl -s -w ' %{{http_code}}' http://10.0.3.2:{api_port}/api/v1/vm")
    assert told.endswith(" 401")  # what was opened for it is so again
