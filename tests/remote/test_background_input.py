"""What is written to a background process goes in whole, in order and once, or an error says why not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from backgrounds import leave
from loopback import Loopback
from machines import Reached
from running import alive, memory_mb, resident_pid, sockets, until
from test_background_faults import talk

from pi_v_jupyter.errors import ConnectError, StdinError, UsageError
from pi_v_jupyter.machine import Here, Machine
from pi_v_jupyter.remote import backgroundinput
from pi_v_jupyter.remote._resident.frames import PIECE
from pi_v_jupyter.remote.background import BackgroundProcess

Reach = Callable[[], Reached]
COUNT = """
import hashlib, sys
print("up", flush=True)
for line in sys.stdin.buffer:
    print(len(line), hashlib.sha256(line).hexdigest(), flush=True)
print("end", flush=True)
"""


def line_of(letter: str, size: int) -> bytes:
    return letter.encode() * (size - 1) + b"\n"


def told(*lines: bytes) -> list[str]:
    return [f"{len(line)} {hashlib.sha256(line).hexdigest()}" for line in lines]


@pytest.fixture
async def counting(place: Machine) -> BackgroundProcess:
    """It tells of each line that it reads."""
    process = await place.start([sys.executable, "-c", COUNT], id="count", stdin=True)
    await process.ready("up")
    return process


async def test_what_is_written_is_read_in_order_until_its_end(place: Machine) -> None:
    process = await place.start("cat; echo over", id="cat", stdin=True)
    assert process.status.stdin == "open"
    await process.write("one\n")
    await process.write(b"\xff two")
    await process.write("")
    await process.write(" 日 three\n")
    assert await process.ready("three")
    await process.write_eof()
    assert (await process).exit_code == 0
    assert await process.logs() == ["one", r"\xff two 日 three", "over"]


async def test_a_process_that_was_started_without_reads_nothing_and_says_so(place: Machine) -> None:
    process = await place.start("cat; exec sleep 300", id="cat")
    for way_in in (process.write("x"), process.write_eof()):
        with pytest.raises(StdinError, match=r"cat on .* reads nothing") as caught:
            await way_in
        assert caught.value.written == 0 and "stdin=True" in caught.value.hint


async def test_long_pieces_of_many_who_write_at_once_never_mix(reach: Reach) -> None:
    first = reach()
    await first.start([sys.executable, "-c", COUNT], id="count", stdin=True)
    writers = [await machine.process("count") for machine in (first, first, reach(), reach())]
    lines = [[line_of(letter, size) for size in (70_000, 5, 2_000_000, 1, 300_000)] for letter in "abcd"]

    async def write(process: BackgroundProcess, each: list[bytes]) -> None:
        for line in each:
            await process.write(line)

    await asyncio.gather(*map(write, writers, lines))
    await writers[0].write_eof()
    await writers[1]
    got = [line for line in await writers[1].logs() if line not in ("up", "end")]
    assert sorted(got) == sorted(line for each in lines for line in told(*each))
    for each in lines:
        own = told(*each)
        assert [line for line in got if line in own and not line.startswith("1 ")] == [
            line for line in own if not line.startswith("1 ")
        ]


async def test_pieces_that_one_client_writes_at_once_keep_their_order(counting: BackgroundProcess) -> None:
    lines = [line_of(chr(97 + number), 1000 * number + 1) for number in range(20)]
    await asyncio.gather(*map(counting.write, lines))
    await counting.write_eof()
    await counting
    assert (await counting.logs())[1:-1] == told(*lines)


@pytest.mark.parametrize("size", [10, 6_000_000])
async def test_what_is_written_through_cuts_is_written_once(
    backing: Loopback, reach: Reach, size: int
) -> None:
    assert backing.front is not None
    process = await reach().start([sys.executable, "-c", COUNT], id="count", stdin=True)
    lines = [line_of(chr(97 + number), size) for number in range(8)]
    for line in lines:
        before = sockets(process.status.minder)
        writing = asyncio.create_task(process.write(line))
        if size > 10:  # in the middle of it; a short one is there before anybody could look
            await until(lambda before=before: sockets(process.status.minder) - before)
        await asyncio.sleep(0)
        backing.front.cut()
        await writing
    await process.write_eof()
    await process
    assert (await process.logs())[-len(lines) - 1 : -1] == told(*lines)


async def test_what_comes_again_after_a_lost_way_is_not_written_again(place: Machine, tmp_path: Path) -> None:
    process = await place.start(
        f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exec {sys.executable} -c '{COUNT}'",
        id="count",
        stdin=True,
    )
    for letter in "ab":  # then there is no room for a third
        await process.write(line_of(letter, 12_000_000)[:-1])
    writing = asyncio.create_task(process.write(b"\n" + line_of("d", 12_000_000)))
    for _ in range(2):
        seen = sockets(process.status.minder)
        await until(lambda seen=seen: sockets(process.status.minder) - seen or writing.done())
        os.kill(resident_pid(place._connection()), signal.SIGKILL)  # type: ignore[attr-defined]
    (tmp_path / "go").touch()
    await writing
    await process.write_eof()
    await process
    ab = b"".join(line_of(letter, 12_000_000)[:-1] for letter in "ab") + b"\n"
    assert await process.logs() == ["up", *told(ab, line_of("d", 12_000_000)), "end"]


async def test_a_piece_that_the_minder_has_taken_is_known_when_it_comes_again(
    counting: BackgroundProcess,
) -> None:
    order = b'{"do": "write", "size": 6, "writer": "w", "number": %d, "wait": 5}\n'
    answers = []
    for number in (1, 1, 2, 1):
        with talk(counting.status.socket) as link:
            link.sendall(order % number + b"hello\n")
            got = b""
            while b'"how"' not in got or not got.endswith(b"}"):
                got += await asyncio.to_thread(link.recv, 1 << 16)
            answers.append(b'"how": "taken"' in got)
    await counting.write_eof()
    await counting
    assert answers == [True] * 4
    assert (await counting.logs())[1:-1] == told(b"hello\n", b"hello\n")


async def test_half_a_piece_whose_client_is_gone_never_goes_in(counting: BackgroundProcess) -> None:
    before = sockets(counting.status.minder)
    with talk(counting.status.socket) as link:
        link.sendall(
            b'{"do": "write", "size": 60000, "writer": "w", "number": 1, "wait": 5}\n' + b"x" * 50000
        )
        await until(lambda: sockets(counting.status.minder) - before)
    await until(lambda: not sockets(counting.status.minder) - before)
    await counting.write("whole\n")
    await counting.write_eof()
    await counting
    assert (await counting.logs())[1:-1] == told(b"whole\n")


async def test_one_that_reads_nothing_is_given_up_in_time_and_others_keep_their_turns(place: Machine) -> None:
    process = await place.start("exec sleep 300", id="deaf", stdin=True)
    for _ in range(2):
        await process.write(b"x" * PIECE)
    with pytest.raises(StdinError, match="does not read what it is given") as caught:
        await process.write(b"x" * PIECE, timeout=0.3)
    assert caught.value.written == 0 and "none of them were written" in caught.value.message
    waiting = asyncio.create_task(process.write(b"x" * PIECE, timeout=300))
    other = asyncio.create_task((await place.process("deaf")).write(b"y" * PIECE, timeout=300))
    third = await place.process("deaf")
    with pytest.raises(StdinError, match="does not read"):
        await third.write(b"x" * PIECE, timeout=0.3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert memory_mb(process.status.minder) < 200
    await process.stop()
    with pytest.raises(StdinError, match=r"deaf on .* runs no more \(ended by SIGTERM\)"):
        await other


async def test_what_was_not_written_in_time_is_not_written_later(place: Machine, tmp_path: Path) -> None:
    read = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exec {sys.executable} -c '{COUNT}'"
    process = await place.start(read, id="late", stdin=True)
    first, second = line_of("a", PIECE), line_of("b", PIECE)
    await process.write(first)
    await process.write(second)
    with pytest.raises(StdinError):
        await process.write(line_of("c", PIECE), timeout=0.2)
    (tmp_path / "go").touch()
    await process.write("last\n")
    await process.write_eof()
    await process
    assert await process.logs() == ["up", *told(first, second, b"last\n"), "end"]


async def test_one_that_closed_its_stdin_takes_no_more(place: Machine) -> None:
    process = await place.start("exec <&-; echo shut; exec sleep 300", id="shut", stdin=True)
    await process.ready("shut")
    with pytest.raises(StdinError, match=r"shut on .* has closed its stdin: none of the 5 bytes went in"):
        await process.write("hello")
    with pytest.raises(StdinError, match="has closed its stdin"):
        await (await place.process("shut")).write("hello")
    await process.write_eof()


async def test_one_that_closes_its_stdin_while_more_is_in_line_takes_no_more(
    place: Machine, tmp_path: Path
) -> None:
    wait = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    process = await place.start(f"{wait}; head -c 5; exec <&-; exec sleep 300", id="head", stdin=True)
    for _ in range(2):
        await process.write(b"x" * PIECE)
    waiting = asyncio.create_task(process.write(b"x" * PIECE, timeout=300))
    before = sockets(process.status.minder)
    await until(lambda: sockets(process.status.minder) - before)
    (tmp_path / "go").touch()
    with pytest.raises(StdinError, match="has closed its stdin: none of the 16777216 bytes went in"):
        await waiting
    await until_closed(process)
    with pytest.raises(StdinError, match="has closed its stdin: none of the 5 bytes went in"):
        await process.write("hello")


async def until_closed(process: BackgroundProcess) -> None:
    async with asyncio.timeout(30):
        while (await process.refresh()).status.stdin != "closed":
            await asyncio.sleep(0.01)


async def test_nothing_goes_in_after_its_end_and_a_second_end_is_none(counting: BackgroundProcess) -> None:
    await counting.write_eof()
    await counting.write_eof()
    with pytest.raises(StdinError):
        await counting.write("more\n")
    await counting
    await counting.write_eof()
    with pytest.raises(StdinError, match=r"runs no more \(exit code 0\): none of the 5 bytes went in"):
        await counting.write("more\n")


async def test_a_minder_that_was_killed_is_told_at_once(place: Machine) -> None:
    process = await place.start("exec sleep 300", id="deaf", stdin=True)
    for _ in range(2):
        await process.write(b"x" * PIECE)
    waiting = asyncio.create_task(process.write(b"x" * PIECE, timeout=300))
    seen = sockets(process.status.minder)
    await until(lambda: sockets(process.status.minder) - seen or waiting.done())
    os.kill(process.status.minder, signal.SIGKILL)
    with pytest.raises(StdinError, match=r"runs no more .* not known whether") as caught:
        await waiting
    assert caught.value.written is None
    await process.stop()


async def test_what_cannot_be_written(counting: BackgroundProcess) -> None:
    wrongs: list[tuple[Any, dict[str, Any]]] = [
        ("\ud800", {}),
        (b"x" * (PIECE + 1), {}),
        ("x", {"timeout": 0}),
        ("x", {"timeout": float("nan")}),
        ("x", {"timeout": 1e9}),
    ]
    for data, how in wrongs:
        with pytest.raises(UsageError):
            await counting.write(data, **how)
    await counting.write("x\n")
    assert await counting.ready("^2 ")


NONSENSE = [
    '{"do": "write"}', '{"do": "close"}',
    '{"do": "write", "size": -1, "writer": "w", "number": 1, "wait": 1}',
    '{"do": "write", "size": 1e400, "writer": "w", "number": 1, "wait": 1}',
    '{"do": "write", "size": 99999999999, "writer": "w", "number": 1, "wait": 1}',
    '{"do": "write", "size": 1, "writer": "w", "number": 1, "wait": NaN}',
    '{"do": "write", "size": 1, "writer": "w", "number": 1, "wait": 1e300}',
    '{"do": "write", "size": 1, "writer": "' + "w" * 3000 + '", "number": 1, "wait": 1}',
    '{"do": "write", "size": 1, "writer": "w", "number": "x", "wait": 1}',
]  # fmt: skip


async def test_nonsense_about_writing_does_no_harm(counting: BackgroundProcess) -> None:
    for words in NONSENSE:
        with talk(counting.status.socket) as link:
            link.sendall(words.encode() + b"\n")
            await asyncio.to_thread(lambda link=link: [None for _ in iter(lambda: link.recv(1 << 16), b"")])
    await counting.write("x\n")
    assert await counting.ready("^2 ")


async def test_thousands_of_writers_leave_nothing_in_the_minder(counting: BackgroundProcess) -> None:
    with talk(counting.status.socket) as link:
        for number in range(5000):
            link.sendall(b'{"do": "write", "size": 1, "writer": "w%d", "number": 1, "wait": 1}\nx' % number)
            if number % 100 == 0:
                await asyncio.to_thread(link.recv, 1 << 20)
        link.sendall(b'{"do": "write", "size": 1, "writer": "w", "number": 1, "wait": 1}\n\n')
        assert await counting.ready("^5001 ")
    assert memory_mb(counting.status.minder) < 60


async def test_a_session_that_ends_leaves_what_it_wrote(reach: Reach) -> None:
    machine = reach()
    process = await machine.start([sys.executable, "-c", COUNT], id="count", stdin=True)
    await process.write("hello\n")
    await leave(machine)
    again = await reach().process("count")
    await again.write("again\n")
    assert await again.ready(told(b"again\n")[0])
    assert (await again.logs())[1:] == told(b"hello\n", b"again\n")
    with pytest.raises(ConnectError):
        await process.write("late")


@pytest.fixture
async def here(data: Path) -> AsyncIterator[Machine]:
    machine = Here(asyncio.get_running_loop())
    yield machine
    await leave(machine)


async def test_a_machine_out_of_reach_does_not_say_whether_it_was_written(
    here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backgroundinput, "PATIENCE", 0.2)
    process = await here.start("exec sleep 300", id="web", stdin=True)
    os.kill(process.status.minder, signal.SIGSTOP)
    try:
        with pytest.raises(StdinError, match=r"has not said .* whether web was written to") as caught:
            await process.write("hello", timeout=0.2)
    finally:
        os.kill(process.status.minder, signal.SIGCONT)
    assert caught.value.written is None and alive(process.pid)
