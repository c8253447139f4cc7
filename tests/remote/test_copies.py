"""Copies between this computer and a VM, by way of a real SSH server."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import random
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, TLSFront
from machines import Reached
from running import until

from pi_v_jupyter.errors import RemoteFileError
from pi_v_jupyter.machine import Here, Machine
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.remote.copying import Copied, copy

Connect = Callable[..., Connection]
NAMES = [
    "plain",
    "with space",
    "quote'\"",
    "line\nbreak",
    "$(touch pwned)",
    "-rf",
    os.fsdecode(b"\xff\xfe"),
    "x" * 255,
]


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    machine = Here(asyncio.get_running_loop())
    yield machine
    await machine.close()


@pytest.fixture
async def there(own_server: Loopback, connect: Connect) -> Machine:
    return Reached(connect(own_server))


def front(server: Loopback) -> TLSFront:
    assert server.front is not None
    return server.front


def plant(folder: Path) -> Path:
    """A tree of all that a tree may hold."""
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / name).write_bytes(os.urandom(300))
    (folder / "empty").mkdir(mode=0o700)
    (folder / "link").symlink_to("nowhere")
    (folder / "plain" / "hard").hardlink_to(folder / "plain" / "plain")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o751)
    os.mkfifo(folder / "fifo")
    with (folder / "sparse").open("wb") as file:
        file.seek(200 << 20)
        file.write(b"end")
    os.utime(folder / "tool", ns=(1, 1234567890123456789))
    return folder


def seen(folder: Path) -> dict[str, Any]:
    """What of a tree must be the same after a copy."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        what: Any = path.readlink() if path.is_symlink() else None
        if stat.S_ISREG(status.st_mode):
            what = (hashlib.sha256(path.read_bytes()).digest(), status.st_nlink)
        if not path.is_symlink():
            what = (what, status.st_mode, status.st_mtime_ns)
        found[str(path.relative_to(folder))] = what
    return found


async def test_a_tree_goes_there_and_back_unchanged(here: Here, there: Machine, tmp_path: Path) -> None:
    source = plant(tmp_path / "source")
    up = await copy(here, [str(source)], there, str(tmp_path / "up"))
    down = await copy(there, [str(tmp_path / "up")], here, str(tmp_path / "down"))
    assert seen(tmp_path / "up") == seen(tmp_path / "down") == seen(source)
    assert (tmp_path / "down" / "sparse").stat().st_blocks * 512 < 1 << 20
    assert isinstance(down, Copied)
    assert (up.files, up.links, down.target) == (len(NAMES) + 3, 1, f"{tmp_path}/down")
    assert not (tmp_path / "pwned").exists()


async def test_a_gigabyte_goes_there_and_back_unchanged(here: Here, there: Machine) -> None:
    block, size = os.urandom(1 << 20), 1024
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # disks take their time
    with tempfile.TemporaryDirectory(dir=memory) as made:
        source, up, down = (Path(made, name) for name in ("source", "up", "down"))
        with source.open("wb") as file:
            for number in range(size):
                file.write(number.to_bytes(4, "big") + block[4:])
        await copy(here, [str(source)], there, str(up))
        source.unlink()
        copied = await copy(there, [str(up)], here, str(down))
        assert copied.bytes == size << 20
        with down.open("rb") as file:
            assert all(file.read(1 << 20) == number.to_bytes(4, "big") + block[4:] for number in range(size))
            assert not file.read(1)


async def test_names_mean_what_they_mean_to_cp(here: Here, there: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    (tmp_path / "folder").mkdir()
    await copy(here, [str(tmp_path / "file")], there, str(tmp_path / "folder"))
    await copy(here, [str(tmp_path / "file")], there, str(tmp_path / "folder" / "name"))
    await copy(here, [str(tmp_path / "folder")], there, str(tmp_path / "new"))
    await copy(here, [str(tmp_path / "folder")], there, str(tmp_path / "new"))
    names = sorted(str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*"))
    assert names == ["file", "folder", "folder/file", "folder/name", "name"]


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("none", "x", "No such file or directory"),
        ("file", "no/such/folder", "there is no such folder"),
        ("file", "new/", "there is no such folder"),
        ("folder", "file", "is not a folder, and what is copied there is one"),
    ],
)
async def test_what_cannot_be_copied_is_told(
    here: Here, there: Machine, tmp_path: Path, source: str, target: str, said: str
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RemoteFileError, match=said):
        await copy(here, [f"{tmp_path}/{source}"], there, f"{tmp_path}/{target}")
    assert (tmp_path / "file").read_text() == "kept"


