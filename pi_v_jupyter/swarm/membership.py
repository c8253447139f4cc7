"""Which VMs are agents', of which swarm, and until when: told by labels on the platform, and by our state."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Self

from pi_v_jupyter import names
from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.state import State

KIND = "agents"  # in our state: what the platform's labels say too, and stays until a VM is surely gone
LIFETIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 3650 * UNITS["d"]  # seconds that a lifetime may have
AGENT, SWARM, COMMIT, EXPIRES = (f"pi-v-{what}" for what in ("agent", "swarm", "commit", "expires"))


@dataclass(frozen=True)
class Membership:
    """What makes a VM an agent's.

    `swarm` is the id of its root VM, `commit` what it was made of, `expires` when it may be deleted, in
    seconds since the epoch (0: never). `leaving`: it is to be deleted, and could not be so far. `ready_by`:
    until when, likewise, the spawn that makes it is under way at most (0: that has come to its end).
    """

    agent: str
    swarm: str = ""
    commit: str = ""
    expires: int = 0
    leaving: bool = False
    ready_by: int = 0

    def overdue(self, now: float) -> bool:
        """Is its time up? `now` is in seconds since the epoch."""
        return 0 < self.expires <= now

    def at(self, now: float) -> Self:
        """As it is then: a spawn that was cut off makes nothing ready any more."""
        return replace(self, ready_by=0) if 0 < self.ready_by <= now else self

    def labels(self) -> dict[str, str]:
        """As labels of its VM; their names are ours, for others label VMs too."""
        return {
            AGENT: self.agent,
            SWARM: self.swarm,
            COMMIT: self.commit,
            **({EXPIRES: str(self.expires)} if self.expires else {}),
        }

    @classmethod
    def of_labels(cls, labels: dict[str, str]) -> Self | None:
        """What labels say, which anyone with the account's key may set; None when they name no agent."""
        agent = labels.get(AGENT, "")
        if not names.is_name(agent):
            return None
        expires = labels.get(EXPIRES, "")
        number = int(expires) if expires.isascii() and expires.isdecimal() and len(expires) < 12 else 0
        return cls(agent, labels.get(SWARM, ""), labels.get(COMMIT, ""), number)


def distinct(claims: Sequence[tuple[str, Membership]], recorded: Collection[str]) -> list[Membership]:
    """What the VMs of these ids are, so that each has a label of its own.

    Of several with one label, the first that is on record here keeps it, as labels on the platform are set by
    agents too; the others are called LABEL-xxxx, by their ids.
    """
    claimed = Counter(member.agent for _, member in claims)
    keepers: dict[str, str] = {}
    for vm_id, member in claims:
        if vm_id in recorded or claimed[member.agent] == 1:
            keepers.setdefault(member.agent, vm_id)
    taken = {*claimed}
    found = []
    for vm_id, member in claims:
        if keepers.get(member.agent) != vm_id:
            longer = (f"{member.agent}-{vm_id[:length]}" for length in range(4, len(vm_id) + 1))
            member = replace(member, agent=next((name for name in longer if name not in taken), vm_id))
            taken.add(member.agent)
        found.append(member)
    return found


class Records:
    """The agents' VMs on record here, by the ids of the VMs."""

    def __init__(self, state: State, platform: str) -> None:
        self._state, self._platform = state, platform

    def keep(self, vm_id: str, member: Membership) -> None:
        """Remember one, before anything is done with it."""
        self._state.set(self._platform, KIND, vm_id, json.dumps(asdict(member)))

    def leave(self, vm_id: str, member: Membership) -> None:
        """It is to go."""
        self.keep(vm_id, replace(member, leaving=True))

    def forget(self, vm_id: str) -> None:
        """It is surely gone."""
        self._state.set(self._platform, KIND, vm_id, None)

    def all(self) -> dict[str, Membership]:
        """All of them; what is damaged is left out: the platform's labels say it too."""
        found = {}
        for vm_id, text in self._state.all(self._platform, KIND).items():
            try:
                found[vm_id] = Membership(**json.loads(text))
            except (ValueError, TypeError):
                continue
        return found


def lifetime(text: str) -> timedelta:
    """A span such as `90m`, `4h` or `2d`; without a unit it is in seconds.

    Raises:
        UsageError: it is none.
    """
    found = LIFETIME.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise UsageError(f"{text!r} is no span of time.", "Such as 90m, 4h or 2d.")
    seconds = float(found[1]) * UNITS[found[2]]
    if seconds > LONGEST:
        raise UsageError(f"{names.shown(text[:40])} is over ten years.", "Left out, there is no end to it.")
    return timedelta(seconds=seconds)
