"""Names for commits that can be moved from one to another; all in one file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from pi_v_jupyter.api.models import TagChange, TagInfo
from pi_v_jupyter.local import kept, paths
from pi_v_jupyter.local.commits import LONGEST_DESCRIPTION, check_text
from pi_v_jupyter.local.problems import ConflictError, UnknownError

_LIST = TypeAdapter(list[TagInfo])


class Tags:
    """All tags, by name. Whether the commits they name are there is not looked at here."""

    def __init__(self) -> None:
        self._tags = {tag.tag_name: tag for tag in kept.read(_file(), _LIST, [])}

    def __iter__(self) -> Iterator[TagInfo]:
        """In the order of their names."""
        return iter(sorted(self._tags.values(), key=lambda tag: tag.tag_name))

    def get(self, tag_name: str) -> TagInfo | None:
        """The tag of that name."""
        return self._tags.get(tag_name)

    def known(self, tag_name: str) -> TagInfo:
        """The tag of that name.

        Raises:
            UnknownError: there is none.
        """
        tag = self.get(tag_name)
        if tag is None:
            raise UnknownError(f"There is no tag {tag_name}.")
        return tag

    def of(self, commit_id: str) -> list[str]:
        """Names of the tags that a commit has."""
        return [tag.tag_name for tag in self if tag.commit_id == commit_id]

    def add(self, tag_name: str, commit_id: str, description: str | None) -> TagInfo:
        """Give a commit a new tag.

        Raises:
            ConflictError: there is a tag of that name.
            NotPossibleError, NoRoomError: it cannot be kept.
        """
        present = self.get(tag_name)
        if present is not None:
            raise ConflictError(
                f"There is a tag {tag_name} already, of commit {present.commit_id}.",
                "Move it with PATCH, or delete it first.",
            )
        now = datetime.now(UTC)
        return self._keep(
            TagInfo(
                tag_id=str(uuid.uuid4()),
                tag_name=tag_name,
                commit_id=commit_id,
                created_at=now,
                updated_at=now,
                description=description,
            )
        )

    def change(self, tag_name: str, change: TagChange) -> TagInfo:
        """Change what `change` has set: a tag can be moved, and its description taken away.

        Raises:
            UnknownError, NotPossibleError, NoRoomError: it cannot be changed.
        """
        fields = change.model_dump(exclude_unset=True)
        if change.commit_id is None:
            fields.pop("commit_id", None)
        return self._keep(self.known(tag_name).model_copy(update={**fields, "updated_at": datetime.now(UTC)}))

    def remove(self, tag_name: str) -> TagInfo:
        """Take the tag away and return it; its commit stays.

        Raises:
            UnknownError: there is none.
        """
        tag = self.known(tag_name)
        self._write({name: other for name, other in self._tags.items() if name != tag_name})
        return tag

    def _keep(self, tag: TagInfo) -> TagInfo:
        check_text("description", tag.description or "", LONGEST_DESCRIPTION)
        self._write(self._tags | {tag.tag_name: tag})
        return tag

    def _write(self, tags: dict[str, TagInfo]) -> None:
        kept.write(_file(), _LIST.dump_json(list(tags.values()), indent=1).decode())
        self._tags = tags


def _file() -> Path:
    return paths.platform_dir() / "tags.json"
