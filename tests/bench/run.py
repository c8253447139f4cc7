"""`make bench`: prints the table, writes bench.json. BENCH=key,key picks rows."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.agent_rows import agents100_cpu, dash100_cpu, spawn4_cold_s, spawn4_s
from bench.background_rows import bg50_cpu
from bench.dashboard_rows import dash_click_ms
from bench.figures import Figure
from bench.file_rows import copy_1g, copy_10k, flood_mb, read_ms
from bench.local_rows import (
    branch8_s,
    branch_s,
    clone_disk_mb,
    clone_pss_mb,
    create_s,
    load_ext_ms,
    pause_s,
    restore_s,
)
from bench.remote_rows import cell_clean_ms, cell_ms, many_clean_s, many_s, py_cell_ms, run_ms, stream_mbs
from bench.tab_rows import tab_ms

ROWS: list[Callable[[], Awaitable[Figure]]] = [
    *(
        cell_ms,
        cell_clean_ms,
        run_ms,
        read_ms,
        many_s,
        many_clean_s,
        stream_mbs,
        flood_mb,
        copy_1g,
        copy_10k,
        py_cell_ms,
    ),
    *(load_ext_ms, tab_ms, create_s, branch_s, branch8_s, restore_s, pause_s, clone_pss_mb, clone_disk_mb),
    *(bg50_cpu, spawn4_s, spawn4_cold_s, agents100_cpu, dash100_cpu, dash_click_ms),
]


def main() -> None:
    names = {row.__name__ for row in ROWS}
    wanted = set(filter(None, os.environ.get("BENCH", "").split(","))) or names
    if unknown := wanted - names:
        sys.exit(f"No such row: {', '.join(sorted(unknown))}.  There are: {', '.join(sorted(names))}")
    before = dict(os.environ)
    figures = []
    for row in ROWS:
        if row.__name__ in wanted:
            os.sync()  # what the row before has written would keep the disk busy in this one
            figure = asyncio.run(row())
            os.environ.clear()
            os.environ.update(before)
            print(figure.line(), flush=True)
            figures.append(figure.as_dict())
    Path("bench.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    sys.exit(0 if all(figure["met"] for figure in figures) else 1)


if __name__ == "__main__":
    main()
