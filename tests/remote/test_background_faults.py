"""Whatever breaks around a background process, its log is whole, and what lies about it does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from backgrounds import end_all, gone, leave, marked, owned
from loopback import Loopback
from machines import Reached
from running import descriptors, memory_mb, resident_pid, sockets, until

from pi_v_jupyter.errors import ConnectionLostError, RemoteFileError
from pi_v_jupyter.machine import Here, Machine
from pi_v_jupyter.remote import backgroundlog
from pi_v_jupyter.remote._resident import background
from pi_v_jupyter.remote._resident.frames import ABOUT, CURSOR, HEAD, LOG, frame
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.remote.journals import Reader

Reach = Callable[[], Reached]
MILLION = """
import sys, time
for block in range(100):
    sys.stdout.write("".join(f"{n}\\n" for n in range(block * 10000, block * 10000 + 10000)))
    time.sleep(0.02)
"""


async def test_a_million_lines_through_ten_cuts_and_three_clients_come_once_each(
    backing: Loopback, reach: Reach
) -> None:
    assert backing.front is not None
    machine, cuts, got, cursor = reach(), 0, list[str](), 0
    process = await machine.start([sys.executable, "-c", MILLION], id="count")
    for end in (350_000, 700_000, 1_000_000):
        reader = Reader(cursor)
        async with aclosing(process._follow(cursor)) as pieces:
            async for at, data in pieces:
                got += reader.lines(at, data)
                cursor = reader.cursor - len(reader._row)
                if len(got) > 90_000 * (cuts + 1) and cuts < 10:
                    cuts += 1
                    backing.front.cut()
                if len(got) >= end:
                    break
        if end < 1_000_000:
            await leave(machine)
            machine = reach()
            process = await machine.process("count")
    assert cuts == 10 and reader.missed == 0
    assert got == [str(number) for number in range(1_000_000)]
    await process
    assert sum([1 async for _ in process.lines()]) == 1_000_000
    assert await process.logs(1) == ["999999"]


async def test_a_resident_program_that_is_killed_is_gone_on_without(place: Machine, tmp_path: Path) -> None:
    command = f"seq 1000; for n in 1 2; do until [ -e {tmp_path}/$n ]; do sleep 0.01; done; seq 1000; done"
    process = await place.start(command, id="web")
    got: list[str] = []
    async with aclosing(process.lines()) as lines:
        async for line in lines:
            got.append(line)
            if line == "1000" and len(got) < 3000:
                connection = place._connection()  # type: ignore[attr-defined]
                os.kill(resident_pid(connection), signal.SIGKILL)
                (tmp_path / str(len(got) // 1000)).touch()
    assert got == [str(number) for number in range(1, 1001)] * 3
    assert process.exit_code == 0


async def test_one_that_is_silent_is_waited_for_through_any_number_of_lost_ways_to_it(
    place: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backgroundlog, "STEADY", 0.0)  # seconds after which a way counts as a good one
    process = await place.start(f"until [ -e {tmp_path}/over ]; do sleep 0.05; done", id="web")
    told: list[str] = []
    seen = sockets(process.status.minder)
    process.on_exit(lambda process: told.append(process.outcome))
    for _ in range(2 * backgroundlog.TRIES):
        await until(lambda: sockets(process.status.minder) - seen)
        seen.update(sockets(process.status.minder))
        os.kill(resident_pid(place._connection()), signal.SIGKILL)  # type: ignore[attr-defined]
    (tmp_path / "over").touch()
    await until(lambda: told)
    assert told == ["exit code 0"]


async def test_a_stop_that_is_asked_for_again_after_a_break_signals_once(
    place: Machine, tmp_path: Path
) -> None:
    traps = "exec 2>/dev/null; trap 'echo got' INT; trap 'echo then' USR1; echo up"
    process = await place.start(f"{traps}; until [ -e {tmp_path}/over ]; do sleep 0.05; done", id="web")
    await process.ready("up")
    stopping = asyncio.create_task(process.stop("SIGINT", grace=60))
    assert await process.ready("got")
    before = sockets(process.status.minder)
    pid = resident_pid(place._connection())  # type: ignore[attr-defined]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: sockets(process.status.minder) - before)
    other = await place.process("web")
    stopping_too = asyncio.create_task(other.stop("SIGUSR1", grace=60))
    assert await other.ready("then")
    (tmp_path / "over").touch()
    await asyncio.gather(stopping, stopping_too)
    assert await process.logs() == ["up", "got", "then"]


async def test_sessions_of_sshd_that_are_killed_take_nothing_along(backing: Loopback, reach: Reach) -> None:
    process = await reach().start("for n in {1..100}; do echo $n; sleep 0.02; done", id="web")
    lines = process.lines()
    got = [await anext(lines)]
    main = psutil.Process(int((backing.folder / "sshd.pid").read_text()))
    for session in [each for each in main.children(recursive=True) if each.name().startswith("sshd")]:
        session.kill()
    got += [line async for line in lines]
    assert got == [str(number) for number in range(1, 101)]


@pytest.fixture
def small(data: Path) -> Iterator[Path]:
    """XDG_DATA_HOME on a disk of its own with 8 MB of room."""
    if os.getuid() != 0:
        pytest.skip("mounting takes root")
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", data], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield data
    end_all(data)
    subprocess.run(["umount", "--lazy", data], check=True)


def fill(folder: Path) -> Path:
    """Leave no room."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return ballast


