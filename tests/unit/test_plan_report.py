"""What a confined command writes is passed on as it is, and the report behind it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pi_v_jupyter.plan.confined import Report, Reported
from pi_v_jupyter.remote.channel import Exit, StreamName

MARK = b"\nabab"


class Written:
    """A process that has written these pieces."""

    pid = 7

    def __init__(self, *pieces: tuple[StreamName, bytes]) -> None:
        self._pieces = list(pieces)
        self.how = Exit(code=0)
        self.closed = False

    def on_away(self, away: bool) -> None:
        """Nobody is told."""

    async def chunks(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        """Each piece once."""
        while self._pieces:
            yield self._pieces.pop(0)

    async def wait(self) -> Exit:
        """How it ended."""
        return self.how

    async def close(self) -> None:
        """Let go of it."""
        self.closed = True


async def passed_on(written: Written) -> tuple[dict[str, bytes], list[Report]]:
    """What its reader has, and what was reported."""
    reports: list[Report] = []
    streams: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    process = Reported(written, MARK, reports.append, lambda: None)  # type: ignore[arg-type]
    async for stream, data in process.chunks():
        streams[stream] += data
    await process.wait()
    return streams, reports


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_a_report_is_found_however_it_was_cut(size: int) -> None:
    whole = b"wrong\nab\nabx\n" + MARK + b'{"folder": "/srv"}'
    pieces: list[tuple[StreamName, bytes]] = [
        ("stderr", whole[start : start + size]) for start in range(0, len(whole), size)
    ]
    streams, reports = await passed_on(Written(("stdout", b"out" + MARK), *pieces))
    assert streams == {"stdout": b"out" + MARK, "stderr": b"wrong\nab\nabx\n"}
    assert reports == [Report(folder="/srv")]


async def test_what_only_begins_like_a_report_is_output() -> None:
    streams, reports = await passed_on(Written(("stderr", b"end\naba")))
    assert streams["stderr"] == b"end\naba" and reports == [Report()]


@pytest.mark.parametrize("report", [b"", b"{", b"[]", b'{"other": 1}', b"\xff"])
async def test_a_report_that_is_not_whole_tells_nothing(report: bytes) -> None:
    assert (await passed_on(Written(("stderr", MARK + report))))[1] == [Report()]


async def test_a_program_that_is_not_there_cannot_confine() -> None:
    written = Written()
    written.how = Exit(error="ENOENT", what="python3", message="No such file or directory")
    assert (await passed_on(written))[1] == [Report(cannot="python3: No such file or directory")]


async def test_what_it_ran_on_is_given_back_once_even_if_the_connection_is_lost() -> None:
    class Lost(Written):
        async def close(self) -> None:
            raise ConnectionResetError

    left: list[str] = []
    process = Reported(Lost(), MARK, lambda report: None, lambda: left.append("left"))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await process.close()
    assert left == ["left"]
