"""What a VM may send: to the outside all that is IPv4, to this computer's loopback only what is opened."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from pi_v_jupyter.local.sieve import Sieve, passes, sift

NOTHING: frozenset[int] = frozenset()
TCP, UDP, ICMP = 6, 17, 1


def ip(
    to: str,
    port: int = 80,
    *,
    protocol: int = TCP,
    header: int = 0x45,
    part: int = 0,
    length: int | None = None,
    payload: int = 40,
) -> bytes:
    """An Ethernet frame with an IPv4 packet as a guest could make it."""
    body = struct.pack("!HH", 40000, port) + bytes(payload - 4) if payload >= 4 else bytes(payload)
    total = 20 + len(body) if length is None else length
    head = struct.pack(
        "!BBHHHBBH4s4s",
        *(header, 0, total, 1, part, 64, protocol, 0),
        IPv4Address("10.0.3.15").packed,
        IPv4Address(to).packed,
    )
    return ethernet(0x0800, head + body)


def ethernet(kind: int, content: bytes) -> bytes:
    return bytes(12) + struct.pack("!H", kind) + content


def framed(*frames: bytes) -> bytes:
    """As QEMU sends them."""
    return b"".join(struct.pack("!I", len(frame)) + frame for frame in frames)


@pytest.mark.parametrize("to", ["1.1.1.1", "192.168.1.10", "10.0.4.2", "172.16.0.1", "126.255.255.255"])
@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
def test_the_outside_and_private_networks_are_reached(to: str, protocol: int) -> None:
    assert passes(ip(to, protocol=protocol), NOTHING)
    assert passes(ip(to, protocol=protocol, part=0x2000), NOTHING)  # the first part of a packet
    assert passes(ip(to, protocol=protocol, part=0x00B9), NOTHING)  # its last
    assert passes(ip(to, protocol=protocol, part=0x4000), NOTHING)  # "don't fragment"


@pytest.mark.parametrize(
    "to",
    [
        *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9"),
        *("10.0.3.0", "10.0.3.2", "10.0.3.3", "10.0.3.4", "10.0.3.15", "10.0.3.255"),
        *("10.0.2.2", "10.0.2.3", "10.0.2.15", "10.0.2.255"),
        *("169.254.169.254", "224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    ],
)
@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
def test_loopback_under_none_of_its_names_is(to: str, protocol: int) -> None:
    for port in (22, 80, 8080, 53000):
        assert not passes(ip(to, port, protocol=protocol), NOTHING)
        assert not passes(ip(to, port, protocol=protocol), frozenset({9999}))


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_of_the_name_server_its_port_is_reached(protocol: int) -> None:
    assert passes(ip("10.0.3.3", 53, protocol=protocol), NOTHING)
    assert not passes(ip("10.0.3.2", 53, protocol=protocol), NOTHING)
    assert not passes(ip("10.0.3.3", 54, protocol=protocol), frozenset({54}))
    assert not passes(ip("10.0.3.3", 53, protocol=ICMP), NOTHING)  # its checksum is where a port would be


def test_what_is_opened_is_reached_there_and_by_tcp_alone() -> None:
    opened = frozenset({7171})
    assert passes(ip("10.0.3.2", 7171), opened)
    assert not passes(ip("10.0.3.2", 7172), opened)
    assert not passes(ip("10.0.3.2", 7171, protocol=UDP), opened)
    for other in ("127.0.0.1", "10.0.3.4", "10.0.2.2", "10.0.3.3"):
        assert not passes(ip(other, 7171), opened)


@pytest.mark.parametrize("part", [0x2000, 0x0001, 0x2001, 0x1FFF])
def test_a_packet_in_parts_says_nothing_sure_about_its_port(part: int) -> None:
    assert not passes(ip("10.0.3.2", 7171, part=part), frozenset({7171}))
    assert not passes(ip("10.0.3.3", 53, part=part), NOTHING)


@pytest.mark.parametrize("header", [0x46, 0x4F, 0x44, 0x40, 0x65, 0x55, 0x00])
def test_a_header_that_is_not_plain_is_refused(header: int) -> None:
    assert not passes(ip("1.1.1.1", header=header), NOTHING)


@pytest.mark.parametrize("protocol", [0, 2, 4, 41, 47, 50, 132, 255])
def test_other_protocols_are_refused(protocol: int) -> None:
    assert not passes(ip("1.1.1.1", protocol=protocol), NOTHING)


@pytest.mark.parametrize("length", [0, 19, 61, 0xFFFF])
def test_a_length_that_is_not_there_is_refused(length: int) -> None:
    assert not passes(ip("1.1.1.1", length=length), NOTHING)


def test_a_port_beyond_the_packet_does_not_count() -> None:
    assert not passes(ip("10.0.3.2", 7171, length=22), frozenset({7171}))
    assert not passes(ip("10.0.3.2", payload=3), frozenset({0}))


@pytest.mark.parametrize("kind", [0x86DD, 0x8100, 0x88A8, 0x88F8, 0x0000, 0x8035, 0x002E])
def test_of_other_kinds_of_frames_only_arp_passes(kind: int) -> None:
    assert not passes(ethernet(kind, ip("1.1.1.1")[14:]), NOTHING)


def test_arp_passes_when_it_is_whole() -> None:
    assert passes(ethernet(0x0806, bytes(28)), NOTHING)
    assert not passes(ethernet(0x0806, bytes(27)), NOTHING)


def test_no_frame_is_too_short_to_be_judged() -> None:
    whole = ip("1.1.1.1")
    for length in range(len(whole)):
        assert not passes(whole[:length], NOTHING)


def test_frames_are_told_apart_wherever_the_reading_stopped() -> None:
    out, loopback = ip("1.1.1.1"), ip("127.0.0.1")
    data = framed(out, loopback, out)
    assert sift(memoryview(data), NOTHING) == (len(data), framed(out, out))
    for stop in range(len(data)):
        done, passed = sift(memoryview(data)[:stop], NOTHING)
        rest, more = sift(memoryview(data)[done:], NOTHING)
        assert (done + rest, passed + more) == (len(data), framed(out, out))


def test_what_is_no_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="4294967295 bytes"):
        sift(memoryview(b"\xff\xff\xff\xff"), NOTHING)


@pytest.fixture
def sieve() -> Iterator[Sieve]:
    sieve = Sieve()
    sieve.start()
    yield sieve
    sieve.stop()


class Qemu:
    """QEMU's side of one VM."""

    def __init__(self, sieve: Sieve, vm_id: str) -> None:
        self._sends, self._takes = sieve.connect(vm_id)
        for end in (self._sends, self._takes):
            end.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sends, data)

    async def take(self, length: int) -> bytes:
        got = b""
        async with asyncio.timeout(10):
            while len(got) < length:
                more = await asyncio.get_running_loop().sock_recv(self._takes, length - len(got))
                assert more, "cut off"
                got += more
        return got

    async def is_cut_off(self) -> None:
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(self._takes, 1) == b""

    def end(self) -> None:
        for end in (self._sends, self._takes):
            end.close()