async def in_trouble(process: BackgroundProcess) -> None:
    async with asyncio.timeout(30):
        while not (await process.refresh()).status.trouble:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("length", [0, 5000, 8000])
async def test_a_full_disk_holds_it_up_and_loses_nothing(
    small: Path, place: Machine, tmp_path: Path, length: int
) -> None:
    wait = f"until [ -e {tmp_path}/full ]; do sleep 0.02; done"
    command = f"seq 10000; {wait}; seq 10001 1000000 # {'x' * length}"
    process = await place.start(command, id="web")
    following = asyncio.create_task(collected(process))
    fill(small)
    (tmp_path / "full").touch()
    await in_trouble(process)
    assert (process.state, process.status.trouble) == ("running", "No space left on device: its output waits")
    (small / "ballast").unlink()
    wanted = [str(number) for number in range(1, 1_000_001)]
    assert await following == wanted
    assert (process.state, process.exit_code, process.status.trouble) == ("ended", 0, "")
    assert await collected(process) == wanted


async def collected(process: BackgroundProcess) -> list[str]:
    return [line async for line in process.lines()]


async def test_one_that_is_stopped_on_a_full_disk_says_what_is_lost(small: Path, place: Machine) -> None:
    process = await place.start(f"yes # {'x' * 5000}", id="web")
    fill(small)
    await in_trouble(process)
    await process.stop()
    assert (process.state, process.signal) == ("ended", "SIGTERM")
    assert "the disk was full: its last" in process.status.trouble
    again = await place.process("web")
    assert (again.state, again.signal) == ("ended", "SIGTERM")


async def test_nothing_starts_on_a_full_disk_and_nothing_is_left_of_it(small: Path, place: Machine) -> None:
    await place.start("true", id="other")
    fill(small)
    with pytest.raises(RemoteFileError, match="No space left on device"):
        await place.start(["sleep", "300.25"], id="web")
    await until(lambda: not marked("300.25"))
    (small / "ballast").unlink()
    assert (await place.start(["sleep", "300"], id="web")).state == "running"


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"state": "running"}',
        '{"state": "running", "minder": null}',
    ],
)
async def test_a_damaged_folder_hides_no_other(place: Machine, data: Path, garbage: str) -> None:
    process = await (await place.start("echo hello", id="good"))
    folder = data / "pi-v/background"
    (folder / "bad").mkdir()
    (folder / "bad/about.json").write_text(garbage)
    (folder / "stray").touch()
    (folder / "odd name").mkdir()
    bad, good = await place.processes()
    assert (good.id, bad.id, bad.outcome, bad.alive) == ("good", "bad", "lost", False)
    assert bad.status.trouble == "its record is damaged"
    assert await process.logs() == ["hello"]
    await bad.remove()
    assert [each.id for each in await place.processes()] == ["good"]
    assert (await (await place.start("echo again", id="bad"))).exit_code == 0


