"""VMs that were asked for and not answered for: on record before the call, and told of by a later look.

A kernel may be killed, or an answer lost, after the platform has begun. What it made then is in no list of
ours, and looks like any VM of that commit, which may be the user's own. So nothing is deleted for its looks:
the user is told which VMs these may be. The agents of a call under way have their labels and places already.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import psutil

from pi_v_jupyter.api.exchange import new_key
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import ApiError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.owners import SKEW, host, runs
from pi_v_jupyter.swarm import membership
from pi_v_jupyter.swarm.membership import Membership, Records
from pi_v_jupyter.threads import to_its_end
from pi_v_jupyter.vm import VM

KIND = "intents"  # in our state
SETTLED = 300.0  # seconds after which a call that nobody waits for has come to its end
SURE_NOT = {*range(400, 500)} - {408, 409}  # answers which say that nothing was made
# The labels of new agents, from the agents on record by their VMs and the labels of those being made.
Choose = Callable[[Mapping[str, Membership], Sequence[str]], Sequence[str]]
_here: set[str] = set()  # keys of calls that this process waits for


@dataclass(frozen=True)
class Intent:
    """Agents of these labels are asked for, of a commit. `key` is the call's idempotency key.

    `since` is in seconds since the epoch, as is `started`, the beginning of the process that asks. `told` are
    the ids of VMs of which the user was told that they may have come of it.
    """

    key: str
    commit: str
    labels: tuple[str, ...]
    host: str = field(default_factory=host)
    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=lambda: psutil.Process().create_time())
    since: float = field(default_factory=time.time)
    told: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Has it had the time to come to its end?"""
        return time.time() - self.since > SETTLED

    @property
    def waited_for(self) -> bool:
        """Is there somebody who will take up what comes of it, as far as can be told from here?"""
        if self.host != host():
            return not self.settled
        if self.pid == os.getpid():
            return self.key in _here
        return runs(self.pid, self.started)

    def may_have_made(self, vm: VM) -> bool:
        """Is a VM of that commit and that time? The platform's clock may be behind ours, too."""
        age = vm.created_at.timestamp() - self.since
        return vm.info.parent_commit_id in (self.commit, None) and -SKEW < age < SETTLED + SKEW

    def dump(self) -> str:
        """As a text for our state."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Intent | None:
        """Of such a text, unless that is damaged."""
        try:
            kept: dict[str, Any] = json.loads(text)
            return cls(**{**kept, "labels": tuple(kept["labels"]), "told": tuple(kept["told"])})
        except (ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True)
class Intents:
    """Those of one platform."""

    fleet: Fleet
    records: Records

    @asynccontextmanager
    async def asking(self, commit: Commit, choose: Choose) -> AsyncIterator[Intent]:
        """For the time of a call, and until its answer is on record: see `answered`.

        Raises:
            UsageError: `choose` does.
        """
        key, asked = new_key(), False
        _here.add(key)
        try:
            intent = await to_its_end(self._reserve, key, commit, choose)
            asked = True
            yield intent
        except BaseException as error:
            if not asked or (isinstance(error, ApiError) and error.status in SURE_NOT):
                await to_its_end(self._keep, key, None)
            raise
        finally:
            _here.discard(key)

    def _reserve(self, key: str, commit: Commit, choose: Choose) -> Intent:
        with self.fleet.state.changing(self.fleet.settings.base_url) as known:
            kept = known.setdefault(KIND, {})
            others = [each for each in map(Intent.load, kept.values()) if each and each.waited_for]
            coming = [label for each in others for label in each.labels]
            intent = Intent(key, commit.id, tuple(choose(self.records.all(), coming)))
            kept[key] = intent.dump()
        return intent

    async def answered(self, intent: Intent, made: Mapping[str, Membership]) -> None:
        """These VMs have come of it, and are on record from now on: at no time both, or neither."""
        await to_its_end(self._answered, intent, made)

    def _answered(self, intent: Intent, made: Mapping[str, Membership]) -> None:
        with self.fleet.state.changing(self.fleet.settings.base_url) as known:
            records = known.setdefault(membership.KIND, {})
            records.update({vm_id: json.dumps(asdict(member)) for vm_id, member in made.items()})
            known.get(KIND, {}).pop(intent.key, None)

    async def settle(self) -> list[str]:
        """Ids of VMs that may have come of calls that nobody waits for; of none it is told twice.

        Raises:
            VersError: the platform cannot be asked.
        """
        left = []
        for key, text in self.fleet.state.all(self.fleet.settings.base_url, KIND).items():
            intent = Intent.load(text)
            if intent is None:
                await to_its_end(self._keep, key, None)
            elif not intent.waited_for:
                left.append(intent)
        strays = await self._strays() if left else []
        found: list[str] = []
        for intent in left:
            new = [vm.id for vm in strays if intent.may_have_made(vm) and vm.id not in intent.told]
            found += new
            if intent.settled:
                await to_its_end(self._keep, intent.key, None)
            elif new:
                await to_its_end(self._keep, intent.key, replace(intent, told=(*intent.told, *new)).dump())
        return list(dict.fromkeys(found))

    async def _strays(self) -> list[VM]:
        """VMs that nobody has named, made with a VM's key, taken into use or on record."""
        state, url, recorded = self.fleet.state, self.fleet.settings.base_url, self.records.all()
        used = {
            *state.all(url, "active").values(),
            *(seat.partition(" ")[0] for seat in state.all(url, "seats")),
        }
        strays = [
            vm
            for vm in await self.fleet.all()
            if not (
                vm.info.labels or vm.name or vm.info.made_by or vm.connected or vm.id in {*used, *recorded}
            )
        ]
        # A list does not tell what they were made of.
        await asyncio.gather(*(vm.refresh() for vm in strays), return_exceptions=True)
        return strays

    def _keep(self, key: str, text: str | None) -> None:
        self.fleet.state.set(self.fleet.settings.base_url, KIND, key, text)
