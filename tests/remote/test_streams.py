"""Output of commands on a VM: whole, apart, in order, and fair."""

from __future__ import annotations

import asyncio
import hashlib
import sys

import pytest
from running import collect, memory_mb, resident_pid, run, until

from pi_v_jupyter.remote import process
from pi_v_jupyter.remote._resident import wire
from pi_v_jupyter.remote.channel import Request, TextDecoder
from pi_v_jupyter.remote.connection import Connection

pytestmark = pytest.mark.asyncio(loop_scope="session")

FLOOD = ("head", "-c", "10G", "/dev/zero")


async def test_stdout_and_stderr_come_apart(vm: Connection) -> None:
    outcome = await run(vm, command="for i in 1 2 3; do echo o$i; echo e$i >&2; done")
    assert (outcome.stdout, outcome.stderr) == (b"o1\no2\no3\n", b"e1\ne2\ne3\n")


async def test_output_comes_while_the_command_runs(vm: Connection) -> None:
    running = await vm.start(Request(command="echo first; read x; echo got $x", stdin=True))
    chunks = running.chunks()
    assert await anext(chunks) == ("stdout", b"first\n")
    await running.write(b"on\n")
    assert await anext(chunks) == ("stdout", b"got on\n")
    assert (await running.wait()).code == 0


async def test_bytes_that_are_no_text_arrive_as_they_are(vm: Connection) -> None:
    data = bytes(range(256)) * 100
    assert (await run(vm, argv=("cat",), stdin_data=data)).stdout == data


async def test_text_sent_byte_by_byte_is_put_together(vm: Connection) -> None:
    text = "aé日🙂z"
    code = f"import os, time\nfor b in {text.encode()!r}: os.write(1, bytes([b])); time.sleep(.002)"
    running, decoder, got = await vm.start(Request(argv=("python3", "-c", code))), TextDecoder(), ""
    pieces = 0
    async for _, data in running.chunks():
        got += decoder.feed(data)
        pieces += 1
    assert got == text
    assert pieces > 1


async def test_two_hundred_megabytes_arrive_intact(vm: Connection) -> None:
    code = (
        "import sys\nblock = bytes(i * 7 % 251 for i in range(1000003))\n"
        "for i in range(200): sys.stdout.buffer.write(block)"
    )
    block = bytes(i * 7 % 251 for i in range(1000003))
    expected = hashlib.sha256()
    for _ in range(200):
        expected.update(block)
    got = hashlib.sha256()
    running = await vm.start(Request(argv=("python3", "-c", code)))
    async for _, data in running.chunks():
        got.update(data)
    assert got.hexdigest() == expected.hexdigest()


async def test_a_quick_command_does_not_wait_for_a_flood_to_end(vm: Connection) -> None:
    flood = await vm.start(Request(argv=FLOOD))
    reading = asyncio.create_task(collect_nothing(flood))
    for i in range(20):
        assert (await run(vm, command=f"echo {i}")).stdout == b"%d\n" % i
    assert not reading.done()
    await flood.close()
    await asyncio.gather(reading, return_exceptions=True)


async def collect_nothing(running: process.ResidentProcess) -> None:
    async for _ in running.chunks():
        pass


async def test_a_slow_reader_stalls_its_own_command_alone(vm: Connection) -> None:
    floods = [await vm.start(Request(argv=FLOOD)) for _ in range(3)]
    for flood in floods:
        await anext(flood.chunks())
    await until(lambda: all(f._received[0] - f._acked[0] >= wire.WINDOW for f in floods))
    assert (await run(vm, command="seq 100000 | tail -n 1")).stdout == b"100000\n"
    held = [sum(len(data) for _, data in flood._chunks) for flood in floods]
    assert max(held) <= wire.WINDOW + 2 * wire.CHUNK
    assert memory_mb(resident_pid(vm)) < 150
    for flood in floods:
        await flood.close()


async def test_many_tiny_writes(vm: Connection) -> None:
    code = "import os\nfor i in range(50000): os.write(1 + i % 2, b'%d\\n' % i)"
    outcome = await run(vm, argv=("python3", "-c", code))
    assert outcome.stdout.split() == [b"%d" % i for i in range(0, 50000, 2)]
    assert outcome.stderr.split() == [b"%d" % i for i in range(1, 50000, 2)]


async def test_output_that_looks_like_our_frames_is_output(vm: Connection) -> None:
    frames = b"".join(
        wire.HEADER.pack(kind, number, 4) + b"null"
        for kind in [*range(1, 9), *range(16, 22), 255]
        for number in (0, 1, 2**32 - 1)
    )
    outcome = await run(vm, argv=("cat",), stdin_data=frames * 50)
    assert (outcome.code, outcome.stdout) == (0, frames * 50)


async def test_the_last_words_of_a_command_arrive(vm: Connection) -> None:
    for _ in range(100):
        outcome = await run(vm, command="printf %60000s x; printf %60000s y >&2; kill -9 $$")
        assert (len(outcome.stdout), len(outcome.stderr)) == (60000, 60000)


async def test_a_reader_that_asks_late_still_gets_everything(vm: Connection) -> None:
    running = await vm.start(Request(command="seq 1000; echo no >&2; exit 5"))
    await until(lambda: running.over)
    outcome = await collect(running)
    assert (outcome.code, len(outcome.stdout.split()), outcome.stderr) == (5, 1000, b"no\n")


async def test_ten_thousand_lines_to_both_streams_keep_their_order(vm: Connection) -> None:
    code = "import sys\nfor i in range(10000): print(i); print(i, file=sys.stderr)"
    outcome = await run(vm, argv=(sys.executable, "-c", code))
    assert outcome.stdout == outcome.stderr == "".join(f"{i}\n" for i in range(10000)).encode()
