"""One figure: its runs, the peer's runs beside them, and whether it stands where it should."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figure:
    """A row of the table. `runs` and `peer_runs` are in `unit`; `most` and `ratio_least` are its targets.

    `ratio` is how many times better than the peer this is, whichever way better goes.
    """

    key: str
    what: str
    unit: str
    runs: list[float]
    peer: str = ""
    peer_runs: list[float] = field(default_factory=list)
    most: float | None = None
    ratio_least: float | None = None
    more_is_better: bool = False

    @property
    def value(self) -> float:
        return statistics.median(self.runs)

    @property
    def ratio(self) -> float | None:
        if not self.peer_runs:
            return None
        peer = statistics.median(self.peer_runs)
        return self.value / peer if self.more_is_better else peer / self.value

    @property
    def target(self) -> str:
        parts = [f"≤ {self.most:g} {self.unit}"] if self.most is not None else []
        if self.ratio_least is not None:
            parts.append(f"≥ {self.ratio_least:.2g} × {self.peer}")
        return " and ".join(parts)

    @property
    def met(self) -> bool:
        small = self.most is None or self.value <= self.most
        return small and (self.ratio_least is None or (self.ratio or 0) >= self.ratio_least)

    def as_dict(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "what": self.what,
            "value": round(self.value, 3),
            "unit": self.unit,
            "peer": self.peer,
            "peer_value": round(statistics.median(self.peer_runs), 3) if self.peer_runs else None,
            "ratio": round(self.ratio, 3) if self.ratio is not None else None,
            "target": self.target,
            "met": self.met,
            "runs": [round(run, 3) for run in self.runs],
        }

    def line(self) -> str:
        low, high = min(self.runs), max(self.runs)
        text = f"{self.key:12} {self.value:9.2f} {self.unit:5} [{low:.2f} … {high:.2f}]"
        if self.ratio is not None:
            text += f"   {self.peer}: {statistics.median(self.peer_runs):.2f} ({self.ratio:.2f} ×)"
        return f"{'✓' if self.met else '✗'} {text}   target {self.target}"


async def alternate(
    times: int, ours: Callable[[], Awaitable[float]], peer: Callable[[], Awaitable[float]]
) -> tuple[list[float], list[float]]:
    """Run both by turns, so that whatever else the machine does meets both; the first is a warm-up."""
    await ours()
    await peer()
    mine, theirs = [], []
    for _ in range(times):
        mine.append(await ours())
        theirs.append(await peer())
    return mine, theirs
