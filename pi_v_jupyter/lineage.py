"""Which VM came from which, and by way of which commit. Looks only at what is known; asks nobody."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from pi_v_jupyter.commits import Commit
from pi_v_jupyter.vm import VM


@dataclass(frozen=True)
class Line:
    """One VM or commit of a tree: `stem` is what is drawn before it, `depth` how many are above it."""

    item: VM | Commit
    depth: int
    stem: str


class Lineage(list[Line]):
    """VMs and commits under what they came from, top to bottom, and so they show in a notebook."""

    active: str | None = None
    """The id of the VM that cells run on."""


def lineage(vms: Sequence[VM], commits: Sequence[Commit], active: str | None = None) -> Lineage:
    """The tree of all these; what came from something that is no more stands at the left."""
    items = _by_id(vms, commits)
    below: dict[str | None, list[VM | Commit]] = {}
    for item in sorted(items.values(), key=lambda item: item.created_at):
        parent = nearest(item, items)
        below.setdefault(parent, []).append(item)

    tree = Lineage()
    tree.active = active
    seen: set[str] = set()
    # A platform that names a VM as its own ancestor gets it shown all the same: whoever is left, once.
    for root in [*below.get(None, ()), *items.values()]:
        waiting = [(root, 0, "", "")]
        while waiting:
            item, depth, drawn, indent = waiting.pop()
            if item.id in seen:
                continue
            seen.add(item.id)
            tree.append(Line(item, depth, drawn))
            children = [child for child in below.get(item.id, ()) if child.id not in seen]
            for child in reversed(children):
                stem, further = ("└─ ", "   ") if child is children[-1] else ("├─ ", "│  ")
                waiting.append((child, depth + 1, indent + stem, indent + further))
    return tree


def nearest(item: VM | Commit, there: Container[str]) -> str | None:
    """The id of what it stands under: of the nearest that it came from and that is there."""
    if isinstance(item, VM):
        found = (item.info.parent_commit_id, item.info.grandparent_vm_id)
    else:
        found = (item.info.parent_vm_id, item.info.grandparent_commit_id)
    return next((origin for origin in found if origin and origin in there), None)


def origin(item: VM | Commit, there: Container[str]) -> str:
    """The same; if nothing of that is there, the id of what it was, a VM before a commit. Empty: unknown."""
    if isinstance(item, VM):
        gone = item.info.grandparent_vm_id or item.info.parent_commit_id
    else:
        gone = item.info.parent_vm_id or item.info.grandparent_commit_id
    return nearest(item, there) or gone or ""


@dataclass(frozen=True)
class Facts:
    """All that is known of one VM or commit."""

    item: VM | Commit
    origin: VM | Commit | None
    """What it came from, if that is still there."""
    offspring: list[VM | Commit]
    """What came from it directly, oldest first."""


def facts(item: VM | Commit, vms: Sequence[VM], commits: Sequence[Commit]) -> Facts:
    """What these tell of one of them."""
    items = _by_id(vms, commits)

    offspring = [one for one in items.values() if nearest(one, items) == item.id]
    came_from = nearest(item, items)
    ordered = sorted(offspring, key=lambda one: one.created_at)
    return Facts(item, items[came_from] if came_from else None, ordered)


def _by_id(vms: Sequence[VM], commits: Sequence[Commit]) -> dict[str, VM | Commit]:
    return {**{vm.vm_id: vm for vm in vms}, **{commit.id: commit for commit in commits}}


def descendants(parents: Iterable[VM], vms: Sequence[VM]) -> list[VM]:
    """All of `vms` that came from one of `parents`, at whatever remove, without those themselves."""
    found = {vm.vm_id for vm in parents}
    given = set(found)
    more = True
    while more:
        more = False
        for vm in vms:
            if vm.vm_id not in found and vm.info.grandparent_vm_id in found:
                found.add(vm.vm_id)
                more = True
    return [vm for vm in vms if vm.vm_id in found - given]
