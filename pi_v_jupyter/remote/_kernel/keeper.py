"""Keeps one Jupyter kernel on the VM, and leads clients to it over one Unix socket.

A kernel talks over five ZeroMQ sockets, and what it publishes while nobody listens is lost. This program
listens always. It outlives every client, and is copied with its kernel when the VM is branched. It is sent to
the VM's Python, which needs ipykernel (any release since 6) and what that brings; the socket's path is its
argument.

A frame, in both directions: length of what follows (u32), channel (u8), and then

    OWN             JSON. To it: {do: hello, session: as in the headers of this client's messages},
                    {do: interrupt | restart | end}. From it: {version, key, pid, python, used} first and
                    after each start; {died: how} when the kernel ended by itself; {ended: true}; {lost: bytes
                    of output that came faster than the client took it}
    SHELL … IOPUB   the parts of one message of Jupyter's protocol, each with its length (u32); signed by the
                    client with `key`
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

VERSION = 1
OWN, SHELL, CONTROL, STDIN, IOPUB = range(5)
HEAD = struct.Struct("!IB")
LENGTH = struct.Struct("!I")
LARGEST = 1 << 30  # bytes of one frame
AGAIN = 0.2  # seconds between two looks whether a new kernel is heard
PATIENCE = 100.0  # seconds a kernel may take to start
BEHIND = 32 << 20  # bytes that wait for a client before it has to do without some output
OUTPUT = ("stream", "display_data", "update_display_data")  # what it can do without
MARK = b"<IDS|MSG>"


def packed(channel: int, parts: list[bytes]) -> bytes:
    size = sum(LENGTH.size + len(part) for part in parts)
    pieces = [HEAD.pack(size, channel)]
    for part in parts:
        pieces += [LENGTH.pack(len(part)), part]
    return b"".join(pieces)


def unpacked(body: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(body):
        (size,) = LENGTH.unpack_from(body, at)
        at += LENGTH.size + size
        parts.append(body[at - size : at])
    return parts


class Client:
    """One connection, with sockets to the kernel that have its name: replies and prompts come to them."""

    def __init__(self, keeper: Keeper, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.keeper, self.reader, self.writer = keeper, reader, writer
        self.name = os.urandom(16).hex().encode()
        self.session = ""
        self.sockets: dict[int, Any] = {}
        self.pumps: list[asyncio.Task[None]] = []
        self.asked = False  # for input that has not come
        self.lost = 0

    def connect(self) -> None:
        """To the kernel there is now."""
        self.disconnect()
        manager = self.keeper.manager
        for channel, connect in (
            (SHELL, manager.connect_shell),
            (CONTROL, manager.connect_control),
            (STDIN, manager.connect_stdin),
        ):
            made = self.sockets[channel] = connect(identity=self.name)
            made.linger = 0
            self.pumps.append(self.keeper.started_task(self.pump(channel, made)))
        self.tell(**self.keeper.about())

    def disconnect(self) -> None:
        for pump in self.pumps:
            pump.cancel()
        for made in self.sockets.values():
            made.close()
        self.pumps, self.sockets, self.asked = [], {}, False

    async def pump(self, channel: int, made: Any) -> None:
        while True:
            parts = await made.recv_multipart()
            self.asked = self.asked or channel == STDIN
            self.writer.write(packed(channel, parts))

    def publish(self, kind: str, parts: list[bytes]) -> None:
        waiting = self.writer.transport.get_write_buffer_size()
        if kind in OUTPUT and waiting > BEHIND:
            self.lost += sum(map(len, parts))
            return
        if self.lost and waiting <= BEHIND:
            self.tell(lost=self.lost)
            self.lost = 0
        self.writer.write(packed(IOPUB, parts))

    def tell(self, **what: Any) -> None:
        data = json.dumps(what).encode()
        self.writer.write(HEAD.pack(len(data), OWN) + data)

    async def serve(self) -> None:
        try:
            while True:
                size, channel = HEAD.unpack(await self.reader.readexactly(HEAD.size))
                if size > LARGEST:
                    return
                body = await self.reader.readexactly(size)
                if channel == OWN:
                    await self.order(json.loads(body))
                elif channel in self.sockets:
                    self.keeper.used = True
                    self.asked = self.asked and channel != STDIN
                    await self.sockets[channel].send_multipart(unpacked(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            asked = self.asked
            self.disconnect()
            self.writer.close()
            if asked:  # nobody will ever answer
                await self.keeper.interrupt()

    async def order(self, what: dict[str, Any]) -> None:
        if what["do"] == "hello":
            self.session = what["session"]
        elif what["do"] == "interrupt":
            await self.keeper.interrupt()
        elif what["do"] == "restart":
            await self.keeper.restart()
        elif what["do"] == "end":
            await self.keeper.end()


class Keeper:
    """The kernel, and whoever listens. It is made on the loop it lives on."""

    def __init__(self, path: Path) -> None:
        import zmq.asyncio

        self.path = path
        # Short, as paths of sockets must be.
        self.folder = Path(tempfile.mkdtemp(prefix=f"pi-v-kernel-{os.getpid()}-"))
        self.context = zmq.asyncio.Context()
        self.clients: set[Client] = set()
        self.manager: Any = None
        self.iopub: Any = None
        self.heard = asyncio.Event()
        self.started = 0
        self.used = False  # has anybody run anything in it?
        self.watching: list[asyncio.Task[None]] = []
        self.changing = asyncio.Lock()
        self.ended = asyncio.Event()

    def started_task(self, work: Any) -> asyncio.Task[None]:
        """A task whose failure ends this program: a kernel that is not heard is none."""

        def over(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                traceback.print_exception(type(error), error, error.__traceback__)
                self.ended.set()

        task: asyncio.Task[None] = asyncio.ensure_future(work)
        task.add_done_callback(over)
        return task

    def about(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "key": self.manager.session.key.decode(),
            "pid": self.pid,
            "python": sys.version.split()[0],
            "used": self.used,
        }

    async def start(self) -> None:
        """A kernel, with somebody who listens before it says anything."""
        from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager

        class This(KernelSpecManager):
            """The Python that runs this, whatever the user has named python3."""

            def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
                argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
                return KernelSpec(argv=argv, display_name=kernel_name, language="python")

        self.started += 1
        self.used = False
        place = str(self.folder / str(self.started))
        self.manager = AsyncKernelManager(
            context=self.context,
            kernel_spec_manager=This(),
            transport="ipc",
            ip=place,
            connection_file=f"{place}.json",
        )
        await self.manager.start_kernel(cwd=str(Path.home()), stdout=2, stderr=2, env=dict(os.environ))
        self.pid = self.manager.provisioner.process.pid
        self.iopub = self.manager.connect_iopub()
        self.iopub.rcvhwm = 0
        self.watching = [self.started_task(self.publish()), self.started_task(self.watch(self.pid))]
        await self.settle()

    async def settle(self) -> None:
        """Until the kernel's first words have arrived: from then on none is missed."""
        session = self.manager.session
        shell = self.manager.connect_shell()
        self.heard.clear()
        deadline = time.monotonic() + PATIENCE
        try:
            while not self.heard.is_set():
                code = await self.manager.provisioner.poll()
                if code is not None:
                    raise RuntimeError(f"the kernel ended as it started ({self.how(code)})")
                if time.monotonic() > deadline:
                    raise RuntimeError("the kernel started, and says nothing")
                await shell.send_multipart(session.serialize(session.msg("kernel_info_request", {})))
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.heard.wait(), AGAIN)
        finally:
            shell.close(linger=0)

    async def publish(self) -> None:
        """To each client what comes of its own requests; others would keep it waiting for nothing."""
        while True:
            parts = await self.iopub.recv_multipart()
            self.heard.set()
            head = parts.index(MARK) + 2
            kind = json.loads(parts[head])["msg_type"]
            session = json.loads(parts[head + 1]).get("session")
            for client in list(self.clients):
                if client.session == session and client.sockets:
                    client.publish(kind, parts)

    @staticmethod
    def how(code: int) -> str:
        """An exit, in words."""
        if code >= 0:
            return f"exit code {code}"
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"

    async def watch(self, pid: int) -> None:
        """Say so when the kernel ends by itself."""
        await asyncio.get_running_loop().run_in_executor(
            None, os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT
        )
        if self.changing.locked():
            return
        code = await self.manager.provisioner.poll()
        self.tell_all(died=self.how(code or 0))
        await self.end()

    def tell_all(self, **what: Any) -> None:
        for client in list(self.clients):
            client.tell(**what)

    async def stop(self) -> None:
        for task in self.watching:
            if task is not asyncio.current_task():
                task.cancel()
        self.iopub.close(linger=0)
        for client in list(self.clients):
            client.disconnect()
        await self.manager.shutdown_kernel(now=True)

    async def interrupt(self) -> None:
        if self.changing.locked():  # one that only starts would die of it
            return
        with contextlib.suppress(RuntimeError, OSError):  # it ended just now
            await self.manager.interrupt_kernel()

    async def restart(self) -> None:
        async with self.changing:
            try:
                await self.stop()
                await self.start()
            except Exception as error:  # noqa: BLE001  who asked is told
                self.tell_all(died=str(error))
                self.ended.set()
                return
            for client in list(self.clients):
                client.connect()

    async def end(self) -> None:
        async with self.changing:
            self.path.unlink(missing_ok=True)  # ours: we have the lock
            await self.stop()
            self.tell_all(ended=True)
            self.ended.set()

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(self, reader, writer)
        async with self.changing:
            if self.ended.is_set():
                writer.close()
                return
            client.connect()
            self.clients.add(client)
        try:
            await client.serve()
        finally:
            self.clients.discard(client)

    async def run(self, ready: Any) -> None:
        """Until the kernel is told to end, or ends. `ready` is called when clients may come."""
        try:
            async with self.changing:
                await self.start()
            self.path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self.welcome, str(self.path))
            self.path.chmod(0o600)
            ready(b"ready")
            await self.ended.wait()
            server.close()
            for client in list(self.clients):
                with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
                    await asyncio.wait_for(client.writer.drain(), PATIENCE)
        finally:
            self.path.unlink(missing_ok=True)
            if self.manager is not None and self.manager.has_kernel:  # else its end would be waited for
                await self.manager.shutdown_kernel(now=True)
            shutil.rmtree(str(self.folder), ignore_errors=True)


