"""What Tab takes in a kernel, its VM one of the embedded platform."""

from __future__ import annotations

import os
import time

from jupyter_client import AsyncKernelManager

from bench.figures import Figure
from bench.local_rows import embedded

LINE, BODY = "%vers use ", "%%vm\ncd /srv && systemd-"


async def tab_ms() -> Figure:
    async with embedded():
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
        env = {name: value for name, value in os.environ.items() if not name.startswith("VERS_")}
        await kernel.start_kernel(env=env)
        client = kernel.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
            for code in ("%load_ext pi_v_jupyter", "%vers create --name build --use", "%vm true"):
                reply = await client.execute_interactive(code, timeout=60, output_hook=lambda _: None)
                assert reply["content"]["status"] == "ok", reply["content"]

            async def tab(code: str) -> float:
                began = time.perf_counter()
                reply = await client.complete(code, reply=True, timeout=60)
                took = (time.perf_counter() - began) * 1000
                assert reply["content"]["matches"] or not warm, f"nothing is offered for {code!r}"
                return took

            warm = False
            for _ in range(5):
                await tab(LINE), await tab(BODY)
            warm = True
            runs = [max(await tab(LINE), await tab(BODY)) for _ in range(25)]
        finally:
            client.stop_channels()
            await kernel.shutdown_kernel(now=True)
    what = "Tab, the slower of `%vers use ` and a command in a `%%vm` body"
    return Figure("tab_ms", what, "ms", runs, most=150)
