"""Keeps one Jupyter kernel on the VM, and leads clients to it over one Unix socket.

A kernel talks over five ZeroMQ sockets, and what it publishes while nobody listens is lost. This program
listens always. It outlives every client, and is copied with its kernel when the VM is branched. It is sent to
the VM's Python, which needs ipykernel (any release since 6) and what that brings; `PATH SOURCE` are its
arguments.

A frame, in both directions: length of what follows (u32), channel (u8), and then

    OWN             JSON. To it: {do: interrupt | restart | end}. From it: {key, pid, python, started, used}
                    first and after each start; {died: how} when the kernel ended by itself; {ended: true}
    SHELL … IOPUB   the parts of one message of Jupyter's protocol, each with its length (u32); signed by the
                    client with `key`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

OWN, SHELL, CONTROL, STDIN, IOPUB = range(5)
HEAD = struct.Struct("!IB")
LENGTH = struct.Struct("!I")
LARGEST = 1 << 30  # bytes of one frame
AGAIN = 0.2  # seconds between two looks whether a new kernel is heard
BEHIND = 256 << 20  # bytes that wait for a client before it is let go of


def packed(channel: int, parts: list[bytes]) -> bytes:
    body = b"".join(LENGTH.pack(len(part)) + bytes(part) for part in parts)
    return HEAD.pack(len(body), channel) + body


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
        self.sockets: dict[int, Any] = {}
        self.pumps: list[asyncio.Task[None]] = []

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
            self.pumps.append(asyncio.ensure_future(self.pump(channel, made)))
        self.tell(**self.keeper.about())

    def disconnect(self) -> None:
        for pump in self.pumps:
            pump.cancel()
        for made in self.sockets.values():
            made.close()
        self.pumps, self.sockets = [], {}

    async def pump(self, channel: int, made: Any) -> None:
        while True:
            self.send(channel, await made.recv_multipart())

    def send(self, channel: int, parts: list[bytes]) -> None:
        self.writer.write(packed(channel, parts))
        if self.writer.transport.get_write_buffer_size() > BEHIND:
            self.writer.transport.abort()

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
                    await self.keeper.asked(json.loads(body)["do"])
                elif channel in self.sockets:
                    self.keeper.used = True
                    await self.sockets[channel].send_multipart(unpacked(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.disconnect()
            self.writer.close()


class Keeper:
    """The kernel, and whoever listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = Path(tempfile.mkdtemp(prefix="pi-v-kernel-"))  # short, as paths of sockets must be
        self.clients: set[Client] = set()
        self.manager: Any = None
        self.iopub: Any = None
        self.heard = asyncio.Event()
        self.started = 0
        self.used = False  # has anybody run anything in it?
        self.watching: list[asyncio.Task[None]] = []
        self.changing = asyncio.Lock()
        self.ended = asyncio.Event()

    def about(self) -> dict[str, Any]:
        return {
            "key": self.manager.session.key.decode(),
            "pid": self.pid,
            "python": sys.version.split()[0],
            "started": self.started,
            "used": self.used,
        }

    async def start(self) -> None:
        """A kernel, with somebody who listens before it says anything."""
        import zmq.asyncio
        from jupyter_client.manager import AsyncKernelManager

        self.started += 1
        self.used = False
        place = str(self.folder / str(self.started))
        self.manager = AsyncKernelManager(
            context=zmq.asyncio.Context(),  # before jupyter_client 8 it would be one that blocks
            kernel_name="python3",
            transport="ipc",
            ip=place,
            connection_file=f"{place}.json",
        )
        await self.manager.start_kernel(cwd=str(Path.home()), stdout=2, stderr=2, env=dict(os.environ))
        self.pid = self.manager.provisioner.process.pid
        self.iopub = self.manager.connect_iopub()
        self.iopub.rcvhwm = 0
        self.watching = [
            asyncio.ensure_future(self.publish()),
            asyncio.ensure_future(self.watch(self.pid)),
        ]
        await self.settle()

    async def settle(self) -> None:
        """Until the kernel's first words have arrived: from then on none is missed."""
        session = self.manager.session
        shell = self.manager.connect_shell()
        heard = self.heard
        heard.clear()
        try:
            while not heard.is_set():
                await shell.send_multipart(session.serialize(session.msg("kernel_info_request", {})))
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(heard.wait(), AGAIN)
        finally:
            shell.close(linger=0)

    async def publish(self) -> None:
        while True:
            parts = await self.iopub.recv_multipart()
            self.heard.set()
            for client in list(self.clients):
                if client.sockets:  # it knows this kernel's key
                    client.send(IOPUB, parts)

    async def watch(self, pid: int) -> None:
        """Say so when the kernel ends by itself."""
        await asyncio.get_running_loop().run_in_executor(
            None, os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT
        )
        code = await self.manager.provisioner.poll()
        if self.changing.locked():
            return
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        for client in list(self.clients):
            client.tell(died=how)
        await self.end()

    async def stop(self) -> None:
        for task in self.watching:
            task.cancel()
        self.iopub.close(linger=0)
        for client in self.clients:
            client.disconnect()
        await self.manager.shutdown_kernel(now=True)

    async def asked(self, what: str) -> None:
        if what == "interrupt":
            await self.manager.interrupt_kernel()
        elif what == "end":
            await self.end()
        elif what == "restart":
            async with self.changing:
                await self.stop()
                await self.start()
                for client in self.clients:
                    client.connect()

    async def end(self) -> None:
        async with self.changing:
            self.path.unlink(missing_ok=True)
            await self.stop()
            for client in list(self.clients):
                client.tell(ended=True)
            self.ended.set()

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(self, reader, writer)
        async with self.changing:
            client.connect()
            self.clients.add(client)
        try:
            await client.serve()
        finally:
            self.clients.discard(client)

    async def run(self, ready: int) -> None:
        """Until the kernel is told to end, or ends. `ready` is told when clients may come."""
        try:
            async with self.changing:
                await self.start()
            self.path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self.welcome, self.path)
            self.path.chmod(0o600)
            os.write(ready, b"ready")
            os.close(ready)
            await self.ended.wait()
            server.close()
            for client in list(self.clients):
                with contextlib.suppress(ConnectionError):
                    await client.writer.drain()
        finally:
            if self.manager is not None and self.manager.has_kernel:  # else its end would be waited for
                await self.manager.shutdown_kernel(now=True)
            shutil.rmtree(self.folder, ignore_errors=True)


def main(path: Path) -> None:
    """Keep a kernel whose clients come to `path`; the process that was started ends when it is ready."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            said = told.read()
        if said != b"ready":
            sys.stderr.write(said.decode(errors="replace"))
        os._exit(said != b"ready")
    os.close(reader)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for fd in (1, 2):
        os.dup2(log, fd)
    try:
        asyncio.run(Keeper(path).run(writer))
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser())
