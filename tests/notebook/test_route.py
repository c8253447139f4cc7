"""`%vers route on`: a notebook acts as if its kernel were on the VM; `%%local` and magics of ours stay."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kernels import Kernel, Outputs

pytestmark = pytest.mark.vm

BANNER = "⇢ build"


@pytest.fixture
def routed(kernel: Kernel) -> Iterator[Kernel]:
    """The module's kernel, its cells routed to build."""
    told = kernel.run("%vers route on")
    assert told.stdout.startswith("Cells run on build;"), told
    yield kernel
    kernel.run("%vers route off")


def there(kernel: Kernel, code: str) -> Outputs:
    """What a cell that runs on the VM has shown, without the banner."""
    shown = kernel.run(code, timeout=120)
    assert shown.error is None, shown.traceback
    assert shown.data[0] == BANNER and BANNER in shown.html[0], shown
    del shown.data[0]
    shown.stdout = shown.stdout.replace("\r\n", "\n")  # a kernel runs `!cmd` at a terminal
    return shown


def page(kernel: Kernel, code: str) -> str:
    """What a cell puts into the pager."""
    reply = kernel.client.execute(code, reply=True, timeout=30)
    return str(reply["content"]["payload"][0]["data"]["text/plain"])


def offered(kernel: Kernel, code: str, whole: str) -> None:
    """Tab offers it; an answer that took too long is there at the next."""
    deadline = time.monotonic() + 60
    while whole not in kernel.complete(code):
        assert time.monotonic() < deadline, f"{whole} is not offered"


def test_every_kind_of_cell_runs_over_there_and_they_know_of_each_other(routed: Kernel) -> None:
    routed.run("%%local\nwhere = 'here'")
    assert there(routed, "where = 'there'\nimport socket\nsocket.gethostname()").data == ["'build'"]
    assert there(routed, "!hostname").stdout == "build\n"
    assert there(routed, "name = !hostname\nname").data == ["['build']"]
    there(routed, "%cd /srv")
    assert there(routed, "%pwd").data == ["'/srv'"]
    assert there(routed, "%%bash\npwd; hostname").stdout == "/srv\nbuild\n"
    assert there(routed, "%%sh\necho $0 && hostname").stdout.endswith("build\n")
    there(routed, "%%writefile made-there.txt\nfrom {a} $cell\n")
    assert there(routed, "%cat made-there.txt").stdout == "from {a} $cell\n"
    assert "made-there.txt" in there(routed, "%ls").stdout
    there(routed, "%env ROUTED=yes")
    assert there(routed, "!echo $$ROUTED {where} $where").stdout == "yes there there\n"
    assert there(routed, "open('made-there.txt').read()").data == ["'from {a} $cell\\n'"]
    assert routed.run("%%local\nwhere").data == ["'here'"]
    assert routed.run("%vm cat /srv/made-there.txt").stdout == "from {a} $cell\n"
    assert routed.run("%%local\nimport os\nos.path.exists('/srv/made-there.txt')").data == ["False"]


def test_tab_and_help_are_the_vms_own(routed: Kernel) -> None:
    there(routed, "known_over_there = [1]")
    offered(routed, "x = 1\nknown_over_", "x = 1\nknown_over_there")
    offered(routed, "known_over_there.app", "known_over_there.append")
    routed.run("%%local\nknown_here = 1")
    assert routed.complete("known_he") == []
    assert routed.complete("%%local\nknown_he") == ["%%local\nknown_here"]
    assert "%vers use build" in routed.complete("%vers use ")
    assert "list" in routed.explains("known_over_there", 5)["text/plain"]


