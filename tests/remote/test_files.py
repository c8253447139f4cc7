"""Files of a VM, by way of a real SSH server: exact in every byte, whole or not at all, refused in words."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from loopback import HOME
from machines import Reached
from running import run, until

from pi_v_jupyter.errors import ConnectionLostError, EditError, RemoteFileError, UsageError, VersError
from pi_v_jupyter.machine import Command, Here, Machine
from pi_v_jupyter.remote import files
from pi_v_jupyter.remote._resident import editing, writing
from pi_v_jupyter.remote._resident.files import Call, Refusal
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.remote.files import MOST, Change, Edited

pytestmark = pytest.mark.asyncio(loop_scope="session")

ODD_NAMES = [
    "plain",
    "with space",
    "quote'\"both",
    "line\nbreak",
    "$(touch pwned-by-name)",
    "`id`",
    "-rf",
    "--help",
    "*?[x]",
    "tab\tand\\backslash",
    "ünï 雪",
    os.fsdecode(b"\xff\xfe not utf-8"),
    "~",
    "x" * 255,
]
CONTENTS = {
    "every byte": bytes(range(256)),
    "nothing": b"",
    "no newline at the end": b"one\ntwo",
    "CRLF": b"one\r\ntwo\r\n",
    "long lines": b"a" * 100_000 + b"\n" + b"b" * 100_000,
    "more than a window": os.urandom(9 << 20),
}


@pytest_asyncio.fixture(loop_scope="session")
async def machine(vm: Connection) -> Machine:
    return Reached(vm)


def told(error: pytest.ExceptionInfo[VersError]) -> str:
    return str(error.value)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
async def test_what_is_written_is_read_again_byte_for_byte(
    machine: Machine, tmp_path: Path, content: bytes
) -> None:
    await machine.write(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == content
    assert await machine.read_bytes(tmp_path / "file") == content


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
async def test_any_name_will_do(machine: Machine, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    await machine.write(path, "one\ntwo\n")
    assert path.read_text() == "one\ntwo\n"
    assert (await machine.read(path)).text == "one\ntwo\n"
    await machine.edit(path, "two", "three")
    assert path.read_text() == "one\nthree\n"
    assert [entry.path for entry in await machine.listdir(tmp_path)] == [str(path)]
    assert (await machine.stat(path)).size == 10
    await machine.move(path, tmp_path / "moved")
    await machine.move(tmp_path / "moved", path)
    await machine.remove(path)
    assert not await machine.exists(path)
    assert not (HOME / "pwned-by-name").exists()


async def test_this_machine_is_the_same(tmp_path: Path) -> None:
    here = Here(asyncio.get_running_loop())
    try:
        await here.write(tmp_path / "a" / "file", bytes(range(256)))
        assert await here.read_bytes(tmp_path / "a" / "file") == bytes(range(256))
        with pytest.raises(RemoteFileError, match=r"No such file or directory: .* on this computer"):
            await here.read(tmp_path / "none")
    finally:
        await here.close()


# Reading


async def test_lines_are_given_whole_with_the_one_to_go_on_from(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = [f"line {number}\n" for number in range(1, 30_001)]
    path.write_text("".join(lines))
    read, offset = "", 1
    while offset is not None:
        excerpt = await machine.read(path, offset)
        assert excerpt.text.endswith("\n")
        assert len(excerpt.text.encode()) <= MOST
        assert excerpt.first == offset
        assert excerpt.text == "".join(lines[offset - 1 : offset - 1 + excerpt.lines])
        read, offset = read + excerpt.text, excerpt.next
    assert read == "".join(lines)
    excerpt = await machine.read(path, 20_000, 3)
    assert (excerpt.text, excerpt.lines, excerpt.next) == ("".join(lines[19_999:20_002]), 3, 20_003)
    last = await machine.read(path, 30_000, 5)
    assert (last.text, last.next) == (lines[-1], None)


@pytest.mark.parametrize(
    ("content", "offset", "limit", "expected"),
    [
        (b"", 1, None, ("", 0, None)),
        (b"a", 1, None, ("a", 1, None)),
        (b"a\n", 1, None, ("a\n", 1, None)),
        (b"a\nb", 1, 1, ("a\n", 1, 2)),
        (b"a\nb", 2, 1, ("b", 1, None)),
        (b"\n\n\n", 2, None, ("\n\n", 2, None)),
        (b"a\xffb\n", 1, None, ("a\\xffb\n", 1, None)),
        (b"a\r\nb\r\n", 1, 1, ("a\r\n", 1, 2)),
        ("a\u2028b\n".encode(), 1, None, ("a\u2028b\n", 1, None)),
        (b"x" * MOST, 1, None, ("x" * MOST, 1, None)),
        (b"x" * (MOST - 1) + b"\n" + b"y\n", 1, None, ("x" * (MOST - 1) + "\n", 1, 2)),
    ],
)
async def test_an_excerpt_ends_where_it_should(
    machine: Machine, tmp_path: Path, content: bytes, offset: int, limit: int | None, expected: Any
) -> None:
    (tmp_path / "file").write_bytes(content)
    excerpt = await machine.read(tmp_path / "file", offset, limit)
    assert (excerpt.text, excerpt.lines, excerpt.next) == expected
    assert excerpt.size == len(content)
    assert excerpt.cut is None


async def test_of_a_line_that_is_too_long_the_beginning_is_given(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("first\n" + "雪" * 30_000 + "\nlast\n")
    excerpt = await machine.read(tmp_path / "file", 2)
    assert excerpt.text == "雪" * (MOST // 3)
    assert (excerpt.cut, excerpt.lines, excerpt.next) == (90_001, 1, 3)
    (tmp_path / "file").write_text("x" * 100_000)
    excerpt = await machine.read(tmp_path / "file")
    assert (excerpt.text, excerpt.cut, excerpt.next) == ("x" * MOST, 100_000, None)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file or directory: "),
        (lambda path: path.mkdir(), "Is a directory: "),
        (lambda path: path.write_bytes(b"\x7fELF\0"), "It is a binary file: "),
        (os.mkfifo, "It is a fifo, not a file: "),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links: "),
    ],
)
async def test_what_cannot_be_read_is_told_apart(
    machine: Machine, tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "it")
    with pytest.raises(RemoteFileError) as error:
        await machine.read(tmp_path / "it")
    assert told(error).startswith(f"{said}{tmp_path}/it on build.")


async def test_a_line_past_the_end_is_told_with_how_many_there_are(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a\nb\nc")
    with pytest.raises(RemoteFileError, match="has only 3 lines"):
        await machine.read(tmp_path / "file", 4)
    (tmp_path / "file").write_text("a\n")
    with pytest.raises(RemoteFileError, match=r"has only 1 line\."):
        await machine.read(tmp_path / "file", 20)


async def test_an_error_is_an_oserror_with_its_number(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(OSError) as error:
        await machine.read(tmp_path / "none")
    assert error.value.errno == errno.ENOENT


async def test_a_nul_in_a_path_is_refused(machine: Machine) -> None:
    with pytest.raises(UsageError, match="NUL"):
        await machine.read("/etc/\0passwd")


async def test_paths_that_are_not_absolute_begin_at_home(machine: Machine) -> None:
    home = (await machine.run("cd; pwd")).stdout.strip()
    assert (await machine.stat("")).path.rstrip("/") == home
    assert (await machine.stat("~")).path == home
    assert (await machine.stat("~/.")).path == f"{home}/."


# Writing


async def test_a_file_is_replaced_at_once_and_keeps_owner_mode_and_links(
    machine: Machine, tmp_path: Path
) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("before")
    path.chmod(0o4711)
    link.symlink_to("file")
    if os.getuid() == 0:
        os.chown(path, 1234, 2345)
        path.chmod(0o4711)
    before = path.stat()
    with path.open() as held:
        await machine.write(link, "after")
        assert held.read() == "before"
    after = path.stat()
    assert path.read_text() == "after"
    assert link.is_symlink()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    await machine.write(path, "again", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [path, link]


async def test_folders_are_made_and_a_new_file_is_an_ordinary_one(machine: Machine, tmp_path: Path) -> None:
    await machine.write(tmp_path / "a" / "b" / "file", "new")
    assert stat.S_IMODE((tmp_path / "a/b/file").stat().st_mode) == 0o644


async def test_more_can_be_added(machine: Machine, tmp_path: Path) -> None:
    for piece in ("one\n", "two\n"):
        await machine.write(tmp_path / "log", piece, append=True)
    inode = (tmp_path / "log").stat().st_ino
    await machine.write(tmp_path / "log", b"\xff", append=True)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n\xff"
    assert (tmp_path / "log").stat().st_ino == inode


async def test_devices_and_files_of_the_kernel_are_written_as_they_are(
    machine: Machine, tmp_path: Path
) -> None:
    await machine.write("/dev/null", "gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RemoteFileError, match="No such device or address"):  # nobody reads it
        await machine.write(tmp_path / "fifo", "x")
    if os.getuid() == 0:
        name = Path("/proc/sys/kernel/domainname").read_text()
        await machine.write("/proc/sys/kernel/domainname", name)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("folder", "Is a directory"),
        ("new/", "Is a directory"),
        ("file/below", "(Not a directory|File exists)"),
        ("x" * 256, "File name too long"),
    ],
)
async def test_what_cannot_be_written_is_told_and_leaves_nothing(
    machine: Machine, tmp_path: Path, path: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(RemoteFileError, match=said):
        await machine.write(f"{tmp_path}/{path}", "x" * 5_000_000)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


async def test_a_write_that_is_stopped_leaves_the_file_as_it_was(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    for append in (False, True):
        process = await _writing(machine, path, append)
        await process.write(b"half of it")
        if append:
            await until(lambda p=process: p._stdin_taken == 10)
        else:
            await until(lambda: len(list(tmp_path.iterdir())) > 1)
        await process.close()
        await until(lambda: [child.name for child in tmp_path.iterdir()] == ["file"])
        await until(lambda: path.read_text() == "before")


async def _writing(machine: Machine, path: Path, append: bool) -> Any:
    from pi_v_jupyter.remote.channel import Request

    work = {"do": "write", "with": {"path": str(path), "append": append, "mode": None}}
    return await machine.launch(Request(work=work, stdin=True))


async def test_one_long_name_leaves_the_connection_as_it_is(machine: Machine) -> None:
    with pytest.raises(RemoteFileError, match="File name too long"):
        await machine.stat("雪" * 400_000)
    assert (await machine.run("echo alive", timeout=20)).stdout == "alive\n"


async def test_what_has_no_name_is_not_taken_away(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("1")
    (tmp_path / "link").symlink_to("kept")
    for path in ("", "~", "/"):
        with pytest.raises(RemoteFileError):
            await machine.remove(path, recursive=True)
    with pytest.raises(RemoteFileError, match="No such file"):
        await machine.move(tmp_path / "kept", "")
    await machine.remove(f"{tmp_path}/link/", recursive=True)
    assert (tmp_path / "kept" / "file").exists()


async def test_what_others_add_to_a_file_meanwhile_stays(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    process = await _writing(machine, log, append=True)
    await process.write(b"ours\n")
    with log.open("a") as file:
        file.write("theirs\n")
    await process.close()
    await machine.write(log, "more\n", append=True)
    assert log.read_text() == "old\ntheirs\nmore\n"


async def test_a_fifo_takes_as_much_as_its_reader_does(machine: Machine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reading = asyncio.create_task(asyncio.to_thread((tmp_path / "fifo").read_bytes))
    await asyncio.sleep(0)
    data = os.urandom(1 << 20)
    async with asyncio.timeout(60):
        while True:
            try:
                await machine.write(tmp_path / "fifo", data)
            except RemoteFileError:  # its reader is not there yet
                continue
            break
    assert await reading == data


async def test_the_diff_of_a_long_line_shows_what_is_near_the_change(
    machine: Machine, tmp_path: Path
) -> None:
    path = tmp_path / "minified.js"
    path.write_text("x" * 5_000_000 + "old" + "y" * 5_000_000)
    diff = (await machine.edit(path, "old", "new")).diff
    assert len(diff) < 20_000
    assert "xxxoldyyy" in diff and "xxxnewyyy" in diff and "…" in diff
    assert path.read_text() == "x" * 5_000_000 + "new" + "y" * 5_000_000


async def test_a_name_that_begins_with_a_tilde_is_no_home(
    machine: Machine, vm: Connection, shell: str, tmp_path: Path
) -> None:
    assert (await run(vm, shell=shell, code=f"cd {tmp_path}")).code == 0
    assert (await machine.write("~notes", "x", beside=shell)).path == f"{tmp_path}/~notes"


async def test_a_session_whose_folder_is_gone_begins_nowhere(
    machine: Machine, vm: Connection, shell: str, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    assert (await run(vm, shell=shell, code=f"cd {tmp_path}/d; rmdir ../d")).code == 0
    with pytest.raises(RemoteFileError, match="folder of the shell session is gone"):
        await machine.write("notes", "x", beside=shell)
    assert list(tmp_path.iterdir()) == []
    await machine.write(tmp_path / "notes", "x", beside=shell)


async def test_a_removal_that_is_stopped_goes_no_further(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}").touch()
    polls = iter(range(1000))
    call = Call(str(tmp_path), stopped=lambda: next(polls) >= 20, whole=lambda: True, opened=lambda: -1)
    with pytest.raises(InterruptedError):
        writing.remove(call, str(tmp_path), recursive=True)
    assert len(list(tmp_path.iterdir())) == 30


@pytest.mark.parametrize("value", [None, [], {}, "x", {"first": "a", "lines": [], "next": 1, "size": 2}])
async def test_answers_that_make_no_sense_are_one_clear_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    async def answered(*_: Any, **__: Any) -> tuple[bytes, Any]:
        return b"[[[nonsense", value

    monkeypatch.setattr(type(machine), "_done", answered)
    asked = [
        machine.read("x"),
        machine.write("x", ""),
        machine.stat("x"),
        machine.move("x", "y"),
        machine.listdir(),
    ]
    for work in asked:
        with pytest.raises(ConnectionLostError, match="answered what the resident program never would"):
            await work


async def test_nobody_ever_sees_half_a_file(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {letter * 3_000_000 for letter in (b"a", b"b")}
    path.write_bytes(b"a" * 3_000_000)
    seen = []

    async def look() -> None:
        while True:
            seen.append(await asyncio.to_thread(path.read_bytes) in contents)

    looking = asyncio.create_task(look())
    for content in [*contents] * 5:
        await machine.write(path, content)
    looking.cancel()
    assert len(seen) > 3
    assert all(seen)


# Editing


async def test_an_edit_shows_what_it_did(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("".join(f"line {number}\n" for number in range(1, 41)))
    done = await machine.edit(
        path, [("line 30\n", "line 30\nnew\n"), ("line 4\nline 5\n", "four and five\n")]
    )
    assert isinstance(done, Edited)
    assert done.diff == (
        f"--- {path}\n+++ {path}\n"
        "@@ -1,8 +1,7 @@\n line 1\n line 2\n line 3\n"
        "-line 4\n-line 5\n+four and five\n line 6\n line 7\n line 8\n"
        "@@ -28,6 +27,7 @@\n line 28\n line 29\n line 30\n+new\n line 31\n line 32\n line 33\n"
    )
    (tmp_path / "patch").write_text(done.diff)
    (tmp_path / "before").write_text("".join(f"line {number}\n" for number in range(1, 41)))
    subprocess.run(["patch", "-s", tmp_path / "before", tmp_path / "patch"], check=True)
    assert (tmp_path / "before").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "edits", "said"),
    [
        ("a b", [("c", "d")], r"The text was not found \(edit 1\)"),
        ("a b a", [("b", "x"), ("a", "y")], r"occurs more than once, in lines 1, 1 \(edit 2\)"),
        ("aaa", [("aa", "x")], r"occurs more than once, in lines 1, 1"),
        ("x\n" * 9, [("x", "y")], r"in lines 1, 2, 3, 4, 5 and more"),
        ("a b c", [("a b", "x"), ("b c", "y")], r"Two edits change the same text \(edits 1 and 2\)"),
    ],
)
async def test_an_edit_that_does_not_apply_changes_nothing(
    machine: Machine, tmp_path: Path, content: str, edits: Any, said: str
) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    before = path.stat()
    with pytest.raises(EditError, match=said) as error:
        await machine.edit(path, edits)
    assert "Nothing was changed." in told(error)
    assert path.read_text() == content
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("edits", [[], [("", "x")], ""])
async def test_an_edit_of_nothing_is_refused(machine: Machine, tmp_path: Path, edits: Any) -> None:
    with pytest.raises(UsageError, match="nothing to replace"):
        await machine.edit(tmp_path / "file", edits)


async def test_texts_of_several_lines_are_found_in_a_file_with_crlf(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\r\ntwo\r\nthree\r\n")
    await machine.edit(path, "one\ntwo", "1\n2\n2.5")
    assert path.read_bytes() == b"1\r\n2\r\n2.5\r\nthree\r\n"


async def test_bytes_that_are_no_text_survive_an_edit_beside_them(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff\0\r\nname = old\n\x80")
    await machine.edit(path, "old", "new")
    assert path.read_bytes() == b"\xff\0\r\nname = new\n\x80"
    await machine.edit(path, "\udc80", "\udc81")
    assert path.read_bytes() == b"\xff\0\r\nname = new\n\x81"


async def test_a_file_that_changes_meanwhile_is_not_edited(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old\n")

    def changed() -> bool:
        """Looked at while its successor is written."""
        if len(list(tmp_path.iterdir())) > 1:
            path.write_bytes(b"old and more\n")
        return False

    call = Call(str(tmp_path), stopped=changed, whole=lambda: True, opened=lambda: -1)
    with pytest.raises(Refusal, match="changed by somebody else meanwhile"):
        editing.edit(call, str(path), [[["old", "new"]]])
    assert path.read_bytes() == b"old and more\n"
    assert list(tmp_path.iterdir()) == [path]


# Folders


async def test_folders_are_listed_searched_made_and_removed(machine: Machine, tmp_path: Path) -> None:
    await machine.mkdir(tmp_path / "a" / "b")
    await machine.mkdir(tmp_path / "a" / "b")
    with pytest.raises(RemoteFileError, match="File exists"):
        await machine.mkdir(tmp_path / "a", parents=False)
    for name in ("a/1.py", "a/b/2.py", "a/b/note"):
        await machine.write(tmp_path / name, name)
    (tmp_path / "a" / "link").symlink_to("b")
    found = {entry.name: entry for entry in await machine.listdir(tmp_path / "a")}
    assert {name: entry.kind for name, entry in found.items()} == {
        "1.py": "file",
        "b": "directory",
        "link": "symlink",
    }
    assert found["link"].target == "b"
    assert found["1.py"].mtime == (tmp_path / "a/1.py").stat().st_mtime_ns
    names = [entry.path.removeprefix(f"{tmp_path}/") for entry in await machine.glob(tmp_path / "**/*.py")]
    assert names == ["a/1.py", "a/b/2.py", "a/link/2.py"]
    with pytest.raises(RemoteFileError, match="Directory not empty"):
        await machine.remove(tmp_path / "a")
    await machine.remove(tmp_path / "a" / "link", recursive=True)
    assert (tmp_path / "a/b/2.py").exists()
    await machine.remove(tmp_path / "a", recursive=True)
    assert not (tmp_path / "a").exists()
    with pytest.raises(RemoteFileError, match="root of the file system"):
        await machine.remove("/", recursive=True)


async def test_a_folder_of_many_is_listed_whole(machine: Machine, tmp_path: Path) -> None:
    for number in range(8000):
        (tmp_path / f"{number:04}").touch()
    assert [entry.name for entry in await machine.listdir(tmp_path)] == [f"{n:04}" for n in range(8000)]


async def test_things_move_as_mv_moves_them(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    assert await machine.move(tmp_path / "one", tmp_path / "folder") == f"{tmp_path}/folder/one"
    await machine.move(tmp_path / "two", tmp_path / "folder" / "one")
    assert (tmp_path / "folder" / "one").read_text() == "2"
    with pytest.raises(RemoteFileError, match="No such file"):
        await machine.move(tmp_path / "none", tmp_path / "folder")


async def test_what_happens_in_a_folder_is_watched(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("1")
    (tmp_path / "goes").write_text("1")
    seen: list[Change] = []

    async def follow() -> None:
        async for change in machine.watch(tmp_path):
            seen.append(change)

    following = asyncio.create_task(follow())
    try:
        while not seen:  # until it has begun to look
            (tmp_path / "first").write_text(os.urandom(4).hex())
            await asyncio.sleep(0.3)
        (tmp_path / "new").write_text("1")
        (tmp_path / "kept").write_text("22")
        (tmp_path / "goes").unlink()
        expected = {
            Change("created", f"{tmp_path}/new"),
            Change("changed", f"{tmp_path}/kept"),
            Change("removed", f"{tmp_path}/goes"),
        }
        await until(lambda: expected <= set(seen))
        assert {change.path for change in seen} == {
            f"{tmp_path}/{n}" for n in ("first", "new", "kept", "goes")
        }
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    with pytest.raises(RemoteFileError, match="No such file"):
        async for _ in machine.watch(tmp_path / "none"):
            pass


async def test_the_programs_of_a_path_are_found_once_each(machine: Machine, tmp_path: Path) -> None:
    folder, plain = tmp_path / "bin [1]", tmp_path / "plain"
    for each in (folder, plain):
        each.mkdir()
    for name, mode in (("tool", 0o755), ("tool two", 0o755), ("tools.txt", 0o644), ("other", 0o755)):
        (folder / name).touch(mode=mode)
    (folder / "toolbox").mkdir()
    (folder / "tool_link").symlink_to("tool")
    (folder / "tool_lost").symlink_to("nothing")
    (tmp_path / "same").symlink_to(folder)
    (plain / "tool").touch(mode=0o755)
    kept = bytearray()
    folders = [str(each) for each in (folder, tmp_path / "same", tmp_path / "none", plain, folder / "other")]
    asked = files.work("programs", folders=folders, begun="tool")
    how = await Command(machine, asked, None, lambda stream, data: kept.extend(data)).run()
    assert (how.code, kept.decode()) == (0, "tool\ntool two\ntool_link\n")
