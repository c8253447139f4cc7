"""The bridge to a pi of pi-v's: commands to its FIFO, what it appends to its files, its end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from farm import until

from pi_v_jupyter.swarm._there import bridge, source
from pi_v_jupyter.swarm.story import Story

RECORDINGS = Path(__file__).parent / "recordings"
SLOW = 30  # seconds


@dataclass
class Bridge:
    """One that runs, and the place where a pi of pi-v's would be."""

    folder: Path
    home: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        env = {"HOME": str(self.home), "PATH": "/usr/bin:/bin"}
        words = [sys.executable, "-I", "-c", source("bridge"), "join", str(self.folder)]
        with (self.home / "out").open("wb") as out, (self.home / "err").open("wb") as err:
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=err, env=env)

    def say(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def append(self, data: bytes, name: str = "out") -> None:
        with (self.folder / name).open("ab") as file:
            file.write(data)

    @property
    def out(self) -> bytes:
        return (self.home / "out").read_bytes()

    @property
    def err(self) -> bytes:
        return (self.home / "err").read_bytes()


def taken(reader: int, data: bytes = b"") -> Callable[[], bytes]:
    """What has come out of the FIFO so far, whenever that is asked."""
    got = bytearray(data)

    def read() -> bytes:
        with contextlib.suppress(BlockingIOError):
            while more := os.read(reader, 1 << 16):
                got.extend(more)
        return bytes(got)

    return read


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Bridge]:
    """A FIFO and files, and no bridge yet."""
    folder, home = tmp_path / "pi-rpc", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    os.mkfifo(folder / "in")
    (folder / "out").touch()
    (folder / "err").touch()
    made = Bridge(folder, home)
    yield made
    if hasattr(made, "process"):
        made.process.kill()
        made.process.wait()
        assert made.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            made.process.stdin.close()


@pytest.fixture
def joined(place: Bridge) -> Iterator[tuple[Bridge, int]]:
    """A bridge, and the end of the FIFO that its pi reads."""
    reader = os.open(place.folder / "in", os.O_RDONLY | os.O_NONBLOCK)
    place.start()
    yield place, reader
    with contextlib.suppress(OSError):
        os.close(reader)


def test_what_was_written_before_comes_first_in_whole_lines(place: Bridge) -> None:
    place.append('{"a":"é"}\n{"b":'.encode())
    reader = os.open(place.folder / "in", os.O_RDONLY | os.O_NONBLOCK)
    place.start()
    until(lambda: place.out == '{"a":"é"}\n'.encode())
    place.append('"ü'.encode()[:-1])  # half a character
    place.append(b"", "err")
    place.append("ü".encode()[-1:] + b'"}\n')
    until(lambda: place.out == '{"a":"é"}\n{"b":"ü"}\n'.encode())
    os.close(reader)


@pytest.mark.parametrize("version", ["0.74.2", "0.87.1"])
def test_what_a_pi_has_written_means_the_same_without_what_it_repeats(version: str) -> None:
    for recording in sorted((RECORDINGS / version).glob("*.jsonl")):
        whole, slim = Story(), Story()
        for line in recording.read_bytes().splitlines():
            passed = bridge.slim(line)
            assert (passed == line or len(passed) < len(line)) and b'"partial"' not in passed
            assert slim.feed(json.loads(passed)) == whole.feed(json.loads(line))
        assert slim.runs == whole.runs and slim.state == whole.state


def test_stderr_comes_too(joined: tuple[Bridge, int]) -> None:
    place, _ = joined
    place.append(b"a warning\n", "err")
    until(lambda: place.err == b"a warning\n")


def test_a_file_that_is_emptied_or_replaced_goes_on_with_a_line_of_its_own(
    joined: tuple[Bridge, int],
) -> None:
    place, _ = joined
    place.append(b"first line\nhalf a li")
    until(lambda: place.out == b"first line\n")
    (place.folder / "out").write_bytes(b"anew\n")
    until(lambda: place.out == b"first line\nhalf a li\nanew\n")
    (place.folder / "out").rename(place.folder / "out.1")
    place.append(b"another\n")
    until(lambda: place.out.endswith(b"anew\nanother\n"))


