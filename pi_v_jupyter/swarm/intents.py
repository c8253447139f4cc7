"""VMs that were asked for and not answered for: on record before the call, and settled by a later look.

A kernel may be killed, or an answer lost, after the platform has begun. What it made then is in no list of
ours, and looks like any VM of that commit, which may be the user's own. So nothing is deleted for its looks:
the same call is made again under the same `X-Idempotency-Key`, and only what is answered to that is deleted.
A platform that keeps the key answers with the VMs of the first call, one that does not with new ones of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

from pi_v_jupyter.api.exchange import new_key
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import ApiError, NotFoundError, VersError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.swarm.membership import Records
from pi_v_jupyter.vm import VM

KIND = "intents"  # in our state
SETTLED = 300.0  # seconds after which a call that nobody waits for has come to its end
SKEW = 60.0  # seconds by which the platform's clock may be behind ours
SURE_NOT = {*range(400, 500)} - {408, 409}  # answers which say that nothing was made
_here: set[str] = set()  # keys of calls that this process waits for


@dataclass(frozen=True)
class Intent:
    """`count` VMs are asked for, of a commit; `since` is in seconds since the epoch, `key` the call's."""

    commit: str
    count: int
    pid: int = field(default_factory=os.getpid)
    since: float = field(default_factory=time.time)
    key: str = field(default_factory=new_key)

    @property
    def waited_for(self) -> bool:
        """Is there somebody who will take up what comes of it?"""
        if self.pid == os.getpid():
            return self.key in _here
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@dataclass(frozen=True)
class Intents:
    """Those of one platform."""

    fleet: Fleet
    records: Records

    @asynccontextmanager
    async def asking(self, commit: Commit, count: int) -> AsyncIterator[str]:
        """For the time of a call and of taking down what it answered: its key."""
        intent = Intent(commit.id, count)
        self._keep(intent.key, json.dumps(asdict(intent)))
        _here.add(intent.key)
        try:
            yield intent.key
        except ApiError as error:
            if error.status in SURE_NOT:
                self._keep(intent.key, None)
            raise
        else:
            self._keep(intent.key, None)
        finally:
            _here.discard(intent.key)

    async def settle(self) -> list[str]:
        """Delete what came of calls that nobody waits for; ids of VMs that may be of one, and were left.

        Raises:
            VersError: the platform cannot be asked.
        """
        left = []
        for intent in self._left():
            if suspects := await self._suspects(intent):
                try:
                    ours = await self._again(intent)
                except VersError:  # the next look tries again
                    continue
                left += [vm.id for vm in suspects if vm.id not in ours]
            elif time.time() - intent.since < SETTLED:
                continue  # the platform may be at it still
            self._keep(intent.key, None)
        return left

    def _left(self) -> list[Intent]:
        found = []
        for key, text in self.fleet.state.all(self.fleet.settings.base_url, KIND).items():
            try:
                found.append(Intent(**json.loads(text)))
            except (ValueError, TypeError):  # damaged: it cannot be asked again
                self._keep(key, None)
        return [intent for intent in found if not intent.waited_for]

    async def _suspects(self, intent: Intent) -> list[VM]:
        """VMs of that commit, made since, that nobody has named or on record."""
        known = self.records.all()
        nameless = [
            vm
            for vm in await self.fleet.all()
            if not vm.info.labels
            and not vm.name
            and vm.id not in known
            and vm.created_at.timestamp() > intent.since - SKEW
        ]
        await asyncio.gather(*(vm.refresh() for vm in nameless), return_exceptions=True)
        return [vm for vm in nameless if vm.info.parent_commit_id in (intent.commit, None)]

    async def _again(self, intent: Intent) -> set[str]:
        """Make the same call, and delete what it answers, but for what is on record by now."""
        client = self.fleet.client
        try:
            if intent.count == 1:
                ids = [await client.restore_commit(intent.commit, key=intent.key)]
            else:
                ids = await client.restore_copies(intent.commit, intent.count, key=intent.key)
        except ApiError:  # such as: the commit is no more, or there is no room
            return set()
        known = self.records.all()
        answered = {vm.id: vm for vm in await self.fleet.all() if vm.id in ids and vm.id not in known}
        ours = {vm_id for vm_id, vm in answered.items() if not vm.info.labels}
        gone = await asyncio.gather(*map(client.delete_vm, ours), return_exceptions=True)
        failed = [
            each for each in gone if isinstance(each, VersError) and not isinstance(each, NotFoundError)
        ]
        if failed:
            raise failed[0]
        return ours

    def _keep(self, key: str, text: str | None) -> None:
        self.fleet.state.set(self.fleet.settings.base_url, KIND, key, text)
