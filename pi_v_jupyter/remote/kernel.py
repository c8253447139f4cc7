"""A Jupyter kernel on a machine: started there, asked, interrupted. It outlives whoever talks to it."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from functools import cache
from typing import Any

from pi_v_jupyter.errors import KernelError, UsageError
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.remote import _kernel, sources
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.execution import Execution, Message, OnMessage, Shown
from pi_v_jupyter.remote.kernellink import KernelLink
from pi_v_jupyter.remote.pythons import Place, Pythons
from pi_v_jupyter.remote.refusals import shown

__all__ = ["DEFAULT", "Execution", "Kernel", "Kernels", "Message", "Shown"]  # what is used of it outside

FOLDER = "~/.local/share/pi-v/kernels"
DEFAULT = "python"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}")
START_TIMEOUT = 120.0  # seconds for a kernel to start, on an emulated machine
ANSWER_TIMEOUT = 20.0  # seconds for the keeper's first words, and for its end
# The keeper as its interpreter gets it: on stdin, for its source is not on the VM.
BOOT = "import sys;exec(compile(sys.stdin.buffer.read(),'pi-v-keeper','exec'))"
# A kernel that nobody has used yet may have been copied with its VM, from before that had its variables: its
# random numbers are its own from now on, and it has what a login would set.
BEGIN = """\
def __pi_v_begin():
    import os, random
    random.seed()
    try:
        with open("/etc/environment", errors="surrogateescape") as file:
            lines = file.read().split("\\n")
    except OSError:
        return
    for line in lines:
        name, equals, value = line.strip().partition("=")
        name = name.removeprefix("export ").strip()
        if equals and name.isidentifier():
            os.environ.setdefault(name, value.strip().strip("\\"'"))
__pi_v_begin()
del __pi_v_begin
"""
# A keeper that does not answer. Its process group is its own; its kernel notices that it is gone.
KILL = """\
pid=$(cat "$HOME/{folder}/{name}.lock") || exit 0
case "$(tr '\\0' ' ' <"/proc/$pid/cmdline")" in *"{name}.sock"*) kill -KILL "$pid";; esac
rm -f "$HOME/{folder}/{name}.sock"
"""


def socket_path(name: str) -> str:
    """Where clients of the kernel `name` come to."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a kernel.", "Use up to 31 letters, digits, '.', '_' and '-'.")
    return f"{FOLDER}/{name}.sock"


@cache
def keeper() -> bytes:
    """The program that keeps a kernel, as source for the VM's Python."""
    return sources.source(_kernel, "pi_v_kernel", without=("travel",))


class Kernels(list["Kernel"]):
    """The kernels of a VM, which show as a table in a notebook."""


