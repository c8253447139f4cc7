"""Keeps one Jupyter kernel on the VM, and leads clients to it over one Unix socket.

A kernel talks over five ZeroMQ sockets, and what it publishes while nobody listens is lost. This program
listens always. It outlives every client, and is copied with its kernel when the VM is branched. It is sent to
the VM's Python, which needs ipykernel (any release since 6) and what that brings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from .clients import Client
from .wire import VERSION

AGAIN = 0.2  # seconds between two looks whether a new kernel is heard
PATIENCE = 100.0  # seconds a kernel may take to start
MARK = b"<IDS|MSG>"
# Jedi reads whole libraries to answer one Tab, for seconds, and no cell runs meanwhile.
OPTIONS = ["--IPCompleter.use_jedi=False"]


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
                argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", *OPTIONS]
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
            frames = await self.iopub.recv_multipart(copy=False)
            self.heard.set()
            parts = [frame.buffer for frame in frames]
            head = parts.index(MARK) + 2
            kind = json.loads(bytes(parts[head]))["msg_type"]
            session = json.loads(bytes(parts[head + 1])).get("session")
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
