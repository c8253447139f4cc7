"""The host's end of the line to a VM's agent, which it trusts with nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import agents
import pytest

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import guestfiles, inside
from pi_v_jupyter.local.guestlink import GuestError, GuestLink
from pi_v_jupyter.local.inside import Command

Answer = Callable[[dict[str, Any]], bytes]


class Machine:
    """An agent that answers each request by a function, or with None says nothing."""

    def __init__(self, path: Path, answer: Answer | None) -> None:
        self.path = path
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.connections: list[asyncio.Task[None]] = []

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.connections.append(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while self.answer and (line := await reader.readline()):
                if line != b"\n":
                    self.requests.append(json.loads(line))
                    writer.write(self.answer(self.requests[-1]))

    async def end(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.gather(*self.connections)
        for writer in self.writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def machine(folder: Path, answer: Answer | None) -> AsyncIterator[tuple[Machine, GuestLink]]:
    made = Machine(folder / "agent", answer)
    server = await asyncio.start_unix_server(made.connected, made.path)
    link = await GuestLink.connect(made.path)
    async with asyncio.timeout(20):
        while not made.writers:
            await asyncio.sleep(0)
    try:
        yield made, link
    finally:
        link.close()
        await made.end()
        server.close()


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


async def test_answers_find_their_questions_in_whatever_order_they_come(tmp_path: Path) -> None:
    held: list[bytes] = []

    def answer(request: dict[str, Any]) -> bytes:
        held.append(line(id=request["id"], ok=True, said=request["word"]))
        return b"".join(reversed(held)) if len(held) == 3 else b""

    async with machine(tmp_path, answer) as (_, link):
        asked = [link.ask("say", timeout=20, word=word) for word in ("a", "b", "c")]
        assert [reply["said"] for reply in await asyncio.gather(*asked)] == ["a", "b", "c"]


async def test_no_two_links_ask_under_the_same_id(tmp_path: Path) -> None:
    async with machine(tmp_path, lambda request: line(id=request["id"])) as (made, link):
        other = await GuestLink.connect(made.path)
        for each in (link, other, link):
            await each.ask("ping", timeout=20)
        ids = [request["id"] for request in made.requests]
        assert len(set(ids)) == 3
        assert ids[0].partition(".")[0] == ids[2].partition(".")[0] != ids[1].partition(".")[0]
        other.close()


async def test_what_another_machine_was_asked_is_no_answer(tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        name, _, number = request["id"].partition(".")
        strays = (line(id=1), line(id=f"{name}.{int(number) + 1}"), line(id=f"{'0' * 16}.{number}"), b'"}\n')
        return b"".join(strays) + line(id=request["id"], said="right")

    async with machine(tmp_path, answer) as (_, link):
        assert (await link.ask("ping", timeout=20))["said"] == "right"


async def test_a_link_begins_by_ending_the_line_of_whoever_was_there_before(tmp_path: Path) -> None:
    first = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first.set_result(await reader.read(1))
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "agent")
    link = await GuestLink.connect(tmp_path / "agent")
    async with asyncio.timeout(20):
        assert await first == b"\n"
    link.close()
    server.close()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        ({"error": "no such thing", "code": "ENOENT"}, "ENOENT", "no such thing"),
        ({"error": [1]}, "None", "did not say why"),
        ({"error": "\ud800", "code": "x" * 99}, "x" * 30, r"ping': \?\."),
        ({"error": "y" * 5000}, "None", "y{300}\\."),
    ],
)
async def test_an_agents_no_is_an_error_of_bounded_size(
    tmp_path: Path, error: dict[str, Any], code: str, words: str
) -> None:
    async with machine(tmp_path, lambda request: line(id=request["id"], **error)) as (_, link):
        with pytest.raises(GuestError, match=words) as raised:
            await link.ask("ping", timeout=20)
        assert raised.value.code == code


@pytest.mark.parametrize(
    "noise",
    [
        b"garbage\n",
        b"[" * 100_000 + b"\n",
        b'{"id": 1' + b"0" * 5000 + b"}\n",
        b"\xff\xfe\n\n\0\n",
        b"null\n7\n[]\n" + b'{"id": null}\n{"id": {}}\n',
    ],
)
async def test_noise_is_passed_over(tmp_path: Path, noise: bytes) -> None:
    async with machine(tmp_path, lambda request: noise + line(id=request["id"])) as (_, link):
        await link.ask("ping", timeout=20)


async def test_silence_ends_with_the_time_that_was_given(tmp_path: Path) -> None:
    async with machine(tmp_path, lambda request: b"") as (_, link):
        with pytest.raises(PlatformError, match=r"did not answer 'ping' within 0\.2 s"):
            await link.ask("ping", timeout=0.2)


@pytest.mark.parametrize(
    ("noise", "why"),
    [
        (b"x" * 3_000_000, "a line without end"),
        (b"\n" * 100_000, "talks without being asked"),
        ((b"x" * 500_000 + b"\n") * 20, "talks without being asked"),
    ],
)
async def test_a_machine_that_floods_is_hung_up_on_and_may_try_again(
    tmp_path: Path, noise: bytes, why: str
) -> None:
    async with machine(tmp_path, lambda request: noise) as (made, link):
        with pytest.raises(PlatformError, match=why):
            await link.ask("ping", timeout=20)
        made.answer = lambda request: line(id=request["id"])
        await link.ask("ping", timeout=20)
        assert len(made.writers) == 2


async def test_a_machine_that_does_not_listen_takes_no_memory(tmp_path: Path) -> None:
    async with machine(tmp_path, None) as (_, link):
        for _ in range(20):
            with pytest.raises(PlatformError, match="did not answer"):
                await link.ask("upload", timeout=0.05, data="x" * 300_000)
        assert link._line is not None
        assert link._line._transport.get_write_buffer_size() < 1_000_000


async def test_whoever_waits_learns_that_the_machine_ended(tmp_path: Path) -> None:
    async with machine(tmp_path, lambda request: b"") as (made, link):
        asked = [asyncio.create_task(link.ask("ping", timeout=20)) for _ in range(3)]
        async with asyncio.timeout(20):
            while len(made.requests) < 3:
                await asyncio.sleep(0.01)
        made.writers[0].transport.abort()
        for task in asked:
            with pytest.raises(PlatformError, match="the VM ended"):
                await task


async def test_a_closed_link_asks_no_more(tmp_path: Path) -> None:
    async with machine(tmp_path, lambda request: line(id=request["id"])) as (_, link):
        link.close()
        with pytest.raises(PlatformError, match="not spoken to any more"):
            await link.ask("ping", timeout=20)


async def test_a_socket_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="cannot be reached: No such file"):
        await GuestLink.connect(tmp_path / "absent")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"chunks": 5, "cursor": 0, "exit": None},
        {"chunks": [["stdin", 1, "YQ=="]], "cursor": 1, "exit": None},
        {"chunks": [["stdout", 1, "no base64!"]], "cursor": 1, "exit": None},
        {"chunks": [], "cursor": None, "exit": None},
        {"chunks": [], "cursor": 0, "exit": {"code": "seven"}},
        {"chunks": [["stdout", -1, "\ud800"]], "cursor": 1, "exit": None},
    ],
)
async def test_an_answer_that_makes_no_sense_is_an_error(tmp_path: Path, answer: dict[str, Any]) -> None:
    async with machine(tmp_path, lambda request: line(id=request["id"], **answer)) as (_, link):
        with pytest.raises(PlatformError, match="makes no sense"):
            await agents.run(link, Command(["true"]))


async def test_a_result_is_of_bounded_size_and_says_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "LARGEST_RESULT", 10)
    chunks = [["stdout", 9, "YWJjZGVmZ2hp"], ["stdout", 18, "YWJjZGVmZ2hp"]]
    answer = {"chunks": chunks, "cursor": 18, "exit": {"code": 3, "timed_out": False}}
    async with machine(tmp_path, lambda request: line(id=request["id"], **answer)) as (_, link):
        result = await agents.run(link, Command(["true"]))
    assert (result.code, result.stdout) == (3, b"iabcdefghi")
    assert result.stderr == b"[pi-v: the first 8 bytes of stdout are left out; exec/stream has all]\n"


async def test_all_gaps_in_an_output_are_one_remark(tmp_path: Path) -> None:
    chunks = [["stdout", 10 * number, "YQ=="] for number in range(1, 101)]
    answer = {"chunks": chunks, "cursor": 1000, "exit": {"code": 0, "timed_out": False}}
    async with machine(tmp_path, lambda request: line(id=request["id"], **answer)) as (_, link):
        result = await agents.run(link, Command(["true"]))
    assert result.stderr == b"[pi-v: 900 bytes of output were dropped: they were not read in time]\n"


async def test_a_file_that_never_comes_to_an_end_is_an_error(tmp_path: Path) -> None:
    answer = {"data": "", "size": 1, "version": "0", "eof": False}
    async with machine(tmp_path, lambda request: line(id=request["id"], **answer)) as (_, link):
        with pytest.raises(PlatformError, match="makes no sense"):
            await asyncio.wait_for(guestfiles.read_file(link, "/etc/passwd"), 20)


async def test_no_secret_of_a_command_is_in_its_repr(tmp_path: Path) -> None:
    command = Command(["true"], env={"TOKEN": "hush"}, stdin=b"hush")
    assert "hush" not in repr(command)
    assert os.fsencode(repr(command))
