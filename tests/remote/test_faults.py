"""A network that behaves badly, for long: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import silent_network
from loopback import Loopback, TLSFront
from running import until_there

from pi_v_jupyter.remote import login
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection

Connect = Callable[..., Connection]
LINES = 2_000_000


def front(server: Loopback) -> TLSFront:
    assert server.front is not None
    return server.front


def counting(first: int, file: Path, last: int) -> str:
    """A command that counts, and waits behind the first so many for a file."""
    return f"seq {first}; {until_there(file)}; for i in {{{first + 1}..{last}}}; do echo $i; sleep 0.1; done"


async def test_every_one_of_two_million_lines_arrives_once_in_order_through_twenty_cuts(
    own_server: Loopback, connect: Connect
) -> None:
    connection = connect(own_server)
    process = await connection.start(Request(command=f"seq {LINES}"))
    marks = [random.randrange(start, start + 500_000) for start in range(100_000, 14_000_000, 695_000)]
    rest, expected, size = b"", 1, 0
    async for _, data in process.chunks():
        *lines, rest = (rest + data).split(b"\n")
        assert lines == [b"%d" % number for number in range(expected, expected + len(lines))]
        expected += len(lines)
        size += len(data)
        if marks and size > marks[0]:
            marks.pop(0)
            front(own_server).cut()
    assert (await process.wait()).code == 0
    assert (rest, expected - 1, marks) == (b"", LINES, [])


async def test_a_network_that_falls_silent_is_noticed_and_left_for_another_way(
    own_server: Loopback, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connection = connect(own_server)
    with monkeypatch.context() as patched:  # for this way only: the other may be a slow one
        patched.setattr(login, "KEEPALIVE", 0.5)
        await connection.open()
    process = await connection.start(Request(command=counting(20, tmp_path / "silent", 50)))
    got = b""
    async for _, data in process.chunks():
        got += data
        if got.endswith(b"\n20\n"):
            front(own_server).stall()  # what is open stays open, and carries nothing any more
            (tmp_path / "silent").touch()
    assert got.split() == [b"%d" % number for number in range(1, 51)]
    assert (await process.wait()).code == 0
    assert front(own_server).accepted == 2


async def test_while_there_is_no_way_at_all_the_user_is_told_and_then_all_is_there(
    own_server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    notices: list[str] = []
    told = asyncio.Event()

    def notice(text: str) -> None:
        notices.append(text)
        told.set()

    connection = connect(own_server, on_notice=notice)
    process = await connection.start(Request(command=counting(9, tmp_path / "shut", 30)))
    got = b""
    async for _, data in process.chunks():
        got += data
        if got.endswith(b"\n9\n"):
            front(own_server).refuse = True
            front(own_server).cut()
            (tmp_path / "shut").touch()
            await told.wait()
            front(own_server).refuse = False
    assert got.split() == [b"%d" % number for number in range(1, 31)]
    assert len(notices) == 1
    assert "Reconnecting" in notices[0]


def test_thirty_seconds_without_a_network_are_told_of_and_lose_nothing(tmp_path: Path) -> None:
    alone = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-current-user", "--keep-caps"])]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("this system lets no user make a network namespace")
    script = [sys.executable, silent_network.__file__, str(tmp_path)]
    done = subprocess.run([*alone, *script], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["lines"] == [str(number) for number in range(1, silent_network.LINES + 1)]
    assert told["connected"] == 2
    assert len(told["notices"]) == 1
    assert "Reconnecting" in told["notices"][0]
