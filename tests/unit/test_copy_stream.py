"""What a copy carries is the same on the other side, and lands where `cp` would put it."""

from __future__ import annotations

import errno
import os
import random
import socket
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from copies import as_nobody, copy, names, packed, records_of, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_v_jupyter.remote._resident import bulk, records
from pi_v_jupyter.remote._resident.records import CopyError

Node = tuple[str, Any, int, int]  # kind, what is in it, mode, mtime in ns

NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: (
        not (name in (b".", b"..") or b"/" in name or b"\0" in name or name.startswith(records.HIDDEN))
    )
)
TIMES = st.integers(-(1 << 31) * 10**9, (1 << 33) * 10**9)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.integers(0, 3 * records.CHUNK).map(lambda size: random.Random(size).randbytes(size)),
)
PIECES = st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=50)), max_size=4)
NODES = st.recursive(
    st.one_of(
        st.tuples(st.just("file"), CONTENTS, st.integers(0, 0o7777), TIMES),
        st.tuples(st.just("sparse"), PIECES, st.integers(0, 0o7777), TIMES),
        st.tuples(st.just("link"), NAMES, st.just(0), TIMES),
        st.tuples(st.just("fifo"), st.none(), st.integers(0, 0o7777), TIMES),
        st.tuples(st.just("again"), st.none(), st.just(0), TIMES),
    ),
    lambda nodes: st.tuples(
        st.just("folder"), st.dictionaries(NAMES, nodes, max_size=6), st.integers(0, 0o7777), TIMES
    ),
    max_leaves=12,
)
TREES = st.dictionaries(NAMES, NODES, max_size=6)


