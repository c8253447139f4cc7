"""The sender of a copy need not be trusted: nothing it sends leads out of the target, or fills memory."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from pathlib import Path

import pytest
from copies import block, copy, done, feed, large, names, packed, record, records_of, seen, source, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_v_jupyter.remote._resident import bulk, records
from pi_v_jupyter.remote._resident.records import (
    ABANDON,
    AGAIN,
    CLOSE,
    DATA,
    FIFO,
    FILE,
    FOLDER,
    LARGE,
    LEAVE,
    LINK,
    CopyError,
    Cut,
    Nonsense,
)

SHARES = st.floats(0, 1, exclude_max=True)  # of a stream, whose length depends on what was compressed


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """outside/secret, and target/ for what comes"""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "target").mkdir()
    return tmp_path


ESCAPES = [b"", b".", b"..", b"a/b", b"/", b"/pi-v-nowhere/file", b"../outside/secret", b"a\0b", b"./a"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("kind", [FILE, LARGE, FOLDER, LINK, FIFO, AGAIN])
def test_a_name_is_a_name_in_its_folder(home: Path, name: bytes, kind: int) -> None:
    before = seen(home / "outside")
    tail = records.SPAN.pack(0, 0, 0, 0) if kind == LARGE else b"x" if kind in (FILE, LINK) else b""
    first = [source(), record(FOLDER), record(FILE, b"first", value=1)]
    with pytest.raises(Nonsense, match="a name that cannot be one"):
        feed(stream([*first, record(kind, name, tail, value=1)]), home / "target")
    assert seen(home / "outside") == before
    assert names(home / "target") == []
    assert names(home) == ["outside", "target"]


@pytest.mark.parametrize("name", [*ESCAPES, b".bashrc", b"It", b"it "])
@pytest.mark.parametrize("kind", [FILE, FOLDER])
def test_nothing_comes_but_what_was_asked_for(home: Path, name: bytes, kind: int) -> None:
    with pytest.raises(Nonsense, match="nobody asked for"):
        feed(stream([source(name), record(kind, name)]), home / "target")
    assert names(home / "target") == []


def test_who_asks_for_the_content_of_a_folder_gets_no_file_of_that_name(home: Path) -> None:
    for kind in (FILE, LINK, FIFO):
        with pytest.raises(Nonsense):
            feed(stream([source(b"."), record(kind, b".")]), home / "target", asked="folder/.")
    assert names(home / "target") == []


def test_a_link_of_the_stream_is_not_followed_by_the_stream(home: Path) -> None:
    sent = [source(), record(FOLDER), record(LINK, b"way", b"../../outside"), record(FOLDER, b"way")]
    with pytest.raises(CopyError, match="twice"):
        feed(stream([*sent, record(FILE, b"secret", b"theirs")]), home / "target")
    assert (home / "outside/secret").read_text() == "secret"
    assert names(home / "target") == []


@pytest.mark.parametrize("kind", [FILE, LARGE, LINK, FIFO, AGAIN])
def test_nor_does_it_write_through_one(home: Path, kind: int) -> None:
    sent = [
        source(),
        record(FOLDER),
        record(FILE, b"first", value=1),
        record(LINK, b"way", b"../../outside/secret"),
        large(b"way")
        if kind == LARGE
        else record(kind, b"way", b"x" if kind in (FILE, LINK) else b"", value=1),
    ]
    with pytest.raises(CopyError, match="twice"):
        feed(stream(sent), home / "target")
    assert (home / "outside/secret").read_text() == "secret"


def test_a_link_that_stands_where_a_folder_comes_is_an_error(home: Path) -> None:
    (home / "target/it").mkdir()
    (home / "target/it/way").symlink_to(home / "outside")
    sent = [source(), record(FOLDER), record(FOLDER, b"way"), record(FILE, b"secret", b"theirs")]
    with pytest.raises(CopyError, match="way is not a folder, and what is copied there is one"):
        feed(stream(sent), home / "target")
    assert (home / "outside/secret").read_text() == "secret"


def test_a_link_that_stands_where_a_file_comes_is_replaced(home: Path) -> None:
    (home / "target/it").symlink_to(home / "outside/secret")
    feed(stream([source(), record(FILE, b"", b"theirs"), done(1, 6)]), home / "target")
    assert (home / "target/it").read_text() == "theirs"
    assert not (home / "target/it").is_symlink()
    assert (home / "outside/secret").read_text() == "secret"


def test_what_was_asked_for_never_comes_as_a_link(home: Path) -> None:
    for kind in (LINK, FIFO):
        with pytest.raises(Nonsense):
            feed(
                stream([source(), record(kind, b"", b"/etc/passwd"[: 11 if kind == LINK else 0])]),
                home / "target",
            )
    assert names(home / "target") == []


def test_a_second_name_is_one_of_a_file_of_this_copy(home: Path) -> None:
    (home / "target/it").mkdir()
    (home / "target/it/way").symlink_to(home / "outside")
    for number in (0, 1, 7):
        with pytest.raises(Nonsense):
            feed(stream([source(), record(FOLDER), record(AGAIN, b"second", value=number)]), home / "target")


def test_nobody_becomes_root_by_a_copy(home: Path) -> None:
    sent = [source(), record(FOLDER, mode=0o7777), record(FILE, b"a", b"#!", mode=0o7777)]
    feed(stream([*sent, record(LEAVE), done(2, 2)]), home / "target")
    assert (home / "target/it").stat().st_mode & 0o7777 == 0o1777
    assert (home / "target/it/a").stat().st_mode & 0o7777 == 0o1777


def test_a_name_in_an_error_cannot_move_the_cursor(home: Path) -> None:
    with pytest.raises(CopyError) as caught:
        feed(stream([source(), record(FOLDER), record(FOLDER, b"\x1b[2Ja/")]), home / "target")
    assert "\x1b" not in str(caught.value)
    (home / "target/it").mkdir()
    (home / "target/it/\x1b[2J").touch()
    with pytest.raises(CopyError) as caught:
        feed(stream([source(), record(FOLDER), record(FOLDER, b"\x1b[2J")]), home / "target")
    assert "\x1b" not in str(caught.value)


BEGUN = [source(), record(FOLDER)]
MISPLACED = {
    "nothing asked for": [record(FOLDER)],
    "left more than entered": [*BEGUN, record(LEAVE), record(LEAVE)],
    "left nothing": [record(LEAVE)],
    "two for one": [*BEGUN, record(LEAVE), record(FOLDER)],
    "more than asked for": [*BEGUN, record(LEAVE), source()],
    "less than asked for": [done(0, 0)],
    "asked inside": [*BEGUN, source()],
    "data of no file": [*BEGUN, records.RECORD.pack(DATA, 0, 0, 0, 0, 0, 0, 1) + b"x"],
    "end of no file": [*BEGUN, record(CLOSE)],
    "no file abandoned": [*BEGUN, record(ABANDON)],
    "a file in a file": [*BEGUN, large(b"a"), record(FILE, b"b")],
    "a folder in a file": [*BEGUN, large(b"a"), record(FOLDER, b"b")],
    "left a file": [*BEGUN, large(b"a"), record(LEAVE)],
    "done in a file": [*BEGUN, large(b"a"), done(1, 0)],
    "done in a folder": [*BEGUN, done(1, 0)],
    "done too early": [*BEGUN, record(LEAVE), done(2, 0)],
    "no such record": [*BEGUN, record(99)],
    "record zero": [*BEGUN, record(0)],
    "data backwards": [
        *BEGUN,
        large(b"a"),
        *(records.RECORD.pack(DATA, 0, 0, 0, 0, 0, at, 1) + b"x" for at in (5, 4)),
    ],
    "data at the end of the world": [
        *BEGUN,
        large(b"a"),
        records.RECORD.pack(DATA, 0, 0, 0, 0, 0, 1 << 62, 1) + b"x",
    ],
    "shorter than its data": [
        *BEGUN,
        large(b"a"),
        records.RECORD.pack(DATA, 0, 0, 0, 0, 0, 5, 1) + b"x",
        record(CLOSE, value=5),
    ],
    "longer than any file": [*BEGUN, large(b"a"), record(CLOSE, value=(1 << 62) + 1)],
    "goes on inside": [*BEGUN, large(b"a", start=9 << 20)],
    "a link to nothing": [*BEGUN, record(LINK, b"a")],
    "a link to half": [*BEGUN, record(LINK, b"a", b"b\0c")],
    "no origin": [record(records.SOURCE, b"it")],
    "no span": [source(), record(LARGE, b"it")],
    "no counts": [*BEGUN, record(LEAVE), record(records.DONE)],
    "long name": [*BEGUN, record(FILE, b"a" * 256)],
    "long link": [*BEGUN, record(LINK, b"a", b"b" * 4096)],
    "long file": [*BEGUN, record(FILE, b"a", b"b" * (records.SMALL + 1))],
}


@pytest.mark.parametrize("sent", MISPLACED.values(), ids=MISPLACED)
def test_nonsense_is_called_that_and_leaves_nothing_half(home: Path, sent: list[bytes]) -> None:
    before = seen(home / "outside")
    with pytest.raises(Nonsense) as caught:
        feed(stream(sent), home / "target")
    assert "in the middle" not in str(caught.value)  # it was seen before the stream ended
    assert seen(home / "outside") == before
    assert names(home) == ["outside", "target"]
    # What was whole when the nonsense came has its name.
    assert names(home / "target") in ([], ["it"])
    assert not any((home / "target").glob("it/*"))


def test_a_sender_that_goes_on_with_a_part_that_is_not_there_is_told(home: Path) -> None:
    with pytest.raises(CopyError, match="What was left of the last copy is gone"):
        feed(stream([source(), large(start=9 << 20)]), home / "target")
    assert names(home / "target") == []


HEAD = records.HEAD.pack(records.MAGIC, 1, -1, -1, 0)
BOMB = zlib.compress(bytes(64 << 20), 9)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n".ljust(100),
        HEAD + bulk.BLOCK.pack(7, 1, 1) + b"x",
        HEAD + bulk.BLOCK.pack(bulk.RAW, 0, 0),
        HEAD + bulk.BLOCK.pack(bulk.RAW, 0xFFFFFFFF, 0xFFFFFFFF),
        HEAD + bulk.BLOCK.pack(bulk.RAW, 2, 1) + b"xx",
        HEAD + bulk.BLOCK.pack(bulk.ZLIB, 9, 100) + b"not zlib.",
        HEAD + bulk.BLOCK.pack(bulk.ZLIB, len(BOMB), bulk.LIMIT) + BOMB,
        HEAD + bulk.BLOCK.pack(bulk.ZLIB, len(BOMB), 64 << 20) + BOMB,
        HEAD + bulk.BLOCK.pack(bulk.ZLIB, len(BOMB) // 2, bulk.LIMIT) + BOMB[: len(BOMB) // 2],
        HEAD + bulk.BLOCK.pack(bulk.ZLIB, 20, 4) + zlib.compress(b"abcd").ljust(20, b"x"),
        HEAD + bulk.BLOCK.pack(bulk.ZLIB, 12, 5) + zlib.compress(b"abcd"),
    ],
)
def test_a_block_that_is_none_is_refused_before_it_takes_memory(home: Path, data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Nonsense):
            feed(data, home / "target")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert names(home / "target") == []


VALID = source() + record(FILE, b"", b"content") + done(1, 7)


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        (zlib.compress(VALID) + b"more", len(VALID)),
        (zlib.compress(VALID + b"more"), len(VALID)),
        (zlib.compress(VALID)[:-4], len(VALID)),
        (zlib.compress(VALID), len(VALID) + 1),
    ],
)
def test_a_block_holds_what_it_says_and_nothing_else(home: Path, payload: bytes, size: int) -> None:
    feed(HEAD + block(VALID, squeezed=True), home / "target")
    (home / "target/it").unlink()
    with pytest.raises(Nonsense, match="of another size"):
        feed(HEAD + bulk.BLOCK.pack(bulk.ZLIB, len(payload), size) + payload, home / "target")
    assert names(home / "target") == []


@settings(max_examples=200)
@given(st.data())
def test_a_stream_with_a_few_bytes_changed_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    (folder / "tree/inner").mkdir(parents=True)
    (folder / "tree/inner/file").write_bytes(b"content")
    (folder / "tree/link").symlink_to("inner")
    sent = bytearray(packed(folder / "tree"))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[int(data.draw(SHARES) * len(sent))] = data.draw(st.integers(0, 255))
    (folder / "target").mkdir()
    try:
        feed(bytes(sent), folder / "target", asked="tree")
    except CopyError:
        assert not any(name.startswith(".pi-v") for name in names(folder / "target"))
    assert names(folder) == ["target", "tree"]


# Streams that end in the middle


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "folder/empty").mkdir(parents=True)
    (tree / "folder/file").write_bytes(b"x" * 100)
    os.link(tree / "folder/file", tree / "again")
    (tree / "large").write_bytes(os.urandom(records.CHUNK + 1000))
    (tree / "link").symlink_to("folder")
    os.mkfifo(tree / "pipe")
    return tree


@pytest.mark.parametrize("merge", [False, True])
def test_a_stream_cut_between_any_two_records_leaves_nothing_half(
    tmp_path: Path, tree: Path, merge: bool
) -> None:
    sent = list(records_of(packed(tree)))
    whole = seen(tree)
    for cut in range(len(sent)):
        target = tmp_path / str(cut)
        target.mkdir()
        if merge:
            (target / "tree/folder").mkdir(parents=True)
        with pytest.raises(Cut):
            feed(stream(sent[:cut]), target, asked=tree, whole=False)
        found = seen(target / "tree") if names(target) else {}
        assert names(target) in ([], ["tree"])
        if not merge:
            assert found in ({}, whole)
        for name, (_, _, _, content) in found.items():  # whatever has its name is whole
            assert name in whole
            if isinstance(content, tuple):
                assert content[0] == whole[name][3][0]  # type: ignore[index]


@settings(max_examples=60)
@given(st.data())
def test_a_stream_cut_anywhere_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    (folder / "tree").mkdir()
    (folder / "tree/large").write_bytes(bytes(records.CHUNK + 7))
    (folder / "tree/small").write_bytes(b"small")
    (folder / "target").mkdir()
    sent = packed(folder / "tree")
    with pytest.raises(Cut):
        feed(sent[: int(data.draw(SHARES) * len(sent))], folder / "target", asked="tree", whole=False)
    assert names(folder / "target") == []


def test_a_sender_that_ends_in_the_middle_of_its_own_accord_sends_nonsense(
    tmp_path: Path, tree: Path
) -> None:
    with pytest.raises(Nonsense, match="ended the copy in the middle"):
        feed(packed(tree)[:-1], tmp_path / "copy", asked=tree)
    assert names(tmp_path) == ["tree"]


def test_a_disk_that_is_full_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: memoryview, at: int) -> int:
        raise OSError(28, "No space left on device")

    (tmp_path / "big").write_bytes(bytes(16 << 20))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(CopyError, match=r"copy: No space left on device\."):
        copy(tmp_path / "big", to=tmp_path / "copy")
    assert names(tmp_path) == ["big"]


def test_records_may_be_cut_into_blocks_in_any_way(tmp_path: Path, tree: Path) -> None:
    plain = b"".join(records_of(packed(tree)))
    sent = HEAD + b"".join(block(plain[at : at + 7], squeezed=at % 2 == 0) for at in range(0, 4000, 7))
    sent += block(plain[4004 : 4004 + bulk.LIMIT])
    feed(
        sent + block(plain[4004 + bulk.LIMIT :]) if plain[4004 + bulk.LIMIT :] else sent,
        tmp_path / "copy",
        asked=tree,
    )
    assert seen(tmp_path / "copy") == seen(tree)
