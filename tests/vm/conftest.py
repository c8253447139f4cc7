"""One platform shared by the tests of this folder, private ones for those that break it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from platforms import Platform, build_golden_image, new_platform, running_platform

from pi_v_jupyter import Vers


@pytest.fixture(scope="session")
def _shared_platform() -> Iterator[Platform]:
    with running_platform() as platform:
        yield platform


@pytest.fixture
def platform(_shared_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """A platform that is up, shared by the session; this process is a user of it during the test.

    VMs, commits and tags that the test makes are gone after it, so no other test finds them.
    """
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, _shared_platform.env[name])
    for name in [name for name in os.environ if name.startswith("VERS_")]:
        monkeypatch.delenv(name)
    with _shared_platform.left_as_found():
        yield _shared_platform


@pytest.fixture
def own_platform() -> Iterator[Platform]:
    """A platform that is not up, the test's alone."""
    platform = new_platform()
    try:
        yield platform
    finally:
        platform.end()


@pytest.fixture(scope="module")
def golden(_shared_platform: Platform) -> Iterator[None]:
    """The platform has a commit of that tag."""
    build_golden_image()

    async def build() -> None:
        async with Vers(_shared_platform.settings) as session:
            await session.golden.build()

    before = {name: os.environ.get(name) for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    os.environ.update({name: _shared_platform.env[name] for name in before})
    try:
        with _shared_platform.left_as_found():
            asyncio.run(build())
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture
async def vers(platform: Platform, golden: None) -> AsyncIterator[Vers]:
    """A user of the platform, whose agents are gone after the test."""
    async with Vers(platform.settings) as session:
        yield session
        await session.swarm.teardown()
        assert await session.list() == []
