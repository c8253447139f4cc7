"""What an agent is told of itself and its swarm, in files of its VM; pi-v's conventions.

The first agent of a spawn is the root of its swarm: the registry of all is on its VM, under a lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pi_v_jupyter.swarm._there import source
from pi_v_jupyter.swarm.membership import Membership
from pi_v_jupyter.swarm.secrets import FOLDER, Secrets
from pi_v_jupyter.vm import VM

PRIVATE = 0o600
MAX_DEPTH = 50


async def introduce(vm: VM, member: Membership, max_vms: int, budget: float | None = None) -> None:
    """Tell an agent who it is, and what it may cost, in US dollars."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    identity: dict[str, Any] = {
        "vmId": vm.id,
        "agentId": member.agent,
        "rootVmId": member.swarm,
        "parentVmId": member.swarm,
        "depth": 0 if member.swarm == vm.id else 1,
        "maxDepth": MAX_DEPTH,
        "maxVms": max_vms,
        "createdAt": now,
        **({} if budget is None else {"budgetUsd": budget}),
    }
    await vm.write(".swarm/identity.json", json.dumps(identity, indent=1), mode=PRIVATE)
    await vm.write(
        f".swarm/status/{member.agent}.json",
        json.dumps(
            {
                "agentId": member.agent,
                "vmId": vm.id,
                "status": "idle",
                "task": "",
                "summary": "",
                "artifacts": [],
                "children": [],
                "updatedAt": now,
            },
            indent=1,
        ),
    )


async def entrust(vm: VM, secrets: Secrets) -> None:
    """Give it keys."""
    for name, value in secrets.items():
        await vm.write(f"{FOLDER}/{name}", value, mode=PRIVATE)


def entry(vm: VM, member: Membership) -> dict[str, Any]:
    """An agent in the registry."""
    return {
        "vmId": vm.id,
        "agentId": member.agent,
        "parentVmId": member.swarm,
        "role": "agent",
        "status": "running",
    }


async def register(root: VM, add: Iterable[dict[str, Any]] = (), remove: Iterable[str] = ()) -> None:
    """Change the registry on the root's VM: entries to add, ids of VMs to remove.

    Raises:
        VersError: it cannot be.
    """
    wanted = json.dumps({"add": list(add), "remove": list(remove)})
    await root.run(["python3", "-c", source("registry")], stdin=wanted, timeout=60)
