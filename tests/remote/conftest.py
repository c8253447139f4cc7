"""An ordinary OpenSSH server in TLS, and connections to it."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pis
import pytest
import pytest_asyncio
from backgrounds import end_all, leave
from boards import Page
from farm import Farm, farm
from loopback import Loopback, MemoryPins, loopback_sshd
from machines import Reached

from pi_v_jupyter import Vers
from pi_v_jupyter.dashboard.board import Board
from pi_v_jupyter.machine import Here, Machine
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.settings import Settings

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


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where background processes of the test's own live; none of them outlives it."""
    folder = tmp_path / "data"
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    yield folder
    end_all(folder)


@pytest.fixture
def backing(tmp_path: Path, data: Path) -> Iterator[Loopback]:
    """A VM for these."""
    with loopback_sshd(tmp_path, extra=f"SetEnv XDG_DATA_HOME={data}") as loopback:
        yield loopback


@pytest.fixture
async def reach(backing: Loopback) -> AsyncIterator[Callable[[], Reached]]:
    """Machines, each with a connection of its own, as each start of a kernel makes one."""
    made: list[Reached] = []

    def new() -> Reached:
        made.append(Reached(Connection(backing, MemoryPins())))
        return made[-1]

    yield new
    for machine in made:
        await leave(machine)


@pytest.fixture(params=["here", "there"])
async def place(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> AsyncIterator[Machine]:
    """This machine, or one behind sshd."""
    if request.param == "here":
        machine: Machine = Here(asyncio.get_running_loop())
        yield machine
        await leave(machine)
        return
    with loopback_sshd(tmp_path, extra=f"SetEnv XDG_DATA_HOME={data}") as loopback:
        machine = Reached(Connection(loopback, MemoryPins()))
        yield machine
        await leave(machine)


@pytest.fixture(scope="session")
def pi_folder() -> str:
    """Where the real `pi` is, and a Node that runs it."""
    return pis.programs()


@pytest.fixture(scope="module")
def _farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Farm, dict[str, str]]]:
    pi = f"{sys.executable} {Path(__file__).parents[1] / 'stand_in_pi.py'}"
    with farm(tmp_path_factory.mktemp("farm"), pi) as made:
        yield made


@pytest.fixture
def vms(_farm: tuple[Farm, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    """A platform for agents, whose pi does what it is told; this process is its user's. No VM is left."""
    made, env = _farm
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, env[name])
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-the-model")
    pi = made.pi
    yield made
    made.pi = pi
    made.stubborn.clear()
    made.telling.set()
    for vm_id in list(made.vms):
        made.delete(vm_id)


@pytest.fixture
def settings(vms: Farm, _farm: tuple[Farm, dict[str, str]]) -> Settings:
    """Those of its user."""
    return Settings(environ=_farm[1])


@pytest.fixture
async def start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Vers]]]:
    """Sessions, as each start of a kernel makes one; with `fresh`, on a computer that knows nothing."""
    async with AsyncExitStack() as stack:

        async def new(*, fresh: bool = False) -> Vers:
            if fresh:
                monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "fresh"))
            return await stack.enter_async_context(Vers(settings))

        yield new


@pytest.fixture
async def vers(start: Callable[..., Awaitable[Vers]]) -> Vers:
    """One session."""
    return await start()


@pytest.fixture
def open_page(start: Callable[..., Awaitable[Vers]]) -> Callable[[], Awaitable[Page]]:
    """Opens dashboards, each of a session of its own."""

    async def new() -> Page:
        page = Page(Board(await start()))
        page.open()
        await page.sees(lambda seen: {"machines", "agents", "commits"} <= page.board._known)
        return page

    return new


@pytest.fixture
async def page(open_page: Callable[[], Awaitable[Page]]) -> Page:
    return await open_page()
