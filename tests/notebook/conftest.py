"""Kernels for the tests: one a module, on a platform they share."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from farm import Farm, farm
from kernels import Kernel, started
from leftovers import end_background
from platforms import Platform
from served import served


@pytest.fixture(scope="module")
def bare(shared_platform: Platform) -> Iterator[Kernel]:
    """A kernel that has loaded nothing yet."""
    with started(shared_platform.env) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def loaded(bare: Kernel) -> Kernel:
    """The module's kernel, with our extension."""
    bare.run("%load_ext pi_v_jupyter")
    bare.status()
    return bare


@pytest.fixture(scope="module")
def _with_vm(loaded: Kernel) -> Iterator[Kernel]:
    made = loaded.run("vm = %vers create --name build --use", timeout=120)
    assert made.error is None, made.traceback
    yield loaded
    loaded.run("%vers rm -f build")


@pytest.fixture
def kernel(_with_vm: Kernel) -> Kernel:
    """The module's kernel, its cells on a VM named build."""
    used = _with_vm.run("%vers use build")
    assert used.error is None, used.traceback
    return _with_vm


@pytest.fixture(scope="module")
def two_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a kernel with this machine as its one VM, "loopback", and as itself.

    Background processes of both are kept in folders of their own, and end with the module.
    """
    if os.geteuid() != 0:
        pytest.skip("a VM is logged in to as root")
    data = tmp_path_factory.mktemp("data")
    try:
        with served() as env:
            yield env | {"XDG_DATA_HOME": str(data)}
    finally:
        end_background(data)


@pytest.fixture(scope="module")
def _at_two_places(two_places: dict[str, str]) -> Iterator[Kernel]:
    with started(two_places) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        kernel.status()
        kernel.run(
            "extension = get_ipython().magics_manager.registry['Extension']; sync = extension.vers.sync"
        )
        yield kernel


@pytest.fixture
def beside(_at_two_places: Kernel) -> Iterator[Kernel]:
    """A kernel whose active VM is this machine, by way of sshd; nothing is left in the background."""
    used = _at_two_places.run("%vers use loopback")
    assert used.error is None, used.traceback
    yield _at_two_places
    tidied = _at_two_places.run(
        "for machine in (sync.vm('loopback'), sync.here):\n"
        "    for process in machine.processes():\n"
        "        process.stop('SIGKILL')\n"
        "        process.remove()"
    )
    assert tidied.error is None, tidied.traceback


@pytest.fixture(scope="module")
def agents_farm() -> Iterator[tuple[Farm, dict[str, str]]]:
    """A platform for agents, whose pi does what it is told, and the environment of its kernels."""
    if os.geteuid() != 0:
        pytest.skip("a VM is logged in to as root")
    pi = f"{sys.executable} {Path(__file__).parents[1] / 'stand_in_pi.py'}"
    with tempfile.TemporaryDirectory(prefix="pv-") as folder, farm(Path(folder), pi) as (made, env):
        yield made, env | {"ANTHROPIC_API_KEY": "key-of-the-model"}


@pytest.fixture(scope="module")
def _with_agents(agents_farm: tuple[Farm, dict[str, str]]) -> Iterator[Kernel]:
    with started(agents_farm[1]) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        kernel.status()
        yield kernel


@pytest.fixture
def swarm(_with_agents: Kernel) -> Iterator[Kernel]:
    """A kernel with two agents, a and b; none are left."""
    made = _with_agents.run("team = %vers swarm spawn golden --labels a,b", timeout=60)
    assert made.error is None, made
    yield _with_agents
    tidied = _with_agents.run("%vers swarm teardown -f", timeout=60)
    assert tidied.error is None, tidied