async def test_each_vm_gets_back_its_own_frames_that_pass(sieve: Sieve) -> None:
    vms = {name: Qemu(sieve, name) for name in ("a", "b")}
    sieve.open("a", frozenset({7171}))
    api, out = ip("10.0.3.2", 7171), ip("1.1.1.1")
    for vm in vms.values():
        await vm.send(framed(api, out))
    assert await vms["a"].take(len(framed(api, out))) == framed(api, out)
    assert await vms["b"].take(len(framed(out))) == framed(out)
    sieve.open("a", NOTHING)
    await vms["a"].send(framed(api, out))
    assert await vms["a"].take(len(framed(out))) == framed(out)
    for vm in vms.values():
        vm.end()


async def test_a_long_stream_arrives_whole(sieve: Sieve) -> None:
    vm, out, loopback = Qemu(sieve, "a"), ip("1.1.1.1", payload=1400), ip("127.0.0.1")
    sending = asyncio.create_task(vm.send(framed(out, loopback) * 200))
    assert await vm.take(len(framed(out)) * 200) == framed(out) * 200
    await sending
    vm.end()


async def test_a_flood_that_nobody_takes_is_lost_and_hinders_nobody(sieve: Sieve) -> None:
    flooding, other = Qemu(sieve, "flooding"), Qemu(sieve, "other")
    frame, last = framed(ip("1.1.1.1", payload=1400)), framed(ip("1.1.1.2", payload=1400))
    async with asyncio.timeout(30):
        await flooding.send(frame * 20_000)  # 29 MB; never waits for them to be taken
        await other.send(frame)
        assert await other.take(len(frame)) == frame
        got = await flooding.take(len(frame))
        kept = 1
        while got == frame:
            await flooding.send(last)
            got, kept = await flooding.take(len(frame)), kept + 1
    assert got == last
    assert kept * len(frame) < 4_000_000
    for vm in (flooding, other):
        vm.end()


async def test_a_vm_that_is_connected_anew_is_so_no_more_by_its_former_way(sieve: Sieve) -> None:
    former = Qemu(sieve, "a")
    later = Qemu(sieve, "a")
    await former.is_cut_off()
    await later.send(framed(ip("1.1.1.1")))
    assert await later.take(len(framed(ip("1.1.1.1")))) == framed(ip("1.1.1.1"))
    former.end()
    later.end()


async def test_nonsense_cuts_only_its_vm_off(sieve: Sieve, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Qemu(sieve, "bad"), Qemu(sieve, "good")
    await bad.send(b"\xff" * 8)
    await bad.is_cut_off()
    await good.send(framed(ip("1.1.1.1")))
    assert await good.take(1) == b"\0"
    assert "bad: QEMU sent a frame of 4294967295 bytes" in caplog.text
    bad.end()
    good.end()


async def test_whoever_ends_the_sieve_cuts_everyone_off() -> None:
    sieve = Sieve()
    sieve.start()
    vms = [Qemu(sieve, name) for name in ("a", "b")]
    sieve.stop()
    for vm in vms:
        await vm.is_cut_off()
        vm.end()


def test_the_ends_for_qemu_are_sockets_of_its_own(sieve: Sieve) -> None:
    ends = sieve.connect("a")
    assert all(end.family == socket.AF_UNIX for end in ends)
    for end in ends:
        end.close()
