"""The files that machines are made of, kept for as long as something needs them.

ground     images and booted machines, linked here from the cache, which users may clear at any time
layers     disks in layers: a VM writes to the last of its own, all others never change again
snapshots  machines as they once were (`snapshots`)

Everything is named by its path within the platform's folder, so that the folder can be moved.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pi_v_jupyter.local import memory, paths

UNFINISHED = ".partial"
_LARGE_BYTES = 16 * 1024**2
_GROUND, _LAYERS, _SNAPSHOTS = "ground", "layers", "snapshots"


def locate(name: str) -> Path:
    """The file or folder of that name."""
    return paths.platform_dir() / name


def name_of(path: Path) -> str:
    """The name of a file of the platform."""
    return path.relative_to(paths.platform_dir()).as_posix()


def keep(folder: Path) -> Path:
    """Have what is in `folder`, which never changes, in the ground; it costs no space where links do."""
    kept = _room(_GROUND) / folder.name
    if not kept.exists():
        unfinished = kept.with_name(kept.name + UNFINISHED)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        for file in folder.iterdir():
            memory.link_or_copy(file, unfinished / file.name)
        unfinished.rename(kept)
    return kept


def blank_memory(size_mib: int) -> Path:
    """A memory that was never written, shared by all machines of that size that boot."""
    folder = _room(_GROUND) / f"blank-{size_mib}"
    folder.mkdir(exist_ok=True, mode=0o700)
    file = folder / "memory"
    if not file.exists():
        memory.blank(file, size_mib * 1024**2)
    return file


def new_layer() -> Path:
    """Where a new layer of a disk goes."""
    return _room(_LAYERS) / f"{uuid.uuid4().hex}.qcow2"


def is_large(layer: Path) -> bool:
    """Whether to copy `layer` takes long: it holds much, and the file system cannot share its blocks."""
    return layer.stat().st_blocks * 512 > _LARGE_BYTES and not memory.shares_blocks(layer.parent)


def snapshot_folder(snapshot_id: str) -> Path:
    """Where a snapshot is."""
    return _room(_SNAPSHOTS) / snapshot_id


def snapshot_ids() -> list[str]:
    """The snapshots there are."""
    return [folder.name for folder in _room(_SNAPSHOTS).iterdir() if folder.suffix != UNFINISHED]


def unneeded(needed: Iterable[str], *, leftovers: bool) -> list[Path]:
    """All that is neither `needed` nor holds something that is; unfinished things only with `leftovers`."""
    kept = {part for name in needed for part in (name, *map(str, PurePosixPath(name).parents))}
    return [
        path
        for room in (_GROUND, _LAYERS, _SNAPSHOTS)
        for path in _room(room).iterdir()
        if name_of(path) not in kept and (leftovers or path.suffix != UNFINISHED)
    ]


def set_aside(path: Path) -> Path:
    """Have `path` gone from its place, whole and at once, before it is removed; where it is then."""
    if path.suffix == UNFINISHED:
        return path
    return path.rename(path.with_name(path.name + UNFINISHED))


def remove(found: Iterable[Path]) -> None:
    """Remove files and folders; gone already is gone."""
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _room(name: str) -> Path:
    path = paths.platform_dir() / name
    path.mkdir(exist_ok=True, mode=0o700)
    return path
