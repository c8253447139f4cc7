"""The memory of a machine as files, and how it is read from a machine and written into one.

A machine maps a file copy-on-write: what it has not written it shares with every other machine on that
file. So the state of a memory is that file, its root, and the pages written since. Linux tells which
those are (/proc/PID/pagemap: a page of a private mapping that was written belongs to no file any more)
and lets the owner of a process read and write them (/proc/PID/mem).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import mmap
import os
import re
import shutil
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 4 * 1024**2
_ENTRY = 8  # bytes for each page in pagemap, the least significant first
# The highest byte of an entry: present, swapped out, of a file (Linux, admin-guide/mm/pagemap.rst).
_PRESENT, _SWAPPED, _OF_A_FILE = 0x80, 0x40, 0x20
_WRITTEN = bytes(
    bool(flags & _SWAPPED or flags & (_PRESENT | _OF_A_FILE) == _PRESENT) for flags in range(256)
)
_RUN = re.compile(b"\x01+")
_FICLONE = 0x40049409  # <linux/fs.h>; in no Python module before 3.14


@dataclass(frozen=True)
class Pages:
    """Pages that were written on top of a root, one after the other in `content`.

    `index` says where they belong: offset and length of each run, as pairs of 64-bit numbers.
    """

    content: Path
    index: Path

    def take(self, pid: int, root: Path) -> int:
        """Keep what process `pid`, which stands still, wrote on top of `root`. Returns its size in bytes.

        Raises:
            PermissionError, FileNotFoundError: this system does not let us read the process.
            OSError: the disk is full.
        """
        runs = array("Q")
        with (
            _opened(self.content, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as target,
            _memory_of(pid) as source,
        ):
            for mapping in _mappings(pid, root):
                for start, length in _written(pid, mapping):
                    _copy(source, start, target, None, length)
                    runs.extend((mapping.offset + start - mapping.start, length))
        with self.index.open("wb") as file:
            runs.tofile(file)
        return sum(runs[1::2])

    def put(self, pid: int, root: Path) -> None:
        """Write them into process `pid`, which stands still and maps `root`."""
        mappings = list(_mappings(pid, root))
        with _opened(self.content, os.O_RDONLY) as source, _memory_of(pid, os.O_RDWR) as target:
            at = 0
            for offset, length in self._runs():
                _copy(source, at, target, _address(mappings, offset, length), length)
                at += length

    def lay_on(self, root: Path, target: Path) -> None:
        """Make `target`, the memory that `root` with these pages is.

        Raises:
            OSError: the disk is full.
        """
        duplicate(root, target)
        with _opened(self.content, os.O_RDONLY) as source, _opened(target, os.O_WRONLY) as file:
            at = 0
            for offset, length in self._runs():
                _copy(source, at, file, offset, length)
                at += length

    def _runs(self) -> Iterator[tuple[int, int]]:
        numbers = array("Q")
        numbers.frombytes(self.index.read_bytes())
        return zip(numbers[::2], numbers[1::2], strict=True)


def blank(path: Path, size: int) -> None:
    """Make `path` a memory of `size` bytes that was never written."""
    with path.open("xb") as file:
        file.truncate(size)


def duplicate(source: Path, target: Path) -> None:
    """Make `target` the same as `source`; it shares its blocks where the file system can, and its holes.

    Raises:
        OSError: the disk is full.
    """
    with (
        _opened(source, os.O_RDONLY) as reading,
        _opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file,
    ):
        with contextlib.suppress(OSError):  # a file system without it says so in many ways
            fcntl.ioctl(file, _FICLONE, reading)
            return
        os.truncate(file, os.fstat(reading).st_size)
        for start, length in _data(reading):
            _copy(reading, start, file, start, length)


@functools.cache
def shares_blocks(folder: Path) -> bool:
    """Whether files in `folder` can share their blocks (reflinks)."""
    with tempfile.TemporaryFile(dir=folder) as one, tempfile.TemporaryFile(dir=folder) as other:
        one.write(bytes(mmap.PAGESIZE))
        one.flush()
        try:
            fcntl.ioctl(other, _FICLONE, one.fileno())
        except OSError:
            return False
    return True


def join(parts: list[Path], target: Path) -> None:
    """Make `target` of `parts`, one after the other, with holes where they hold nothing but zeros."""
    zeros = bytes(64 * 1024)
    with target.open("xb", buffering=0) as file:
        at = 0
        for part in parts:
            with part.open("rb", buffering=0) as reading:
                while data := reading.read(len(zeros)):
                    if data != zeros[: len(data)]:
                        _write(file.fileno(), memoryview(data), at)
                    at += len(data)
        file.truncate(at)


def link_or_copy(source: Path, target: Path) -> None:
    """Have the file `source`, which never changes, at `target` too; a copy only where it cannot be linked."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        duplicate(source, target)
        shutil.copymode(source, target)


