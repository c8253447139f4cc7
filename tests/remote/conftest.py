"""An ordinary OpenSSH server in TLS, and connections to it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from loopback import Loopback, MemoryPins, loopback_sshd

from pi_v_jupyter.remote.connection import Connection

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A VM for tests that leave its way in as it is."""
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as loopback:
        yield loopback


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Loopback]:
    """A VM whose way in the test may break."""
    with loopback_sshd(tmp_path) as loopback:
        yield loopback


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vm(server: Loopback) -> AsyncIterator[Connection]:
    """One connection for all tests that only run commands; they use `loop_scope="session"`."""
    connection = Connection(server, MemoryPins())
    yield connection
    await connection.close()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Connection]]:
    """Make connections of the test's own, closed at its end."""
    made: list[Connection] = []

    def new(endpoint: Any, **how: Any) -> Connection:
        connection = Connection(endpoint, how.pop("pins", MemoryPins()), **how)
        made.append(connection)
        return connection

    yield new
    for connection in made:
        await connection.close()


@pytest.fixture
def shell() -> str:
    """The name of a shell session of the test's own."""
    return f"test-{next(_numbers)}"
