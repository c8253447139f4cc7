"""A Jupyter kernel on a machine: started there, asked, interrupted. It outlives whoever talks to it.

`_kernel/keeper.py` runs beside it over there and describes the frames; the messages are Jupyter's own
(https://jupyter-client.readthedocs.io/en/stable/messaging.html).
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from pi_v_jupyter.errors import ConnectionLostError, KernelError, UsageError
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.remote import _kernel
from pi_v_jupyter.remote._kernel.keeper import (
    CONTROL,
    HEAD,
    IOPUB,
    LARGEST,
    OWN,
    SHELL,
    STDIN,
    VERSION,
    packed,
    unpacked,
)
from pi_v_jupyter.remote.channel import Exit, Process, Request
from pi_v_jupyter.remote.pythons import Place, Pythons

if TYPE_CHECKING:
    from jupyter_client.session import Session

FOLDER = "~/.local/share/pi-v/kernels"
DEFAULT = "python"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}")
START_TIMEOUT = 120.0  # seconds for a kernel to start, on an emulated machine
SLOW = 2.0  # seconds after which a start is worth a line
ANSWER_TIMEOUT = 20.0  # seconds for the keeper's first words, and for its end
ABSENT = ("ENOENT", "ECONNREFUSED")  # how a connection fails where no keeper is
# The keeper as its interpreter gets it: on stdin, for its source is not on the VM.
BOOT = "import sys;exec(compile(sys.stdin.read(),'pi-v-keeper','exec'))"
RESEED = "__import__('random').seed()"
# A keeper that does not answer. Its process group is its own; its kernel notices that it is gone.
KILL = """\
pid=$(cat "$HOME/{folder}/{name}.lock") || exit 0
case "$(tr '\\0' ' ' <"/proc/$pid/cmdline")" in *"{name}.sock"*) kill -KILL "$pid";; esac
rm -f "$HOME/{folder}/{name}.sock"
"""

Message = dict[str, Any]
OnMessage = Callable[[Message], object]
# What each message's content holds that is made use of.
SHAPES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "stream": {"name": str, "text": str},
    "display_data": {"data": dict, "metadata": dict},
    "update_display_data": {"data": dict, "metadata": dict},
    "execute_result": {"data": dict, "metadata": dict},
    "error": {"ename": str, "evalue": str, "traceback": list},
    "input_request": {"prompt": str, "password": bool},
    "clear_output": {"wait": (bool, int)},
    "status": {"execution_state": str},
}


def socket_path(name: str) -> str:
    """Where clients of the kernel `name` come to."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a kernel.", "Use up to 31 letters, digits, '.', '_' and '-'.")
    return f"{FOLDER}/{name}.sock"


@cache
def keeper() -> str:
    """The source of the keeper."""
    return resources.files(_kernel).joinpath("keeper.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Shown:
    """What a cell's last expression looked like there: a bundle of MIME types, as in `display_data`."""

    data: dict[str, Any] = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)

    def __repr__(self) -> str:
        return str(self.data.get("text/plain", "<no text>"))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.data, self.metadata


class Kernels(list["Kernel"]):
    """The kernels of a VM, which show as a table in a notebook."""


