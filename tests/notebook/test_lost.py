"""A VM, a platform or a key that goes away: told quickly and clearly, and the notebook goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import psutil
import pytest
from kernels import Kernel, Outputs, started
from platforms import Platform, running_platform

pytestmark = pytest.mark.vm

QUICK = 30  # seconds; a cell that takes longer to say that its VM is gone fails the test


@pytest.fixture
def victim(loaded: Kernel) -> Iterator[str]:
    """The id of an active VM that a test may ruin."""
    made = loaded.run("vm = %vers create --name victim --use", timeout=60)
    assert made.error is None, made.traceback
    loaded.run("%vm true")
    yield loaded.value("vm.id")
    loaded.run("%vers local")
    loaded.run("%vers rm -f victim")


def is_told(shown: Outputs, word: str) -> None:
    """One clear line that names the VM, and the next step."""
    assert shown.error == "VMGoneError", shown
    assert word in shown.message and "victim" in shown.message and "`%vers" in shown.message
    assert "pi_v_jupyter/" not in shown.traceback


def kill(platform: Platform, vm_id: str) -> None:
    """End a VM's emulator, as a crash would."""
    (emulator,) = [process for process in platform.qemus() if vm_id in " ".join(process.cmdline())]
    emulator.kill()


def delete(platform: Platform, vm_id: str) -> None:
    """Delete a VM behind the notebook's back."""
    with asyncio.Runner() as runner:  # `asyncio.run`, once nest_asyncio2 has patched it, leaves its loop open
        runner.run(platform.delete(vm_id))


def test_a_vm_deleted_elsewhere(shared_platform: Platform, loaded: Kernel, victim: str) -> None:
    delete(shared_platform, victim)
    is_told(loaded.run("%vm echo nobody", timeout=QUICK), "deleted")
    assert loaded.run("%vers local").error is None
    assert loaded.run("%vm echo here").stdout == "(local)\nhere\n"


def test_a_vm_deleted_during_a_cell(shared_platform: Platform, loaded: Kernel, victim: str) -> None:
    cell = loaded.start("%vm echo started; sleep 400")
    cell.wait_for("started")
    delete(shared_platform, victim)
    is_told(cell.finish(timeout=QUICK), "deleted")
    is_told(loaded.run("%vm echo nobody", timeout=QUICK), "deleted")


def test_a_vm_that_dies_during_a_cell(shared_platform: Platform, loaded: Kernel, victim: str) -> None:
    cell = loaded.start("%vm echo started; sleep 400")
    cell.wait_for("started")
    kill(shared_platform, victim)
    is_told(cell.finish(timeout=QUICK), "died")
    assert "dead" in loaded.run("%vers ls").data[0]
    assert loaded.run("print('usable')").stdout == "usable\n"
    assert loaded.run("%vers rm -f victim").error is None


def test_a_stop_ends_the_wait_for_a_vm_that_does_not_answer(
    shared_platform: Platform, loaded: Kernel, victim: str
) -> None:
    (emulator,) = [each for each in shared_platform.qemus() if victim in " ".join(each.cmdline())]
    emulator.suspend()
    try:
        loaded.run("await vm.close()")  # so that the next cell has to connect
        cell = loaded.start("print('asking')\n%vm echo never")
        cell.wait_for("asking")
        loaded.interrupt()
        shown = cell.finish(timeout=QUICK)
        assert shown.error == "CellInterrupted" and "nothing was started on victim" in shown.message
    finally:
        emulator.resume()
    assert loaded.run("%vm echo back").stdout == "back\n"


def test_a_platform_that_is_gone() -> None:
    with running_platform() as platform:
        told = platform.description
        with started(platform.env | {"JPY_SESSION_NAME": "/notebooks/gone.ipynb"}) as kernel:
            kernel.run("%load_ext pi_v_jupyter")
            kernel.status()
            kernel.run("%vers up", timeout=60)
            assert kernel.run("vm = %vers create --name left --use", timeout=60).error is None
            daemon = psutil.Process(told.pid)
            os.kill(told.pid, signal.SIGKILL)
            daemon.wait(10)
            away = kernel.run("%vers ls", timeout=QUICK)
            assert away.error in ("SettingsError", "PlatformUnreachableError"), away
            assert "`%vers up`" in away.message and "pi_v_jupyter/" not in away.traceback
            lost = kernel.run("%vm echo nobody", timeout=100)
            assert lost.error is not None and "pi_v_jupyter/" not in lost.traceback
            assert "✗" in kernel.run("%vers doctor", timeout=QUICK).data[0]
            assert kernel.run("%vers local").error is None
            assert kernel.run("%vm echo here").stdout == "(local)\nhere\n"


def test_a_platform_that_was_told_to_stop_comes_back_with_its_vms_and_their_sessions() -> None:
    with running_platform() as platform, started(platform.env) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        kernel.status()
        kernel.run("%vers up", timeout=60)
        assert kernel.run("vm = %vers create --name left --use", timeout=60).error is None
        kernel.run("%vm cd /srv; export WORD=kept")
        assert "embedded platform down" in kernel.run("%vers down", timeout=60).stdout
        refused = kernel.run("%vm echo nobody")
        assert refused.error == "NoKeyError" and "`%vers up`" in refused.message, refused
        assert "vers: 1 VM" in kernel.run("%vers up --port 0 --gateway-port 0", timeout=280).stdout
        assert kernel.run("%vm echo $PWD $WORD", timeout=60).stdout == "/srv kept\n"
        assert kernel.run("%vers local").error is None
        assert kernel.run("%vm echo here").stdout == "(local)\nhere\n"


def test_a_wrong_key(shared_platform: Platform) -> None:
    wrong = {"VERS_API_KEY": "wrong", "VERS_BASE_URL": shared_platform.description.base_url}
    with started(shared_platform.env | wrong) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        assert kernel.status().startswith("vers: offline — ")
        shown = kernel.run("%vers ls")
        assert shown.error == "AuthenticationError" and "wrong" not in shown.message.replace("went wrong", "")
        assert "VERS_API_KEY" in shown.message


def set_state(platform: Platform, vm_id: str, state: str) -> None:
    """As somebody else with the key may."""

    async def ask() -> None:
        async with platform.api() as api:
            assert (await api.patch(f"/vm/{vm_id}/state", json={"state": state})).status_code == 200

    with asyncio.Runner() as runner:
        runner.run(ask())


def test_a_cell_outlives_a_minute_in_which_its_vm_is_paused(
    loaded: Kernel, victim: str, shared_platform: Platform
) -> None:
    cell = loaded.start("%%vm --timeout 0\nfor i in {1..30}; do echo line $i; sleep 0.1; done; echo $((6*7))")
    cell.wait_for("line 5\n")
    set_state(shared_platform, victim, "Paused")
    time.sleep(60)  # longer than it takes to notice that nobody answers
    set_state(shared_platform, victim, "Running")
    shown = cell.finish(timeout=60)
    assert shown.error is None, shown.text
    assert [line for line in shown.stdout.splitlines() if line.startswith("line")] == [
        f"line {number}" for number in range(1, 31)
    ]
    assert shown.stdout.endswith("42\n")
