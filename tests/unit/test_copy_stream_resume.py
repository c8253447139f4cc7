"""A copy that is stopped or cut leaves nothing behind but what the next one goes on from."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from copies import after, as_nobody, copy, feed, names, packed, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_v_jupyter.remote._resident import bulk, records
from pi_v_jupyter.remote._resident.parts import part_name, partial
from pi_v_jupyter.remote._resident.records import CopyError, Cut, Nonsense, Stopped

MIB = 1 << 20
SHARES = st.floats(0, 1, exclude_max=True)  # of a stream, whose length depends on what was compressed


@pytest.fixture
def big(tmp_path: Path) -> Path:
    (tmp_path / "big").write_bytes(os.urandom(12 * MIB + 345))
    return tmp_path / "big"


def cut(source: Path, to: Path, size: int) -> None:
    with pytest.raises(Cut):
        feed(packed(source)[:size], to, asked=source, whole=False)


def left_at(target: Path) -> dict[str, Any] | None:
    return partial(str(target), "whatever its name")


def part(of: Path) -> Path:
    return of.with_name(os.fsdecode(part_name(os.fsencode(of.name))))


@settings(max_examples=15)
@given(st.data())
def test_the_next_copy_goes_on_where_the_last_was_cut_however_often(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder, "here"), Path(folder, "there")
        here.write_bytes(os.urandom(10 * MIB + 7))
        done = 0
        for _ in range(data.draw(st.integers(1, 3))):
            sent = packed(here, resume=left_at(there))
            with pytest.raises(Cut):
                feed(sent[: int(data.draw(SHARES) * len(sent))], there, asked=here, whole=False)
            left = left_at(there)
            assert left is None or left["size"] >= max(done, records.RESUMABLE)
            assert names(Path(folder)) == sorted(["here", *([part(there).name] if left else [])])
            done = left["size"] if left else 0
        sent_in_full, _ = copy(here, to=there, resume=left_at(there))
        assert sent_in_full["start"] == done
        assert sent_in_full["bytes"] == here.stat().st_size - done
        assert seen(there) == seen(here)
        assert names(Path(folder)) == ["here", "there"]


def test_a_file_with_holes_is_gone_on_with_too(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with here.open("wb") as file:
        for at in (0, 20, 40):
            file.seek(at * MIB)
            file.write(os.urandom(6 * MIB))
        file.truncate(64 * MIB)
    cut(here, there, 10 * MIB)
    left = left_at(there)
    sent, _ = copy(here, to=there, resume=left)
    assert sent["start"] > 20 * MIB and sent["bytes"] < 10 * MIB
    assert seen(there) == seen(here)
    assert there.stat().st_blocks <= here.stat().st_blocks


@pytest.mark.parametrize("change", ["another beginning", "shorter", "gone on"])
def test_a_source_that_has_changed_is_copied_from_the_start_unless_it_only_grew(
    tmp_path: Path, big: Path, change: str
) -> None:
    cut(big, tmp_path / "copy", 9 * MIB)
    left = left_at(tmp_path / "copy")
    with big.open("r+b") as file:
        if change == "another beginning":
            file.write(b"another")
        elif change == "shorter":
            file.truncate(8 * MIB)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"more")
    sent, _ = copy(big, to=tmp_path / "copy", resume=left)
    assert bool(sent["start"]) == (change == "gone on")
    assert seen(tmp_path / "copy") == seen(big)
    assert names(tmp_path) == ["big", "copy"]


def test_in_a_folder_it_is_found_by_the_name_of_the_source(tmp_path: Path, big: Path) -> None:
    (tmp_path / "folder").mkdir()
    cut(big, tmp_path / "folder", 9 * MIB)
    assert partial(str(tmp_path / "folder"), str(big)) is not None
    assert partial(str(tmp_path / "folder"), "other") is None
    assert partial(str(tmp_path / "nowhere/folder"), str(big)) is None


def test_what_was_there_is_left_as_it_was_until_the_copy_is_whole(tmp_path: Path, big: Path) -> None:
    (tmp_path / "copy").write_text("old")
    cut(big, tmp_path / "copy", 9 * MIB)
    assert (tmp_path / "copy").read_text() == "old"
    copy(big, to=tmp_path / "copy", resume=left_at(tmp_path / "copy"))
    assert seen(tmp_path / "copy") == seen(big)


def test_a_name_as_long_as_names_can_be_has_a_part_too(tmp_path: Path, big: Path) -> None:
    there = tmp_path / ("n" * 255)
    cut(big, there, 9 * MIB)
    assert left_at(there) is not None
    copy(big, to=there, resume=left_at(there))
    assert names(tmp_path) == ["big", there.name]


def test_two_copies_never_share_a_part(tmp_path: Path, big: Path) -> None:
    there = tmp_path / "copy"
    cut(big, there, 9 * MIB)
    left = left_at(there)
    with part(there).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        held = part(there).read_bytes()
        assert left_at(there) is None
        with pytest.raises(CopyError, match="another copy goes on with it"):
            copy(big, to=there, resume=left)
        copy(big, to=there)
        assert part(there).read_bytes() == held
    assert seen(there) == seen(big)


def test_a_part_that_has_changed_since_it_was_looked_at_is_not_gone_on_with(
    tmp_path: Path, big: Path
) -> None:
    there = tmp_path / "copy"
    cut(big, there, 9 * MIB)
    left = left_at(there)
    with part(there).open("r+b") as file:
        file.write(b"another")
    with pytest.raises(CopyError, match="has changed meanwhile"):
        copy(big, to=there, resume=left)
    assert not there.exists()
    assert left_at(there) is not None


def test_a_part_that_is_not_ours_is_not_used(tmp_path: Path, big: Path) -> None:
    (tmp_path / "other").write_bytes(big.read_bytes()[: 9 * MIB])
    for plant in (os.symlink, os.link):
        plant(tmp_path / "other", part(tmp_path / "copy"))
        assert left_at(tmp_path / "copy") is None
        copy(big, to=tmp_path / "copy")
        assert (tmp_path / "other").stat().st_size == 9 * MIB
        assert seen(tmp_path / "copy") == seen(big)
        part(tmp_path / "copy").unlink()
        (tmp_path / "copy").unlink()


@pytest.mark.parametrize(
    "told",
    [
        {"size": 9 * MIB},
        {"size": "9", "digest": "", "stamp": [1, 1]},
        {"size": -1, "digest": "", "stamp": [1, 1]},
        {"size": 1 << 80, "digest": "", "stamp": [1, 1]},
        {"size": 9 * MIB, "digest": "", "stamp": [1]},
        {"size": 9 * MIB, "digest": "", "stamp": [1, None]},
    ],
)
def test_nonsense_about_a_part_is_called_that(big: Path, told: dict[str, Any]) -> None:
    with pytest.raises(Nonsense, match="does not say what it has"):
        packed(big, resume=told)


def test_a_part_of_less_than_is_worth_it_is_not_kept(tmp_path: Path, big: Path) -> None:
    cut(big, tmp_path / "copy", 7 * MIB)
    assert names(tmp_path) == ["big"]


def test_of_a_tree_no_part_is_kept(tmp_path: Path, big: Path) -> None:
    (tmp_path / "tree").mkdir()
    big.rename(tmp_path / "tree/big")
    cut(tmp_path / "tree", tmp_path / "copy", 9 * MIB)
    assert names(tmp_path) == ["tree"]


def test_a_small_file_that_takes_the_name_clears_the_part_away(tmp_path: Path, big: Path) -> None:
    cut(big, tmp_path / "copy", 9 * MIB)
    (tmp_path / "small").write_text("small")
    copy(tmp_path / "small", to=tmp_path / "copy")
    assert names(tmp_path) == ["big", "copy", "small"]


def test_no_copy_takes_along_what_another_has_half_done(tmp_path: Path, big: Path) -> None:
    (tmp_path / "folder").mkdir()
    cut(big, tmp_path / "folder/copy", 9 * MIB)
    copy(tmp_path / "folder", to=tmp_path / "other")
    assert names(tmp_path / "other") == []


@settings(max_examples=40)
@given(st.data())
def test_a_stop_on_either_side_leaves_nothing(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        for number in range(20):
            (tree / f"folder{number}").mkdir(parents=True)
            (tree / f"folder{number}/file").write_bytes(bytes(20_000 * number))
            (tree / f"folder{number}").chmod(0o500)
        before, polls = seen(tree), data.draw(st.integers(0, 50))
        for who in ("sender_stops", "receiver_stops"):
            with pytest.raises(Stopped):
                copy(
                    tree,
                    to=Path(folder, "copy"),
                    **{who: after(polls if who == "sender_stops" else polls // 2)},
                )
            assert names(Path(folder)) == ["tree"]
            assert seen(tree) == before
        for number in range(20):
            (tree / f"folder{number}").chmod(0o700)


@pytest.mark.parametrize("side", ["sender_stops", "receiver_stops"])
def test_a_stop_is_heeded_at_the_next_file_however_small(tmp_path: Path, side: str) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(30):
        (tmp_path / "tree" / str(number)).touch()
    asked: list[None] = []
    with pytest.raises(Stopped):
        copy(tmp_path / "tree", to=tmp_path / "copy", **{side: after(10, lambda: asked.append(None))})
    assert len(asked) == 11
    assert names(tmp_path) == ["tree"]


def test_a_stop_removes_folders_that_nobody_may_write_to(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o777)
        for name in ("a", "b"):
            (place / "tree" / name).mkdir(parents=True)
            (place / "tree" / name / "file").touch()
            (place / "tree" / name).chmod(0o555)
        with as_nobody(), pytest.raises(Stopped):
            copy(place / "tree", to=place / "copy", receiver_stops=after(9))
        assert names(place) == ["tree"]
        for name in ("a", "b"):
            (place / "tree" / name).chmod(0o755)


def test_a_stop_keeps_the_part_of_a_large_file(tmp_path: Path, big: Path) -> None:
    with pytest.raises(Stopped):
        copy(big, to=tmp_path / "copy", receiver_stops=after(80))
    assert names(tmp_path) == [part(tmp_path / "copy").name, "big"]
    with pytest.raises(Stopped):
        copy(big, to=tmp_path / "copy", resume=left_at(tmp_path / "copy"), sender_stops=after(0))
    assert left_at(tmp_path / "copy") is not None


def test_nonsense_keeps_no_part(tmp_path: Path, big: Path) -> None:
    with pytest.raises(Nonsense):
        feed(packed(big)[: 9 * MIB], tmp_path / "copy", asked=big)
    assert names(tmp_path) == ["big"]


def test_merging_into_a_folder_that_is_stopped_leaves_whole_files_only(tmp_path: Path) -> None:
    tree, there = tmp_path / "tree", tmp_path / "there"
    tree.mkdir()
    for number in range(50):
        (tree / f"file{number}").write_bytes(b"new" * 50_000)
    (there / "tree").mkdir(parents=True)
    (there / "tree/file7").write_text("old")
    with pytest.raises(Stopped):
        copy(tree, to=there, receiver_stops=after(100))
    found = {path.name: path.read_bytes() for path in (there / "tree").iterdir()}
    assert found.keys() <= {path.name for path in tree.iterdir()}
    assert set(found.values()) <= {b"old", b"new" * 50_000}


# Compressing


TEXT = memoryview(b"the quick brown fox jumps over the lazy dog, again and again\n" * 4000)
NOISE = memoryview(os.urandom(records.CHUNK))


def test_a_way_that_keeps_up_is_never_slowed_down_by_trying() -> None:
    pace = bulk.Pace()
    for _ in range(100):
        assert pace.squeeze(TEXT) is None
        assert pace.spent == 0
        pace.written(len(TEXT), 1e-9 * len(TEXT))


def test_a_slow_way_gets_text_compressed_and_noise_as_it_is() -> None:
    pace = bulk.Pace()
    pace.written(bulk.MEASURED, 2.0)
    assert pace.squeeze(NOISE) is None
    assert pace.next_probe > 0 and not pace.squeezing
    pace.next_probe = 0.0
    packed_text = pace.squeeze(TEXT)
    assert packed_text is not None and len(packed_text) < len(TEXT) / 10
    assert pace.squeezing
    for _ in range(50):
        pace.written(len(TEXT), 1e-6 * len(TEXT))
        pace.squeeze(NOISE)
    assert not pace.squeezing


def test_a_way_that_no_longer_blocks_is_measured_again() -> None:
    pace = bulk.Pace()
    pace.written(bulk.MEASURED, 2.0)
    assert pace.squeeze(TEXT) is not None
    pace.written(bulk.RECHECK, 0.0)
    assert pace.squeeze(TEXT) is None
    pace.written(bulk.MEASURED, 0.0)
    assert pace.squeeze(TEXT) is None
