"""What the agent in a VM does: commands, files, and who the machine is; the real agent, without a machine."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import agents
import psutil
import pytest

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import answers, guestfiles, inside
from pi_v_jupyter.local.guest import backlog, commands
from pi_v_jupyter.local.guest.backlog import Backlog, Chunk
from pi_v_jupyter.local.guestlink import GuestError, GuestLink
from pi_v_jupyter.local.inside import Command, Exit, Output
from pi_v_jupyter.local.problems import ConflictError, NotPossibleError, UnknownError

WHO = {"name": "box", "machine_id": "5" * 32, "seed": "c2VlZA==", "now": 5.0, "authorized_key": "ssh-x K"}


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[GuestLink]:
    """The agent of a machine that is `tmp_path`."""
    async with agents.linked(tmp_path) as link:
        yield link


def sh(script: str, **fields: Any) -> Command:
    return Command(["sh", "-c", script], **fields)


async def events(guest: GuestLink, exec_id: str, cursor: int = 0) -> list[Output | Exit]:
    return [event async for event in inside.follow(guest, exec_id, cursor=cursor)]


def output(found: list[Output | Exit], stream: str = "stdout") -> bytes:
    return b"".join(event.data for event in found if isinstance(event, Output) and event.stream == stream)


async def until(path: Path) -> str:
    """The content of a file, once it is there and has some."""
    async with asyncio.timeout(20):
        while not path.exists() or not path.read_text():
            await asyncio.sleep(0.01)
    return path.read_text()


def runs(pid: int) -> bool:
    """Is there a process of that id that has not ended?"""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_commands_streams_come_apart_with_its_exit_code(guest: GuestLink) -> None:
    result = await agents.run(guest, sh("echo out; echo err >&2; exit 7"))
    assert (result.code, result.stdout, result.stderr) == (7, b"out\n", b"err\n")


async def test_a_command_is_a_list_and_no_shell_sees_it(guest: GuestLink) -> None:
    result = await agents.run(guest, Command(["printf", "%s|", "$HOME", "a b", "*", ";id"]))
    assert result.stdout == b"$HOME|a b|*|;id|"


async def test_a_command_finds_the_machines_environment_and_its_own(guest: GuestLink, tmp_path: Path) -> None:
    (tmp_path / "etc/environment").write_text("# comment\nA=1\nB='two'\nexport C=3\n")
    result = await agents.run(guest, sh("echo $A $B $C $D $HOME; echo $PATH; pwd", env={"D": "4", "A": "x"}))
    first, path, folder = result.stdout.decode().splitlines()
    assert first == f"x two 3 4 {tmp_path}"
    assert "/usr/bin" in path.split(":")
    assert folder == str(tmp_path)


@pytest.mark.parametrize("size", [5, 3_000_000])
async def test_input_of_any_size_arrives_whole_and_ends(guest: GuestLink, size: int) -> None:
    result = await agents.run(guest, Command(["wc", "-c"], stdin=b"x" * size))
    assert int(result.stdout) == size
    assert (await agents.run(guest, Command(["cat"], stdin=b"\0\xff"))).stdout == b"\0\xff"
    assert (await agents.run(guest, Command(["cat"]))).stdout == b""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Command(["no-such-program"]), "No such file"),
        (Command(["/"]), "Permission denied"),
        (Command(["true"], cwd="/nowhere"), "/nowhere is not a directory"),
        (Command(["true", "a\0b"]), "null byte"),
        (Command(["true"], env={"A=B": "c"}), "environment variable name"),
        (Command(["true", "x" * 200_000]), "Argument list too long"),
        (Command([""]), "names no program"),
    ],
)
async def test_a_command_that_cannot_be_is_refused_with_the_reason(
    guest: GuestLink, command: Command, words: str
) -> None:
    with pytest.raises(NotPossibleError, match=words):
        await agents.run(guest, command)
    assert (await agents.run(guest, Command(["true"], exec_id=command.exec_id))).code == 0


async def test_a_signal_is_told_as_a_shell_would(guest: GuestLink) -> None:
    assert (await agents.run(guest, sh("kill -9 $$"))).code == 128 + 9


async def test_when_time_is_up_the_whole_process_group_ends(guest: GuestLink, tmp_path: Path) -> None:
    result = await agents.run(guest, sh("sleep 600 & echo $! > child; echo begun; wait", timeout=8))
    assert result.code == inside.TIMED_OUT
    assert result.stdout == b"begun\n"
    assert b"time was up after 8 s" in result.stderr
    child = int((tmp_path / "child").read_text())
    async with asyncio.timeout(20):  # it was told to end, and does so when the system has it run
        while runs(child):
            await asyncio.sleep(0.01)


async def test_a_command_that_ignores_sigterm_is_killed(guest: GuestLink) -> None:
    result = await agents.run(guest, sh("trap '' TERM; while :; do sleep 0.1; done", timeout=1))
    assert result.code == inside.TIMED_OUT


async def test_a_process_left_behind_keeps_nobody_waiting_and_stays(guest: GuestLink, tmp_path: Path) -> None:
    result = await agents.run(
        guest, sh("(while :; do echo more; sleep 0.01; echo x > alive; done) & echo $! > child; echo done")
    )
    assert result.code == 0
    (tmp_path / "alive").unlink(missing_ok=True)
    await until(tmp_path / "alive")


async def test_output_is_read_while_the_command_runs(guest: GuestLink, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    command = sh("echo first; cat gate; echo last")
    await inside.start(guest, command)
    reader = inside.follow(guest, command.exec_id)
    assert (await anext(reader)) == Output("stdout", b"first\n", 6)
    (tmp_path / "gate").write_text("")
    assert [event async for event in reader] == [Output("stdout", b"last\n", 11), Exit(0, False)]


async def test_a_reader_goes_on_after_its_cursor_even_within_a_chunk(guest: GuestLink) -> None:
    command = sh("printf 0123456789")
    await agents.run(guest, command)
    assert await inside.latest(guest, command.exec_id) == 10
    assert output(await events(guest, command.exec_id, 4)) == b"456789"
    assert await events(guest, command.exec_id, 10) == [Exit(0, False)]


async def test_a_command_goes_on_without_readers_and_its_latest_output_is_kept(
    guest: GuestLink, tmp_path: Path
) -> None:
    size = 24 << 20
    script = f"import sys; sys.stdout.buffer.write(b'x' * {size} + b'end'); open('done', 'w').write('1')"
    command = Command(["python3", "-c", script])
    await inside.start(guest, command)
    await until(tmp_path / "done")  # PATIENCE later, and not blocked for ever
    async with asyncio.timeout(20):
        while await inside.latest(guest, command.exec_id) < size + 3:  # its last words too, before one reads
            await asyncio.sleep(0.02)
    found = await events(guest, command.exec_id)
    first = found[0]
    assert isinstance(first, Output)
    kept = output(found)
    assert kept.endswith(b"end")
    assert 1 << 20 < len(kept) <= commands.KEPT
    assert first.cursor - len(first.data) == size + 3 - len(kept)  # the cursor tells what is missing


async def test_a_command_ahead_of_its_reader_waits_and_nothing_is_lost(guest: GuestLink) -> None:
    size = 40 << 20
    command = Command(["python3", "-c", f"import sys; sys.stdout.buffer.write(b'y' * {size})"])
    await inside.start(guest, command)
    got, cursor = 0, 0
    async for event in inside.follow(guest, command.exec_id):
        if isinstance(event, Output):
            got += len(event.data)
            assert event.cursor == cursor + len(event.data)
            cursor = event.cursor
    assert got == size


async def test_one_exec_id_is_one_command(guest: GuestLink) -> None:
    await agents.run(guest, Command(["true"], exec_id="mine"))
    with pytest.raises(ConflictError, match="mine"):
        await inside.start(guest, Command(["true"], exec_id="mine"))


async def test_no_more_commands_run_than_there_is_room_for(guest: GuestLink) -> None:
    for _ in range(commands.MOST_RUNNING):
        await inside.start(guest, Command(["sleep", "600"]))
    with pytest.raises(ConflictError, match="run already"):
        await inside.start(guest, Command(["true"]))


async def test_commands_that_ended_long_ago_are_forgotten(guest: GuestLink) -> None:
    for number in range(commands.MOST_ENDED + 1):
        await agents.run(guest, Command(["echo", str(number)], exec_id=f"c{number}"))
    with pytest.raises(UnknownError, match="c0"):
        await events(guest, "c0")
    assert output(await events(guest, "c1")) == b"1\n"


async def test_the_log_has_the_output_of_all_commands_in_pages(guest: GuestLink) -> None:
    await agents.run(guest, sh("echo one", exec_id="a"))
    await agents.run(guest, sh("echo two >&2", exec_id="b"))
    whole = await inside.logs(guest, offset=0, most=10, stream=None)
    assert [(entry.exec_id, entry.stream, entry.data) for entry in whole.entries] == [
        ("a", "stdout", b"one\n"),
        ("b", "stderr", b"two\n"),
    ]
    assert abs(whole.entries[0].time - time.time()) < 60
    assert (whole.next_offset, whole.eof) == (8, True)
    page = await inside.logs(guest, offset=0, most=1, stream=None)
    assert (len(page.entries), page.next_offset, page.eof) == (1, 4, False)
    rest = await inside.logs(guest, offset=page.next_offset, most=1, stream=None)
    assert (rest.entries, rest.eof) == (whole.entries[1:], True)
    errors = await inside.logs(guest, offset=0, most=10, stream="stderr")
    assert (errors.entries, errors.next_offset) == (whole.entries[1:], 8)


def test_a_backlog_stays_within_its_memory_whatever_the_size_of_its_chunks() -> None:
    kept = Backlog(limit=10 * (backlog.OVERHEAD + 1))
    for number in range(1000):
        kept.append(Chunk("e", "stdout", b"%d" % (number % 10), 0.0))
    assert kept.size <= kept.limit
    assert b"".join(chunk.data for _, chunk in kept.after(0)) == b"0123456789"
    assert kept.end == 1000


@pytest.mark.parametrize("size", [0, 4, 300_000, 2_000_000])
async def test_a_file_is_written_and_read_back_byte_by_byte(
    guest: GuestLink, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    await guestfiles.write_file(guest, str(tmp_path / "file"), content, mode=0o640)
    assert (tmp_path / "file").read_bytes() == content
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert await guestfiles.read_file(guest, str(tmp_path / "file")) == content
    assert [left.name for left in tmp_path.iterdir() if left.name.startswith(".pi-v")] == []


async def test_a_link_stays_and_what_it_names_is_replaced(guest: GuestLink, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    await guestfiles.write_file(guest, str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


async def test_folders_are_made_when_asked_for(guest: GuestLink, tmp_path: Path) -> None:
    path = str(tmp_path / "a/b/c")
    with pytest.raises(UnknownError):
        await guestfiles.write_file(guest, path, b"x")
    await guestfiles.write_file(guest, path, b"x", create_dirs=True)
    assert await guestfiles.read_file(guest, path) == b"x"


async def test_files_without_a_size_are_read_to_their_end(guest: GuestLink) -> None:
    assert b"processor" in await guestfiles.read_file(guest, "/proc/cpuinfo")


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/no/such", UnknownError, "There is no /no/such"),
        ("/tmp", NotPossibleError, "/tmp is a directory"),
        ("relative", NotPossibleError, "not an absolute path"),
        ("/dev/zero", NotPossibleError, "not a regular file"),
        ("/etc/passwd/x", NotPossibleError, "Not a directory"),
        ("/a\0b", NotPossibleError, "null"),
        ("/" + "n" * 300, NotPossibleError, "too long"),
        ("/\ud800", NotPossibleError, "surrogates"),
    ],
)
async def test_a_path_that_cannot_be_is_refused_for_reading_and_writing(
    guest: GuestLink, path: str, error: type[PlatformError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await guestfiles.read_file(guest, path)
    with pytest.raises(error, match=words):
        await guestfiles.write_file(guest, path, b"x")


async def test_a_fifo_keeps_nobody_waiting(guest: GuestLink, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotPossibleError, match="not a regular file"):
        await guestfiles.read_file(guest, str(tmp_path / "fifo"))


async def test_a_file_that_changes_while_it_is_read_is_refused(guest: GuestLink, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 600_000)
    part = await guest.ask("read_file", timeout=20, path=str(path), offset=0, version=None)
    path.write_bytes(b"b" * 500_000)
    with pytest.raises(GuestError, match="was changed") as error:
        await guest.ask("read_file", timeout=20, path=str(path), offset=262144, version=part["version"])
    assert error.value.code == "ESTALE"
    with pytest.raises(ConflictError):
        answers.refuse(error.value)


async def test_files_too_large_for_an_answer_are_refused(
    guest: GuestLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guestfiles, "LARGEST_FILE", 1 << 20)
    (tmp_path / "large").write_bytes(bytes(1_100_000))
    with pytest.raises(NotPossibleError, match="larger than the 1 MB"):
        await guestfiles.read_file(guest, str(tmp_path / "large"))
    with pytest.raises(NotPossibleError, match="1100000 bytes are more than the 1 MB"):
        await guestfiles.write_file(guest, str(tmp_path / "new"), bytes(1_100_000))


async def test_short_requests_overtake_long_ones(guest: GuestLink) -> None:
    command = Command(["sleep", "600"])
    await inside.start(guest, command)
    long = [
        asyncio.create_task(guest.ask("exec_read", timeout=60, exec_id=command.exec_id, cursor=0, wait=30))
        for _ in range(20)
    ]
    for _ in range(10):
        await guest.ask("ping", timeout=20)
    assert not any(task.done() for task in long)
    for task in long:
        task.cancel()
    await asyncio.gather(*long, return_exceptions=True)


async def test_the_agent_says_what_it_cannot_do(guest: GuestLink) -> None:
    for op, fields in (("nothing", {}), ("ping", {"extra": 1}), ("__init__", {}), ("upload", {"token": 1})):
        with pytest.raises(GuestError):
            await guest.ask(op, timeout=20, **fields)


async def test_lines_that_are_no_requests_are_passed_over(tmp_path: Path) -> None:
    async with agents.running(tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(
            b'half a li\n[]\n{"id": 1, "op": "ping"}\n{"op": "ping"}\n\xff\n{"id": "a.1", "op": "ping"}\n'
        )
        assert json.loads(await reader.readline()) == {"id": "a.1", "ok": True}
        writer.close()


async def test_what_an_earlier_link_asked_is_not_answered_to_the_next(tmp_path: Path) -> None:
    async with agents.running(tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        start = {"exec_id": "e", "argv": ["cat", "gate"], "env": {}, "cwd": None, "seconds": 0}
        os.mkfifo(tmp_path / "gate")
        for number, request in enumerate(
            (
                {"op": "exec_start", **start},
                {"op": "exec_read", "exec_id": "e", "cursor": 0, "wait": 60},
            )
        ):
            writer.write(json.dumps({"id": f"old.{number}", **request}).encode() + b"\n")
            if number == 0:
                await reader.readline()
        writer.write(b'{"id": "new.1", "op": "ping"}\n')
        assert json.loads(await reader.readline())["id"] == "new.1"
        (tmp_path / "gate").write_text("news")
        writer.write(b'{"id": "new.2", "op": "exec_read", "exec_id": "e", "cursor": 0, "wait": 60}\n')
        assert json.loads(await reader.readline())["id"] == "new.2"
        writer.close()


async def test_the_agent_serves_one_host_after_the_other(tmp_path: Path) -> None:
    async with agents.running(tmp_path) as path:
        first = await GuestLink.connect(path)
        command = sh("echo kept")
        await agents.run(first, command)
        first.close()
        second = await GuestLink.connect(path)
        assert output(await events(second, command.exec_id)) == b"kept\n"
        second.close()


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


async def test_a_machine_becomes_itself_and_its_users_lines_stay(guest: GuestLink, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "hosts").write_text("127.0.0.1 localhost\n127.0.1.1 old # pi-v\n10.0.0.1 theirs\n")
    (etc / "authorized_keys").write_text("ssh-rsa AAAA their key\nssh-x OLD pi-v\n")
    (etc / "environment").write_text("# theirs\nLANG=C.UTF-8\nA=old\n")
    await guest.ask("configure", timeout=20, **WHO, env={"A": "new", "B": "b c=d"})
    assert (etc / "hostname").read_text() == "box\n"
    assert (etc / "hosts").read_text().splitlines() == [
        "127.0.0.1 localhost",
        "10.0.0.1 theirs",
        "127.0.1.1 box # pi-v",
    ]
    assert (etc / "authorized_keys").read_text() == "ssh-rsa AAAA their key\nssh-x K pi-v\n"
    assert (etc / "machine_id").read_text() == "5" * 32 + "\n"
    assert (etc / "environment").read_text() == "# theirs\nLANG=C.UTF-8\nA=new\nB=b c=d\n"
    assert told(tmp_path) == [{"now": 5.0, "seed": "c2VlZA=="}, {"hostname": "box"}]
    assert not (tmp_path / "served").exists()


async def test_a_variable_that_fits_on_no_line_is_refused_before_anything_is_done(
    guest: GuestLink, tmp_path: Path
) -> None:
    with pytest.raises(GuestError, match="does not fit"):
        await guest.ask("configure", timeout=20, **WHO, env={"A": "one\ntwo"})
    assert not (tmp_path / "etc/hostname").exists()


async def test_a_machine_that_stood_still_gets_the_time(guest: GuestLink, tmp_path: Path) -> None:
    await guest.ask("time", timeout=20, now=7.5, seed="AAAA")
    assert told(tmp_path) == [{"now": 7.5, "seed": "AAAA"}]


async def configure(guest: GuestLink, key: str | None) -> None:
    await guest.ask("configure", timeout=20, **WHO, host_key=key, host_public_key=key and f"{key} public")


async def test_the_ssh_server_waits_for_its_key_and_listens_when_configure_returns(
    guest: GuestLink, tmp_path: Path
) -> None:
    waiting = await until(tmp_path / "asked")
    await configure(guest, "K1;")
    assert (tmp_path / "served").read_text() == "K1;"
    assert (tmp_path / "asked").read_text() == waiting  # it was started once
    key = tmp_path / "ssh/ssh_host_ed25519_key"
    assert (key.read_text(), key.with_suffix(".pub").read_text()) == ("K1;", "K1; public\n")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    await configure(guest, None)
    assert (tmp_path / "asked").read_text() == waiting
    assert stat.S_IMODE((tmp_path / "etc/authorized_keys").stat().st_mode) == 0o600


async def test_another_host_key_starts_another_ssh_server(guest: GuestLink, tmp_path: Path) -> None:
    await configure(guest, "K1;")
    first = int((tmp_path / "asked").read_text())
    await configure(guest, "K2;")
    assert (tmp_path / "served").read_text() == "K1;K2;"
    assert not Path(f"/proc/{first}").exists()


async def test_an_ssh_server_that_ends_is_started_again(guest: GuestLink, tmp_path: Path) -> None:
    await configure(guest, "K1;")
    os.kill(int((tmp_path / "asked").read_text()), signal.SIGKILL)
    async with asyncio.timeout(20):
        while (tmp_path / "served").read_text() != "K1;K1;":
            await asyncio.sleep(0.01)


async def test_one_that_ends_while_it_waits_for_a_key_is_no_loss(guest: GuestLink, tmp_path: Path) -> None:
    first = int(await until(tmp_path / "asked"))
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(20):
        while Path(f"/proc/{first}").exists():
            await asyncio.sleep(0.01)
    await configure(guest, "K1;")
    assert (tmp_path / "served").read_text() == "K1;"


async def test_a_machine_that_forgot_has_no_key_and_takes_another(guest: GuestLink, tmp_path: Path) -> None:
    await configure(guest, "K1;")
    (tmp_path / "etc/authorized_keys").write_text("ssh-x K pi-v\n")
    await guest.ask("forget", timeout=20)
    assert stat.S_ISFIFO((tmp_path / "ssh/ssh_host_ed25519_key").stat().st_mode)
    assert (tmp_path / "etc/authorized_keys").read_text() == ""
    await configure(guest, "K2;")
    assert (tmp_path / "served").read_text() == "K1;K2;"


async def test_uploads_that_nobody_ends_make_room_for_others(guest: GuestLink) -> None:
    data = base64.b64encode(b"part").decode()
    for number in range(17):
        await guest.ask("upload", timeout=20, token=str(number), data=data)
    fields = {"mode": 0o644, "create_dirs": False, "path": "/nowhere/file"}
    with pytest.raises(GuestError, match="given up"):
        await guest.ask("write_file", timeout=20, upload="0", **fields)
    with pytest.raises(GuestError, match="No such file"):
        await guest.ask("write_file", timeout=20, upload="1", **fields)
