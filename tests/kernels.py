"""A real kernel, driven as a front end drives it: what a cell shows, and the stop button."""

from __future__ import annotations

import queue
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

POLL = 0.05  # seconds
WAIT = re.compile(r" … \d+ s$")


@dataclass
class Outputs:
    """What one cell has shown. `data` and `html`: one entry a display; `updates`: messages to its streams.

    `waits`: the lines that say what it waited for, which come on a machine that is slow.
    """

    stdout: str = ""
    stderr: str = ""
    error: str | None = None
    message: str = ""
    traceback: str = ""
    data: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    updates: int = 0
    size: int = 0
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All of it, for a look at what must not be there."""
        return "\n".join([self.stdout, self.stderr, self.traceback, *self.data, *self.waits, *self.html])


class Cell:
    """A cell under way."""

    def __init__(self, kernel: Kernel, code: str, answer: str | None) -> None:
        self._kernel, self._answer = kernel, answer
        self._began = time.monotonic()
        self.outputs = Outputs()
        self._idle = False
        self.id = kernel.client.execute(code, allow_stdin=answer is not None)

    def wait_for(self, text: str, timeout: float = 60) -> None:
        """Until that was shown."""
        self.until(lambda: text in self.outputs.text, timeout)

    def until(self, holds: Callable[[], object], timeout: float = 60) -> None:
        """Until what has been heard is so."""
        self._follow(holds, timeout)

    def finish(self, timeout: float = 60) -> Outputs:
        """Until the kernel is idle again."""
        self._follow(lambda: False, timeout)
        return self.outputs

    def _follow(self, enough: Callable[[], object], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._idle and not enough():
            assert time.monotonic() < deadline, f"the cell is not over: {self.outputs}"
            if self._answer is not None:
                self._reply()
            try:
                self._take(self._kernel.client.get_iopub_msg(timeout=POLL))
            except queue.Empty:
                continue
        assert enough() or self._idle

    def _reply(self) -> None:
        try:
            asked = self._kernel.client.get_stdin_msg(timeout=0)
        except queue.Empty:
            return
        self.outputs.stdout += asked["content"]["prompt"]
        self._kernel.client.input(self._answer)

    def _take(self, message: dict[str, Any]) -> None:
        kind, content, outputs = message["msg_type"], message["content"], self.outputs
        if kind == "update_display_data":
            self._kernel.late.append(content["data"].get("text/plain", ""))
        if message["parent_header"].get("msg_id") != self.id:
            self._kernel.strays.append(message)
            return
        self._kernel.heard.append(message)
        if kind == "stream":
            outputs.updates += 1
            outputs.size += len(content["text"])
            if content["name"] == "stdout":
                outputs.stdout += content["text"]
            else:
                outputs.stderr += content["text"]
        elif kind in ("execute_result", "display_data"):
            text = content["data"].get("text/plain", "")
            (outputs.waits if WAIT.search(text) else outputs.data).append(text)
            if "text/html" in content["data"]:
                outputs.html.append(content["data"]["text/html"])
        elif kind == "error":
            outputs.error, outputs.message = content["ename"], content["evalue"]
            outputs.traceback = "\n".join(content["traceback"])
        elif kind == "status" and content["execution_state"] == "idle":
            outputs.seconds = time.monotonic() - self._began
            self._idle = True


class Kernel:
    """A kernel of its own process. `late`: displays that were changed after they had been shown.

    `heard`: all messages of the latest cell; `strays`: those of no cell that was being waited for.
    """

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager, self.client = manager, client
        self.late: list[str] = []
        self.strays: list[dict[str, Any]] = []
        self.heard: list[dict[str, Any]] = []

    @contextmanager
    def heard_by_another(self) -> Iterator[BlockingKernelClient]:
        """A client of its own, as a second page has one. The kernel must be idle to begin with."""
        client = BlockingKernelClient()  # the manager's own would have its identity
        client.load_connection_info(self._manager.get_connection_info())
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            yield client
        finally:
            client.stop_channels()

    @property
    def pid(self) -> int:
        """Of the kernel."""
        return int(self._manager.provisioner.process.pid)

    def start(self, code: str, answer: str | None = None) -> Cell:
        """Begin a cell; `answer` is typed when it asks something."""
        self.heard.clear()
        return Cell(self, code, answer)

    def run(self, code: str, timeout: float = 60, answer: str | None = None) -> Outputs:
        """A cell from its beginning to its end."""
        return self.start(code, answer).finish(timeout)

    def complete(self, code: str) -> list[str]:
        """What Tab offers at the end of `code`: the line as each offer would make it."""
        message = self.client.complete(code, len(code), reply=True, timeout=30)["content"]
        start, end = message["cursor_start"], message["cursor_end"]
        return [code[:start] + each + code[end:] for each in message["matches"]]

    def offers(self, code: str, offered: Sequence[str] | Set[str]) -> None:
        """Press Tab until it offers this, a set in any order: what comes too late is there at the next."""
        deadline = time.monotonic() + 60
        while True:
            found = self.complete(code)
            if (set(found) if isinstance(offered, Set) else found) == offered:
                return
            assert time.monotonic() < deadline, f"{code!r} becomes {found}, not {offered}"

    def explains(self, code: str, cursor: int) -> dict[str, Any]:
        """What is told of the name there, asked until it is found: what comes too late is not told."""
        deadline = time.monotonic() + 60
        while True:
            told: dict[str, Any] = self.client.inspect(code, cursor, reply=True, timeout=60)["content"]
            if told["found"]:
                return dict(told["data"])
            assert time.monotonic() < deadline, f"nothing is told of {code!r}"

    def value(self, code: str) -> Any:
        """The value of an expression there; it must be one that `repr` tells."""
        shown = self.run(f"print(repr({code}))")
        assert shown.error is None, shown.traceback
        return eval(shown.stdout, {}, {})

    def interrupt(self) -> None:
        """The stop button."""
        self._manager.interrupt_kernel()

    def restart(self) -> None:
        """As Jupyter does it: no goodbye."""
        self._manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=60)

    def status(self, timeout: float = 60) -> str:
        """The status line of the last `%load_ext`, once the platform has answered."""
        deadline = time.monotonic() + timeout
        while not self.late and time.monotonic() < deadline:
            self.run("pass")
        assert self.late, "the status line never came"
        return self.late[-1]


def refused(kernel: Kernel, code: str, error: str | None, message: str) -> Outputs:
    """What a cell that is wrong has shown: that, in a line or two, and nothing of ours. None: any error."""
    shown = kernel.run(code)
    assert error in (None, shown.error) and message in shown.message, shown
    assert 1 <= len(shown.traceback.splitlines()) <= 2, shown.traceback
    assert "Traceback" not in shown.traceback and "pi_v_jupyter/" not in shown.traceback
    return shown


def explained(kernel: Kernel, *words: str) -> None:
    """Each sub-command of `%vers` tells how it is used."""
    for word in words:
        shown = kernel.run(f"%vers {word} --help")
        assert shown.error is None and shown.stdout.startswith(f"Usage: %vers {word}"), shown


@contextmanager
def started(env: Mapping[str, str]) -> Iterator[Kernel]:
    """A kernel with that environment; ended without a trace."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=dict(env), stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
