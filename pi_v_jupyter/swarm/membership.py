"""Which VMs are agents', of which swarm, and until when: told by labels on the platform, and by our state."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.state import State

KIND = "agents"  # in our state: what the platform's labels say too, and stays until a VM is surely gone
LIFETIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Membership:
    """What makes a VM an agent's.

    `swarm` is the id of its root VM, `commit` what it was made of, `expires` when it may be deleted, in
    seconds since the epoch (0: never). `leaving`: it is to be deleted, and could not be so far.
    """

    agent: str
    swarm: str = ""
    commit: str = ""
    expires: int = 0
    leaving: bool = False

    @property
    def overdue(self) -> bool:
        """Is its time up?"""
        return 0 < self.expires <= datetime.now(UTC).timestamp()

    def labels(self) -> dict[str, str]:
        """As labels of its VM."""
        return {
            "agent": self.agent,
            "swarm": self.swarm,
            "commit": self.commit,
            **({"expires": str(self.expires)} if self.expires else {}),
        }

    @classmethod
    def of_labels(cls, labels: dict[str, str]) -> Self | None:
        """What labels say, which anyone with the account's key may set; None when they say nothing."""
        agent = labels.get("agent", "")
        if not agent:
            return None
        expires = labels.get("expires", "")
        number = int(expires) if expires.isascii() and expires.isdecimal() and len(expires) < 12 else 0
        return cls(agent, labels.get("swarm", ""), labels.get("commit", ""), number)


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
    return timedelta(seconds=float(found[1]) * UNITS[found[2]])
