"""What a kernel pays to follow many background processes, on one VM of the embedded platform."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import psutil
from jupyter_client import AsyncKernelManager

from bench.figures import Figure
from bench.local_rows import embedded

PROCESSES, LINES, BATCH = 50, 200, 50  # lines a second, and those that are written at once
WARM, RUN, RUNS = 10, 5, 5  # seconds before the first run, and of one; how many
WRITTEN = LINES * (WARM + RUN * (RUNS + 2))  # by each
WRITER = f"""
select(undef, undef, undef, 0.1) until -e "/run/go";
for ($n = 0; $n < {WRITTEN}; $n += {BATCH}) {{
    syswrite STDOUT, join "", map {{ "$_ is what a server writes about one of the requests it has answered\\n" }} $n .. $n + {BATCH - 1};
    select(undef, undef, undef, {BATCH / LINES});
}}
"""  # noqa: E501
START = f"""
import asyncio
processes = [await vm.start(["perl", "-e", {WRITER!r}], id="w%d" % n) for n in range({PROCESSES})]
seen = [[] for _ in processes]
for process, lines in zip(processes, seen):
    process.on_line("^[0-9]+ is", lines.append)
await vm.run("touch /run/go")
"""
CHECK = f"""
await asyncio.gather(*processes)
for _ in range(100):
    if sum(map(len, seen)) >= {PROCESSES * WRITTEN}:
        break
    await asyncio.sleep(0.1)
assert all([int(line.split()[0]) for line in lines] == list(range({WRITTEN})) for lines in seen)
"""


Execute = Callable[..., Awaitable[str]]


@contextlib.asynccontextmanager
async def a_kernel(env: dict[str, str]) -> AsyncIterator[tuple[Execute, psutil.Process]]:
    """What runs a cell in a kernel with our extension, and the kernel's process."""
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
    await kernel.start_kernel(env=env)
    client = kernel.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)

        async def execute(code: str, value: str = "None") -> str:
            reply = await client.execute_interactive(
                code, timeout=180, user_expressions={"value": value}, output_hook=lambda _: None
            )
            content = reply["content"]
            assert content["status"] == "ok", "\n".join(content["traceback"])
            return str(content["user_expressions"]["value"]["data"]["text/plain"])

        await execute("%load_ext pi_v_jupyter")
        yield execute, psutil.Process(kernel.provisioner.process.pid)
    finally:
        client.stop_channels()
        await kernel.shutdown_kernel(now=True)


@contextlib.asynccontextmanager
async def a_kernel_with_a_vm() -> AsyncIterator[tuple[Execute, psutil.Process]]:
    """Likewise, and it has `vm`."""
    async with embedded():
        env = {name: value for name, value in os.environ.items() if not name.startswith("VERS_")}
        async with a_kernel(env) as (execute, process):
            await execute("vm = %vers create --name build --vcpu 2 --mem 1024 --use")
            yield execute, process


async def bg50_cpu() -> Figure:
    """Where emulated processors are too slow for that many lines, what those that came took is scaled up."""
    async with a_kernel_with_a_vm() as (execute, process):

        async def count() -> int:
            return int(await execute("", "sum(map(len, seen))"))

        await execute(START)
        await asyncio.sleep(WARM)
        runs = []
        for _ in range(RUNS):
            began, lines, cpu = time.perf_counter(), await count(), sum(process.cpu_times()[:2])
            await asyncio.sleep(RUN)
            cpu, lines = sum(process.cpu_times()[:2]) - cpu, await count() - lines
            rate = lines / (time.perf_counter() - began)
            runs.append(100 * cpu / RUN * max(1.0, PROCESSES * LINES / rate))
        await execute(CHECK)
    what = f"a kernel that follows {PROCESSES} processes, {LINES} lines/s each, by `on_line`"
    return Figure("bg50_cpu", what, "%", runs, most=15)
