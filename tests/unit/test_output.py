"""A command's bytes on their way to a cell: in order, not too often, never too much, and nothing lost."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pi_v_jupyter import loops
from pi_v_jupyter.magics import output
from pi_v_jupyter.magics.output import CellOutput, Labelled


class Page:
    """What a cell shows."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, str]] = []
        self.screen = loops.Screen()

    def write(self, stream: str, text: str) -> None:
        self.writes.append((stream, text))

    def text(self, stream: str = "stdout") -> str:
        self.screen.run()
        return "".join(text for name, text in self.writes if name == stream)


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.log"))


async def test_text_split_anywhere_arrives_whole(page: Page) -> None:
    shown = CellOutput(page.screen, page.write)
    for byte in "ä€😀\r\n\x1b[1m".encode():
        shown.feed("stdout", bytes([byte]))
    shown.feed("stderr", b"\xff\xc3")
    shown.finish()
    assert page.text() == "ä€😀\r\n\x1b[1m"
    assert page.text("stderr") == "\\xff\\xc3"


async def test_the_first_piece_is_shown_at_once_and_the_rest_in_updates(page: Page) -> None:
    shown = CellOutput(page.screen, page.write)
    shown.feed("stdout", b"first")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert page.text() == "first"
    for _ in range(1000):
        shown.feed("stdout", b"x")
    await asyncio.sleep(0)
    assert page.text() == "first"
    shown.finish()
    assert page.text() == "first" + "x" * 1000
    assert len(page.writes) == 2


async def test_streams_keep_their_order_unless_they_alternate_too_fast(page: Page) -> None:
    shown = CellOutput(page.screen, page.write)
    for number in range(3):
        shown.feed("stdout", b"o%d" % number)
        shown.feed("stderr", b"e%d" % number)
    shown.finish()
    page.screen.run()
    assert [text for _, text in page.writes] == ["o0", "e0", "o1", "e1", "o2", "e2"]
    page.writes.clear()
    shown = CellOutput(page.screen, page.write)
    for _ in range(100):
        shown.feed("stdout", b"o")
        shown.feed("stderr", b"e")
    shown.finish()
    page.screen.run()
    assert page.writes == [("stdout", "o" * 100), ("stderr", "e" * 100)]


async def test_a_little_output_leaves_no_file(page: Page, cache: Path) -> None:
    shown = CellOutput(page.screen, page.write)
    shown.feed("stdout", b"x" * output.SHOWN)
    shown.finish()
    assert page.text() == "x" * output.SHOWN
    assert files(cache) == []


async def test_too_much_is_shown_in_part_and_kept_whole(page: Page, cache: Path) -> None:
    whole = b"".join(b"%d\n" % number for number in range(300_000))
    shown = CellOutput(page.screen, page.write)
    for start in range(0, len(whole), 10_007):
        shown.feed("stdout", whole[start : start + 10_007])
    shown.finish()
    text = page.text()
    (file,) = files(cache)
    assert file.read_bytes() == whole
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert text.startswith("0\n1\n") and text.endswith("299998\n299999\n")
    assert f"… {len(whole) / 1e6:.1f} MB in all; all of it is in {file}. The end of it:" in text
    assert len(text) < output.SHOWN + output.TAIL + 500


async def test_the_file_has_its_limit_and_says_so(
    page: Page, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "KEPT", 2_000_000)
    shown = CellOutput(page.screen, page.write)
    for _ in range(30):
        shown.feed("stdout", b"y" * 100_000)
    shown.finish()
    assert files(cache)[0].stat().st_size == 2_000_000
    assert "3.0 MB in all; the first 2 MB are in " in page.text()


async def test_a_full_disk_ends_the_file_and_not_the_command(
    page: Page, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    shown = CellOutput(page.screen, page.write)
    shown.feed("stdout", b"z" * 2 * output.SHOWN)
    shown.finish()
    assert "it could not be kept in " in page.text()
    assert page.text().endswith("z" * output.TAIL)


async def test_only_the_latest_files_are_kept(page: Page, cache: Path) -> None:
    for _ in range(output.FILES + 3):
        shown = CellOutput(page.screen, page.write)
        shown.feed("stdout", b"x" * (output.SHOWN + 1))
        shown.finish()
    assert len(files(cache)) == output.FILES


async def test_several_share_what_a_cell_may_show(page: Page) -> None:
    for label in "abcd":
        shown = CellOutput(page.screen, page.write, label=label, share=4)
        for _ in range(100):
            shown.feed("stdout", b"w" * 9_999 + b"\n")
        shown.finish()
    assert len(page.text()) < 1.3 * output.SHOWN


async def test_finishing_twice_shows_nothing_twice(page: Page) -> None:
    shown = CellOutput(page.screen, page.write)
    shown.feed("stdout", b"once")
    shown.finish()
    shown.finish()
    assert page.text() == "once"


def test_labelled_lines_are_whole(page: Page) -> None:
    labelled = Labelled("a", page.write)
    labelled.write("stdout", "one\ntw")
    labelled.write("stderr", "problem")
    labelled.write("stdout", "o\n\nrest")
    labelled.finish()
    labelled.finish()
    assert page.text() == "[a] one\n[a] two\n[a] \n[a] rest\n"
    assert page.text("stderr") == "[a] problem\n"
