"""What a dashboard of many agents takes in JupyterLab, and how soon its page answers somebody who uses it."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass

import psutil
from labs import browsing, finished, first, lab
from playwright.sync_api import CDPSession, Page, WebSocket

from bench.agent_rows import FOLLOW, HEARD, MOST_BYTES, MOST_PATCHES, RATE, SPAWN, many
from bench.figures import Figure

WARM, WINDOW, WINDOWS = 10, 10, 6  # seconds before the first window, and of one; how many
PAUSE = 0.5  # seconds between clicks
MOST_GROWTH = 10.0  # MB that a page may keep more of, from one half of the time to the other
CELLS = [
    "%load_ext pi_v_jupyter\nimport os\nopen('kernel', 'w').write(str(os.getpid()))",
    f"team = [*globals().get('team', []), *{SPAWN}]",
    FOLLOW,
    "%vers",
]
_LOAD, SPAWNS, FOLLOWS, SHOWS = range(len(CELLS))
# Milliseconds from a click to the next frame that is shown, as a browser tells them of itself (Event Timing).
TIMING = """window.clicks = [];
new PerformanceObserver((seen) => clicks.push(...seen.getEntries().filter(({name}) => name === "click")
  .map(({duration}) => duration))).observe({type: "event", durationThreshold: 16});"""


@dataclass
class Received:
    """What a page's sockets have brought to it of a dashboard."""

    patches: int = 0
    bytes: int = 0

    def hear(self, socket: WebSocket) -> None:
        """Count what comes by this one."""
        socket.on("framereceived", self._count)

    def _count(self, frame: str | bytes) -> None:
        raw = frame.encode() if isinstance(frame, str) else frame
        self.bytes += len(raw)
        self.patches += b'"patch"' in raw


def heap(devtools: CDPSession) -> float:
    """MB that the page keeps once what nobody needs is gone."""
    devtools.send("HeapProfiler.collectGarbage")
    metrics = devtools.send("Performance.getMetrics")
    return next(one["value"] for one in metrics["metrics"] if one["name"] == "JSHeapUsedSize") / 1e6


def slowest(page: Page, seconds: float) -> list[float]:
    """Milliseconds of the slowest click of each round: to tabs, to an agent, and back."""
    board = page.locator(".pi-v-live")
    places = [
        board.get_by_role("tab", name="Machines"),
        board.get_by_role("tab", name="Swarm"),
        board.get_by_title("Open ").first,
        board.get_by_title("Back to all agents"),
        board.get_by_role("tab", name="Events"),
        board.get_by_role("tab", name="Swarm"),
    ]
    rounds = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for place in places:
            place.click()
            time.sleep(PAUSE)
        # What took less than 16 ms is not told.
        rounds.append(max(page.evaluate("window.clicks.splice(0)"), default=16.0))
    return rounds


def measured() -> Figure:
    """Each run is the slowest click of a round."""
    with (
        many() as (machines, env),
        lab(env, machines.folder, CELLS) as address,
        browsing(address, len(CELLS)) as page,
    ):
        received = Received()
        page.on("websocket", received.hear)
        page.reload()
        first(page)
        for number in [SPAWNS] * (HEARD // 10):
            finished(page, number)
        machines.put_last()
        for number in (FOLLOWS, SHOWS):
            finished(page, number)
        page.evaluate(TIMING)
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        kernel = psutil.Process(int((machines.folder / "kernel").read_text()))
        slowest(page, WARM)

        runs: list[float] = []
        heaps = [heap(devtools)]
        began, cpu = time.perf_counter(), sum(kernel.cpu_times()[:2])
        received.patches = received.bytes = 0
        for _ in range(WINDOWS):
            rounds = slowest(page, WINDOW)
            runs += rounds
            heaps.append(heap(devtools))
            print(f"  {', '.join(f'{each:.0f}' for each in rounds)} ms, {heaps[-1]:.1f} MB", file=sys.stderr)
        seconds, cpu = time.perf_counter() - began, sum(kernel.cpu_times()[:2]) - cpu
    patches, sent = received.patches / seconds, received.bytes / seconds
    half = len(heaps) // 2
    grown = min(heaps[half:]) - min(heaps[:half])
    told = (
        f"{patches:.1f} patches/s, {sent / 1e6:.2f} MB/s, {grown:+.1f} MB, kernel {100 * cpu / seconds:.0f} %"
    )
    assert 0 < patches <= MOST_PATCHES and sent <= MOST_BYTES and grown <= MOST_GROWTH, told
    what = f"slowest click on a dashboard of {HEARD} agents, {RATE} records/s each, in JupyterLab: {told}"
    return Figure("dash_click_ms", what, "ms", runs, most=200)


async def dash_click_ms() -> Figure:
    return await asyncio.to_thread(measured)
