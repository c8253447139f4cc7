"""Commands over SSH in TLS to an ordinary OpenSSH server on loopback, beside what people use today."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
from jupyter_client import AsyncKernelManager

from bench.figures import Figure, alternate
from pi_v_jupyter import VM, Vers
from pi_v_jupyter.remote.tls import TLSTunnel
from pi_v_jupyter.settings import Settings

HOST = "loopback.vm.pi-v.localhost"
STREAM = 200  # MB
MANY = 200


class ControlMaster:
    """`ssh` with a ControlMaster through `openssl s_client`: what the tools of today do."""

    def __init__(self, folder: Path, port: int) -> None:
        proxy = f"openssl s_client -connect 127.0.0.1:{port} -servername {HOST} -quiet -verify_quiet"
        options = {
            "ProxyCommand": proxy,
            "ControlMaster": "auto",
            "ControlPath": f"{folder}/control",
            "ControlPersist": "600",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self.command = ["ssh", "-F", "none", "-i", f"{folder}/client_key", *words, f"root@{HOST}"]

    async def run(self, *command: str) -> int:
        """The command's output, in bytes."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            limit=1 << 20,
        )
        assert process.stdout is not None
        size = 0
        while data := await process.stdout.read(1 << 20):
            size += len(data)
        assert await process.wait() == 0
        return size

    def close(self) -> None:
        subprocess.run([*self.command[:-1], "-O", "exit", self.command[-1]], capture_output=True, check=False)


class Server:
    """`served.py`, with what connects to it: our VM, a kernel, a bare channel, a ControlMaster."""

    def __init__(self, told: dict[str, Any], state: str) -> None:
        self.env = {**os.environ, **told["env"], "XDG_STATE_HOME": state, "XDG_CACHE_HOME": state}
        self.folder, self.port = Path(told["folder"]), told["port"]
        self.peer = ControlMaster(self.folder, self.port)
        self.vers = Vers(Settings(environ=self.env))

    async def vm(self) -> VM:
        return await self.vers.vm("loopback")

    async def bare(self) -> asyncssh.SSHClientConnection:
        context = ssl.create_default_context(cafile=str(self.folder / "tls.pem"))
        return await asyncssh.connect(
            HOST, self.port, tunnel=TLSTunnel(context), username="root", known_hosts=None, config=None,
            client_keys=[str(self.folder / "client_key")], agent_path=None,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def serving(*words: str) -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = os.environ["XDG_CACHE_HOME"] = state
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parents[1] / "served.py"), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            line = await asyncio.to_thread(process.stdout.readline)  # type: ignore[union-attr]
            server = Server(json.loads(line), state)
            try:
                yield server
            finally:
                await server.vers.close()
                server.peer.close()
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait(20)


@contextlib.asynccontextmanager
async def a_kernel(server: Server) -> AsyncIterator[Callable[[str], Awaitable[float]]]:
    """What runs a cell in a kernel whose VM is the server, and says how many ms it took."""
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
    await kernel.start_kernel(env=server.env)
    client = kernel.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)

        async def execute(code: str) -> float:
            began = time.perf_counter()
            sent = client.execute(code)
            while True:
                message = await client.get_iopub_msg(timeout=60)
                if message["parent_header"].get("msg_id") != sent:
                    continue
                assert message["msg_type"] != "error", message["content"]
                if message["content"].get("execution_state") == "idle":
                    return (time.perf_counter() - began) * 1000

        await execute("%load_ext pi_v_jupyter")
        await execute("%vers use loopback")
        yield execute
    finally:
        client.stop_channels()
        await kernel.shutdown_kernel(now=True)


async def cell_ms() -> Figure:
    what = "%%vm with `true`, through a kernel, OpenSSH in TLS on loopback"
    mine, theirs = await cells()
    return Figure("cell_ms", what, "ms", mine, "ssh ControlMaster", theirs, most=15, ratio_least=8)


async def cell_clean_ms() -> Figure:
    mine, theirs = await cells("--clean")
    what = "the same, where the login has an empty home"
    return Figure("cell_clean_ms", what, "ms", mine, "ssh ControlMaster", theirs, most=15, ratio_least=1)


async def cells(*words: str) -> tuple[list[float], list[float]]:
    async with serving(*words) as server, a_kernel(server) as execute:

        async def peer() -> float:
            began = time.perf_counter()
            await server.peer.run("true")
            return (time.perf_counter() - began) * 1000

        return await alternate(25, lambda: execute("%%vm\ntrue"), peer)


async def py_cell_ms() -> Figure:
    async with serving("--clean") as server, a_kernel(server) as execute:
        mine, theirs = await alternate(50, lambda: execute("%%vm python\n1"), lambda: execute("1"))
        await execute("%vers kernels rm -f")
    more = [ours - peer for ours, peer in zip(mine, theirs, strict=True)]
    return Figure(
        "py_cell_ms",
        "%%vm python with `1`, more than a local cell",
        "ms",
        more,
        "local cell",
        theirs,
        most=15,
    )


async def run_ms() -> Figure:
    async with serving() as server:
        vm = await server.vm()
        connection = await server.bare()
        async with connection, await connection.create_process("cat", encoding=None) as cat:

            async def ours() -> float:
                began = time.perf_counter()
                await vm.run("true")
                return (time.perf_counter() - began) * 1000

            async def echo() -> float:
                began = time.perf_counter()
                cat.stdin.write(b"x\n")
                await cat.stdout.readline()
                return (time.perf_counter() - began) * 1000

            mine, theirs = await alternate(200, ours, echo)
            cat.stdin.write_eof()
    return Figure(
        "run_ms", "await vm.run('true')", "ms", mine, "echo on one channel", theirs, ratio_least=1 / 3
    )


async def many_s() -> Figure:
    what = f"{MANY} concurrent commands on one VM"
    mine, theirs = await many()
    return Figure("many_s", what, "s", mine, "a channel per command", theirs, most=2)


async def many_clean_s() -> Figure:
    mine, theirs = await many("--clean")
    what = "the same, where the login has an empty home"
    return Figure("many_clean_s", what, "s", mine, "a channel per command", theirs, most=2, ratio_least=1)


async def many(*words: str) -> tuple[list[float], list[float]]:
    async with serving(*words) as server:
        vm = await server.vm()
        await vm.run("true")
        mine = []
        for _ in range(5):
            began = time.perf_counter()
            await asyncio.gather(*(vm.run(f"echo {number}") for number in range(MANY)))
            mine.append(time.perf_counter() - began)
        async with await server.bare() as connection:
            began = time.perf_counter()
            await asyncio.gather(*(connection.run(f"echo {number}") for number in range(MANY)))
            theirs = [time.perf_counter() - began]  # once: it may take a minute
    return mine, theirs


async def stream_mbs() -> Figure:
    async with serving() as server:
        vm = await server.vm()
        command = f"head -c {STREAM}M /dev/zero"

        async def ours() -> float:
            began = time.perf_counter()
            result = await vm.run(command)
            assert len(result.stdout_bytes) == STREAM << 20
            return STREAM * 1.048576 / (time.perf_counter() - began)

        async def peer() -> float:
            began = time.perf_counter()
            assert await server.peer.run(command) == STREAM << 20
            return STREAM * 1.048576 / (time.perf_counter() - began)

        mine, theirs = await alternate(5, ours, peer)
    what = f"command output to Python, {STREAM} MB"
    return Figure(
        "stream_mbs", what, "MB/s", mine, "ssh ControlMaster", theirs, ratio_least=1, more_is_better=True
    )