def test_magics_of_ours_stay_and_keep_their_values(routed: Kernel) -> None:
    routed.run("# which are there?\nmachines = %vers ls")
    assert routed.run("%%local\n[vm.name for vm in machines]").data == ["['build']"]
    assert routed.run("%%vm\nhostname").stdout == "build\n"
    assert routed.run("%%vm python\n'a cell that was sent by hand'").data == [
        "'a cell that was sent by hand'"
    ]
    assert "Virtual machines" in page(routed, "%vers?")
    assert "Init signature" in page(routed, "int?"), "of the VM's own"
    assert routed.run("%load_ext pi_v_jupyter").error is None
    assert "⇢" not in routed.run("%vers ls").text


def test_a_cell_with_both_is_refused_before_anything_runs(routed: Kernel) -> None:
    refused = routed.run("begun = True\nvms = %vers ls")
    assert refused.error == "UsageError"
    assert refused.message == (
        "Of this cell, %vers belongs here and the rest to the VM.  "
        "Give each a cell of its own; `%%local` as its first line has all of it run here."
    )
    assert there(routed, "'begun' in dir()").data == ["False"]
    assert routed.run("%%local\nbegun = True\nvms = %vers ls\nlen(vms)").data == ["1"]
    assert there(routed, "text = '''\n%vers ls\n'''\nlen(text)").data == ["10"], "a text is no magic"


def test_it_survives_errors_stops_and_what_no_python_can_read(routed: Kernel) -> None:
    failed = routed.run("1 / 0")
    assert failed.error == "ZeroDivisionError" and failed.data == [BANNER]
    assert "pi_v_jupyter" not in failed.traceback
    assert routed.run("this is no python").error == "SyntaxError"
    assert routed.run("raise SystemExit").error == "SystemExit"
    cell = routed.start("import time\nprint('asleep', flush=True)\nwhile True: time.sleep(0.1)")
    cell.wait_for("asleep")
    routed.interrupt()
    assert cell.finish(30).error == "KeyboardInterrupt"
    assert there(routed, "2 + 2").data == ["4"]
    assert there(routed, "2 + 2;").data == []
    assert there(routed, "await __import__('asyncio').sleep(0, 'awaited')").data == ["'awaited'"]
    assert there(routed, "%%time\n!hostname").stdout.startswith("build\n")


def test_parts_of_a_local_cell_stay_local(routed: Kernel) -> None:
    routed.run("%%local\nhere_alone = 7")
    assert routed.run("%%local\n%time here_alone").data == ["7"]
    assert routed.run("%%local\n%%time\nhere_alone").data == ["7"]
    assert routed.run("%%local\nget_ipython().run_cell('here_alone + 1')").data[0] == "8"
    assert routed.run("%%local\n%%vm\nhostname").stdout == "build\n"
    assert routed.run("%%local").error is None
    assert routed.run("\n %%local \n here_alone").data == ["7"]
    assert routed.run("%%localx\n1").data[0] == BANNER
    refused = routed.run("%%local now\n1")
    assert refused.error == "UsageError" and "%%local takes no options." in refused.message


def where(kernel: Kernel, code: str) -> str:
    """What a cell prints that runs its own code within a cell of this notebook."""
    shown = kernel.run(f"%%local\n{code}", timeout=60)
    assert shown.error is None, shown.traceback
    return shown.stdout


def test_what_runs_within_a_local_cell_never_leaves_and_the_next_cell_does(routed: Kernel) -> None:
    """Whoever asks: a call, a task, a thread; and whatever they leave undone."""
    own = str(routed.pid)
    code = "import os; print(os.getpid())"
    assert own in where(routed, f"ip = get_ipython()\nip.run_cell('')\nr = ip.run_cell('{code}')")
    there(routed, "1")
    half = f"await ip.run_cell_async('{code}', transformed_cell=ip.transform_cell('{code}'))"
    assert own in where(routed, half)
    assert own not in there(routed, code).stdout
    thread = (
        f"import threading\nt = threading.Thread(target=ip.run_cell, args=('{code}',))\nt.start(); t.join()"
    )
    assert own in where(routed, thread)
    task = (
        "import asyncio\nasync def later():\n    await asyncio.sleep(1)\n"
        "    ip.run_cell('pid = __import__(\"os\").getpid()')\ntask = asyncio.ensure_future(later())"
    )
    where(routed, task)
    assert own not in there(routed, f"{code}\nimport time; time.sleep(2)").stdout
    assert where(routed, "await task\nprint(pid)").strip() == own