class Execution:
    """A request under way. It is over once the kernel has answered and said that it is idle again.

    `begun` is set when the kernel, which may have other cells to run first, runs this one.
    """

    def __init__(self, kernel: Kernel, on_message: OnMessage) -> None:
        self._kernel, self.on_message = kernel, on_message
        self.begun = asyncio.Event()
        self.idle = asyncio.Event()
        self.reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Is it?"""
        return self.reply.done() and self.idle.is_set()

    def fail(self, error: Exception) -> None:
        """No answer will come."""
        if not self.reply.done():
            self.reply.set_exception(error)
        self.begun.set()
        self.idle.set()

    async def interrupt(self) -> None:
        """KeyboardInterrupt in this cell, as soon as it runs; whatever ran before it is let be."""
        await self.begun.wait()
        if not self.over:
            await self._kernel.interrupt()


class Line:
    """One connection to a keeper, from its first words to its end."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self._kernel, self._process = kernel, process
        self._writing = asyncio.Lock()
        self._session: Session | None = None
        self.about: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.asked: dict[str, Execution] = {}
        self.absent = False  # was no keeper there?
        self.end: KernelError | None = None
        self.silent_end = False  # did the kernel end while nobody waited for it?
        self.reading = asyncio.create_task(self._read())

    @property
    def open(self) -> bool:
        """Are there a kernel, and a way to it?"""
        return self.about.done() and not self.reading.done()

    async def introduced(self, timeout: float) -> None:
        """Until the keeper has said whose kernel it is, or says nothing more.

        Raises:
            KernelError: it does neither.
        """
        try:
            async with asyncio.timeout(timeout):
                awaited: list[asyncio.Future[Any]] = [self.about, self.reading]
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise self._kernel.error("does not answer") from None

    async def _read(self) -> None:
        """Take what comes, until nothing more will."""
        buffer = bytearray()
        failure: KernelError | None = None
        try:
            async for _, piece in self._process.chunks():
                buffer += piece
                for channel, body in _frames(buffer):
                    self._take(channel, body)
            how: Exit = await self._process.wait()
            # One that ends just now says nothing, or that; whoever starts the next waits until it has gone.
            self.absent = how.error in ABSENT or self.end is not None or how.code == 0
            if how.error and not self.absent:
                failure = self._kernel.error(f"cannot be talked to: {how.message or how.error}")
        except ConnectionLostError as error:
            failure = KernelError(error.message, error.hint)
        except Exception as error:  # noqa: BLE001  whatever came, who waits is told
            failure = self._kernel.error(f"sent what no kernel would ({type(error).__name__})")
            await self._process.close()
        finally:
            self.end = self.end or failure or self._kernel.error("ended")
            for asked in self.asked.values():
                asked.fail(self.end)

    def _take(self, channel: int, body: bytes) -> None:
        if channel == OWN:
            self._told(json.loads(body))
            return
        if self._session is None:
            raise ValueError("a message before the first words")
        _, parts = self._session.feed_identities(unpacked(body))
        message = self._session.deserialize(parts)
        content, kind = message["content"], message["msg_type"]
        if not all(isinstance(content[name], shape) for name, shape in SHAPES.get(kind, {}).items()):
            raise TypeError(f"no content of {kind}")
        asked = self.asked.get(message["parent_header"].get("msg_id"))
        if asked is None:
            return  # of something that went on in the background
        if channel in (SHELL, CONTROL):
            if not asked.reply.done():
                asked.reply.set_result(message)
        elif kind == "status":
            if content["execution_state"] == "idle":
                asked.idle.set()
        else:
            if kind == "execute_input":
                asked.begun.set()
            asked.on_message(message)

    def _told(self, what: Any) -> None:
        if not isinstance(what, dict):
            raise TypeError("no words of a keeper")
        if "key" in what:
            from jupyter_client.session import Session

            if what["version"] != VERSION:
                self.end = self._kernel.error("is kept by another release of this package")
                raise ValueError("another version")
            about = {"pid": int(what["pid"]), "python": str(what["python"]), "used": bool(what["used"])}
            self._session = Session(key=what["key"].encode(), session=self._kernel.session, check_pid=False)
            for asked in self.asked.values():  # of the kernel before a restart
                asked.fail(self._kernel.error("was restarted"))
            if self.about.done():
                self.about = asyncio.get_running_loop().create_future()
            self.about.set_result(about)
        elif "died" in what:
            self.end = self._kernel.error(f"died ({what['died']}); what it held is gone")
            self.silent_end = not self.asked
        elif "ended" in what and self.end is None:
            self.end = self._kernel.error("was ended")
            self.silent_end = not self.asked
        elif "lost" in what:
            for asked in self.asked.values():
                asked.on_message({"msg_type": "lost", "content": {"bytes": int(what["lost"])}})

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            try:
                await self._process.write(data)
            except asyncio.CancelledError:
                await self._process.close()  # half a frame may be on its way
                raise

    async def order(self, **what: str) -> None:
        """Words to the keeper."""
        data = json.dumps(what).encode()
        await self._write(HEAD.pack(len(data), OWN) + data)

    async def send(self, channel: int, kind: str, content: Message, parent: Message | None = None) -> str:
        """A message to the kernel; its id."""
        if self._session is None:
            raise self._kernel.error("ended")
        message = self._session.msg(kind, content, parent=parent)
        parts = [bytes(part) for part in self._session.serialize(message)]
        await self._write(packed(channel, parts))
        return str(message["header"]["msg_id"])

    async def ask(
        self, kind: str, content: Message, on_message: OnMessage, on_asked: Callable[[Execution], object]
    ) -> Message:
        """The content of the answer, once all that belongs to it has been given to `on_message`."""
        if self._session is None or self.reading.done():
            raise self.end or self._kernel.error("ended")
        message = self._session.msg(kind, content)
        parts = [bytes(part) for part in self._session.serialize(message)]
        message_id = str(message["header"]["msg_id"])
        asked = self.asked[message_id] = Execution(self._kernel, on_message)
        asked.reply.add_done_callback(
            lambda reply: reply.cancelled() or reply.exception()
        )  # seen, at any rate
        try:
            await self._write(packed(SHELL, parts))
            on_asked(asked)
            reply = await asked.reply
            await asked.idle.wait()
        except asyncio.CancelledError:
            if asked.begun.is_set() and not asked.over:  # nothing goes on unseen
                with suppress(KernelError):
                    await self.order(do="interrupt")
            raise
        finally:
            del self.asked[message_id]
        answer: Message = reply["content"]
        return answer

    async def close(self) -> None:
        """Talk no more; who waits for an answer is told that none will come."""
        await self._process.close()
        await asyncio.wait([self.reading], timeout=ANSWER_TIMEOUT)
        self.reading.cancel()
        with suppress(asyncio.CancelledError):
            await self.reading


