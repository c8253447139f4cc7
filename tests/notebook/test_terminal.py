"""IPython in a terminal: no kernel, the same magics."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pexpect
import pytest
from platforms import Platform

pytestmark = pytest.mark.vm


class Terminal:
    """`ipython --simple-prompt` at a pseudo-terminal."""

    def __init__(self, env: dict[str, str]) -> None:
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=nocolor"],
            env=env | {"TERM": "dumb"},
            encoding="utf-8",
            timeout=60,
            dimensions=(50, 300),
            echo=False,
        )
        self.child.expect(r"In \[\d+\]: ")

    def run(self, line: str) -> str:
        """What a line shows, without the prompts."""
        self.child.sendline(line)
        return self.rest().strip()

    def rest(self) -> str:
        """What is shown until the next prompt."""
        self.child.expect(r"\r?\n?In \[\d+\]: ")
        return (self.child.before or "").replace("\r\n", "\n")

    def left(self, line: str) -> str:
        """What a line has left on the screen: a wait that took long was there, and is overwritten."""
        return "\n".join(each.rpartition("\r")[2] for each in self.run(line).split("\n"))

    def stop(self) -> str:
        """Ctrl-C."""
        self.child.sendintr()
        return self.rest().strip()

    def close(self) -> None:
        self.child.sendline("exit")
        self.child.expect(pexpect.EOF)
        self.child.close()


@pytest.fixture(scope="module")
def terminal(shared_platform: Platform) -> Iterator[Terminal]:
    """One for all: it is the start that takes long."""
    terminal = Terminal(shared_platform.env)
    yield terminal
    terminal.close()


def test_a_session_in_a_terminal(terminal: Terminal) -> None:
    status = terminal.run("%load_ext pi_v_jupyter")
    if status == "vers: asking the platform …":  # it was slow: the answer comes with the next line that waits
        status += terminal.run("%vers ls")
    assert "embedded platform (QEMU, tcg)" in status
    assert terminal.left("%vm echo hi") == "(local)\nhi"
    assert "running" in terminal.run("vm = %vers create --name term --use")
    assert terminal.left("%vm echo hi; cd /srv") == "hi"
    assert terminal.left("x = %vm pwd") == "/srv"
    assert terminal.run("x.stdout").endswith("'/srv\\n'")
    listed = terminal.run("%vers ls")
    assert "★  term" in listed and "<table>" not in listed
    shown = terminal.run("%vers")
    assert "1 VM, 0 agents, 0 processes · as of " in shown and "★  term" in shown
    assert "★  term" in terminal.run("%vers dashboard")
    assert terminal.left("%vers use bild") == (
        "UnknownVMError: No VM named 'bild'.\n`%vers ls` shows them all."
    )
    assert terminal.left("%vers shell") == (
        "UsageError: There is no browser here to show a terminal in.\n"
        "`%vers ssh-config --write` lets `ssh NAME` do it."
    )
    assert "RemoteCommandError: exit code 7 on term after" in terminal.run("%vm (exit 7)")
    terminal.child.sendline("%vm (sleep 0.5; echo started) & sleep 400")
    terminal.child.expect("started")
    assert "Stopped: interrupted (SIGINT) on term after" in terminal.stop()
    terminal.child.sendline("%vers rm term")
    terminal.child.expect_exact("Delete term and all that is on it? [y/N] ")
    assert terminal.run("y").endswith("Deleted term. Cells run on this computer again.")
    assert terminal.left("%unload_ext pi_v_jupyter") == ""
    assert "not found" in terminal.run("%vm echo hi")
