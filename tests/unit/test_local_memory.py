"""The memory of a process as files: what it wrote is found, kept, put back; with real processes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from paper_machines import PaperMachine, World
from paper_process import PAGE, PAGES

from pi_v_jupyter.local import memory
from pi_v_jupyter.local.hardware import Wiring
from pi_v_jupyter.local.memory import Pages

SIZE = 8 * 1024**2
CONTENT = b"root" + bytes(PAGE - 4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sparse memory with something in its first page and its last."""
    file = tmp_path / "root"
    memory.blank(file, SIZE)
    with file.open("r+b") as opened:
        os.pwrite(opened.fileno(), CONTENT, 0)
        os.pwrite(opened.fileno(), CONTENT, SIZE - PAGE)
    return file


Make = Callable[[Path], PaperMachine]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes processes that map a memory."""
    world = World(tmp_path)
    made: list[PaperMachine] = []

    def make(root: Path) -> PaperMachine:
        layer = tmp_path / "layer"
        layer.touch()
        wiring = Wiring((layer,), root, tmp_path / f"{len(made)}.qmp", tmp_path / "agent")
        made.append(PaperMachine(world.make("a machine", wiring), wiring))
        made[-1].tell("run", on=True)
        return made[-1]

    yield make
    for machine in made:
        machine.hang_up()
    world.close()


def pages(folder: Path) -> Pages:
    return Pages(folder / "pages", folder / "pages.index")


def planted(file: Path) -> list[int]:
    """The tokens in a memory that is a file."""
    content = file.read_bytes()
    starts = ((token, token * PAGES * PAGE) for token in range(1, SIZE // PAGES // PAGE))
    return [token for token, at in starts if content[at : at + 4] == token.to_bytes(4, "little")]


def blocks(file: Path) -> int:
    return file.stat().st_blocks * 512


def test_only_what_was_written_is_taken(make: Make, root: Path, tmp_path: Path) -> None:
    machine = make(root)
    assert pages(tmp_path).take(machine.pid, root) == 0
    machine.tell("plant", token=3, pages=2)
    machine.tell("plant", token=9, pages=1)
    assert machine.tell("found", below=20)["memory"] == [3, 9]  # which reads, and writes nothing
    assert pages(tmp_path).take(machine.pid, root) == 3 * PAGE
    assert (tmp_path / "pages").stat().st_size == 3 * PAGE


def test_what_was_taken_can_be_put_into_another_process(make: Make, root: Path, tmp_path: Path) -> None:
    first, second = make(root), make(root)
    for token in (1, 5, 63):
        first.tell("plant", token=token, pages=PAGES)
    pages(tmp_path).take(first.pid, root)
    pages(tmp_path).put(second.pid, root)
    assert second.tell("found", below=64)["memory"] == [1, 5, 63]
    second.tell("plant", token=7, pages=1)
    assert first.tell("found", below=64)["memory"] == [1, 5, 63]
    assert pages(tmp_path).take(second.pid, root) == (3 * PAGES + 1) * PAGE
    assert planted(root) == []


def test_laid_on_its_root_it_is_the_whole_memory(make: Make, root: Path, tmp_path: Path) -> None:
    machine = make(root)
    machine.tell("plant", token=2, pages=1)
    pages(tmp_path).take(machine.pid, root)
    pages(tmp_path).lay_on(root, tmp_path / "whole")
    assert planted(tmp_path / "whole") == [2]
    assert (tmp_path / "whole").read_bytes().replace((2).to_bytes(4, "little"), bytes(4)) == root.read_bytes()
    assert blocks(tmp_path / "whole") < 64 * 1024
    child = make(tmp_path / "whole")
    assert child.tell("found", below=64)["memory"] == [2]
    assert pages(tmp_path).take(child.pid, tmp_path / "whole") == 0


def test_pages_that_the_system_has_put_away_are_taken_too(root: Path, tmp_path: Path) -> None:
    flags = [memory._PRESENT, memory._PRESENT | memory._OF_A_FILE, memory._SWAPPED, 0]
    assert [memory._WRITTEN[flag] for flag in flags] == [1, 0, 1, 0]


def test_a_root_that_was_renamed_is_still_found(make: Make, root: Path, tmp_path: Path) -> None:
    machine = make(root)
    machine.tell("plant", token=2, pages=1)
    (tmp_path / "elsewhere").mkdir()
    moved = root.rename(tmp_path / "elsewhere/memory")
    assert pages(tmp_path).take(machine.pid, moved) == PAGE


def test_a_root_whose_device_the_system_tells_in_two_ways_is_known_by_its_path(
    make: Make, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = make(root)
    machine.tell("plant", token=2, pages=1)
    monkeypatch.setattr(os, "makedev", lambda major, minor: -1)  # as on overlayfs or btrfs
    assert pages(tmp_path).take(machine.pid, root) == PAGE


def test_a_memory_that_is_not_mapped_is_not_taken_for_one_that_was_not_written(
    make: Make, root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    memory.duplicate(root, other)
    with pytest.raises(FileNotFoundError):
        pages(tmp_path).take(make(root).pid, other)


def test_where_the_system_does_not_let_us_read_it_says_so(
    make: Make, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = make(root)
    opens = os.open

    def refuse(path: os.PathLike[str], *rest: int) -> int:
        if str(path) == f"/proc/{machine.pid}/mem":
            raise PermissionError(errno.EACCES, "no", str(path))
        return opens(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        pages(tmp_path).take(machine.pid, root)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every process")
def test_another_users_process_may_not_be_read(root: Path, tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        pages(tmp_path).take(1, root)


def test_a_process_that_has_ended_is_no_empty_memory(make: Make, root: Path, tmp_path: Path) -> None:
    machine = make(root)
    process = psutil.Process(machine.pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)
    with pytest.raises(OSError):
        pages(tmp_path).take(machine.pid, root)


@pytest.mark.timeout(30)
def test_a_process_that_ends_while_it_is_written_into_is_an_error(
    make: Make, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make(root), make(root)
    first.tell("plant", token=1, pages=PAGES)
    pages(tmp_path).take(first.pid, root)
    opened = memory._memory_of

    @contextmanager
    def ended(pid: int, flags: int = os.O_RDONLY) -> Iterator[int]:
        with opened(pid, flags) as file:
            process = psutil.Process(pid)
            process.kill()
            psutil.wait_procs([process], timeout=10)
            yield file

    monkeypatch.setattr(memory, "_memory_of", ended)
    with pytest.raises(OSError):
        pages(tmp_path).put(second.pid, root)


def test_a_duplicate_is_the_same_and_has_the_same_holes(root: Path, tmp_path: Path) -> None:
    memory.duplicate(root, tmp_path / "same")
    assert (tmp_path / "same").read_bytes() == root.read_bytes()
    assert blocks(tmp_path / "same") == blocks(root)
    with pytest.raises(FileExistsError):
        memory.duplicate(root, tmp_path / "same")


def test_parts_are_joined_with_holes_where_nothing_is(tmp_path: Path) -> None:
    hole = bytes(1024**2)
    (tmp_path / "0").write_bytes(b"a" + hole + b"b")
    (tmp_path / "1").write_bytes(hole + b"c" + hole)
    memory.join([tmp_path / "0", tmp_path / "1"], tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"a" + hole + b"b" + hole + b"c" + hole
    assert blocks(tmp_path / "whole") <= 4 * 64 * 1024 + PAGE


def test_a_disk_that_becomes_full_in_the_middle_is_a_full_disk(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [100]
    writes = os.pwrite

    def pwrite(file: int, data: bytes, at: int) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = writes(file, data[: room[0]], at)  # Linux takes what there is room for, first
        room[0] -= done
        return done

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError) as error:
        memory.duplicate(root, tmp_path / "same")
    assert error.value.errno == errno.ENOSPC


def test_what_never_changes_is_linked_or_copied_where_it_cannot_be(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.link_or_copy(root, tmp_path / "link")
    assert (tmp_path / "link").samefile(root)

    def elsewhere(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", elsewhere)
    memory.link_or_copy(root, tmp_path / "copy")
    assert not (tmp_path / "copy").samefile(root)
    assert (tmp_path / "copy").read_bytes() == root.read_bytes()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system to copy to")
def test_a_copy_may_be_on_another_kind_of_file_system(root: Path, tmp_path: Path) -> None:
    copy = Path(f"/dev/shm/{os.getpid()}-copy")
    try:
        memory.link_or_copy(root, copy)
        assert copy.read_bytes() == root.read_bytes()
    finally:
        copy.unlink(missing_ok=True)
