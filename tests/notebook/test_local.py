"""Which machine cells run on: this one, and then it says so, or the VM the notebook chose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel, started
from platforms import Platform

pytestmark = pytest.mark.vm


@pytest.fixture
def notebook(shared_platform: Platform, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """The kernel of a notebook, as Jupyter starts it."""
    with started(
        shared_platform.env | {"JPY_SESSION_NAME": f"/notebooks/{request.node.name}.ipynb"}
    ) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        kernel.status()
        yield kernel


def loaded_again(kernel: Kernel) -> str:
    """The status line after a restart."""
    kernel.restart()
    kernel.late.clear()
    kernel.run("%load_ext pi_v_jupyter")
    return kernel.status()


def test_with_no_active_vm_cells_run_here_and_say_so(loaded: Kernel) -> None:
    loaded.run("%vers local")
    assert loaded.run("%%vm\ncd /tmp; export A=1; echo $PPID > /dev/null").stdout == "(local)\n"
    assert loaded.run("%vm pwd; echo $A").stdout == "(local)\n/tmp\n1\n"
    failed = loaded.run("%%vm\n(exit 3)")
    assert failed.error == "RemoteCommandError" and "exit code 3 on this computer" in failed.message
    assert loaded.run("%vm --on . ls").message.startswith("No VM is active.")


def test_local_returns_to_this_machine_and_its_session(loaded: Kernel) -> None:
    loaded.run("%vm cd /usr")
    assert loaded.run("vm = %vers create --use", timeout=60).error is None
    assert loaded.run("%vm pwd").stdout == "/root\n"
    assert loaded.run("%vers local").stdout == "Cells run on this computer.\n"
    assert loaded.run("%vm pwd").stdout == "(local)\n/usr\n"
    loaded.run("await vm.delete()")


def test_a_stop_works_here_too(loaded: Kernel) -> None:
    loaded.run("%vers local")
    cell = loaded.start("%vm (sleep 0.5; echo started) & sleep 399.5")
    cell.wait_for("started")
    loaded.interrupt()
    assert cell.finish(timeout=20).message.startswith("interrupted (SIGINT) on this computer")


def test_a_restarted_kernel_finds_its_session_again(notebook: Kernel) -> None:
    assert notebook.run("vm = %vers create --name kept --use", timeout=60).error is None
    notebook.run("%%vm\ncd /srv; export COLOUR=red; greet() { echo hello $1; }")
    cell = notebook.start("%%vm\ncd /tmp; echo begun; sleep 1234")
    cell.wait_for("begun")
    assert "★ kept" in loaded_again(notebook)
    assert notebook.run("%vm pwd; echo $COLOUR; greet you").stdout == "/tmp\nred\nhello you\n"
    assert (
        notebook.run("%vm pgrep -f 'sleep 123[4]' || echo nothing runs unseen").stdout
        == "nothing runs unseen\n"
    )
    assert loaded_again(notebook)
    assert notebook.run("%vm greet again").stdout == "hello again\n"
    notebook.run("%vers rm -f kept")


def test_a_restarted_kernel_finds_its_vm_again(notebook: Kernel) -> None:
    made = notebook.run("vm = %vers create --name kept --use", timeout=60)
    assert made.error is None, made.traceback
    notebook.run("%vm touch /root/proof")
    assert loaded_again(notebook).endswith(" · ★ kept")
    assert notebook.run("%vm ls /root/proof").stdout == "/root/proof\n"
    notebook.run("%vers local")
    assert "★" not in loaded_again(notebook)
    assert notebook.run("%vm echo here").stdout == "(local)\nhere\n"
    notebook.run("%vers rm -f kept")


def test_a_cell_run_at_once_after_a_restart_waits_for_the_vm(notebook: Kernel) -> None:
    assert notebook.run("vm = %vers create --name quick --use", timeout=60).error is None
    notebook.restart()
    shown = notebook.run("%load_ext pi_v_jupyter\n%vm hostname")
    assert shown.stdout == "quick\n", shown
    notebook.run("%vers rm -f quick")


def test_a_vm_that_is_gone_after_a_restart_is_not_replaced_by_this_machine(notebook: Kernel) -> None:
    assert notebook.run("vm = %vers create --name lost --use", timeout=60).error is None
    vm_id = notebook.value("vm.id")
    notebook.restart()
    notebook.run(
        "from pi_v_jupyter import Vers\nasync with Vers() as v:\n    await v.client.delete_vm("
        + repr(vm_id)
        + ")"
    )
    notebook.late.clear()
    notebook.run("%load_ext pi_v_jupyter")
    status = notebook.status()
    assert status.startswith("vers: ") and "offline" not in status and vm_id[:8] in status
    refused = notebook.run("%vm touch /tmp/not-here")
    assert refused.error == "VMGoneError" and "`%vers local` this computer" in refused.message
    examined = notebook.run("%vers doctor")
    assert examined.error is None and "✗ active VM" in examined.data[0]
    assert notebook.run("%vers local").error is None
    assert notebook.run("%vm echo here").stdout == "(local)\nhere\n"


def test_nor_is_a_vm_of_a_platform_that_is_away(notebook: Kernel) -> None:
    assert notebook.run("vm = %vers create --name far --use", timeout=60).error is None
    vm_id = notebook.value("vm.id")
    notebook.restart()
    notebook.late.clear()
    notebook.run("%env VERS_BASE_URL=http://127.0.0.1:1\n%env VERS_API_KEY=x\n%load_ext pi_v_jupyter")
    assert notebook.status(timeout=60).startswith("vers: offline")
    refused = notebook.run("%vm echo nothing")
    assert refused.error == "VMGoneError" and vm_id[:8] in refused.message, refused
    assert notebook.run("%vers local").error is None
    assert notebook.run("%vm echo here").stdout == "(local)\nhere\n"
    notebook.run(
        "import os; del os.environ['VERS_BASE_URL'], os.environ['VERS_API_KEY']\n%vers rm -f " + vm_id
    )
