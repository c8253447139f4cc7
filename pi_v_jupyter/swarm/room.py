"""Whether there is room for more agents, and what these are called, beside those that are being made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from pi_v_jupyter import names
from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.swarm.membership import Membership


@dataclass(frozen=True)
class Room:
    """For `count` agents, of these labels or of default ones, on a platform with these VMs.

    `members` are those that are agents', label by id; `ids` and `called` are the ids and the names of all.
    """

    count: int
    labels: Sequence[str]
    max_vms: int
    members: Mapping[str, str]
    ids: Sequence[str]
    called: Set[str]

    def choose(self, recorded: Mapping[str, Membership], coming: Sequence[str]) -> Sequence[str]:
        """The labels, where those on record by their VMs are there, and those of labels `coming` soon.

        Raises:
            UsageError: a label cannot be one or is taken, or there would be too many agents.
        """
        there = len({*self.members, *recorded})
        if there + len(coming) + self.count > self.max_vms:
            more = f" and {len(coming)} being made" if coming else ""
            raise UsageError(
                f"There are {there} agents{more}, and {self.count} more would be more than {self.max_vms}.",
                "`%vers swarm teardown` deletes those there are, `--max-vms` allows more.",
            )
        taken = self.called | {member.agent for member in recorded.values()}
        if not self.labels:
            return names.free("agent", self.count, taken | {*coming}, self.ids)
        agents = {member.agent for member in recorded.values()} | {*self.members.values()}
        for label in self.labels:
            if label in agents:
                raise UsageError(
                    f"There is an agent {label!r} already.",
                    f"Give another label, or `%vers swarm teardown {label}` deletes it.",
                )
            names.check(label, taken, self.ids)
            if label in coming:
                raise UsageError(f"An agent {label!r} is being made just now.", "Another label avoids that.")
        return self.labels
