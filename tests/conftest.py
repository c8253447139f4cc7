"""What notebook and browser tests share: one embedded platform for the whole session."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import hypothesis
import platformdirs
import pytest
from platforms import Platform, new_platform

from pi_v_jupyter.loops import running_io_loop

# How long one example takes says more of the machine than of the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def platform_of_kernels() -> Iterator[Platform]:
    """A platform that is up; who takes its `env` keeps what cells print in a cache of its own."""
    platform = new_platform()
    # By its own path: what is made in a cache is found again by where it was made.
    platform.env["XDG_CACHE_HOME"] = str(platformdirs.user_cache_path())
    try:
        platform.up()
        yield Platform(platform.folder, platform.env | {"XDG_CACHE_HOME": str(platform.folder / "used")})
    finally:
        platform.end()


@pytest.fixture(scope="module")
def shared_platform(platform_of_kernels: Platform) -> Iterator[Platform]:
    """It, and no other module finds what this one made there."""
    with platform_of_kernels.left_as_found():
        yield platform_of_kernels


@pytest.fixture(scope="module", autouse=True)
def leaks_fail_here() -> Iterator[None]:
    """What a module leaves open fails its own last test, not some later one that happens to find it."""
    yield
    gc.collect()
    assert running_io_loop() is None, "sessions of later tests would live on it"
