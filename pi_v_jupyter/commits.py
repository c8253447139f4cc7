"""The commits of one platform: found by id, name or tag; tagged; removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pi_v_jupyter import names
from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.exchange import known_commit
from pi_v_jupyter.api.models import CommitInfo, TagInfo
from pi_v_jupyter.errors import AmbiguousCommitError, ApiError, UnknownCommitError

FULL_ID = 32  # characters, at least, of an id that may be asked for though no list has it
ABSENT = (404, 405, 501)  # answers of a platform that has no such list
ALL = "`%vers commits` shows them all."


@dataclass(frozen=True)
class Commit:
    """A machine as it was at one moment; `vers.restore` makes VMs of it."""

    info: CommitInfo
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The platform's id, a UUID."""
        return self.info.commit_id

    @property
    def name(self) -> str:
        """The name given to it; empty when it has none, or one that the platform made of its id."""
        return "" if self.id[:8] in self.info.name else names.shown(self.info.name)

    @property
    def label(self) -> str:
        """What to call it: its first tag, its name, or the start of its id."""
        return self.tags[0] if self.tags else self.name or self.id[:8]

    @property
    def created_at(self) -> datetime:
        """The moment."""
        return self.info.created_at

    def __repr__(self) -> str:
        return f"<Commit {self.label} {self.id[:8]}>"


class Commits(list[Commit]):
    """A list of commits that shows as a table in a notebook."""


class Tags(list[TagInfo]):
    """A list of tags that shows as a table in a notebook."""


class Catalog:
    """The commits and tags of whichever platform the settings name now."""

    def __init__(self, client: VersClient) -> None:
        self._client = client

    async def all(self) -> Commits:
        """Every commit of the account, oldest first."""
        infos = await self._client.list_commits()
        tags: dict[str, list[str]] = {}
        for tag in await self.tags():
            tags.setdefault(tag.commit_id, []).append(tag.tag_name)
        found = (Commit(info, tuple(tags.get(info.commit_id, ()))) for info in infos)
        return Commits(sorted(found, key=lambda commit: commit.created_at))

    async def tags(self) -> Tags:
        """Every tag; none on a platform that has no tags."""
        try:
            return Tags(sorted(await self._client.list_tags(), key=lambda tag: tag.tag_name))
        except ApiError as error:
            if error.status not in ABSENT:
                raise
            return Tags()

    async def find(self, name: str) -> Commit:
        """The commit of that id, tag, name or unique id prefix (4 characters or more).

        Raises:
            UnknownCommitError, AmbiguousCommitError: none, or several.
        """
        commits = await self.all()
        found = (
            [commit for commit in commits if commit.id == name]
            or [commit for commit in commits if name in commit.tags]
            or [commit for commit in commits if name and commit.name == name]
            or [
                commit
                for commit in commits
                if len(name) >= names.SHORTEST_PREFIX and commit.id.startswith(name.lower())
            ]
            or await self._public(name)
        )
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(commit.id[:13] for commit in found[:5])
            raise AmbiguousCommitError(f"{len(found)} commits match {name!r}: {ids}.", "Give the id.")
        known = [word for commit in commits for word in (*commit.tags, commit.name)]
        raise UnknownCommitError(f"No commit named {name!r}.{names.nearest(name, known)}", ALL)

    async def _public(self, commit_id: str) -> list[Commit]:
        if len(commit_id) < FULL_ID:
            return []
        try:
            infos = await self._client.list_commits(public=True)
        except ApiError as error:
            if error.status not in ABSENT:
                raise
            return []
        return [Commit(info) for info in infos if info.commit_id == commit_id]

    async def find_anyhow(self, name: str, *, made_of: str | None = None) -> Commit:
        """As `find`; where a platform lists no commits, one of that whole id is taken to be there.

        `made_of`: the VM that it was made of just now.
        """
        try:
            return await self.find(name)
        except ApiError as error:
            if error.status not in ABSENT or (made_of is None and len(name) < FULL_ID):
                raise
        now = datetime.now(UTC)
        return Commit(CommitInfo(commit_id=known_commit(name), created_at=now, parent_vm_id=made_of))

    async def last_of(self, vm_id: str) -> Commit | None:
        """The latest commit of a VM, or None."""
        own = [commit for commit in await self.all() if commit.info.parent_vm_id == vm_id]
        return own[-1] if own else None

    async def tag(self, tag_name: str, commit_id: str) -> None:
        """Have `tag_name` name that commit from now on."""
        if any(tag.tag_name == tag_name for tag in await self.tags()):
            await self._client.move_tag(tag_name, commit_id)
        else:
            await self._client.create_tag(tag_name, commit_id)

    async def untag(self, tag_name: str) -> None:
        """Remove a tag; the commit stays.

        Raises:
            UnknownCommitError: there is none of that name.
        """
        known = [tag.tag_name for tag in await self.tags()]
        if tag_name not in known:
            raise UnknownCommitError(
                f"No tag named {tag_name!r}.{names.nearest(tag_name, known)}", "`%vers tag` shows them all."
            )
        await self._client.delete_tag(tag_name)
