"""The first file system of the kernel: enough modules to find the disk, and a way into it.

Written as a `cpio` archive in the "newc" format (Linux, Documentation/driver-api/early-userspace/
buffer-format.rst), which needs no program and no privileges.
"""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Iterator
from pathlib import Path

_FOLDERS = ("bin", "dev", "proc", "root", "sys", "modules")
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4")


def build(tree: Path, kernel_version: str, init: bytes) -> bytes:
    """A compressed initramfs with the modules of `tree` and the script `init`."""
    archive = _Archive()
    for folder in _FOLDERS:
        archive.add(folder, stat.S_IFDIR | 0o755, b"")
    archive.add("bin/busybox", stat.S_IFREG | 0o755, (tree / "usr/bin/busybox").read_bytes())
    archive.add("init", stat.S_IFREG | 0o755, init)
    for number, module in enumerate(_in_load_order(tree / "usr/lib/modules" / kernel_version)):
        archive.add(f"modules/{number:02}.ko", stat.S_IFREG | 0o644, _plain(module))
    return gzip.compress(archive.finish(), compresslevel=6, mtime=0)


def _in_load_order(folder: Path) -> list[Path]:
    """Files of `_MODULES` and of all they depend on, each after what it needs."""
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        by_name[Path(path).name.partition(".")[0].replace("-", "_")] = path

    ordered: list[str] = []

    def visit(path: str) -> None:
        for needed in needs[path]:
            visit(needed)
        if path not in ordered:
            ordered.append(path)

    for name in _MODULES:
        if name in by_name:  # else it is part of the kernel
            visit(by_name[name])
    return [folder / path for path in ordered]


def _plain(module: Path) -> bytes:
    """The module's bytes; newer releases keep them compressed, which busybox cannot load."""
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


class _Archive:
    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def add(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        name_bytes = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name_bytes), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._parts.extend(_padded(header + name_bytes))
        self._parts.extend(_padded(data))

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0, b"")
        return b"".join(self._parts)


def _padded(data: bytes) -> Iterator[bytes]:
    yield data
    yield b"\0" * (-len(data) % 4)
