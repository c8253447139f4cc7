"""What is kept on disk of each commit: one record, about the snapshot that has the same id.

The record is written after the snapshot is whole and removed before it, so that no half commit is listed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pi_v_jupyter.api.models import CommitChange, CommitInfo
from pi_v_jupyter.local import kept, paths
from pi_v_jupyter.local.problems import NotPossibleError, UnknownError

log = logging.getLogger(__name__)

LONGEST_NAME = 256
LONGEST_DESCRIPTION = 4096


class CommitRecord(CommitInfo):
    """`CommitInfo`, where it is kept, and `made_by`: the VMs whose keys it was made with (`access`)."""

    made_by: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """The record's file."""
        return _folder() / f"{self.commit_id}.json"


class Commits:
    """All commits, by id."""

    def __init__(self) -> None:
        self._records = {commit.commit_id: commit for commit in _load_all()}

    def __iter__(self) -> Iterator[CommitRecord]:
        """The newest first."""
        return iter(sorted(self._records.values(), key=lambda c: (c.created_at, c.commit_id), reverse=True))

    def unreadable(self) -> bool:
        """Whether there are records that cannot be read, of commits that are not known of."""
        return len(list(_folder().glob("*.json"))) > len(self._records)

    def get(self, commit_id: str) -> CommitRecord | None:
        """The commit of that id."""
        return self._records.get(commit_id)

    def known(self, commit_id: str) -> CommitRecord:
        """The commit of that id.

        Raises:
            UnknownError: there is none.
        """
        commit = self.get(commit_id)
        if commit is None:
            raise UnknownError(f"There is no commit {commit_id}.")
        return commit

    def add(self, commit: CommitRecord) -> CommitRecord:
        """Keep a new commit; one without a name gets one.

        Raises:
            NotPossibleError: its name or description is too long.
            NoRoomError: the disk is full.
        """
        if not commit.name:
            commit = commit.model_copy(update={"name": f"commit-{commit.commit_id[:8]}"})
        return self._keep(commit)

    def change(self, commit_id: str, change: CommitChange) -> CommitRecord:
        """Change what `change` has set. A description may be taken away, a name may not.

        Raises:
            UnknownError, NotPossibleError, NoRoomError: it cannot be changed.
        """
        fields = {
            field: value
            for field, value in change.model_dump(exclude_unset=True).items()
            if value is not None or field == "description"
        }
        if fields.get("name") == "":
            raise NotPossibleError("A commit cannot have an empty name.")
        return self._keep(self.known(commit_id).model_copy(update=fields))

    def remove(self, commit_id: str) -> None:
        """Forget the commit."""
        self._records[commit_id].file.unlink(missing_ok=True)
        del self._records[commit_id]

    def parents(self, commit_id: str) -> list[CommitRecord]:
        """The commit its machine came from, and that one's, and so on: nearest first.

        Raises:
            UnknownError: there is no such commit.
        """
        lineage = [self.known(commit_id)]
        seen = {commit_id}
        while (parent := self.get(lineage[-1].grandparent_commit_id or "")) and parent.commit_id not in seen:
            seen.add(parent.commit_id)  # records on disk can be anything, a circle too
            lineage.append(parent)
        return lineage[1:]

    def _keep(self, commit: CommitRecord) -> CommitRecord:
        check_text("name", commit.name, LONGEST_NAME)
        check_text("description", commit.description or "", LONGEST_DESCRIPTION)
        kept.write(commit.file, commit.model_dump_json(indent=1))
        self._records[commit.commit_id] = commit
        return commit


def check_text(what: str, text: str, longest: int) -> None:
    """Refuse a text of more than `longest` characters."""
    if len(text) > longest:
        raise NotPossibleError(f"A {what} of {len(text)} characters cannot be.", f"It has {longest} at most.")


def _folder() -> Path:
    return paths.platform_dir() / "commits"


def _load_all() -> Iterator[CommitRecord]:
    for file in _folder().glob("*.json"):
        try:
            commit = CommitRecord.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read, and is left as it is: %s", file, type(error).__name__)
            continue
        if commit.file == file:  # else a copy somebody made by hand
            yield commit
