"""The swarm's registry, on its root VM: which VMs there are, and whose. All changes are under its lock."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time

from . import HOME, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STALE = 900.0  # seconds after which a place that was kept for a VM which never came is free again
YOUNG = 60.0  # seconds in which a VM may be newer than the list that it is missing from


def change(do: str, **how: Any) -> list[dict[str, Any]]:
    """One change, under the lock: the entries it is about."""
    os.makedirs(HOME, 0o700, exist_ok=True)
    path = os.path.join(HOME, "registry.json")
    with open(os.path.join(HOME, "registry.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        book = kept(path)
        before = [entry for entry in book["vms"] if not stale(entry)]
        after, found = CHANGES[do](list(before), **how)
        book["vms"] = after
        with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(book, file, indent=2)
        os.replace(path + ".new", path)
    return found


def kept(path: str) -> dict[str, Any]:
    """What the registry says. One that is damaged is set aside, for somebody to look at, and begun anew."""
    try:
        with open(path, encoding="utf-8") as file:
            book = json.load(file)
        if all(isinstance(entry, dict) for entry in book["vms"]):
            return dict(book)
    except FileNotFoundError:
        return {"vms": []}
    except (ValueError, KeyError, TypeError):
        pass  # a file cut off, or something else's
    os.replace(path, f"{path}.damaged-{time.time_ns()}")
    return {"vms": []}


def stale(entry: dict[str, Any]) -> bool:
    return not entry.get("vmId") and time.time() - entry.get("reservedAt", 0) > STALE


def reserve(
    entries: list[dict[str, Any]], labels: list[str | None], like: dict[str, Any], prefix: str, most: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Places for VMs that are to come, `most` in all; a label that is None is the next free one."""
    if len(entries) + len(labels) > most:
        raise Refused(
            f"maxVms: this swarm may have {most} VMs and has {len(entries)}; {len(labels)} more do not fit. "
            "Delete some with vers_vm_delete, or ask the user for a larger limit."
        )
    taken = {entry.get("agentId") for entry in entries}
    free = (f"{prefix}{number}" for number in range(1, len(entries) + len(labels) + 1))
    made: list[dict[str, Any]] = []
    for label in labels:
        name = label if label is not None else next(each for each in free if each not in taken)
        if name in taken:
            raise Refused(f"There is an agent or VM '{name}' in this swarm already. Choose another label.")
        taken.add(name)
        ticket = secrets.token_hex(8)
        made.append(
            {
                "vmId": "",
                "agentId": name,
                **like,
                "status": "creating",
                "ticket": ticket,
                "reservedAt": time.time(),
            }
        )
    return entries + made, made


def fill(
    entries: list[dict[str, Any]], ticket: str, vmId: str | None = None, status: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is known by now of the VM that a place was kept for."""
    found = [entry for entry in entries if entry.get("ticket") == ticket]
    if not found:
        raise Refused("Its place in the swarm's registry was given up. Try again.")
    found[0].update(
        {name: value for name, value in (("vmId", vmId), ("status", status)) if value is not None}
    )
    return entries, found


def drop(
    entries: list[dict[str, Any]], ticket: str | None = None, vmId: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Forget a VM that was deleted, or a place that is not needed."""
    found = [e for e in entries if (ticket and e.get("ticket") == ticket) or (vmId and e.get("vmId") == vmId)]
    return [entry for entry in entries if entry not in found], found


def prune(
    entries: list[dict[str, Any]], alive: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Forget VMs that somebody else has deleted: those that are not in the platform's list."""
    young = time.time() - YOUNG
    gone = [e for e in entries if e.get("vmId") and e["vmId"] not in alive and e.get("reservedAt", 0) < young]
    return [entry for entry in entries if entry not in gone], gone


CHANGES = {
    "list": lambda entries: (entries, entries),
    **{each.__name__: each for each in (reserve, fill, drop, prune)},
}