def test_expressions_of_a_request_are_evaluated_there_and_tools_stay_here(routed: Kernel) -> None:
    where(routed, "only = 'here'")
    there(routed, "only = 'there'")
    reply = routed.client.execute("1", user_expressions={"a": "only"}, reply=True, timeout=30)["content"]
    assert reply["user_expressions"]["a"]["data"]["text/plain"] == "'there'"
    silent = routed.client.execute(
        "found = only", silent=True, user_expressions={"a": "found"}, reply=True, timeout=30
    )["content"]
    assert silent["user_expressions"]["a"]["data"]["text/plain"] == "'here'"


@pytest.mark.parametrize(
    "cell", ["%time %vers ls", "%%time\n%vers ls", "%%capture x\n%vers rm -f build", "%%time\n%%vm\nls"]
)
def test_magics_of_ours_within_others_are_refused_too(routed: Kernel, cell: str) -> None:
    refused = routed.run(cell)
    assert refused.error == "UsageError" and "belongs here and the rest to the VM." in refused.message


def test_a_file_that_tells_of_our_magics_is_a_file(routed: Kernel) -> None:
    there(routed, "%%writefile /srv/README\n%vers up\n%%vm\n")
    assert there(routed, "%cat /srv/README").stdout == "%vers up\n%%vm\n"


def test_no_vm_while_routed_is_told_and_nothing_runs_here(routed: Kernel) -> None:
    where(routed, "await __import__('pi_v_jupyter').Vers.notebook.local()")
    refused = routed.run("ran = True")
    assert refused.error == "UnknownVMError" and "`%vers route off`" in refused.message
    assert routed.run("%vers route").stdout.startswith("Cells are routed, and no VM is active.")
    assert "True" not in where(routed, "print('ran' in globals())")


def test_it_follows_the_active_vm_and_ends_with_it(routed: Kernel) -> None:
    try:
        assert routed.run("%vers branch --name child --use", timeout=60).error is None
        shown = routed.run("!hostname", timeout=60)
        assert shown.data == ["⇢ child"] and shown.stdout.strip() not in ("", "build")
        assert routed.run("%vers rm -f child").stdout.endswith("Cells run on this computer again.\n")
    finally:
        routed.run("%vers rm -f child")
    shown = routed.run("'here'")
    assert (shown.data, shown.error) == (["'here'"], None)
    refused = routed.run("%vers route on")
    assert refused.error == "UnknownVMError" and "`%vers use VM`" in refused.message


def test_local_ends_it(routed: Kernel) -> None:
    assert routed.run("%vers local").stdout == "Cells run on this computer.\n"
    assert routed.run("'here'").data == ["'here'"]
    assert routed.run("%vers route").stdout.startswith("Cells run here.")


def test_a_vm_that_is_not_there_is_told_and_nothing_runs_here(routed: Kernel) -> None:
    routed.run("%vers pause")
    try:
        paused = routed.run("ran = 'here'")
        assert paused.error == "VMPausedError" and "`%vers resume" in paused.message
    finally:
        routed.run("%vers resume build")
    assert routed.run("%%local\n'ran' in dir()").data == ["False"]
    routed.run("%%local\nawait (await __import__('pi_v_jupyter').Vers().create(name='brief')).delete()")
    assert there(routed, "1").data == ["1"]


def test_unloading_ends_it(routed: Kernel) -> None:
    assert routed.run("%unload_ext pi_v_jupyter").stdout.startswith("Cells run here:")
    try:
        assert routed.run("'here'").data == ["'here'"]
        assert "%%local" not in routed.run("%lsmagic").text
    finally:
        routed.run("%load_ext pi_v_jupyter")
        routed.status()
