"""A browser, and a dashboard in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pages
import pytest
from labs import SECOND, lab
from pages import Dashboard
from platforms import Platform
from playwright.sync_api import Browser, expect
from swarmpages import several, swarm

expect.set_options(timeout=30 * SECOND)  # a computer that is busy with much else is slow to draw


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: while it is there, this thread's loop is Playwright's."""
    with pages.chromium() as browser:
        yield browser


@pytest.fixture
def dash(browser: Browser) -> Iterator[Dashboard]:
    """A view that shows a few machines."""
    with pages.dashboard(browser) as dash:
        dash.show(pages.family())
        yield dash


@pytest.fixture
def shown(browser: Browser) -> Iterator[Dashboard]:
    """A view that shows several agents."""
    with pages.dashboard(browser) as shown:
        shown.show(swarm(several()))
        shown.tab("Swarm")
        yield shown


@pytest.fixture(scope="session")
def _desk(
    platform_of_kernels: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("desk")
    with lab(platform_of_kernels.env, folder, ["%load_ext pi_v_jupyter"]) as address:
        yield address, folder


@pytest.fixture(scope="module")
def desk(_desk: tuple[str, Path], shared_platform: Platform) -> tuple[str, Path]:
    """A JupyterLab whose notebooks have real VMs: its address, and its folder."""
    return _desk
