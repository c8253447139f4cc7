"""Background processes outlive whoever started them: a test ends those of its own folder, however it ends."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import psutil

from pi_v_jupyter.remote._resident.descendants import began


def end_background(data: Path) -> None:
    """Kill all that runs in the background of a machine whose XDG_DATA_HOME this is."""
    for path in data.glob("pi-v/background/*/about.json"):
        about = json.loads(path.read_text())
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            if began(about["minder"]) == about["minder_began"]:  # or another process has its number by now
                minder = psutil.Process(about["minder"])
                while children := minder.children(recursive=True):
                    for child in children:
                        with suppress(psutil.NoSuchProcess):
                            child.kill()
                minder.kill()
