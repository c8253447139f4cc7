"""VMs that are agents' without being known for it here: those of pi-v, and those that a registry names.

A VM is looked into only when it runs, for as long as it takes to read a file of it; nothing is started there
unless that tells of an agent.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pi_v_jupyter import names
from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.errors import VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.remote.login import login
from pi_v_jupyter.swarm import bridge
from pi_v_jupyter.swarm.membership import Membership, Records
from pi_v_jupyter.swarm.provision import label
from pi_v_jupyter.vm import VM

AT_ONCE = 16  # VMs that are looked into at the same time
PATIENCE = 10.0  # seconds for one
LOOKING = 30.0  # seconds for all
LARGEST = 64 << 10  # bytes of a file that says who an agent is


@dataclass(frozen=True)
class Stray:
    """A VM that is an agent's: what that was called, the id of its swarm's root, and its commit."""

    vm: VM
    agent: str
    swarm: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Looked:
    """What came of looking into VMs; `shut` are those that could not be looked into."""

    strays: Sequence[Stray]
    shut: Sequence[VM]


async def look(vms: Iterable[VM], *, of_pi_v: bool = True) -> Looked:
    """Which of these VMs run an agent of pi-v's, or any agent? Those that do not run are left alone."""
    running = [vm for vm in vms if vm.state is VMState.RUNNING]
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(vm: VM) -> Stray | None:
        async with turns, asyncio.timeout(PATIENCE):
            return await _look_into(vm, of_pi_v)

    tasks = [asyncio.create_task(one(vm)) for vm in running]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=LOOKING)
    finally:
        for task in tasks:
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    shut = [vm for vm, outcome in zip(running, outcomes, strict=True) if isinstance(outcome, BaseException)]
    return Looked([outcome for outcome in outcomes if isinstance(outcome, Stray)], shut)


async def _look_into(vm: VM, of_pi_v: bool) -> Stray | None:
    command = f"head -c {LARGEST} ~/.swarm/identity.json"
    if of_pi_v:
        command = f"test -e {shlex.quote(bridge.PLACE)}/out && {command}"
    async with await login(vm, vm) as ssh:  # not the VM's own connection, which brings a program of ours
        told = await ssh.run(command, encoding=None)
    return _stray(vm, told.stdout if isinstance(told.stdout, bytes) and told.exit_status == 0 else b"")


def _stray(vm: VM, told: bytes) -> Stray | None:
    try:
        identity = json.loads(told)
        agent, own = identity["agentId"], identity["vmId"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if own != vm.id or not isinstance(agent, str):  # a branch of an agent's VM is none
        return None
    root = identity.get("rootVmId")
    commit = vm.info.parent_commit_id or ""
    return Stray(vm, agent, root if isinstance(root, str) and root else vm.id, commit)


async def enroll(fleet: Fleet, records: Records, strays: Iterable[Stray], taken: set[str]) -> None:
    """Have them be known as agents from now on, each by a label of its own; `taken` are those of others.

    Raises:
        VersError: the platform does not keep that.
    """
    for stray in strays:
        called = await _label(fleet, stray, taken)
        taken.add(called)
        member = Membership(called, stray.swarm, stray.commit)
        records.keep(stray.vm.id, member)
        await label(fleet, stray.vm, member)
        if not stray.vm.name:
            await fleet.rename(stray.vm, called)


async def _label(fleet: Fleet, stray: Stray, taken: set[str]) -> str:
    """What it was called, if that is a name and nobody else's."""
    vms = await fleet.all()
    others = {vm.name for vm in vms if vm.id != stray.vm.id} | taken
    ids = [vm.id for vm in vms]
    try:
        names.check(stray.agent, others, ids)
    except VersError:
        stem = stray.agent if names.is_name(stray.agent) else "agent"
        return names.free(stem, 1, others, ids)[0]
    return stray.agent
