"""Random lives of VMs, with a model beside them that says what must have become of each.

What is planted in a VM's memory and on its disk has to be found in exactly its descendants. Who knows how to
do these things to a platform, on paper or not, is a `Platform` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

MOST_VMS = 6
RUNNING, PAUSED, DEAD = "running", "paused", "dead"


@dataclass(frozen=True)
class Content:
    """The tokens in a memory and on a disk."""

    memory: frozenset[int] = frozenset()
    disk: frozenset[int] = frozenset()


@dataclass
class VM:
    """What a VM must be."""

    state: str = RUNNING
    content: Content = field(default_factory=Content)
    parent_commit_id: str | None = None
    grandparent_vm_id: str | None = None
    last_commit: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Commit:
    """What a commit must be."""

    name: str
    content: Content
    parent_vm_id: str
    grandparent_commit_id: str | None


class Platform(Protocol):
    """What is done to VMs. Lists of VMs and commits are as the API tells of them, by id."""

    def create(self, labels: dict[str, str]) -> str: ...
    def plant(self, vm_id: str, token: int, large: bool) -> None: ...
    def found(self, vm_id: str, below: int) -> Content: ...
    def branch(self, vm_id: str, count: int, keep_paused: bool) -> Sequence[str]: ...
    def commit(self, vm_id: str, name: str, keep_paused: bool) -> str: ...
    def restore(self, commit_id: str, count: int) -> Sequence[str]: ...
    def set_state(self, vm_id: str, state: str) -> None: ...
    def delete(self, vm_id: str) -> None: ...
    def delete_commit(self, commit_id: str) -> bool: ...
    def label(self, vm_id: str, labels: dict[str, str]) -> None: ...
    def kill(self, vm_id: str) -> None: ...
    def restart(self) -> None: ...
    def crash(self) -> None: ...
    def vms(self) -> dict[str, dict[str, Any]]: ...
    def commits(self) -> dict[str, dict[str, Any]]: ...
    def parents(self, commit_id: str) -> list[str]: ...
    def check(self) -> None: ...
    def close(self) -> None: ...


class Lives(RuleBasedStateMachine):
    """The rules. A subclass says which platform."""

    platform: Platform

    def __init__(self) -> None:
        super().__init__()
        self.vms: dict[str, VM] = {}
        self.commits: dict[str, Commit] = {}
        self.tokens = 0

    def pick(self, data: st.DataObject, *states: str) -> str:
        return data.draw(st.sampled_from([vm_id for vm_id, vm in self.vms.items() if vm.state in states]))

    def has(self, *states: str) -> bool:
        return any(vm.state in states for vm in self.vms.values())

    def made(
        self, vm_ids: Sequence[str], source: str, commit: str, latest: str | None, what: Content
    ) -> None:
        for vm_id in vm_ids:
            self.vms[vm_id] = VM(RUNNING, what, commit, source, latest)

    @initialize()
    def begin(self) -> None:
        self.vms[self.platform.create({})] = VM()

    @precondition(lambda self: len(self.vms) < MOST_VMS)
    @rule(name=st.sampled_from(["", "build", "Web #2"]))
    def create(self, name: str) -> None:
        labels = {"name": name} if name else {}
        self.vms[self.platform.create(labels)] = VM(labels=labels)

    @precondition(lambda self: self.has(RUNNING))
    @rule(data=st.data(), large=st.booleans())
    def plant(self, data: st.DataObject, large: bool) -> None:
        self.plant_in(self.pick(data, RUNNING), large)

    def plant_in(self, vm_id: str, large: bool) -> None:
        self.tokens += 1
        self.platform.plant(vm_id, self.tokens, large)
        before = self.vms[vm_id].content
        self.vms[vm_id].content = Content(before.memory | {self.tokens}, before.disk | {self.tokens})

    @precondition(lambda self: self.has(RUNNING, PAUSED) and len(self.vms) < MOST_VMS)
    @rule(data=st.data(), count=st.integers(1, 2), keep_paused=st.booleans())
    def branch(self, data: st.DataObject, count: int, keep_paused: bool) -> None:
        vm_id = self.pick(data, RUNNING, PAUSED)
        source = self.vms[vm_id]
        made = self.platform.branch(vm_id, count, keep_paused)
        assert len(made) == count
        (snapshot,) = {self.platform.vms()[each]["parent_commit_id"] for each in made}
        assert snapshot not in self.commits
        self.made(made, vm_id, snapshot, source.last_commit, source.content)
        if keep_paused:
            source.state = PAUSED

    @precondition(lambda self: self.has(RUNNING, PAUSED))
    @rule(data=st.data(), keep_paused=st.booleans())
    def commit(self, data: st.DataObject, keep_paused: bool) -> None:
        self.commit_of(self.pick(data, RUNNING, PAUSED), keep_paused)

    def commit_of(self, vm_id: str, keep_paused: bool) -> str:
        vm, name = self.vms[vm_id], f"number {len(self.commits)}"
        commit_id = self.platform.commit(vm_id, name, keep_paused)
        self.commits[commit_id] = Commit(name, vm.content, vm_id, vm.last_commit)
        vm.last_commit = commit_id
        if keep_paused:
            vm.state = PAUSED
        return commit_id

    @precondition(lambda self: self.commits and len(self.vms) < MOST_VMS)
    @rule(data=st.data(), count=st.integers(1, 2))
    def restore(self, data: st.DataObject, count: int) -> None:
        self.restore_of(data.draw(st.sampled_from(list(self.commits))), count)

    def restore_of(self, commit_id: str, count: int) -> Sequence[str]:
        commit = self.commits[commit_id]
        made = self.platform.restore(commit_id, count)
        self.made(made, commit.parent_vm_id, commit_id, commit_id, commit.content)
        return made

    @precondition(lambda self: self.has(RUNNING, PAUSED) and len(self.vms) < MOST_VMS)
    @rule(data=st.data())
    def generations(self, data: st.DataObject) -> None:
        """What people do: commit, try something in a copy, and commit that."""
        (child,) = self.restore_of(self.commit_of(self.pick(data, RUNNING, PAUSED), False), 1)
        self.plant_in(child, False)
        self.commit_of(child, False)

    @precondition(lambda self: self.has(RUNNING))
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        vm_id = self.pick(data, RUNNING)
        self.platform.set_state(vm_id, PAUSED)
        self.vms[vm_id].state = PAUSED

    @precondition(lambda self: self.has(PAUSED))
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        vm_id = self.pick(data, PAUSED)
        self.platform.set_state(vm_id, RUNNING)
        self.vms[vm_id].state = RUNNING

    @precondition(lambda self: self.has(RUNNING, PAUSED))
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        vm_id = self.pick(data, RUNNING, PAUSED)
        self.platform.kill(vm_id)
        self.vms[vm_id].state = DEAD

    @precondition(lambda self: self.has(DEAD))
    @rule(data=st.data())
    def bring_back(self, data: st.DataObject) -> None:
        """It boots from its disk: what was in its memory is lost."""
        vm_id = self.pick(data, DEAD)
        self.platform.set_state(vm_id, RUNNING)
        vm = self.vms[vm_id]
        vm.state, vm.content = RUNNING, Content(frozenset(), vm.content.disk)

    @precondition(lambda self: self.vms)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        vm_id = self.pick(data, RUNNING, PAUSED, DEAD)
        self.platform.delete(vm_id)
        del self.vms[vm_id]

    @precondition(lambda self: self.commits)
    @rule(data=st.data())
    def delete_commit(self, data: st.DataObject) -> None:
        commit_id = data.draw(st.sampled_from(list(self.commits)))
        needed = any(vm.parent_commit_id == commit_id for vm in self.vms.values()) or any(
            other.grandparent_commit_id == commit_id for other in self.commits.values()
        )
        assert self.platform.delete_commit(commit_id) is not needed
        if not needed:
            commit = self.commits.pop(commit_id)
            for vm in self.vms.values():
                if vm.last_commit == commit_id:
                    vm.last_commit = commit.grandparent_commit_id

    @precondition(lambda self: self.vms)
    @rule(data=st.data(), text=st.sampled_from(["a", "b c", "\N{SNOWMAN}"]))
    def label(self, data: st.DataObject, text: str) -> None:
        vm_id = self.pick(data, RUNNING, PAUSED, DEAD)
        self.platform.label(vm_id, {"note": text})
        self.vms[vm_id].labels = self.vms[vm_id].labels | {"note": text}

    @rule()
    def restart(self) -> None:
        self.platform.restart()

    @rule()
    def crash(self) -> None:
        self.platform.crash()

    @invariant()
    def states_and_lineage_are_as_they_must_be(self) -> None:
        told = self.platform.vms()
        assert {vm_id: vm["state"] for vm_id, vm in told.items()} == {
            vm_id: vm.state for vm_id, vm in self.vms.items()
        }
        for vm_id, vm in self.vms.items():
            lineage = (vm.parent_commit_id, vm.grandparent_vm_id, vm.labels)
            assert (
                tuple(told[vm_id].get(f) for f in ("parent_commit_id", "grandparent_vm_id", "labels"))
                == lineage
            )
        commits = self.platform.commits()
        assert commits.keys() == self.commits.keys()
        for commit_id, commit in self.commits.items():
            lineage = (commit.name, commit.parent_vm_id, commit.grandparent_commit_id)
            fields = ("name", "parent_vm_id", "grandparent_commit_id")
            assert tuple(commits[commit_id].get(name) for name in fields) == lineage
            assert self.platform.parents(commit_id) == self.ancestors(commit_id)

    def ancestors(self, commit_id: str) -> list[str]:
        parent = self.commits[commit_id].grandparent_commit_id
        return [parent, *self.ancestors(parent)] if parent is not None else []

    @invariant()
    def what_was_planted_is_in_exactly_the_descendants(self) -> None:
        for vm_id, vm in self.vms.items():
            if vm.state == RUNNING:
                assert self.platform.found(vm_id, self.tokens + 1) == vm.content, vm_id

    @invariant()
    def nothing_is_there_that_nobody_needs_and_nothing_is_missing(self) -> None:
        self.platform.check()

    def teardown(self) -> None:
        try:
            for commit_id, commit in self.commits.items():
                (vm_id,) = self.platform.restore(commit_id, 1)
                assert self.platform.found(vm_id, self.tokens + 1) == commit.content
                self.platform.delete(vm_id)
        finally:
            self.platform.close()
