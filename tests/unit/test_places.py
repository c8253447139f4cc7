"""Which machine and path the words of a copy name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.machine import Here, Machine
from pi_v_jupyter.places import Places


@pytest.fixture
async def places() -> AsyncIterator[Places]:
    async def find(name: str) -> Machine:
        raise UsageError(f"{name} is looked for.")

    here = Here(asyncio.get_running_loop())
    yield Places(find=find, nearest=here, here=here)
    await here.close()


async def test_a_path_object_is_here_whatever_its_name(places: Places, tmp_path: Path) -> None:
    odd = tmp_path / "vm:file"
    odd.write_text("content")
    copied = await places.copy(odd, tmp_path / "copy")
    assert copied.files == 1 and (tmp_path / "copy").read_text() == "content"


async def test_a_name_before_a_colon_is_a_machine(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vm:file").write_text("content")
    with pytest.raises(UsageError, match="vm is looked for"):
        await places.copy("vm:file", "copy")
    assert (await places.copy("./vm:file", "copy")).files == 1


async def test_nothing_to_copy_and_users_who_are_not_there(places: Places) -> None:
    with pytest.raises(UsageError, match="nothing to copy"):
        await places.copy([], "x")
    with pytest.raises(UsageError, match="no such user here"):
        await places.copy("~no-such-user/x", "y")
