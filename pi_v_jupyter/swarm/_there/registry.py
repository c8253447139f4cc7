"""Changes the registry of a swarm, on its root's machine, while nobody else does.

stdin: {"add": [entries], "remove": [ids of VMs]}. What others have written stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = os.path.expanduser("~/.swarm")


def entries() -> list[Any]:
    try:
        with open("registry.json") as file:
            return list(json.load(file)["vms"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def change(add: list[dict[str, Any]], remove: list[str]) -> None:
    os.makedirs(FOLDER, 0o700, exist_ok=True)
    os.chdir(FOLDER)
    with open("registry.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        gone = {*remove, *(each["vmId"] for each in add)}
        kept = [each for each in entries() if not (isinstance(each, dict) and each.get("vmId") in gone)]
        with open("registry.json.new", "w") as file:
            json.dump({"vms": [*kept, *add]}, file, indent=1)
        os.replace("registry.json.new", "registry.json")


if __name__ == "__main__":
    change(**json.load(sys.stdin))