def test_one_that_ends_while_it_is_looked_at_has_ended(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = data / "pi-v/background/web"
    place.mkdir(parents=True)
    about = {
        **{"run": "1", "command": "", "cwd": "/", "state": "running", "pid": 1, "pid_began": "boot 0"},
        **{"minder": 1, "minder_began": "boot 0", "started": 0.0, "begin": 0, "end": 0},
    }
    (place / "about.json").write_text(json.dumps(about))

    def ended(_about: object) -> bool:
        (place / "about.json").write_text(json.dumps(about | {"state": "ended", "ended": 1.0}))
        return False

    monkeypatch.setattr(background, "minded", ended)
    assert background.known("web", None)["state"] == "ended"


def talk(path: str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    folder = os.open(Path(path).parent, os.O_PATH)
    link.connect(f"/proc/self/fd/{folder}/socket")
    os.close(folder)
    return link


NONSENSE = [
    "", "\xff", "[]", "{}", "[" * 100_000, '{"do": 1}', '{"do": "follow"}',
    '{"do": "follow", "from": Infinity}',
    '{"do": "follow", "from": "x"}', '{"do": "follow", "from": -5}', '{"do": "follow", "from": 1e300}',
    '{"do": "stop"}', '{"do": "stop", "signal": 9999, "grace": 1}',
    '{"do": "stop", "signal": -1, "grace": 1}',
    '{"do": "stop", "signal": 15, "grace": 1e300}', '{"do": "stop", "signal": 15, "grace": NaN}',
    '{"do": "stop", "signal": 15, "grace": -1}', '{"do": "stop", "signal": 1e400, "grace": 1}',
]  # fmt: skip


async def test_nonsense_told_to_a_minder_changes_nothing(data: Path) -> None:
    machine = Here(asyncio.get_running_loop())
    process = await machine.start("echo up; exec sleep 300", id="web")
    await process.ready("up")
    for words in NONSENSE:
        with talk(process.status.socket) as link, contextlib.suppress(OSError):
            link.sendall(words.encode("latin-1") + b"\n")
            link.shutdown(socket.SHUT_WR)
            await asyncio.to_thread(lambda link=link: [None for _ in iter(lambda: link.recv(1 << 16), b"")])
        assert (await process.refresh()).state == "running", words
    await machine.close()


async def test_clients_that_never_read_or_never_stop_talking_cost_a_minder_little(data: Path) -> None:
    machine = Here(asyncio.get_running_loop())
    process = await machine.start("yes 0123456789 | head -n 4000000; echo end; exec sleep 300", id="web")
    deaf = [talk(process.status.socket) for _ in range(5)]
    for link in deaf:
        link.sendall(b'{"do": "follow", "from": 0}\n')
    with talk(process.status.socket) as link, contextlib.suppress(OSError):
        for _ in range(1000):
            link.sendall(b"x" * (64 << 10))
    await process.ready("end")
    assert memory_mb(process.status.minder) < 60
    for link in deaf:
        link.close()
    await process.stop()
    assert await process.logs(2) == ["0123456789", "end"]
    await machine.close()


def told(**changes: object) -> bytes:
    return frame(ABOUT, json.dumps(changes).encode())


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff" * 64,
        HEAD.pack(1 << 30, LOG),
        HEAD.pack(3, 9) + b"abc",
        frame(LOG, b"abc"),
        frame(ABOUT, b"{"),
        frame(ABOUT, b"[" * 100_000),
        told(state=1),
        told(code="x"),
        told(run=None),
    ],
)
async def test_whatever_answers_in_a_minders_place_is_one_clear_error(
    data: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_v_jupyter.remote.backgroundlog.LOOK", 0.01)
    machine = Here(asyncio.get_running_loop())
    process = await machine.start("exec sleep 300", id="web")
    path = Path(process.status.socket)
    path.unlink()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read(1 << 16)
        writer.close()

    folder = os.open(path.parent, os.O_PATH)
    async with await asyncio.start_unix_server(serve, f"/proc/self/fd/{folder}/socket"):
        async with asyncio.timeout(30):
            with pytest.raises(ConnectionLostError, match="answered what the resident program never would"):
                await process.wait()
    os.close(folder)
    await machine.close()


async def test_bytes_of_a_log_that_never_were_do_no_harm(data: Path) -> None:
    reader = Reader(0)
    assert reader.lines(1 << 63, b"ox\n") == ["x"] and reader.missed == 1 << 63
    assert reader.lines(5, b"oy\n") == []
    assert CURSOR.size == 8


async def test_a_socket_that_was_removed_is_waited_without(place: Machine, tmp_path: Path) -> None:
    process = await place.start(
        f"echo up; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo on", id="web"
    )
    await process.ready("up")
    Path(process.status.socket).unlink()
    before, reading = process.status, asyncio.create_task(collected(process))
    await until(lambda: process.status is not before)  # it looks for itself
    (tmp_path / "go").touch()
    assert await reading == ["up", "on"]


async def test_closing_leaves_no_descriptor_no_task_and_no_program(data: Path) -> None:
    machine = Here(asyncio.get_running_loop())
    process = await machine.start("while :; do echo tick; sleep 0.01; done", id="web")
    await process.ready("tick")
    before = descriptors(process.status.minder)
    calls: list[object] = []
    for _ in range(20):
        process.on_line("tick", calls.append)
        process.on_exit(calls.append)
    await until(lambda: descriptors(process.status.minder) >= 40 and len(calls) > 100)
    resident = resident_pid(machine._connection())
    await machine.close()
    await gone([resident])
    await until(lambda: descriptors(process.status.minder) <= before)
    count = len(calls)
    assert owned(data) and len(asyncio.all_tasks()) == 1
    await asyncio.sleep(0)
    assert len(calls) == count
