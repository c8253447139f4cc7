"""The way to the keeper of a kernel: frames and messages there and back, each answer to whoever asked.

`_kernel/wire.py` describes the frames; the messages are Jupyter's own
(https://jupyter-client.readthedocs.io/en/stable/messaging.html).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from pi_v_jupyter.errors import ConnectionLostError, KernelError
from pi_v_jupyter.remote._kernel.wire import (
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
from pi_v_jupyter.remote.channel import Exit, Process
from pi_v_jupyter.remote.execution import Execution, Interruptible, Message, OnMessage

if TYPE_CHECKING:
    from jupyter_client.session import Session

ABSENT = ("ENOENT", "ECONNREFUSED")  # how a connection fails where no keeper is
CLOSE_TIMEOUT = 20.0  # seconds
ANSWER_LATE = (
    0.2  # seconds an answer may come after "idle", by its other way, before the kernel is asked of it
)
ASKED_LATE = 5.0  # seconds until the kernel has said that, unless it runs a cell of somebody else's
# The answer to a cell that an interrupt ended beside the cell's own code.
INTERRUPTED: Message = {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}
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


class Asker(Interruptible, Protocol):
    """The client of a kernel, as its link needs it."""

    session: str

    def error(self, what: str) -> KernelError:
        """What to raise of it."""


class KernelLink:
    """One connection to a keeper, from its first words to its end."""

    def __init__(self, kernel: Asker, process: Process) -> None:
        self._kernel, self._process = kernel, process
        self._writing = asyncio.Lock()
        self._session: Session | None = None
        self.about: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.asked: dict[str, Execution] = {}
        self._turn = asyncio.Lock()  # of this client's cells; what waits for it need never run
        self._aside: set[asyncio.Task[None]] = set()
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
        message_id = message["parent_header"].get("msg_id")
        asked = self.asked.get(message_id)
        if asked is None:
            return  # of something that went on in the background
        if channel in (SHELL, CONTROL):
            if not asked.reply.done():
                asked.reply.set_result(message)
        elif kind == "status":
            if content["execution_state"] == "idle":
                asked.idle.set()
                if asked.unwanted:
                    del self.asked[message_id]
        else:
            if kind == "execute_input":
                asked.begun.set()
                if asked.unwanted:
                    self._interrupt_soon()
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
            full = ", as when memory runs out" if what["died"] == "SIGKILL" else ""
            self.end = self._kernel.error(f"died ({what['died']}{full}); what it held is gone")
            self.silent_end = all(asked.unwanted for asked in self.asked.values())
        elif "ended" in what and self.end is None:
            self.end = self._kernel.error("was ended")
            self.silent_end = all(asked.unwanted for asked in self.asked.values())
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

    def _message(self, kind: str, content: Message, parent: Message | None = None) -> tuple[str, list[bytes]]:
        """A message to the kernel: its id, and its parts."""
        if self._session is None or self.reading.done():
            raise self.end or self._kernel.error("ended")
        message = self._session.msg(kind, content, parent=parent)
        parts = [bytes(part) for part in self._session.serialize(message)]
        return str(message["header"]["msg_id"]), parts

    async def answer(self, asked: Message, text: str) -> None:
        """What was typed, to an `input_request`."""
        _, parts = self._message("input_reply", {"value": text}, parent=asked["header"])
        await self._write(packed(STDIN, parts))

    async def ask(
        self,
        kind: str,
        content: Message,
        on_message: OnMessage = lambda _: None,
        on_asked: Callable[[Execution], object] = lambda _: None,
    ) -> Message:
        """The content of the answer, once all that belongs to it has been given to `on_message`."""
        if kind != "execute_request":
            return await self._ask(Execution(self._kernel, on_message), kind, content)
        asked = Execution(self._kernel, on_message)
        on_asked(asked)
        async with self._turn:
            for left in [each for each in self.asked.values() if each.unwanted]:
                await left.idle.wait()
            return await self._ask(asked, kind, content)

    async def _ask(self, asked: Execution, kind: str, content: Message) -> Message:
        message_id, parts = self._message(kind, content)
        self.asked[message_id], asked.sent = asked, True
        try:
            await self._write(packed(SHELL, parts))
            if kind == "execute_request":
                await asked.idle.wait()
                await self._answered(asked)
            reply = await asked.reply
            await asked.idle.wait()
        except asyncio.CancelledError:
            asked.unwanted = kind == "execute_request" and not asked.over
            asked.on_message = lambda _: None
            if asked.unwanted and asked.begun.is_set():
                self._interrupt_soon()
            raise
        finally:
            if not asked.unwanted:
                del self.asked[message_id]
        answer: Message = reply["content"]
        return answer

    async def _answered(self, asked: Execution) -> None:
        """Until the answer to a cell is there, whose kernel is idle; or it is known that none will come.

        ipykernel sends none when an interrupt comes after `execute_input` and before the cell's own code, or
        just after that. Its answers come in order, so one to a later question tells; so does time, when that
        question waits for another client's cell.
        """
        await asyncio.wait([asked.reply], timeout=ANSWER_LATE)
        if not asked.reply.done():
            awaited: list[asyncio.Future[Any]] = [asked.reply, self._beside(self._asked_after())]
            await asyncio.wait(awaited, timeout=ASKED_LATE, return_when=asyncio.FIRST_COMPLETED)
        if not asked.reply.done():
            asked.reply.set_result({"content": INTERRUPTED})

    async def _asked_after(self) -> None:
        with suppress(KernelError):
            await self.ask("kernel_info_request", {})

    def _interrupt_soon(self) -> None:
        """Nobody waits for what runs now: nothing goes on unseen."""

        async def interrupt() -> None:
            with suppress(KernelError):
                await self.order(do="interrupt")

        self._beside(interrupt())

    def _beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have `work` done, whoever is cancelled meanwhile: one that is, while it writes, ends the link."""
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
        return task

    async def close(self) -> None:
        """Talk no more; who waits for an answer is told that none will come."""
        await self._process.close()
        await asyncio.wait([self.reading], timeout=CLOSE_TIMEOUT)
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