class Kernel:
    """One client of the kernel `name` on `place`. Its methods may be awaited on any loop.

    `on_progress` is told of what is installed first.

    Raises, all methods that talk to the kernel:
        KernelError: it cannot be started, or it ended.
        ConnectError: the machine cannot be reached.
    """

    def __init__(
        self, place: Place, name: str = DEFAULT, on_progress: Callable[[str], object] = lambda _: None
    ) -> None:
        self.place, self.name, self._on_progress = place, name, on_progress
        self.session = secrets.token_hex(16)
        self._path = socket_path(name)
        self._lock = asyncio.Lock()
        self._link: KernelLink | None = None
        self.python, self.pid = "", 0  # its version, and its process over there, once connected

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """Its machine's loop."""
        return self.place.home

    @property
    def connected(self) -> bool:
        """May it be asked something without being started?"""
        return self._link is not None and self._link.open

    def error(self, what: str) -> KernelError:
        """What to raise of it; `what` may hold words of the VM's."""
        return KernelError(
            f"The kernel {self.name} on {self.place.label} {shown(what.rstrip('.'))}.",
            f"`%vers kernels restart {self.name}` starts it afresh.",
        )

    @at_home
    async def open(self) -> None:
        """Connect, and start the kernel first if it does not run."""
        await self._opened()

    async def _opened(self) -> KernelLink:
        async with self._lock:
            link = self._link
            if link is not None and link.open:
                await self.place.connect()
                return link
            if link is not None and link.silent_end and link.end is not None:
                self._on_progress(f"{link.end.message}  This cell begins in a new one.")
            link = await self._connect()
            if link is None:
                await self._start()
                link = await self._connect()
            if link is None:
                raise self.error("ended as soon as it was started")
            return link

    @at_home
    async def attach(self) -> bool:
        """Connect, if the kernel runs; does it?"""
        async with self._lock:
            return self.connected or await self._connect() is not None

    async def _connect(self) -> KernelLink | None:
        """A link to the kernel; None where it does not run."""
        await self._let_go()
        link = self._link = KernelLink(self, await self.place.launch(Request(socket=self._path, prompt=True)))
        try:
            await link.introduced(ANSWER_TIMEOUT)
            if link.open:
                about = link.about.result()
                self.python, self.pid = shown(about["python"]), about["pid"]
                await link.order(do="hello", session=self.session)
                if not about["used"]:
                    await self._begin(link)
                return link
            await link.reading
        except BaseException:
            await self._let_go()
            raise
        await self._let_go()
        if not link.absent and link.end is not None:
            raise link.end
        return None

    async def _begin(self, link: KernelLink) -> None:
        await link.ask("execute_request", {"code": BEGIN, "silent": True})

    async def _start(self) -> None:
        python = await Pythons(self.place, self._on_progress).find()
        # Not in the user's home: a file there may be named as a module is.
        request = Request(argv=(python, "-c", BOOT, self._path), stdin=True, cwd="/", timeout=START_TIMEOUT)
        process = await self.place.launch(request)
        said = bytearray()
        try:
            await process.write(keeper())
            await process.write_eof()
            async for _, piece in process.chunks():
                said += piece
            how = await process.wait()
        finally:
            await process.close()
        if how.code != 0:
            lines = said.decode(errors="backslashreplace").strip().splitlines()
            reason = how.message or (lines[-1] if lines else "") or ("time is up" if how.timed_out else "")
            raise self.error(f"cannot be started: {reason}" if reason else "cannot be started")

    @at_home
    async def execute(
        self,
        code: str,
        on_message: OnMessage = lambda _: None,
        *,
        silent: bool = False,
        asks: bool = False,
        expressions: dict[str, str] | None = None,
        on_asked: Callable[[Execution], object] = lambda _: None,
    ) -> Message:
        """Run a cell. What it shows goes to `on_message`; the `execute_reply` is returned.

        With `asks`, so does an `input_request`, to be answered by `answer`; without, `input()` fails there.
        `on_asked` is given the request under way. Cancelling interrupts the cell.
        """
        content = {
            "code": code,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": expressions or {},
            "allow_stdin": asks,
            "stop_on_error": False,  # which would refuse what comes in the moment after an error
        }
        return await (await self._opened()).ask("execute_request", content, on_message, on_asked)

    @at_home
    async def ask(self, kind: str, /, **content: Any) -> Message:
        """The answer to a `complete_request`, an `inspect_request`, …"""
        return await (await self._opened()).ask(kind, content)

    @at_home
    async def answer(self, asked: Message, text: str) -> None:
        """What was typed, to an `input_request`."""
        if self._link is not None:
            await self._link.answer(asked, text)

    @at_home
    async def interrupt(self) -> None:
        """As the stop button does: KeyboardInterrupt, in whatever runs."""
        if self._link is not None and self._link.open:
            await self._link.order(do="interrupt")

    @at_home
    async def restart(self) -> None:
        """A kernel that has nothing of the one before; one that does not answer is killed."""
        async with self._lock:
            try:
                link = self._link if self.connected else await self._connect()
            except KernelError:
                await self._kill()
                link = None
            if link is not None:
                before, link.about = link.about, asyncio.get_running_loop().create_future()
                await link.order(do="restart")
                try:
                    await link.introduced(ANSWER_TIMEOUT + START_TIMEOUT)
                    if not link.open:
                        raise link.end or self.error("did not come back")
                    await self._begin(link)
                except KernelError:
                    link.about = before
                    await self._kill()
        await self.open()

    @at_home
    async def end(self) -> None:
        """End the kernel and what it holds, by force if need be; nothing to do when it does not run."""
        async with self._lock:
            try:
                link = self._link if self.connected else await self._connect()
                if link is not None:
                    await link.order(do="end")
                    await asyncio.wait([link.reading], timeout=ANSWER_TIMEOUT)
                    if not link.reading.done():
                        await self._kill()
            except KernelError:
                await self._kill()
            await self._let_go()

    async def _kill(self) -> None:
        """End a keeper that does not answer, and its kernel."""
        await self._let_go()
        script = KILL.format(folder=FOLDER.removeprefix("~/"), name=self.name)
        process = await self.place.launch(Request(command=script, timeout=ANSWER_TIMEOUT))
        await process.wait()

    async def _let_go(self) -> None:
        link = self._link
        if link is not None:
            await link.close()
            if self._link is link:
                self._link = None

    @at_home
    async def close(self) -> None:
        """Talk to it no more; it goes on, without what this client was running."""
        if self._link is not None:
            await self._link.close()
