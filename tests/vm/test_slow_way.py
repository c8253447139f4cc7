"""Where the system lets nobody read a machine's memory, QEMU writes it: slower, and the same."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import agents
import pytest

from pi_v_jupyter.api.models import VMConfig
from pi_v_jupyter.cli import _resident
from pi_v_jupyter.local import daemon, inside, store
from pi_v_jupyter.local.capacity import Limits
from pi_v_jupyter.local.catalog import Catalog
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.foundry import Foundry
from pi_v_jupyter.local.roster import Roster
from pi_v_jupyter.local.sieve import Sieve

if TYPE_CHECKING:
    from platforms import Platform

pytestmark = pytest.mark.vm


async def sh(fleet: Fleet, vm_id: str, script: str) -> str:
    done = await agents.run(fleet.guest(vm_id), inside.Command(["sh", "-ec", script]))
    assert done.code == 0, done
    return done.stdout.decode()


async def test_snapshots_and_restores_work_where_no_process_may_be_read(
    own_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, own_platform.env[name])
    ground = await daemon.prepare(_resident(), print)
    opens = os.open

    def refuse(path: os.PathLike[str], *rest: int) -> int:
        if str(path).startswith("/proc/") and str(path).endswith("/mem"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opens(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    sieve = Sieve()
    sieve.start()
    foundry = Foundry(ground.image, ground.base, ground.accelerator, dict)
    roster = Roster(foundry, lambda vm_id, port: None, sieve.connect)
    fleet = Fleet(foundry, roster, Catalog.load(), Limits.sensible(), "owner")
    try:
        await fleet.begin()
        source = fleet.create(VMConfig())
        await fleet.started(source.vm_id)
        await sh(fleet, source.vm_id, "echo in memory > /run/note; setsid sleep 1000 >/dev/null 2>&1 &")
        pid = await sh(fleet, source.vm_id, "until pgrep -x sleep; do :; done")
        commit = await fleet.commit(source.vm_id, name=None, description=None, keep_paused=False)
        made = [
            *await fleet.restore(commit.commit_id),
            *await fleet.branch(source.vm_id, 1, keep_paused=False),
        ]
        for vm in (source, *made):
            assert await sh(fleet, vm.vm_id, "cat /run/note; pgrep -x sleep") == f"in memory\n{pid}"
        folder = store.snapshot_folder(commit.commit_id)
        assert {file.name for file in folder.iterdir()} == {"snapshot.json", "devices", "memory"}
        assert (folder / "memory").stat().st_blocks * 512 < 400 * 1024**2  # of 512, and holes
        for vm in (source, *made):
            await fleet.delete(vm.vm_id)
    finally:
        for vm in fleet.list():
            await fleet.delete(vm.vm_id)
        sieve.stop()
