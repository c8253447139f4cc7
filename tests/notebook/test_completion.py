"""Tab: in lines of `%vers` and `%vm`, in the first line of `%%vm`, and in cells for a shell on the VM."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel
from platforms import Platform
from test_branches import good

pytestmark = pytest.mark.vm
BUSY = """\
import asyncio
from pi_v_jupyter.loops import io_loop
from pi_v_jupyter.machine import Command
from pi_v_jupyter.remote.channel import Request
request = Request(shell="cells", code="echo begun; read <> /srv/gate; echo over")
busy = Command(vm, request, None, lambda *_: None)
running = asyncio.run_coroutine_threadsafe(busy.run(), io_loop())
"""


def offered(kernel: Kernel, code: str) -> list[str]:
    """What the last word of `code` may become."""
    return [each.rpartition("\n")[2].split(" ")[-1] for each in kernel.complete(code)]


def soon(kernel: Kernel, code: str, *lines: str) -> None:
    """Tab is pressed until it makes these of the last line of `code`: the first may be too early."""
    before = "".join(code.rpartition("\n")[:2])
    kernel.offers(code, [before + line for line in lines])


@pytest.fixture
def child(kernel: Kernel) -> Iterator[Kernel]:
    """The kernel, with a branch named `child` that a variable `held` holds."""
    good(kernel, "held = %vers branch --name child")
    yield kernel
    good(kernel, "%vers rm -f child\ndel held")


def test_sub_commands_and_options_are_offered(kernel: Kernel) -> None:
    assert {"create", "use", "cp", "kernels"} <= set(offered(kernel, "%vers "))
    assert offered(kernel, "%vers us") == ["use"]
    assert offered(kernel, "x = %vers create --na") == ["--name"]
    assert offered(kernel, "%vers create --name x --n") == ["--no-wait"], "what is given is not offered again"
    assert offered(kernel, "%vers ls ") == ["--tree", "--json"], "nothing else can follow"
    assert offered(kernel, "%vers kernels re") == ["restart"]
    assert offered(kernel, "%vers config ssh") == ["ssh_timeout"]
    assert offered(kernel, "%%vm --no") == ["--no-raise"]
    assert offered(kernel, "%vm --ti") == ["--timeout"]
    assert offered(kernel, "%%vm p") == ["python", "perl"]
    assert offered(kernel, "%%vm write x --m") == ["--mode"]
    told = kernel.client.complete("%vers cre", reply=True, timeout=30)["content"]["metadata"]
    assert [each["type"] for each in told["_jupyter_types_experimental"]] == ["command"]


def test_vms_are_offered_by_name_id_and_variable(child: Kernel) -> None:
    vm_id = child.value("held.id")
    soon(child, "%vers use ", *(f"%vers use {name}" for name in ("build", "child", "vm", "held")))
    assert offered(child, "%vers use chi") == ["child"]
    assert offered(child, f"%vers info {vm_id[:6]}") == [vm_id]
    assert offered(child, "%vers rm child ") == ["build", "vm", "held"]
    assert offered(child, "%vm --on build,") == ["build,child", "build,vm", "build,held"]
    assert offered(child, "%%vm --on=chi") == ["--on=child"]
    assert offered(child, "%vers push --on he") == ["held"]
    assert offered(child, "%vers shell chi") == ["child"]


def test_commits_and_tags_are_offered(kernel: Kernel) -> None:
    good(kernel, "kept = %vers commit --name nightly --tag first")
    try:
        soon(kernel, "%vers restore ", *(f"%vers restore {name}" for name in ("first", "nightly", "kept")))
        soon(kernel, "%vers tag -d fi", "%vers tag -d first")
        assert offered(kernel, "%vers tag other nig") == ["nightly"]
        assert offered(kernel, "%vers commits -d ke") == ["kept"]
        assert offered(kernel, "%vers info fi") == ["first"]
    finally:
        good(kernel, "%vers tag -d first\n%vers commits -f -d nightly\ndel kept")


def test_kernels_variables_and_tunnels_are_offered(kernel: Kernel) -> None:
    good(kernel, "%%vm python\nonly_there = 1")
    soon(kernel, "%vers kernels restart ", "%vers kernels restart python")
    assert offered(kernel, "%%vm python --kernel py") == ["python"]
    soon(kernel, "%vers pull only", "%vers pull only_there")
    kernel.run("valuable = 1\ndef valueless(): pass")
    assert offered(kernel, "%vers push valu") == ["valuable"]
    assert offered(kernel, "%vm --out valu") == ["valuable"]
    good(kernel, "tunnel = %vers tunnel :22")
    port = str(kernel.value("tunnel.local_port"))
    assert offered(kernel, "%vers tunnel close ") == [port]
    assert offered(kernel, f"%vers tunnel close {port} ") == ["--all"]
    good(kernel, "%vers tunnel close")


def test_a_shell_cell_knows_what_its_session_knows(kernel: Kernel) -> None:
    good(
        kernel,
        "%%vm\nmkdir -p /srv/tools '/srv/my files'; touch /srv/my\\ files/one /srv/tools/not_a_tool\n"
        "printf '#!/bin/sh\\n' > /srv/tools/tool_of_mine; chmod +x /srv/tools/tool_of_mine; cd /srv\n"
        "export PATH=$PATH:/srv/tools; tool_function() { :; }; alias tool_alias=ls; TOOL_VARIABLE=1",
    )
    soon(kernel, "%%vm\ncd /\ntool_o", "tool_of_mine")
    kernel.offers("%vm tool_", {f"%vm tool_{name}" for name in ("alias", "function", "of_mine")})
    soon(kernel, "%%vm\necho $TOOL_V", "echo $TOOL_VARIABLE")
    assert offered(kernel, "%%vm\necho ${TOOL_V") == ["${TOOL_VARIABLE}"]
    soon(kernel, "%%vm bash\nls tool", "ls tools/")
    soon(kernel, "%%vm\ncat my\\ fi", "cat my\\ files/")
    soon(kernel, "%%vm\ncat 'my files/o", "cat my\\ files/one")
    soon(kernel, "%vm --cwd too", "%vm --cwd tools/")
    soon(kernel, "%vm --cwd tools cat not", "%vm --cwd tools cat not_a_tool")
    soon(kernel, "%%vm sh\nbase6", "base64")
    assert offered(kernel, "%%vm sh\ntool_o") == [], "which is no cell of the session"
    soon(kernel, "%vm --fresh ls /srv/too", "%vm --fresh ls /srv/tools/")


def test_nothing_that_is_typed_is_run(kernel: Kernel) -> None:
    good(kernel, "%%vm\nmkdir -p /srv/hostile; cd /srv/hostile; rm -f *; : > '$(touch ran) `touch ran`'")
    for typed in (
        *("$(touch /srv/hostile/ran)", "$(touch /srv/hostile/ran", "`touch /srv/hostile/ran`", "`touch ran"),
        *("ls $(touch ran)", "ls '$(touch ran)", 'ls "$(touch ran)', "ls `touch ran`/", "ls $(touch ran)/x"),
        *("a;touch ran;", "x'; touch ran; '", "echo ${x:=$(touch ran)", "--;touch ran", "<(touch ran)"),
    ):
        kernel.complete(f"%%vm\n{typed}")
        kernel.complete(f"%vm {typed}")
        kernel.complete(f"%vers read {typed}")
        kernel.complete(f"%vm --cwd {typed}")
    assert good(kernel, "%vm ls") == "$(touch ran) `touch ran`\n"
    while not (lines := kernel.complete("%vm ls \\$")):
        pass  # the first may be too early
    (line,) = lines
    assert good(kernel, line) == "$(touch ran) `touch ran`\n"
    assert good(kernel, "%vm ls") == "$(touch ran) `touch ran`\n"


def test_a_session_that_is_busy_is_not_disturbed(kernel: Kernel) -> None:
    good(kernel, "%%vm\ncd /srv; rm -f gate; mkfifo gate; kept=here")
    good(kernel, BUSY)
    try:
        soon(kernel, "%%vm\nbase6", "base64")
        soon(kernel, "%%vm\nls ga", "ls gate")
    finally:
        good(kernel, "result = await vm.run('echo > /srv/gate')\nended = running.result(30)")
    assert kernel.value("ended.code") == 0
    assert good(kernel, "%vm echo $kept") == "here\n"


def test_the_other_cells_get_no_names_of_this_notebook(kernel: Kernel) -> None:
    kernel.run("zebra_crossing = 1")
    assert kernel.complete("zebra_cros") == ["zebra_crossing"]
    for code in (
        "%%vm\nzebra_cros",
        "%%vm node\nzebra_cros",
        "%%vm write x\nzebra_cros",
        "%vers use zebra_cros",
    ):
        assert kernel.complete(code) == [], code


def test_paths_of_this_computer_are_offered_for_copies(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "my file").touch()
    (tmp_path / "folder").mkdir()
    soon(kernel, f"%vers cp {tmp_path}/m", f"%vers cp {tmp_path}/my\\ file")
    soon(kernel, f"%vers cp {tmp_path}/f", f"%vers cp {tmp_path}/folder/")
    soon(kernel, "%vers cp buil", "%vers cp build:")


def test_a_vm_that_stands_still_has_nothing_to_offer_and_says_nothing(
    child: Kernel, shared_platform: Platform
) -> None:
    kernel = child
    good(kernel, "%vers use child")
    soon(kernel, "%vm base6", "%vm base64")
    vm_id = kernel.value("held.id")

    async def put(state: str) -> None:
        async with shared_platform.api() as api:
            assert (await api.patch(f"/vm/{vm_id}/state", json={"state": state})).status_code == 200

    asyncio.run(put("Paused"))  # by somebody else: the notebook does not know
    try:
        kernel.run("pass")
        for code in ("%%vm\nbase6", "%vm base6", "%vers read /et", "%%vm write /et", "%vers cp :/et"):
            assert kernel.complete(code) == [], code
        assert offered(kernel, "%vers use chil") == ["child"], "the platform answers"
        shown = kernel.run("pass")
        assert (shown.text.strip(), shown.error) == ("", None)
        assert not [each for each in kernel.strays if each["msg_type"] in ("stream", "error")]
    finally:
        asyncio.run(put("Running"))
    assert good(kernel, "%vm echo again") == "again\n"
    soon(kernel, "%vm base6", "%vm base64")


def test_without_a_vm_this_machine_is_completed(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    kernel.run("%vers local")
    soon(kernel, f"%%vm\nls {tmp_path}/a_", f"ls {tmp_path}/a_file")
    soon(kernel, "%%vm\nbase6", "base64")


def test_what_a_vm_says_of_a_cell_never_changes_more_than_the_word_at_the_cursor(kernel: Kernel) -> None:
    good(kernel, "%%vm python\nown = get_ipython().kernel.do_complete")
    cell = "%%vm python\nfirst = 1\nkno"
    answers = [
        {"status": "ok"},
        {"status": "ok", "matches": [1, None], "cursor_start": 10, "cursor_end": 13, "metadata": {}},
        {"status": "ok", "matches": ["%%local\nevil()"], "cursor_start": 0, "cursor_end": 13, "metadata": {}},
        {"status": "ok", "matches": ["know\x1b]0;x\x07n"], "cursor_start": 10, "cursor_end": 13},
        {"status": "ok", "matches": ["known"], "cursor_start": 10, "cursor_end": 99, "metadata": None},
        {"status": "ok", "matches": "known", "cursor_start": "10", "cursor_end": 13, "metadata": []},
    ]
    try:
        for answer in answers:
            good(kernel, f"%%vm python\nget_ipython().kernel.do_complete = lambda code, at: {answer!r}")
            asked = kernel.client.complete(cell, reply=True, timeout=30)["content"]
            assert asked["status"] == "ok" and asked["matches"] == [], answer
        true = {"status": "ok", "matches": ["known"], "cursor_start": 10, "cursor_end": 13, "metadata": [1]}
        good(kernel, f"%%vm python\nget_ipython().kernel.do_complete = lambda code, at: {true!r}")
        soon(kernel, cell, "known")
    finally:
        good(kernel, "%%vm python\nget_ipython().kernel.do_complete = own")


def test_tab_behind_help_shows_no_help(kernel: Kernel) -> None:
    kernel.strays.clear()
    kernel.complete("%vm --help ec")
    kernel.run("pass")
    assert "Usage" not in str(kernel.strays) + str(kernel.heard)
