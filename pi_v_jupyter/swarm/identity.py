"""What an agent is told of itself and its swarm, in files of its VM; pi-v's conventions.

The first agent of a spawn is the root of its swarm: the registry of all is on its VM, under a lock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.swarm._there import source
from pi_v_jupyter.swarm.membership import Membership
from pi_v_jupyter.swarm.secrets import FOLDER, Secrets
from pi_v_jupyter.vm import VM

PRIVATE = 0o600
MAX_DEPTH = 50
MAX_VMS = 1000  # as many as a key of a VM can be good for


def check_limits(max_vms: int, budget: float | None) -> None:
    """See that agents can be told these limits; `budget` in US dollars.

    Raises:
        UsageError: one is out of bounds.
    """
    if not 1 <= max_vms <= MAX_VMS:
        raise UsageError(f"{max_vms} is no number of VMs from 1 to {MAX_VMS}.", "`--max-vms 20`.")
    if budget is not None and not 0 < budget < math.inf:  # not a number is refused, too
        raise UsageError(f"{budget} is no sum of US dollars above 0.", "`--budget 5`, or leave it out.")


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
        "asks": True,  # and a notebook answers; of agents that agents make, none knows
        "createdAt": now,
        **({} if budget is None else {"budgetUsd": budget}),
    }
    await vm.write(".swarm/identity.json", json.dumps(identity, indent=1, allow_nan=False), mode=PRIVATE)
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
