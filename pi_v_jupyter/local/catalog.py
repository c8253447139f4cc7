"""What the platform knows besides its VMs: commits, their tags, the account's environment variables.

It keeps the records and what holds between them; the snapshots that commits are about are the fleet's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from pi_v_jupyter.api.models import CommitChange, TagChange, TagInfo
from pi_v_jupyter.local.access import seen_commits
from pi_v_jupyter.local.commits import CommitRecord, Commits
from pi_v_jupyter.local.env_vars import EnvVars
from pi_v_jupyter.local.problems import ConflictError, UnknownError
from pi_v_jupyter.local.tags import Tags

_MOST_NAMED = 5  # in a refusal; nobody reads more


class Catalog:
    """Commits, tags and environment variables. Only the daemon has one, and uses it on its loop."""

    def __init__(self, commits: Commits, tags: Tags, env_vars: EnvVars) -> None:
        self._commits = commits
        self._tags = tags
        self.env_vars = env_vars

    @classmethod
    def load(cls) -> Self:
        """The catalog on disk. Records that cannot be read are logged and left out."""
        return cls(Commits(), Tags(), EnvVars())

    def unreadable(self) -> bool:
        """Whether there are commits whose records cannot be read."""
        return self._commits.unreadable()

    def add(self, commit: CommitRecord) -> CommitRecord:
        """Keep a new commit, whose snapshot is whole; one without a name gets one.

        Raises:
            NotPossibleError, NoRoomError: it cannot be kept.
        """
        return self._commits.add(commit)

    def commit_ids(self) -> set[str]:
        """The ids of all commits, whoever asks."""
        return {commit.commit_id for commit in self._commits}

    def commit(self, commit_id: str) -> CommitRecord | None:
        """The commit of that id."""
        return self._commits.get(commit_id)

    def resolve(self, ref: str) -> CommitRecord:
        """The commit that `ref` names: its id, a tag, or its name where no other has it.

        Raises:
            UnknownError: none is named so.
            ConflictError: more than one has that name.
        """
        commit = self.commit(ref)
        if commit is not None:
            return commit
        if self._tags.get(ref) is not None:
            return self.tagged(ref)
        named = [each for each in self._commits if each.name == ref]
        if not named:
            raise UnknownError(f"There is no commit {ref}.")
        if len(named) > 1:
            raise ConflictError(f"{len(named)} commits have the name {ref}.", "Say which by its id.")
        return named[0]

    def page(self, limit: int, offset: int, *, public_only: bool = False) -> tuple[list[CommitRecord], int]:
        """At most `limit` commits from `offset` on, newest first, and how many there are in all."""
        commits = seen_commits(commit for commit in self._commits if commit.is_public or not public_only)
        return commits[offset : offset + limit], len(commits)

    def change(self, commit_id: str, change: CommitChange) -> CommitRecord:
        """Change what `change` has set of a commit.

        Raises:
            UnknownError, NotPossibleError, NoRoomError: it cannot be changed.
        """
        return self._commits.change(commit_id, change)

    def remove(self, commit_id: str, needed_by: Callable[[str], list[str]]) -> None:
        """Forget a commit. `needed_by` says what else needs it, such as "VM build".

        Raises:
            UnknownError: there is none.
            ConflictError: something needs it.
        """
        commit = self._commits.known(commit_id)
        needing = [
            *needed_by(commit_id),
            *(f"commit {each.name}" for each in self._commits if each.grandparent_commit_id == commit_id),
            *(f"tag {tag}" for tag in self._tags.of(commit_id)),
        ]
        if needing:
            more = f" and {len(needing) - _MOST_NAMED} more" if len(needing) > _MOST_NAMED else ""
            raise ConflictError(
                f"Commit {commit.name} is needed by {', '.join(needing[:_MOST_NAMED])}{more}.",
                "Delete what needs it first.",
            )
        self._commits.remove(commit_id)

    def parents(self, commit_id: str) -> list[CommitRecord]:
        """The commits that a commit descends from, nearest first.

        Raises:
            UnknownError: there is no such commit.
        """
        return self._commits.parents(commit_id)

    def tags(self) -> list[TagInfo]:
        """All tags, in the order of their names."""
        return [*self._tags]

    def tag(self, tag_name: str) -> TagInfo:
        """The tag of that name.

        Raises:
            UnknownError: there is none.
        """
        return self._tags.known(tag_name)

    def tagged(self, tag_name: str) -> CommitRecord:
        """The commit that has the tag.

        Raises:
            UnknownError: there is no such tag, or its commit is not to be read.
        """
        return self._commits.known(self._tags.known(tag_name).commit_id)

    def add_tag(self, tag_name: str, commit_id: str, description: str | None = None) -> TagInfo:
        """Give a commit a new tag: 1 to 64 letters, digits and `-_.`.

        Raises:
            UnknownError: there is no such commit.
            ConflictError: there is a tag of that name.
            NotPossibleError, NoRoomError: it cannot be kept.
        """
        return self._tags.add(tag_name, self._commits.known(commit_id).commit_id, description)

    def change_tag(self, tag_name: str, change: TagChange) -> TagInfo:
        """Move a tag to another commit, or change its description.

        Raises:
            UnknownError: there is no such tag or commit.
            NotPossibleError, NoRoomError: it cannot be kept.
        """
        if change.commit_id is not None:
            self._commits.known(change.commit_id)
        return self._tags.change(tag_name, change)

    def remove_tag(self, tag_name: str) -> TagInfo:
        """Take a tag away and return it; its commit stays.

        Raises:
            UnknownError: there is none.
        """
        return self._tags.remove(tag_name)
