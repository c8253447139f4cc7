"""The notebook's start, and machines of the embedded platform."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from jupyter_client import AsyncKernelManager

from bench.figures import Figure
from pi_v_jupyter import Vers
from pi_v_jupyter.settings import Settings

LOAD = """\
import time
began = time.perf_counter()
get_ipython().run_line_magic("load_ext", "pi_v_jupyter")
elapsed = (time.perf_counter() - began) * 1000
"""
BOOT_S = 20.0  # measured: power on to login, systemd, software emulation


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


async def create_s() -> Figure:
    with tempfile.TemporaryDirectory(prefix="pi-v-") as state:
        env = {**os.environ, "XDG_STATE_HOME": state}
        for variable in ("VERS_API_KEY", "VERS_BASE_URL"):
            env.pop(variable, None)
        command = [sys.executable, "-m", "pi_v_jupyter"]
        subprocess.run([*command, "up", "--port", "0", "--gateway-port", "0"], env=env, check=True)
        os.environ["XDG_STATE_HOME"] = state
        try:
            runs = []
            async with Vers(Settings(session={"platform": "embedded"}, environ=env)) as vers:
                for _ in range(6):
                    began = time.perf_counter()
                    vm = await vers.create()
                    assert (await vm.run("echo there")).stdout == "there\n"
                    runs.append(time.perf_counter() - began)
                    await vm.delete()
        finally:
            subprocess.run([*command, "down", "--purge", "-f"], env=env, check=True)
    return Figure("create_s", "new_root → first output", "s", runs[1:], "boot", [BOOT_S], most=1.2)