def only_one(path: Path) -> int | None:
    """Hold the lock that makes this the one keeper of `path`; None when there is another, which answers."""
    lock = os.open(str(path.with_suffix(".lock")), os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with socket.socket(socket.AF_UNIX) as other, contextlib.suppress(OSError):
                other.connect(str(path))
                return None
            if time.monotonic() > deadline:
                raise TimeoutError("another one starts, and does not come to an end") from None
            time.sleep(AGAIN)
        else:
            return lock


def sweep() -> None:
    """Remove what keepers that were killed have left."""
    for folder in Path(tempfile.gettempdir()).glob("pi-v-kernel-*"):
        pid = folder.name.split("-")[3]
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid() and not Path(f"/proc/{pid}").exists():
                shutil.rmtree(str(folder), ignore_errors=True)


def main(path: Path) -> None:
    """Keep a kernel whose clients come to `path`; the process that was started ends when it is ready."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    lock = only_one(path)
    if lock is None:
        return
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        with os.fdopen(reader, "rb") as told:
            said = told.read()
        if said != b"ready":
            sys.stderr.write(said.decode(errors="replace") or "it ended as it started")
            sys.stderr.flush()
        os._exit(said != b"ready")
    os.close(reader)
    os.setsid()
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(str(path.with_suffix(".log")), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for fd in (1, 2):
        os.dup2(log, fd)
    sweep()
    silent = True

    def tell(what: bytes) -> None:
        nonlocal silent
        if silent:
            silent = False
            with contextlib.suppress(OSError):  # who waited for it has gone
                os.write(writer, what)
            os.close(writer)

    async def keep() -> None:
        await Keeper(path).run(tell)

    try:
        asyncio.run(keep())
    except BaseException as error:
        tell(f"{type(error).__name__}: {error}".encode())
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser())
