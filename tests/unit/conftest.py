"""Boards of a platform in memory, each of a session of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from boards import Page
from flaky import Flaky
from test_fleet_branching import URL

from pi_v_jupyter.api import retries
from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.dashboard import looks
from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.session import Vers
from pi_v_jupyter.settings import Settings


@pytest.fixture
def platform() -> Flaky:
    return Flaky()


@pytest.fixture
async def start(
    platform: Flaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Board]]:
    """Makes boards, each of a session of its own, as kernels would. They look often."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(looks, "VMS", 0.02)
    monkeypatch.setattr(looks, "SLOWEST", 0.02)
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(
        "pi_v_jupyter.session.VersClient",
        lambda settings: VersClient(settings, transport=httpx.MockTransport(platform.answer)),
    )
    made: list[Board] = []

    def board() -> Board:
        made.append(Board(Vers(Settings(session={"api_key": "k", "base_url": URL}), on_notice=str)))
        return made[-1]

    yield board
    for each in made:
        await each.vers.close()


@pytest.fixture
async def board(start: Callable[[], Board]) -> Board:
    return start()


@pytest.fixture
async def page(board: Board) -> Page:
    """A view that looks, and knows all."""
    page = Page(board)
    page.open()
    await page.sees(lambda seen: seen["machines"] and "commits" in board._known)
    return page
