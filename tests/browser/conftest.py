"""A browser, and a dashboard in it."""

from __future__ import annotations

from collections.abc import Iterator

import pages
import pytest
from pages import Dashboard
from playwright.sync_api import Browser
from swarmpages import several, swarm


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