def _frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take the frames that are complete out of `buffer`; ValueError for one that nobody would send."""
    while len(buffer) >= HEAD.size:
        size, channel = HEAD.unpack_from(buffer)
        if size > LARGEST or channel > IOPUB:
            raise ValueError("no frame")
        if len(buffer) < HEAD.size + size:
            return
        body = bytes(memoryview(buffer)[HEAD.size : HEAD.size + size])
        del buffer[: HEAD.size + size]
        yield channel, body


class Kernel:
    """One client of the kernel `name` on `place`. Its methods may be awaited on any loop.

    `on_progress` is told what takes its time: a kernel that is started, or installed first.

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
        self._line: Line | None = None
        self.python, self.pid = "", 0  # its version, and its process over there, once connected

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """Its machine's loop."""
        return self.place.home

    @property
    def connected(self) -> bool:
        """May it be asked something without being started?"""
        return self._line is not None and self._line.open

    def error(self, what: str) -> KernelError:
        """What to raise of it."""
        return KernelError(
            f"The kernel {self.name} on {self.place.label} {what.rstrip('.')}.",
            f"`%vers kernels restart {self.name}` starts it afresh.",
        )

    @at_home
    async def open(self) -> None:
        """Connect, and start the kernel first if it does not run."""
        await self._opened()

    async def _opened(self) -> Line:
        async with self._lock:
            line = self._line
            if line is not None and line.open:
                await self.place.connect()
                return line
            if line is not None and line.silent_end and line.end is not None:
                self._on_progress(f"{line.end.message}  This cell begins in a new one.")
            line = await self._connect()
            if line is None:
                await self._start()
                line = await self._connect()
            if line is None:
                raise self.error("ended as soon as it was started")
            return line

    @at_home
    async def attach(self) -> bool:
        """Connect, if the kernel runs; does it?"""
        async with self._lock:
            return self.connected or await self._connect() is not None

    async def _connect(self) -> Line | None:
        """A line to the kernel; None where it does not run."""
        await self._let_go()
        line = self._line = Line(self, await self.place.start(Request(socket=self._path)))
        try:
            await line.introduced(ANSWER_TIMEOUT)
            if line.open:
                about = line.about.result()
                self.python, self.pid = about["python"], about["pid"]
                await line.order(do="hello", session=self.session)
                if not about["used"]:  # it may have been copied with its VM: all copies would draw the same
                    await line.ask(
                        "execute_request", {"code": RESEED, "silent": True}, lambda _: None, lambda _: None
                    )
                return line
            await line.reading
        except BaseException:
            await self._let_go()
            raise
        await self._let_go()
        if not line.absent and line.end is not None:
            raise line.end
        return None

    async def _start(self) -> None:
        python = await Pythons(self.place, self._on_progress).find()
        words = f"starting Python on {self.place.label}"
        telling = asyncio.get_running_loop().call_later(SLOW, self._on_progress, words)
        # Not in the user's home: a file there may be named as a module is.
        request = Request(argv=(python, "-c", BOOT, self._path), stdin=True, cwd="/", timeout=START_TIMEOUT)
        process = await self.place.start(request)
        said = bytearray()
        try:
            await process.write(keeper().encode())
            await process.write_eof()
            async for _, piece in process.chunks():
                said += piece
            how = await process.wait()
        finally:
            telling.cancel()
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
        return await (await self._opened()).ask(kind, content, lambda _: None, lambda _: None)

    @at_home
    async def answer(self, asked: Message, text: str) -> None:
        """What was typed, to an `input_request`."""
        if self._line is not None:
            await self._line.send(STDIN, "input_reply", {"value": text}, parent=asked["header"])

    @at_home
    async def interrupt(self) -> None:
        """As the stop button does: KeyboardInterrupt, in whatever runs."""
        if self._line is not None and self._line.open:
            await self._line.order(do="interrupt")

    @at_home
    async def restart(self) -> None:
        """A kernel that has nothing of the one before; one that does not answer is killed."""
        async with self._lock:
            try:
                line = self._line if self.connected else await self._connect()
            except KernelError:
                await self._kill()
                line = None
            if line is not None:
                before, line.about = line.about, asyncio.get_running_loop().create_future()
                await line.order(do="restart")
                try:
                    await line.introduced(ANSWER_TIMEOUT + START_TIMEOUT)
                    if not line.open:
                        raise line.end or self.error("did not come back")
                except KernelError:
                    line.about = before
                    await self._kill()
        await self.open()

    @at_home
    async def end(self) -> None:
        """End the kernel and what it holds, by force if need be; nothing to do when it does not run."""
        async with self._lock:
            try:
                line = self._line if self.connected else await self._connect()
                if line is not None:
                    await line.order(do="end")
                    await asyncio.wait([line.reading], timeout=ANSWER_TIMEOUT)
                    if not line.reading.done():
                        await self._kill()
            except KernelError:
                await self._kill()
            await self._let_go()

    async def _kill(self) -> None:
        """End a keeper that does not answer, and its kernel."""
        await self._let_go()
        script = KILL.format(folder=FOLDER.removeprefix("~/"), name=self.name)
        process = await self.place.start(Request(command=script, timeout=ANSWER_TIMEOUT))
        await process.wait()

    async def _let_go(self) -> None:
        line = self._line
        if line is not None:
            await line.close()
            if self._line is line:
                self._line = None

    @at_home
    async def close(self) -> None:
        """Talk to it no more; it goes on, without what this client was running."""
        if self._line is not None:
            await self._line.close()
