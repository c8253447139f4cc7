"""Files over SSH in TLS to an ordinary OpenSSH server on loopback, beside scp through the same."""

from __future__ import annotations

import asyncio
import filecmp
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from jupyter_client import AsyncKernelManager

from bench.figures import Figure, alternate
from bench.remote_rows import Server, serving

GIGABYTE = 1 << 30
FILES = 10_000
OUTPUT = 10**9  # bytes of one cell


async def read_ms() -> Figure:
    async with serving() as server:
        vm = await server.vm()
        path = server.folder / "four-kilobytes"
        path.write_text("0123456789abcde\n" * 256)
        connection = await server.bare()
        async with connection, await connection.create_process("cat", encoding=None) as cat:

            async def ours() -> float:
                began = time.perf_counter()
                excerpt = await vm.read(path)
                assert excerpt.lines == 256
                return (time.perf_counter() - began) * 1000

            async def echo() -> float:
                began = time.perf_counter()
                cat.stdin.write(b"x\n")
                await cat.stdout.readline()
                return (time.perf_counter() - began) * 1000

            mine, theirs = await alternate(200, ours, echo)
            cat.stdin.write_eof()
    return Figure("read_ms", "read of 4 KB", "ms", mine, "echo on one channel", theirs, ratio_least=1 / 2)


async def flood_mb() -> Figure:
    async with serving() as server:
        growth = []
        for _ in range(5):
            kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
            await kernel.start_kernel(env=server.env)
            client = kernel.client()
            client.start_channels()
            try:
                await client.wait_for_ready(timeout=60)
                for code in ("%load_ext pi_v_jupyter", "%vers use loopback", "%vm true"):
                    await client.execute_interactive(code, timeout=60, output_hook=lambda _: None)
                process = psutil.Process(kernel.provisioner.process.pid)  # type: ignore[union-attr]
                before = most = process.memory_info().rss
                cell = asyncio.create_task(
                    client.execute_interactive(
                        f"%vm yes 0123456789 | head -c {OUTPUT}", timeout=120, output_hook=lambda _: None
                    )
                )
                while not cell.done():
                    most = max(most, process.memory_info().rss)
                    await asyncio.wait([cell], timeout=0.05)
                growth.append((most - before) / 1e6)
            finally:
                client.stop_channels()
                await kernel.shutdown_kernel(now=True)
    return Figure("flood_mb", "kernel memory growth, 1 GB from one cell", "MB", growth, most=100)


def roomy(size: int) -> str | None:
    """A folder in memory, if it has that much room: disks take their time when they like."""
    memory = "/dev/shm"
    return memory if Path(memory).is_dir() and shutil.disk_usage(memory).free > size else None


async def there_and_back(
    server: Server, times: int, make: Callable[[Path], Path]
) -> tuple[list[float], list[float]]:
    """Seconds that a copy there and one back take, ours and scp's, of what `make` makes in a folder."""
    vm = await server.vm()
    scp = ["scp", "-rpq", *server.peer.command[1:-1]]
    host = server.peer.command[-1]
    with tempfile.TemporaryDirectory(dir=roomy(4 * GIGABYTE)) as made:
        folder = Path(made)
        source, up, down = make(folder), folder / "up", folder / "down"

        def check() -> None:
            for path in (up, down):
                if path.is_dir():
                    assert sum(1 for _ in path.rglob("*.txt")) == FILES
                    shutil.rmtree(path)
                else:
                    assert filecmp.cmp(path, source, shallow=False)
                    path.unlink()

        async def ours() -> float:
            began = time.perf_counter()
            await vm.copy(str(source), f":{up}")
            await vm.copy(f":{up}", str(down))
            took = time.perf_counter() - began
            check()
            return took

        async def peer() -> float:
            began = time.perf_counter()
            for words in ([str(source), f"{host}:{up}"], [f"{host}:{up}", str(down)]):
                done = await asyncio.to_thread(
                    subprocess.run, [*scp, *words], capture_output=True, check=False
                )
                assert done.returncode == 0, done.stderr
            took = time.perf_counter() - began
            check()
            return took

        return await alternate(times, ours, peer)


async def copy_1g() -> Figure:
    def make(folder: Path) -> Path:
        block = os.urandom(1 << 20)
        with (folder / "gigabyte").open("wb") as file:
            for _ in range(GIGABYTE >> 20):
                file.write(block)
        return folder / "gigabyte"

    async with serving() as server:
        mine, theirs = await there_and_back(server, 5, make)
    return Figure("copy_1g", "1 GB, there and back", "s", mine, "scp", theirs, ratio_least=1)


async def copy_10k() -> Figure:
    def make(folder: Path) -> Path:
        for number in range(FILES):
            path = folder / "tree" / str(number // 100) / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(1000))
        return folder / "tree"

    async with serving() as server:
        mine, theirs = await there_and_back(server, 5, make)
    what = f"a tree of {FILES:,} small files, there and back"
    return Figure("copy_10k", what, "s", mine, "scp -r", theirs, ratio_least=10)