def write_out(path: Path) -> None:
    """Have `path` on the disk: what is not there when the power fails would look whole and not be."""
    with _opened(path, os.O_RDONLY) as file:
        os.fsync(file)


@dataclass(frozen=True)
class _Mapping:
    """Where in a process a file's bytes from `offset` on are mapped."""

    start: int
    length: int
    offset: int


def _mappings(pid: int, root: Path) -> Iterator[_Mapping]:
    """Where `root` is mapped, all of it.

    It is known by its inode, and by its path: file systems in layers or with volumes (overlayfs, btrfs) tell
    here of other devices and inodes than elsewhere.

    Raises:
        FileNotFoundError: it is not found there as a whole.
    """
    status, path = root.stat(), os.path.realpath(root)
    mapped = 0
    for line in Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape").splitlines():
        addresses, _, offset, device, inode, *name = line.split(maxsplit=5)
        major, minor = (int(part, 16) for part in device.split(":"))
        same = int(inode) == status.st_ino and os.makedev(major, minor) == status.st_dev
        if same or name == [path]:
            start, end = (int(part, 16) for part in addresses.split("-"))
            mapped += end - start
            yield _Mapping(start, end - start, int(offset, 16))
    if mapped != status.st_size:
        raise FileNotFoundError(errno.ENOENT, "not mapped as a whole", path)


def _written(pid: int, mapping: _Mapping) -> Iterator[tuple[int, int]]:
    """Address and length of each run of pages in `mapping` that the process has written."""
    page = mmap.PAGESIZE
    with _opened(Path(f"/proc/{pid}/pagemap"), os.O_RDONLY) as pagemap:
        wanted = mapping.length // page * _ENTRY
        entries = os.pread(pagemap, wanted, mapping.start // page * _ENTRY)
    _whole(len(entries), wanted)
    for run in _RUN.finditer(entries[_ENTRY - 1 :: _ENTRY].translate(_WRITTEN)):
        yield mapping.start + run.start() * page, len(run[0]) * page


def _address(mappings: list[_Mapping], offset: int, length: int) -> int:
    for mapping in mappings:
        if mapping.offset <= offset and offset + length <= mapping.offset + mapping.length:
            return mapping.start + offset - mapping.offset
    raise OSError(errno.EFAULT, "the memory is not mapped there")


def _data(file: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each part of a sparse file that is not a hole."""
    end = 0
    while True:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end - start


def _copy(source: int, start: int, target: int, at: int | None, length: int) -> None:
    """Copy `length` bytes; with `at` None to where `target` has been written to so far."""
    with mmap.mmap(-1, min(_CHUNK, length)) as space, memoryview(space) as buffer:
        for done in range(0, length, _CHUNK):
            with buffer[: min(_CHUNK, length - done)] as part:
                _whole(os.preadv(source, [part], start + done), len(part))
                _write(target, part, None if at is None else at + done)


def _write(target: int, data: memoryview, at: int | None) -> None:
    """Write all of it: a disk that becomes full takes a part first, and only then says so."""
    done = 0
    while done < len(data):
        with data[done:] as rest:  # let go of even when this fails, or the whole could not be closed
            written = os.write(target, rest) if at is None else os.pwrite(target, rest, at + done)
        if written == 0:  # a process that has ended takes nothing, and says nothing
            raise OSError(errno.EIO, "it takes no more")
        done += written


def _whole(done: int, wanted: int) -> None:
    if done != wanted:
        raise OSError(errno.EIO, f"{done} bytes in place of {wanted}")


@contextlib.contextmanager
def _memory_of(pid: int, flags: int = os.O_RDONLY) -> Iterator[int]:
    with _opened(Path(f"/proc/{pid}/mem"), flags) as file:
        yield file


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags, 0o600)
    try:
        yield file
    finally:
        os.close(file)
