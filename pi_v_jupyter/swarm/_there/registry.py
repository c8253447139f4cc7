"""Changes the registry of a swarm, on its root's machine, while nobody else does.

stdin: {"add": [entries], "remove": [ids of VMs]}. What others have written stays. The agents' own tools do
the same (golden/lib/swarm_agent/registry.py), but are not on every machine that agents are spawned on.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = os.path.expanduser("~/.swarm")


def kept() -> dict[str, Any]:
    """What the registry says. One that is damaged is set aside, for somebody to look at, and begun anew."""
    try:
        with open("registry.json", encoding="utf-8") as file:
            book = json.load(file)
        if all(isinstance(entry, dict) for entry in book["vms"]):
            return dict(book)
    except FileNotFoundError:
        return {"vms": []}
    except (ValueError, KeyError, TypeError):
        pass  # a file cut off, or something else's
    os.replace("registry.json", f"registry.json.damaged-{time.time_ns()}")
    return {"vms": []}


def change(add: list[dict[str, Any]], remove: list[str]) -> None:
    os.makedirs(FOLDER, 0o700, exist_ok=True)
    os.chdir(FOLDER)
    with open("registry.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        gone = {*remove, *(each["vmId"] for each in add)}
        book = kept()
        book["vms"] = [*(entry for entry in book["vms"] if entry.get("vmId") not in gone), *add]
        with open(os.open("registry.json.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(book, file, indent=2)
        os.replace("registry.json.new", "registry.json")


if __name__ == "__main__":
    change(**json.load(sys.stdin))
