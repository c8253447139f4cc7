"""`%vers` and its sub-commands through a real kernel."""

from __future__ import annotations

import json

import pytest
from kernels import Kernel, explained, refused

pytestmark = pytest.mark.vm


def test_a_list_is_a_table_a_list_and_json(kernel: Kernel) -> None:
    shown = kernel.run("%vers ls")
    assert shown.data[0].splitlines()[0].split() == ["name", "id", "state", "age", "size", "parent"]
    assert any(line.startswith("★  build") for line in shown.data[0].splitlines())
    assert "<table>" in shown.html[0] and ">build</td>" in shown.html[0]
    kernel.run("vms = %vers ls")
    assert kernel.value("(isinstance(vms, list), 'build' in [vm.name for vm in vms])") == (True, True)
    told = json.loads(kernel.run("%vers ls --json").stdout)
    assert {"vm_id", "state", "created_at"} <= told[0].keys()
    assert "build" in kernel.run("%vers").data[-1], "the tables of its dashboard"


def test_a_vm_is_named_by_id_prefix_name_or_dot(kernel: Kernel) -> None:
    vm_id = kernel.value("vm.id")
    for name in (vm_id, vm_id[:8], vm_id[:4].upper(), "build", "."):
        assert kernel.run(f"%vers use {name}").stdout.startswith(f"★ build  {vm_id[:8]}  running")
    assert kernel.run(f"%vers use {vm_id[:3]}").error == "UnknownVMError"
    assert kernel.run("%vers create --name build").message.startswith("There is a VM named 'build' already.")
    assert kernel.run(f"%vers create --name {vm_id}").error == "UsageError"


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (
            "%vers use bild",
            "UnknownVMError",
            "No VM named 'bild'. Did you mean 'build'?  `%vers ls` shows them all.",
        ),
        ("%vers lss", "UsageError", "No such command: %vers lss. Did you mean ls?"),
        ("%vers create --nam x", "UsageError", "No such option: --nam. Did you mean --name?"),
        ("%vers create --name 'a b'", "UsageError", "'a b' cannot name a VM."),
        ('%vers create --name "\'; rm -rf /"', "UsageError", "cannot name a VM."),
        ("%vers create --name a,b", "UsageError", "cannot name a VM."),
        ("%vers create --name ''", "UsageError", "cannot name a VM."),
        ("%vers create --mem much", "UsageError", "'much'"),
        ("%vers create --mem 0", "UsageError", "--mem"),
        ("%vers create --use --no-wait", "UsageError", "--use needs a VM that runs."),
        ("%vers use", "UsageError", "Missing argument"),
        ("%vers rm", "UsageError", "Missing argument"),
        ("%vers rm nosuch -f", "UnknownVMError", "No VM named 'nosuch'."),
        ("%vers ls extra", "UsageError", "extra"),
        ("%vers 'open quote", "UsageError", "A quote in the line does not end."),
    ],
)
def test_wrong_use_is_one_line_and_the_next_step(kernel: Kernel, code: str, error: str, message: str) -> None:
    refused(kernel, code, error, message)


def test_every_sub_command_explains_itself(kernel: Kernel) -> None:
    explained(kernel, "ls", "create", "use", "local", "rm", "doctor", "up", "down")


def test_deleting_asks_first(kernel: Kernel) -> None:
    assert kernel.run("%vers create --name doomed", timeout=60).error is None
    nobody = kernel.run("%vers rm doomed")
    assert nobody.error == "UsageError" and "`%vers rm -f` does not ask." in nobody.message
    for answer in ("n", "", "what"):
        refused = kernel.run("%vers rm doomed", answer=answer)
        assert "Delete doomed and all that is on it? [y/N] " in refused.stdout
        assert refused.error == "UsageError" and refused.message == "Nothing was done."
    assert "doomed" in kernel.run("%vers ls").data[0]
    assert kernel.run("%vers rm doomed", answer="y").stdout.endswith("Deleted doomed.\n")
    assert "doomed" not in kernel.run("%vers ls").data[0]


def test_deleting_the_active_vm_says_where_cells_run_now(kernel: Kernel) -> None:
    assert kernel.run("%vers create --name brief --use", timeout=60).error is None
    assert kernel.run("%vers rm -f brief").stdout == "Deleted brief. Cells run on this computer again.\n"
    assert kernel.run("%vm echo where").stdout == "(local)\nwhere\n"


def test_several_vms_at_once(kernel: Kernel) -> None:
    made = kernel.run("second = %vers create --name second", timeout=60)
    assert made.error is None, made.traceback
    try:
        shown = kernel.run(
            "r = get_ipython().run_cell_magic('vm', '--on build,second,build --out o', 'hostname')"
        )
        assert shown.error is None, shown.traceback
        assert [line.split()[:2] for line in shown.stdout.splitlines()] == [
            ["[build]", "✓"],
            ["[second]", "✓"],
        ]
        assert kernel.value("o") == {"build": "build\n", "second": "second\n"}
        assert kernel.value("(list(r), r['second'].stdout)") == (["build", "second"], "second\n")
        failing = kernel.run(
            "%%vm --on build,second --fresh\n[ $HOSTNAME = build ] || exit 5; echo fine; echo odd >&2"
        )
        assert "[build] fine\n" in failing.stdout and "[build] odd\n" in failing.stderr
        assert "[second] ✗ exit code 5 " in failing.stdout
        assert failing.error == "RemoteCommandError" and "exit code 5 on second" in failing.message
        assert kernel.run("%%vm --on build,second --no-raise\n(exit 5)").error is None
        both = kernel.run("%%vm --on build,second\n(exit 5)")
        assert both.message == "failed on build, second"
    finally:
        kernel.run("%vers rm -f second")


def test_one_that_cannot_be_reached_does_not_spoil_the_others(kernel: Kernel) -> None:
    made = kernel.run("gone = %vers create --name gone", timeout=60)
    assert made.error is None, made.traceback
    kernel.run("%vm --on gone true")
    kernel.run(
        "from pi_v_jupyter import Vers\n"
        "async with Vers() as other:\n    await other.client.delete_vm(gone.id)\n"
        "found = get_ipython().magics_manager.registry['Extension'].vers.fleet\n"
        "real = found.find\n"
        "async def find(name): return gone if name == 'gone' else await real(name)\n"
        "found.find = find  # it went away between the look and the run\n"
    )
    shown = kernel.run("%%vm --on build,gone\necho still here", timeout=60)
    kernel.run("del found.find")
    assert "[build] still here\n" in shown.stdout and "[build] ✓" in shown.stdout
    assert "[gone] ✗" in shown.stdout
    assert shown.error == "VMGoneError", shown


def test_the_platform_can_be_asked_up_when_it_is_up(kernel: Kernel) -> None:
    shown = kernel.run("%vers up", timeout=120)
    assert "up already" in shown.stdout and "vers: " in shown.stdout, shown


def test_python_beside_the_magics_talks_to_the_same_platform(kernel: Kernel) -> None:
    kernel.run("from pi_v_jupyter import Vers")
    assert kernel.value(
        "Vers().settings.base_url == get_ipython().find_line_magic('vers').__self__.vers.settings.base_url"
    )