async def test_what_cannot_be_read_is_named_and_all_else_is_copied(
    here: Here, there: Machine, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "good").write_text("good")
    (source / "locked").write_text("secret")
    (source / "locked").chmod(0)
    if os.getuid() == 0:
        pytest.skip("root reads everything")
    with pytest.raises(
        RemoteFileError, match=r"Not all could be read on this computer: .*locked: Permission"
    ):
        await copy(here, [str(source)], there, str(tmp_path / "target"))
    assert (tmp_path / "target" / "good").read_text() == "good"


@pytest.mark.parametrize("upwards", [True, False])
async def test_200_mb_survive_a_connection_that_breaks_at_random(
    here: Here, there: Machine, own_server: Loopback, tmp_path: Path, upwards: bool
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1 << 20) * 200)
    marks = sorted(random.sample(range(5, 195), 8))

    def cut(done: int, total: int | None) -> None:
        if marks and done > marks[0] << 20:
            marks.pop(0)
            front(own_server).cut()

    ends: tuple[Machine, Machine] = (here, there) if upwards else (there, here)
    copied = await copy(ends[0], [str(source)], ends[1], str(tmp_path / "target"), on_progress=cut)
    assert not marks
    assert copied.bytes == 200 << 20
    with (tmp_path / "target").open("rb") as one, source.open("rb") as other:
        assert hashlib.file_digest(one, "sha256").digest() == hashlib.file_digest(other, "sha256").digest()


def in_use(folder: Path) -> bool:
    """Does a copy still hold what is left of it?"""
    (part,) = folder.glob(".pi-v-copy-*.part")
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def test_a_copy_that_is_stopped_leaves_no_half_file_and_the_next_goes_on(
    here: Here, there: Machine, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_bytes(os.urandom(1 << 20) * 200)
    target.parent.mkdir()
    target.write_text("before")
    far = asyncio.Event()

    def look(done: int, total: int | None) -> None:
        assert total == 200 << 20
        if done > 50 << 20:
            far.set()

    copying = asyncio.create_task(copy(here, [str(source)], there, str(target), on_progress=look))
    await far.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert target.read_text() == "before"
    await until(lambda: not in_use(target.parent))
    copied = await copy(here, [str(source)], there, str(target))
    assert copied.resumed > 30 << 20
    assert target.read_bytes() == source.read_bytes()
    assert list(target.parent.iterdir()) == [target]


async def test_a_tree_that_is_stopped_leaves_nothing(here: Here, there: Machine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(40):
        (source / f"{number}").write_bytes(os.urandom(1 << 20) * 4)
    (tmp_path / "into").mkdir()
    far = asyncio.Event()
    copying = asyncio.create_task(
        copy(
            *(here, [str(source)], there, str(tmp_path / "into" / "tree")),
            on_progress=lambda done, _: far.set() if done > 20 << 20 else None,
        )
    )
    await far.wait()
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)
    await until(lambda: not list((tmp_path / "into").iterdir()))


async def test_a_full_disk_is_told_and_leaves_nothing(here: Here, there: Machine, tmp_path: Path) -> None:
    (tmp_path.parent / "large").write_bytes(os.urandom(9 << 20))
    small = await there.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", str(tmp_path)], check=False)
    if not small.ok:
        pytest.skip("only root can mount a file system, and not everywhere")
    try:
        with pytest.raises(RemoteFileError, match="No space left on device"):
            await copy(here, [str(tmp_path.parent / "large")], there, str(tmp_path / "file"))
        with pytest.raises(RemoteFileError, match="No space left on device"):
            await there.write(tmp_path / "other", b"x" * (9 << 20))
        assert not list(tmp_path.iterdir())
    finally:
        await there.run(["umount", str(tmp_path)])
