"""Reads, writes and edits over a real SSH server, beside a model in plain Python: 2,000 cases."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loopback import Loopback, MemoryPins
from machines import Reached

from pi_v_jupyter.errors import EditError, RemoteFileError
from pi_v_jupyter.remote.connection import Connection

# Few letters, so that texts occur again and overlap; ends of lines of both kinds; a letter of three bytes.
TEXT = st.text(alphabet="ab\n\r雪", max_size=12)
CONTENT = st.one_of(
    TEXT.map(str.encode), st.binary(max_size=40), st.lists(TEXT).map("\n".join).map(str.encode)
)
EDITS = st.lists(st.tuples(TEXT.filter(bool), TEXT), min_size=1, max_size=3)
Case = tuple[bytes, list[tuple[str, str]], int, int | None]
OFFSETS, LIMITS = st.integers(1, 6), st.none() | st.integers(1, 3)


def occurrences(content: bytes, text: bytes) -> list[int]:
    return [at for at in range(len(content)) if content.startswith(text, at)]


def edited(content: bytes, edits: list[tuple[str, str]]) -> bytes | None:
    """What must come of it; None where it must be refused."""
    spans = []
    for old, new in edits:
        forms = [(old, new)]
        if "\n" in old + new and "\r" not in old + new:
            forms.append((old.replace("\n", "\r\n"), new.replace("\n", "\r\n")))
        old, new = next((form for form in forms if form[0].encode() in content), forms[0])
        places = occurrences(content, old.encode())
        if len(places) != 1:
            return None
        spans.append((places[0], places[0] + len(old.encode()), new.encode()))
    spans.sort()
    if any(one[1] > other[0] for one, other in itertools.pairwise(spans)):
        return None
    for start, end, after in reversed(spans):
        content = content[:start] + after + content[end:]
    return content


def excerpt(content: bytes, offset: int, limit: int | None) -> tuple[str, int | None] | None:
    """Text, and the line to go on from; None where it must be refused."""
    if b"\0" in content:
        return None
    lines = content.split(b"\n")
    lines = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
    if offset > max(1, len(lines)):
        return None
    end = len(lines) if limit is None else offset - 1 + limit
    following = end + 1 if end < len(lines) else None
    return b"".join(lines[offset - 1 : end]).decode("utf-8", "backslashreplace"), following


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def machine(runner: asyncio.Runner, server: Loopback) -> Iterator[Reached]:
    async def made() -> Reached:
        return Reached(Connection(server, MemoryPins()))

    machine = runner.run(made())
    yield machine
    runner.run(machine.connection.close())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Content, edits (often of text that does occur), and what to read."""
    content, edits = draw(CONTENT), draw(EDITS)
    text = content.decode("utf-8", "ignore")
    if text and draw(st.booleans()):
        start = draw(st.integers(0, len(text) - 1))
        edits[0] = text[start : start + draw(st.integers(1, 4))], edits[0][1]
    return content, edits, draw(OFFSETS), draw(LIMITS)


# Twenty at once: what takes time is that each waits for the disk.
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(many=st.lists(cases(), min_size=20, max_size=20))
@example(
    many=[
        (b"", [("a", "b")], 1, None),
        (b"a\r\nb", [("a\nb", "c\nd")], 2, 1),
        (b"aaa", [("aa", "b")], 1, None),
    ]
)
def test_files_do_what_the_model_does(
    runner: asyncio.Runner,
    machine: Reached,
    tmp_path_factory: pytest.TempPathFactory,
    many: list[Case],
) -> None:
    folder = tmp_path_factory.getbasetemp()

    async def all_of_them() -> None:
        await asyncio.gather(
            *(case(machine, folder / f"model-{number}", *each) for number, each in enumerate(many))
        )

    runner.run(all_of_them())


async def case(
    machine: Reached,
    path: Path,
    content: bytes,
    edits: list[tuple[str, str]],
    offset: int,
    limit: int | None,
) -> None:
    await machine.write(path, content)
    assert path.read_bytes() == content
    assert await machine.read_bytes(path) == content

    expected = excerpt(content, offset, limit)
    if expected is None:
        with pytest.raises(RemoteFileError):
            await machine.read(path, offset, limit)
    else:
        found = await machine.read(path, offset, limit)
        assert (found.text, found.next) == expected

    after = edited(content, edits)
    if after is None:
        with pytest.raises(EditError):
            await machine.edit(path, edits)
    else:
        await machine.edit(path, edits)
    assert path.read_bytes() == (content if after is None else after)
