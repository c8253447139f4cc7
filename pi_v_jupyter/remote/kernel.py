"""A Jupyter kernel on a machine: started there, asked, interrupted. It outlives whoever talks to it.

`_kernel/keeper.py` runs beside it over there and describes the frames; the messages are Jupyter's own
(https://jupyter-client.readthedocs.io/en/stable/messaging.html).
"""

from __future__ import annotations

import asyncio
import json
import re
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
    packed,
    unpacked,
)
from pi_v_jupyter.remote.channel import Process, Request
from pi_v_jupyter.remote.pythons import Place, Pythons

if TYPE_CHECKING:
    from jupyter_client.session import Session

FOLDER = "~/.local/share/pi-v/kernels"
DEFAULT = "python"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}")
START_TIMEOUT = 120.0  # seconds for a kernel to start, on an emulated machine
SLOW = 2.0  # seconds after which a start is worth a line
ANSWER_TIMEOUT = 20.0  # seconds for the keeper's first words
# The keeper as its interpreter gets it: on stdin, for its source is not on the VM.
BOOT = "import sys;exec(compile(sys.stdin.read(),'pi-v-keeper','exec'))"

RESEED = "__import__('random').seed()"

Message = dict[str, Any]
OnMessage = Callable[[Message], object]


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


@dataclass
class Asked:
    """A request under way. It is over once the kernel has answered and said that it is idle again."""

    on_message: OnMessage
    reply: asyncio.Future[Message]
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Kernels(list["Kernel"]):
    """The kernels of a VM, which show as a table in a notebook."""


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
        self._path = socket_path(name)
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._reading: asyncio.Task[bool] | None = None
        self._session: Session | None = None
        self._about: asyncio.Future[dict[str, Any]] | None = None
        self._asked: dict[str, Asked] = {}
        self._end: KernelError | None = None
        self.python, self.pid = "", 0  # its version, and its process over there, once connected

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """Its machine's loop."""
        return self.place.home

    @property
    def connected(self) -> bool:
        """May it be asked something without being started?"""
        return self._session is not None and self._reading is not None and not self._reading.done()

    @at_home
    async def open(self) -> None:
        """Connect, and start the kernel first if it does not run."""
        async with self._lock:
            if self.connected:
                return
            if not await self._connect():
                await self._start()
                if not await self._connect():
                    raise self._error("ended as soon as it was started")
            if self._about is not None and not self._about.result()["used"]:
                # It may have been copied with its VM, and all copies would draw the same numbers.
                await self._talk(SHELL, "execute_request", {"code": RESEED, "silent": True}, lambda _: None)

    @at_home
    async def attach(self) -> bool:
        """Connect, if the kernel runs; does it?"""
        async with self._lock:
            return self.connected or await self._connect()

    async def _connect(self) -> bool:
        """Whether somebody is there to be talked to."""
        process = await self.place.start(Request(socket=self._path))
        self._process, self._end = process, None
        self._about = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(process))
        try:
            await self._introduced(ANSWER_TIMEOUT)
        except TimeoutError:
            await self._let_go()
            raise self._error("does not answer") from None
        if self._about.done():
            return True
        understood = await self._reading
        await self._let_go()
        if not understood and self._end is not None:
            raise self._end
        return False

    async def _introduced(self, timeout: float) -> None:
        """Until the keeper has said whose kernel it is, or says nothing more."""
        awaited: list[asyncio.Future[Any]] = [each for each in (self._about, self._reading) if each]
        async with asyncio.timeout(timeout):
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)

    async def _start(self) -> None:
        python = await Pythons(self.place, self._on_progress).find()
        line = f"starting Python on {self.place.label}"
        telling = asyncio.get_running_loop().call_later(SLOW, self._on_progress, line)
        request = Request(argv=(python, "-c", BOOT, self._path), stdin=True, timeout=START_TIMEOUT)
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
            raise self._error(f"cannot be started: {reason}" if reason else "cannot be started")

    def _error(self, what: str) -> KernelError:
        return KernelError(
            f"The kernel {self.name} on {self.place.label} {what.rstrip('.')}.",
            f"`%vers kernels restart {self.name}` starts it afresh.",
        )

    async def _read(self, process: Process) -> bool:
        """Take what comes, until nothing more will; was it what a keeper says?"""
        buffer, understood = bytearray(), True
        try:
            async for _, piece in process.chunks():
                buffer += piece
                for channel, body in _frames(buffer):
                    self._take(channel, body)
            failure = self._end or self._error("ended")
        except ConnectionLostError as error:
            failure = KernelError(error.message, error.hint)
        except Exception as error:  # noqa: BLE001  whatever came, who waits is told
            failure = self._error(f"sent what no kernel would ({type(error).__name__})")
            understood = False
            await process.close()
        self._end = failure
        for asked in self._asked.values():
            if not asked.reply.done():
                asked.reply.set_exception(failure)
            asked.idle.set()
        return understood

    def _take(self, channel: int, body: bytes) -> None:
        if channel == OWN:
            self._told(json.loads(body))
            return
        assert self._session is not None  # noqa: S101  the keeper's first words came first
        _, parts = self._session.feed_identities(unpacked(body))
        message = self._session.deserialize(parts)
        asked = self._asked.get(message["parent_header"].get("msg_id"))
        if asked is None:
            return  # another client's, or of something that went on in the background
        if channel in (SHELL, CONTROL):
            if not asked.reply.done():
                asked.reply.set_result(message)
        elif channel == IOPUB and message["msg_type"] == "status":
            if message["content"]["execution_state"] == "idle":
                asked.idle.set()
        else:
            asked.on_message(message)

    def _told(self, what: Any) -> None:
        if not isinstance(what, dict):
            raise TypeError("no words of a keeper")
        if "key" in what:
            from jupyter_client.session import Session

            self._session = Session(key=what["key"].encode(), check_pid=False)
            self.python, self.pid = str(what["python"]), int(what["pid"])
            if self._about is not None and not self._about.done():
                self._about.set_result(what)
            for asked in self._asked.values():  # of the kernel before a restart
                if not asked.reply.done():
                    asked.reply.set_exception(self._error("was restarted"))
                asked.idle.set()
        elif "died" in what:
            self._end = self._error(f"died ({what['died']}); what it held is gone")
        elif "ended" in what and self._end is None:
            self._end = self._error("was ended")

    async def _send(self, channel: int, message: Message) -> None:
        assert self._session is not None  # noqa: S101  it is open
        assert self._process is not None  # noqa: S101
        await self._process.write(packed(channel, [bytes(part) for part in self._session.serialize(message)]))

    async def _ask(self, channel: int, kind: str, content: Message, on_message: OnMessage) -> Message:
        """The content of the answer, once all that belongs to it has been given to `on_message`."""
        await self.open()
        return await self._talk(channel, kind, content, on_message)

    async def _talk(self, channel: int, kind: str, content: Message, on_message: OnMessage) -> Message:
        assert self._session is not None  # noqa: S101
        message = self._session.msg(kind, content)
        message_id = message["header"]["msg_id"]
        asked = self._asked[message_id] = Asked(on_message, asyncio.get_running_loop().create_future())
        try:
            if self._reading is None or self._reading.done():  # since it was opened
                raise self._end or self._error("ended")
            await self._send(channel, message)
            reply = await asked.reply
            await asked.idle.wait()
        finally:
            del self._asked[message_id]
        answer: Message = reply["content"]
        return answer

    @at_home
    async def execute(
        self,
        code: str,
        on_message: OnMessage = lambda _: None,
        *,
        silent: bool = False,
        expressions: dict[str, str] | None = None,
    ) -> Message:
        """Run a cell. What it shows and asks goes to `on_message`; the `execute_reply` is returned."""
        content = {
            "code": code,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": expressions or {},
            "allow_stdin": not silent,
            "stop_on_error": False,  # which would refuse what comes in the moment after an error
        }
        return await self._ask(SHELL, "execute_request", content, on_message)

    @at_home
    async def ask(self, kind: str, /, **content: Any) -> Message:
        """The answer to a `complete_request`, an `inspect_request`, …"""
        return await self._ask(SHELL, kind, content, lambda _: None)

    @at_home
    async def answer(self, asked: Message, text: str) -> None:
        """What was typed, to an `input_request`."""
        assert self._session is not None  # noqa: S101  it asked
        await self._send(STDIN, self._session.msg("input_reply", {"value": text}, parent=asked["header"]))

    @at_home
    async def interrupt(self) -> None:
        """As the stop button does: KeyboardInterrupt, in whatever runs."""
        await self._order("interrupt")

    @at_home
    async def restart(self) -> None:
        """A kernel that has nothing of the one before."""
        await self.open()
        self._about = asyncio.get_running_loop().create_future()
        await self._order("restart")
        try:
            await self._introduced(START_TIMEOUT)
        except TimeoutError:
            raise self._error("does not answer") from None
        if not self._about.done():
            raise self._end or self._error("did not come back")

    @at_home
    async def end(self) -> None:
        """End the kernel and what it holds; nothing to do when it does not run."""
        if not await self.attach():
            return
        await self._order("end")
        if self._reading is not None:
            async with asyncio.timeout(START_TIMEOUT):
                await asyncio.wait({self._reading})
        await self._let_go()

    async def _order(self, what: str) -> None:
        if self._process is not None:
            data = json.dumps({"do": what}).encode()
            await self._process.write(HEAD.pack(len(data), OWN) + data)

    async def _let_go(self) -> None:
        process, self._process = self._process, None
        reading, self._reading = self._reading, None
        if process is not None:
            await process.close()
        if reading is not None:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    @at_home
    async def close(self) -> None:
        """Talk to it no more; it goes on."""
        await self._let_go()