def build(path: Path, node: Node, files: list[Path]) -> None:
    kind, what, mode, mtime = node
    if kind == "again":
        if files:
            path.hardlink_to(files[len(files) // 2])
        return
    if kind == "link":
        path.symlink_to(os.fsdecode(what))
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        for name, inner in what.items():
            build(path / os.fsdecode(name), inner, files)
    else:
        with path.open("wb") as file:
            if kind == "file":
                file.write(what)
            else:
                for at, piece in what:
                    file.seek(at << 14)
                    file.write(piece)
                file.truncate(1 << 20)
        files.append(path)
    if kind != "link":
        path.chmod(mode | (0o700 if kind == "folder" else 0o600))
    os.utime(path, ns=(0, mtime), follow_symlinks=False)


def timeless(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """`tree` without the times of its folders, which tell that something was put into them."""
    return {
        name: (kind, mode, None if kind == stat.S_IFDIR else mtime, content)
        for name, (kind, mode, mtime, content) in tree.items()
    }


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty folder that anybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@settings(max_examples=60)
@given(TREES)
def test_a_tree_of_anything_is_the_same_on_the_other_side(
    tree: dict[bytes, Node],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder, "here"), Path(folder, "there")
        build(here, ("folder", tree, 0o750, 10**18), [])
        sent, came = copy(here, to=there)
        assert seen(there) == seen(here)
        assert sent["failures"] == sent["skipped"] == 0
        assert [sent[key] for key in ("files", "folders", "bytes")] == [
            came[key] for key in ("files", "folders", "bytes")
        ]
        copy(f"{here}/.", to=there)  # once more: merged, entry by entry
        assert timeless(seen(there)) == timeless(seen(here))
        assert names(Path(folder)) == ["here", "there"]


@settings(max_examples=30)
@given(TREES)
def test_compressed_blocks_carry_the_same(tree: dict[bytes, Node]) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(bulk.Pace, "squeeze", lambda self, plain: zlib.compress(plain, 1))
        here, there = Path(folder, "here"), Path(folder, "there")
        build(here, ("folder", tree, 0o750, 10**18), [])
        copy(here, to=there)
        assert seen(there) == seen(here)


def test_holes_stay_holes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with here.open("wb") as file:
        file.seek(64 << 20)
        file.write(b"x" * 4096)
        file.truncate(1 << 30)
    sent, _ = copy(here, to=there)
    assert there.stat().st_size == 1 << 30
    assert there.stat().st_blocks <= here.stat().st_blocks
    assert sent["sent"] < 1 << 20
    with there.open("rb") as file:
        file.seek(64 << 20)
        assert file.read(4097) == b"x" * 4096 + b"\0"


def test_files_of_proc_have_no_size_and_are_copied_all_the_same(tmp_path: Path) -> None:
    copy(Path("/proc/version"), to=tmp_path / "version")
    assert (tmp_path / "version").read_bytes() == Path("/proc/version").read_bytes()


def test_folders_nested_too_deep_are_told_and_the_rest_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_v_jupyter.remote._resident.pack.DEEPEST", 3)
    (tmp_path / "a/b/c/d/e").mkdir(parents=True)
    (tmp_path / "a/file").touch()
    sent, _ = copy(tmp_path / "a", to=tmp_path / "copy")
    assert sent["failures"] == 1 and "deep" in sent["failed"][0][1]
    assert names(tmp_path / "copy") == ["b", "file"]


def test_sockets_are_skipped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a/socket"))
        sent, _ = copy(tmp_path / "a", to=tmp_path / "b")
    assert sent["skipped"] == 1
    assert names(tmp_path / "b") == []


def test_what_cannot_be_read_is_told_by_name_and_the_rest_is_copied(place: Path) -> None:
    tree = place / "tree"
    (tree / "locked").mkdir(parents=True)
    (tree / "open").write_text("open")
    (tree / "secret").write_text("secret")
    for path in ("secret", "locked"):
        (tree / path).chmod(0)
    (place / "to").mkdir()
    (place / "to").chmod(0o777)
    with as_nobody():
        sent, _ = copy(tree, to=place / "to")
    (tree / "locked").chmod(0o700)
    assert sent["failures"] == 2
    assert sorted(sent["failed"]) == [
        (str(tree / "locked"), "Permission denied"),
        (str(tree / "secret"), "Permission denied"),
    ]
    assert names(place / "to/tree") == ["open"]


def test_setuid_is_kept_between_machines_of_one_owner_only(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.touch()
    here.chmod(0o6755)
    copy(here, to=tmp_path / "mine", owners=True)
    copy(here, to=tmp_path / "theirs")
    assert (tmp_path / "mine").stat().st_mode & 0o7777 == 0o6755
    assert (tmp_path / "theirs").stat().st_mode & 0o7777 == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owners_are_kept_when_asked_for(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "file").touch()
    (here / "link").symlink_to("file")
    for path in (here, here / "file", here / "link"):
        os.chown(path, 1234, 4321, follow_symlinks=False)
    copy(here, to=tmp_path / "kept", owners=True)
    copy(here, to=tmp_path / "not")
    for name in ("", "file", "link"):
        assert os.lstat(tmp_path / "kept" / name).st_uid == 1234
        assert os.lstat(tmp_path / "kept" / name).st_gid == 4321
        assert os.lstat(tmp_path / "not" / name).st_uid == 0


# Where it lands


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """file, folder/inner, empty/, link -> file, way -> empty, pipe, tap -> pipe"""
    (tmp_path / "file").write_text("file")
    (tmp_path / "other").write_text("other")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner").write_text("inner")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "way").symlink_to("empty")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "tap").symlink_to("pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "target", "made"),
    [
        (["file"], "new", "new"),
        (["file"], "empty", "empty/file"),
        (["file"], "empty/", "empty/file"),
        (["file"], "way", "empty/file"),
        (["file"], "other", "other"),
        (["link"], "new", "new"),
        (["folder"], "new", "new/inner"),
        (["folder"], "new/", "new/inner"),
        (["folder/"], "empty", "empty/folder/inner"),
        (["folder/."], "empty", "empty/inner"),
        (["folder/."], "new", "new/inner"),
        (["file", "folder"], "empty", "empty/folder/inner"),
        (["file", "folder"], "empty", "empty/file"),
    ],
)
def test_it_lands_where_cp_would_put_it(world: Path, sources: list[str], target: str, made: str) -> None:
    copy(*(f"{world}/{name}" for name in sources), to=f"{world}/{target}")
    found = world / made
    assert found.is_file() and not found.is_symlink()
    assert found.read_text() == ("inner" if found.name == "inner" or made.startswith("new/") else "file")


@pytest.mark.parametrize(
    ("sources", "target", "why"),
    [
        (["file"], "new/", "no such folder"),
        (["file"], "nowhere/new", "no such folder"),
        (["file"], "file/new", "Not a directory"),
        (["file", "other"], "new", "not a folder"),
        (["folder"], "file", "not a folder"),
        (["file"], "pipe", "neither a file nor a folder"),
        (["file"], "tap", "neither a file nor a folder"),
        (["nothing"], "new", "No such file"),
        (["pipe"], "new", "neither a file nor a folder"),
        (["file"], "new\0", "embedded null"),
        (["file\0"], "new", "embedded null"),
    ],
)
def test_what_cp_refuses_is_refused_in_a_sentence(
    world: Path, sources: list[str], target: str, why: str
) -> None:
    before = seen(world)
    with pytest.raises(CopyError, match=why):
        copy(*(world / name for name in sources), to=f"{world}/{target}")
    assert seen(world).keys() == before.keys()


@pytest.mark.parametrize(("source", "there"), [("file", "folder"), ("folder", "file"), ("folder", "link")])
def test_a_folder_and_a_file_never_take_each_other_s_place(world: Path, source: str, there: str) -> None:
    (world / "empty" / source).symlink_to(world / "empty") if there == "link" else None
    if there == "folder":
        (world / "empty" / source).mkdir()
    elif there == "file":
        (world / "empty" / source).touch()
    with pytest.raises(CopyError, match="folder, and what is copied there"):
        copy(world / source, to=world / "empty")
    assert names(world / "empty") == [source]


def test_a_folder_that_was_there_stays_as_it_is_but_for_what_is_put_into_it(world: Path) -> None:
    (world / "empty/folder").mkdir(0o711)
    (world / "empty/folder/mine").touch()
    (world / "folder").chmod(0o777)
    copy(world / "folder", to=world / "empty")
    assert names(world / "empty/folder") == ["inner", "mine"]
    assert (world / "empty/folder").stat().st_mode & 0o777 == 0o711


def test_nothing_is_copied_into_itself(world: Path) -> None:
    for target in ("folder", "folder/new"):
        with pytest.raises(CopyError, match="is in the folder"):
            copy(world / "folder", to=world / target, same_machine=True)
    with pytest.raises(CopyError, match="is the file"):
        copy(world / "file", to=world / "link", same_machine=True)
    assert names(world / "folder") == ["inner"]
    assert (world / "file").read_text() == "file"


def test_a_copy_into_itself_that_nobody_caught_ends(world: Path) -> None:
    copy(world / "folder", to=world / "folder/new")
    assert names(world / "folder") == ["inner", "new"]
    assert names(world / "folder/new") == ["inner"]


def test_whoever_reads_meanwhile_sees_the_old_file_or_the_new(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_bytes(b"new!" * (1 << 20))
    there.write_bytes(b"old!" * (1 << 20))
    read, over = set(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            read.add(there.read_bytes())
        read.add(there.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        copy(here, to=there)
    finally:
        over.set()
        watcher.join()
    assert read <= {b"old!" * (1 << 20), b"new!" * (1 << 20)}
    assert there.read_bytes() == here.read_bytes()


# Files that change


def changing(path: Path, size: int) -> object:
    """To be polled: resizes `path` once its first parts have gone."""
    polls = [0]

    def poll() -> bool:
        polls[0] += 1
        if polls[0] == 4:
            os.truncate(path, size)
        return False

    return poll


@pytest.mark.parametrize("size", [0, 300_000, 2 << 20])
@pytest.mark.parametrize("hole", [False, True])
def test_a_file_that_changes_its_size_while_it_is_read_harms_nothing_else(
    tmp_path: Path, size: int, hole: bool
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    data = os.urandom(1 << 20)
    (tree / "big").write_bytes(data)
    if hole:
        with (tree / "big").open("r+b") as file:
            file.truncate(64 << 20)
    (tree / "folder").mkdir()
    (tree / "folder/after").write_text("after")
    copy(tree, to=tmp_path / "copy", sender_stops=changing(tree / "big", size))
    came = (tmp_path / "copy/big").read_bytes()
    common = min(len(came), size, len(data))
    assert came[:common] == data[:common]
    assert (tmp_path / "copy/folder/after").read_text() == "after"


def test_a_file_that_cannot_be_read_to_its_end_is_told_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(fd: int, buffers: list[memoryview], at: int) -> int:
        if at >= records.CHUNK:
            raise OSError(errno.EIO, "Input/output error")
        return whole(fd, buffers, at)

    tree, whole = tmp_path / "tree", os.preadv
    tree.mkdir()
    (tree / "bad").write_bytes(bytes(1 << 20))
    (tree / "again").hardlink_to(tree / "bad")
    (tree / "good").write_text("good")
    monkeypatch.setattr(os, "preadv", damaged)
    for to in (tmp_path / "new", tmp_path / "old"):
        if to.name == "old":
            (to / "tree").mkdir(parents=True)
        sent, _ = copy(tree, to=to)
        assert sorted(sent["failed"]) == [
            (str(tree / name), "Input/output error") for name in ("again", "bad")
        ]
    assert names(tmp_path / "new") == names(tmp_path / "old/tree") == ["good"]


# What is told on the way


def test_the_first_bytes_say_how_much_comes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(bytes(100_000))
    os.link(tmp_path / "a/file", tmp_path / "a/again")
    data = packed(tmp_path / "a")
    assert records.head(data[: records.HEAD.size - 1]) is None
    assert records.head(data) == {"sources": 1, "entries": 3, "bytes": 100_000, "start": 0}


def test_who_takes_too_long_to_count_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi_v_jupyter.remote._resident.origins.PRESCAN", -1)
    (tmp_path / "a/b").mkdir(parents=True)
    told = records.head(packed(tmp_path / "a"))
    assert told is not None
    assert told["entries"] is None and told["bytes"] is None


@given(st.lists(st.integers(1, 300_000), max_size=20))
def test_a_meter_tells_how_far_it_is_from_bytes_cut_anywhere(cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a").write_bytes(os.urandom(1 << 20))
        data = packed(Path(folder, "a"))
    meter, at = bulk.Meter(), 0
    for cut in [*cuts, len(data)]:
        meter.feed(data[at : at + cut])
        at += cut
    meter.feed(data[at:])
    assert meter.head is not None and meter.head["bytes"] == 1 << 20
    assert meter.moved == sum(map(len, records_of(data)))
