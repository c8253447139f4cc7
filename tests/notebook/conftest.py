"""Kernels for the tests: one a module, on a platform they share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel, started
from platforms import Platform


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
