"""The notebook's start, and machines of the embedded platform."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import psutil
from jupyter_client import AsyncKernelManager

from bench.figures import Figure
from pi_v_jupyter import VM, Vers
from pi_v_jupyter.settings import APP, Settings

LOAD = """\
import time
began = time.perf_counter()
get_ipython().run_line_magic("load_ext", "pi_v_jupyter")
elapsed = (time.perf_counter() - began) * 1000
"""
# Measured before: power on to login, systemd, software emulation; a commit's pause; a clone without sharing.
BOOT_S = 20.0
PROTOTYPE_PAUSE_S = 0.14
COPIED_MB = 454.0
CLONES = 5
IDLE_S = 10
IN_USE_MB = 250
IN_USE = f"""import os
kept = [os.urandom(1 << 20) for _ in range({IN_USE_MB})]
open("/run/in-use", "w").close()
while True:
    pass
"""


async def load_ext_ms() -> Figure:
    runs = []
    for _ in range(5):
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
        await kernel.start_kernel()
        client = kernel.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
            reply = await client.execute_interactive(
                LOAD, timeout=60, user_expressions={"ms": "elapsed"}, output_hook=lambda _: None
            )
            runs.append(float(reply["content"]["user_expressions"]["ms"]["data"]["text/plain"]))
        finally:
            client.stop_channels()
            await kernel.shutdown_kernel(now=True)
    return Figure("load_ext_ms", "%load_ext pi_v_jupyter", "ms", runs, most=150)


@contextlib.asynccontextmanager
async def embedded() -> AsyncIterator[tuple[Vers, Path]]:
    """A session with a platform of its own, and that platform's folder."""
    with tempfile.TemporaryDirectory(prefix="pi-v-") as state:
        env = {**os.environ, "XDG_STATE_HOME": state}
        for variable in ("VERS_API_KEY", "VERS_BASE_URL"):
            env.pop(variable, None)
        command = [sys.executable, "-m", "pi_v_jupyter"]
        subprocess.run([*command, "up", "--port", "0", "--gateway-port", "0"], env=env, check=True)
        os.environ["XDG_STATE_HOME"] = state
        try:
            async with Vers(Settings(session={"platform": "embedded"}, environ=env)) as vers:
                yield vers, Path(state) / APP / "platform"
        finally:
            subprocess.run([*command, "down", "--purge", "-f"], env=env, check=True)


async def create_s() -> Figure:
    async with embedded() as (vers, _):
        runs = [await answering(vers.create) for _ in range(6)]
    return Figure("create_s", "new_root → first output", "s", runs[1:], "boot", [BOOT_S], most=1.2)


async def branch_s() -> Figure:
    async with embedded() as (vers, _):
        source = await vers.create()
        await source.run("true")
        runs = [await answering(source.branch) for _ in range(6)]
    return Figure("branch_s", "branch → first output", "s", runs[1:], most=1.5)


async def branch8_s() -> Figure:
    async with embedded() as (vers, _):
        source = await vers.create()
        await source.run("true")
        runs = []
        for _ in range(6):
            began = time.perf_counter()
            made = await source.branch(8)
            await asyncio.gather(*map(answer, made))
            runs.append(time.perf_counter() - began)
            await vers.delete(*made)
    return Figure("branch8_s", "count=8 → all eight answer", "s", runs[1:], most=8)


async def restore_s() -> Figure:
    async with embedded() as (vers, _):
        source = await vers.create()
        await source.run("true")
        commit = await source.commit()
        runs = [await answering(lambda: vers.restore(commit)) for _ in range(6)]
    return Figure("restore_s", "from_commit → first output", "s", runs[1:], most=1.2)


async def pause_s() -> Figure:
    """The source computes without end, and is seen to stand still from outside: its own clock stops too."""
    async with embedded() as (vers, platform):
        source = await vers.create()
        await source.run(f"setsid python3 -c '{IN_USE}' >/dev/null 2>&1 </dev/null &")
        await source.run("until [ -e /run/in-use ]; do sleep 0.1; done")
        process = await qemu(platform, source.vm_id)
        runs = []
        for _ in range(6):
            with StandsStill(process) as watched:
                await source.commit()
            runs.append(watched.longest)
    what = f"source stands still during a commit, {IN_USE_MB} MB in use"
    return Figure("pause_s", what, "s", runs[1:], "prototype", [PROTOTYPE_PAUSE_S], most=0.3)


async def clone_pss_mb() -> Figure:
    async with embedded() as (vers, platform):
        made = await idle_clones(vers)
        runs = []
        for vm in made:
            smaps = Path(f"/proc/{(await qemu(platform, vm.vm_id)).pid}/smaps_rollup").read_text()
            (line,) = [line for line in smaps.splitlines() if line.startswith("Pss:")]
            runs.append(int(line.split()[1]) / 1024)
    what = f"memory of an idle clone of a 512 MB machine, one of {CLONES}"
    return Figure("clone_pss_mb", what, "MB", runs, "when copied", [COPIED_MB], most=120)


async def clone_disk_mb() -> Figure:
    async with embedded() as (vers, platform):
        source = await vers.create()
        await answer(source)
        runs = []
        for _ in range(5):
            before = on_disk(platform)
            await idle_clones(vers, source)
            runs.append((on_disk(platform) - before) / CLONES / 1024**2)
    what = f"disk of an idle clone of a 512 MB machine, one of {CLONES}"
    return Figure("clone_disk_mb", what, "MB", runs, "when copied", [COPIED_MB], most=20)


async def answer(vm: VM) -> None:
    assert (await vm.run("echo there")).stdout == "there\n"


async def answering(make: Callable[[], Awaitable[VM]]) -> float:
    """Seconds until a new VM answers; it is deleted then."""
    began = time.perf_counter()
    vm = await make()
    await answer(vm)
    took = time.perf_counter() - began
    await vm.delete()
    return took


async def idle_clones(vers: Vers, source: VM | None = None) -> Sequence[VM]:
    """Clones that answered once, and then had nothing to do for a while."""
    if source is None:
        source = await vers.create()
        await answer(source)
    made = await source.branch(CLONES)
    await asyncio.gather(*map(answer, made))
    await asyncio.sleep(IDLE_S)
    return made


def on_disk(folder: Path) -> int:
    """Bytes that files take; one with several names takes them once."""
    found = {status.st_ino: status.st_blocks * 512 for path in folder.rglob("*") for status in [path.lstat()]}
    return sum(found.values())


async def qemu(platform: Path, vm_id: str) -> psutil.Process:
    return psutil.Process(json.loads((platform / "vms" / vm_id / "vm.json").read_text())["pid"])


class StandsStill:
    """How long at most a process neither ran nor waited for a processor, in seconds."""

    def __init__(self, process: psutil.Process) -> None:
        self.longest = 0.0
        # The thread that computes has had most of the processor.
        busiest = max(process.threads(), key=lambda thread: thread.user_time)
        self._schedule = Path(f"/proc/{process.pid}/task/{busiest.id}/schedstat")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> StandsStill:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        last, since = "", time.perf_counter()
        while not self._done.wait(0.0005):
            ran, waited, _ = self._schedule.read_text().split()
            now = time.perf_counter()
            if f"{ran} {waited}" != last:
                last, since = f"{ran} {waited}", now
            self.longest = max(self.longest, now - since)
