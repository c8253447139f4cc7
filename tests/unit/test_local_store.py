"""Files are kept for as long as something needs them, and named within the platform's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi_v_jupyter.local import memory, paths, store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def filled(name: str) -> str:
    path = store.locate(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    return name


def there() -> set[str]:
    return {store.name_of(path) for path in paths.platform_dir().glob("*/*")}


def sweep(*needed: str, leftovers: bool = False) -> None:
    store.remove([store.set_aside(path) for path in store.unneeded(needed, leftovers=leftovers)])


def test_a_name_is_a_path_within_the_platforms_folder(tmp_path: Path) -> None:
    layer = store.new_layer()
    assert store.locate(store.name_of(layer)) == layer
    assert not Path(store.name_of(layer)).is_absolute()
    with pytest.raises(ValueError):
        store.name_of(tmp_path / "elsewhere")


def test_what_is_needed_stays_with_the_folder_it_is_in_and_all_else_goes() -> None:
    for name in ("snapshots/a/memory", "snapshots/a/devices", "snapshots/b/memory", "ground/i/root.qcow2"):
        filled(name)
    for name in ("layers/1.qcow2", "layers/2.qcow2"):
        filled(name)
    sweep("snapshots/a/memory", "layers/2.qcow2", "ground/i/root.qcow2")
    assert there() == {"snapshots/a", "layers/2.qcow2", "ground/i"}
    assert store.locate("snapshots/a/devices").exists()


def test_unfinished_things_are_somebodys_work_until_a_daemon_begins() -> None:
    filled("snapshots/a.partial/memory")
    filled("ground/i.partial/root.qcow2")
    assert store.snapshot_ids() == []
    sweep()
    assert there() == {"snapshots/a.partial", "ground/i.partial"}
    sweep(leftovers=True)
    assert there() == set()


def test_what_is_removed_is_gone_from_its_place_at_once() -> None:
    filled("snapshots/a/snapshot.json")
    (aside,) = [store.set_aside(path) for path in store.unneeded([], leftovers=False)]
    assert store.snapshot_ids() == []
    assert aside.exists()
    assert store.unneeded([], leftovers=False) == []  # somebody is at it
    store.remove([aside, aside])
    assert there() == set()


def test_the_cache_may_be_cleared_when_its_files_are_kept(tmp_path: Path) -> None:
    cached = tmp_path / "cache/image"
    cached.mkdir(parents=True)
    (cached / "root.qcow2").write_text("disk")
    kept = store.keep(cached)
    assert (kept / "root.qcow2").samefile(cached / "root.qcow2")
    (cached / "root.qcow2").unlink()
    assert (kept / "root.qcow2").read_text() == "disk"
    cached.rmdir()
    assert store.keep(cached) == kept


def test_keeping_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    cached = tmp_path / "cache/image"
    cached.mkdir(parents=True)
    (cached / "root.qcow2").write_text("disk")
    filled("ground/image.partial/half")
    assert [path.name for path in store.keep(cached).iterdir()] == ["root.qcow2"]
    assert there() == {"ground/image"}


def test_machines_that_boot_share_a_memory_that_was_never_written() -> None:
    file = store.blank_memory(256)
    assert file.stat().st_size == 256 * 1024**2
    assert file.stat().st_blocks == 0
    assert store.blank_memory(256) == file
    assert store.blank_memory(512) != file


def test_a_layer_is_large_by_what_it_holds_and_where_copies_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = store.new_layer()
    memory.blank(layer, 10**9)
    monkeypatch.setattr(memory, "shares_blocks", lambda folder: False)
    assert not store.is_large(layer)
    monkeypatch.setattr(store, "_LARGE_BYTES", -1)
    assert store.is_large(layer)
    monkeypatch.setattr(memory, "shares_blocks", lambda folder: True)
    assert not store.is_large(layer)
