"""The first walkthrough in IPython's terminal: typed at its real prompt, read off the screen."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import nbformat
import pexpect
import pytest
from platforms import ROOT, Platform
from screens import Terminal

pytestmark = pytest.mark.vm


@pytest.fixture
def terminal(shared_platform: Platform) -> Iterator[Terminal]:
    terminal = Terminal(shared_platform.env)
    yield terminal
    terminal.close()


def test_the_first_walkthrough_as_typed_in_a_terminal(terminal: Terminal, shared_platform: Platform) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "01-first-cells.ipynb", as_version=4)
    before = {process.pid for process in shared_platform.qemus()}
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = {cell.source: terminal.run(cell.source) for cell in cells}

    def told(part: str) -> str:
        (text,) = [text for source, text in shown.items() if part in source]
        return text

    assert "embedded platform up already" in told("%vers up")
    begun = "\n".join([told("%load_ext"), told("%vers up")])
    assert re.findall(r"^vers: \d+ VMs? ", begun, re.MULTILINE) == ["vers: 0 VMs "], "said once"
    assert re.fullmatch(r"★ first  \w{8}  running  1 vCPU · 512 MB · [\d.]+ s", told("--name first"))
    assert told("%vm uname").startswith("Linux first ")
    assert told("git init") == ""
    assert told('echo "$GREETING"') == "/srv/demo\nhello from first\n144"
    assert told("for part in") == "one\ntwo\nthree\nbuilding 100 %\nthis is standard error"
    assert told("--out listing") == ""
    assert re.fullmatch(r"Out\[\d+\]: \['bin', 'games', 'include'\]", told("listing.split"))
    assert re.search(r"^Out\[\d+\]: \(0, 'from a line magic\\n'\)", told("result = "), re.MULTILINE)
    failed = [cell.source for cell in cells if "raises-exception" in cell.metadata.get("tags", ())]
    assert [re.sub(r"[\d.]+ s\b\.?", "S", shown[source]) for source in failed] == [
        "cat: /no/such/file: No such file or directory\nRemoteCommandError: exit code 1 on first after S",
        "Stopped: interrupted (SIGINT) on first after S",
    ]
    assert told("%%vm --no-raise") == "cat: /no/such/file: No such file or directory"
    assert told("pgrep") == "no sleep is left on the VM\n/srv/demo"
    drawn = told("$RANDOM")
    assert re.search(r"^\[first\] first draws \d+$", drawn, re.MULTILINE)
    assert re.search(r"^\[second\] ✓ [\d.]+ s$", drawn, re.MULTILINE)
    listed = told("vms = %vers ls")
    assert "★  first" in listed and "second" in listed and "<table>" not in listed
    assert re.search(r"Out\[\d+\]: \['1', '\d+'\]", told("async with"))
    assert told("%vers local") == "Cells run on this computer.\n(local)\nthis ran next to the notebook"
    assert told("%vers rm") == "Deleted first, second."
    assert "Traceback" not in terminal.text
    assert {process.pid for process in shared_platform.qemus()} == before


def test_ctrl_c_interrupts_a_cell_and_the_prompt_comes_back(terminal: Terminal) -> None:
    terminal.run("%load_ext pi_v_jupyter")
    assert terminal.run("vm = %vers create --name typed --use").count("★ typed") == 1
    terminal.enter("%%vm\ncd /srv; kept=here\necho started; sleep 400; echo never")
    terminal.wait_for(lambda text: text.endswith("\nstarted"))
    terminal.stop()
    assert re.fullmatch(
        r"started\n\^CStopped: interrupted \(SIGINT\) on typed after [\d.]+ s\.", terminal.finished()
    )
    assert terminal.run("%vm pgrep -c sleep; echo $kept; pwd") == "0\nhere\n/srv"
    assert terminal.run("%vers use tiped") == (
        "UnknownVMError: No VM named 'tiped'. Did you mean 'typed'?\n`%vers ls` shows them all."
    )
    assert terminal.run("%vers rm -f typed") == "Deleted typed. Cells run on this computer again."


def test_the_prompt_shows_where_routed_cells_run(terminal: Terminal) -> None:
    terminal.run("%load_ext pi_v_jupyter")
    terminal.run("vm = %vers create --name typed --use")
    try:
        terminal.run("%vers route on")
        assert terminal.prompt.startswith("⇢ typed In [")
        assert terminal.run("!hostname") == "⇢ typed\ntyped"
        assert terminal.run("for n in range(2):\n    print(n)\n") == "⇢ typed\n0\n1"
        assert re.fullmatch(r"⇢ typed\nOut\[\d+\]: 42", terminal.run("6 * 7"))
        assert "ZeroDivisionError: division by zero" in terminal.run("1 / 0")
        assert terminal.run("%vers local") == "Cells run on this computer."
        assert terminal.prompt.startswith("In [")
        assert "typed" not in terminal.run("!hostname")
        terminal.run("%vers use typed")
        terminal.run("%vers route on")
    finally:
        terminal.run("%vers rm -f typed")
    assert terminal.prompt.startswith("In [")


def test_exit_leaves_the_terminal_while_cells_are_routed(
    terminal: Terminal, shared_platform: Platform
) -> None:
    terminal.run("%load_ext pi_v_jupyter")
    terminal.run("vm = %vers create --name typed --use")
    vm_id = terminal.run("print(vm.id)")
    try:
        terminal.run("%vers route on")
        terminal.enter("exit")
        terminal.child.expect(pexpect.EOF)
    finally:
        with asyncio.Runner() as runner:
            runner.run(shared_platform.delete(vm_id))