def test_commands_reach_pi_in_whole_lines_only(joined: tuple[Bridge, int]) -> None:
    place, reader = joined
    got = taken(reader)
    place.say(b'{"type":"pro')
    place.append(b"seen\n")
    until(lambda: place.out == b"seen\n")
    assert got() == b""
    place.say(b'mpt"}\n{"type"')
    until(lambda: got() == b'{"type":"prompt"}\n')


def test_a_command_larger_than_the_fifo_arrives_whole_once_pi_reads(joined: tuple[Bridge, int]) -> None:
    place, reader = joined
    got = taken(reader)
    line = b"x" * 300_000 + b"\n"
    place.say(line + b"next\n")
    place.append(b"meanwhile\n")  # it is not held up by what pi does not read
    until(lambda: place.out == b"meanwhile\n")
    until(lambda: got() == line + b"next\n")


def test_a_command_larger_than_what_may_wait_arrives_whole(joined: tuple[Bridge, int]) -> None:
    place, reader = joined
    got = taken(reader)
    line = b"x" * (bridge.WAITING + bridge.WAITING // 2) + b"\n"
    saying = threading.Thread(target=place.say, args=(line + b"next\n",), daemon=True)
    saying.start()
    until(lambda: got() == line + b"next\n")
    saying.join(SLOW)


def test_when_pi_has_ended_it_tells_all_and_ends_though_commands_wait(joined: tuple[Bridge, int]) -> None:
    place, reader = joined
    place.say(b"y" * 300_000 + b"\n")
    place.append(b"last\nwithout an end", "out")
    place.append(b"Error: no\n", "err")
    os.close(reader)
    assert place.process.wait(SLOW) == bridge.ENDED
    assert place.out == b"last\nwithout an end\n"
    assert place.err == b"Error: no\nThe pi that pi-v had started has ended.\n"


def test_where_pi_had_ended_before_its_history_is_told_and_the_end(place: Bridge) -> None:
    place.append(b"history\n")
    place.start()
    assert place.process.wait(SLOW) == bridge.ENDED and place.out == b"history\n"


def test_it_ends_with_who_talks_to_it_and_leaves_pi_alone(joined: tuple[Bridge, int]) -> None:
    place, reader = joined
    got = taken(reader)
    keeper = os.open(place.folder / "in", os.O_WRONLY)
    place.say(b"the last\n")
    assert place.process.stdin is not None
    place.process.stdin.close()
    assert place.process.wait(SLOW) == 0 and got() == b"the last\n"
    os.close(keeper)


@pytest.fixture
def old(place: Bridge) -> Iterator[subprocess.Popen[bytes]]:
    """What reads the FIFO as a pi would, with a key among its variables."""
    command = f"exec cat < {place.folder / 'in'}"
    with subprocess.Popen(["sh", "-c", command], env={"SOME_API_KEY": "of pi", "OTHER": "x"}) as old:
        keeper = os.open(place.folder / "in", os.O_WRONLY)  # once it reads
        try:
            place.start()
            until(lambda: (place.home / ".swarm" / "secrets").exists())
            os.close(keeper)
            yield old
        finally:
            old.kill()


def test_a_successor_has_the_keys_and_the_one_before_has_ended(
    place: Bridge, old: subprocess.Popen[bytes]
) -> None:
    key = place.home / ".swarm" / "secrets" / "SOME_API_KEY"
    until(lambda: key.exists() and key.read_text() == "of pi")
    assert key.stat().st_mode & 0o777 == 0o600 and list(key.parent.iterdir()) == [key]
    words = ["succeed", str(place.folder), "sh", "-c", "echo $SOME_API_KEY"]
    told = subprocess.run(
        [sys.executable, "-I", "-c", source("bridge"), *words],
        env={"HOME": str(place.home), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=SLOW,
    )
    assert told.stdout == b"of pi\n" and old.wait(SLOW) != 0
    assert not (place.folder / "in").exists()
