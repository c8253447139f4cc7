"""One platform shared by the tests of this folder, private ones for those that break it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from platforms import Platform, new_platform


@pytest.fixture(scope="session")
def _shared_platform() -> Iterator[Platform]:
    platform = new_platform()
    try:
        platform.up()
        yield platform
    finally:
        platform.end()


@pytest.fixture
def platform(_shared_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform that is up, shared by the session; this process is a user of it during the test."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, _shared_platform.env[name])
    for name in [name for name in os.environ if name.startswith("VERS_")]:
        monkeypatch.delenv(name)
    return _shared_platform


@pytest.fixture
def own_platform() -> Iterator[Platform]:
    """A platform that is not up, the test's alone."""
    platform = new_platform()
    try:
        yield platform
    finally:
        platform.end()
