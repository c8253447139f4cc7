"""Commits, tags and environment variables: what may be done with them, and what is there after a restart."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pi_v_jupyter.api.models import CommitChange, TagChange
from pi_v_jupyter.local import kept, paths
from pi_v_jupyter.local.catalog import Catalog
from pi_v_jupyter.local.commits import CommitRecord
from pi_v_jupyter.local.problems import ConflictError, NoRoomError, NotPossibleError, UnknownError

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State of the test's own."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture
def catalog() -> Catalog:
    return Catalog.load()


def commit(commit_id: str, *, age: int = 0, **fields: Any) -> CommitRecord:
    """A commit that is `age` hours older than the first of January."""
    return CommitRecord(commit_id=commit_id, created_at=BEGIN - timedelta(hours=age), **fields)


def no_vms(_: str) -> list[str]:
    return []


def everything(catalog: Catalog) -> Any:
    return catalog.page(1000, 0), catalog.tags(), catalog.env_vars.all()


def test_all_of_it_is_there_after_a_restart(catalog: Catalog) -> None:
    catalog.add(commit("a", name="first", description="d", parent_vm_id="v", owner_id="o"))
    catalog.add(commit("b", grandparent_commit_id="a", is_public=True))
    catalog.add_tag("golden", "a", "the one")
    catalog.env_vars.set({"TOKEN": "s"}, replace=False)
    assert everything(Catalog.load()) == everything(catalog)


def test_what_was_removed_stays_removed(catalog: Catalog) -> None:
    catalog.add(commit("a"))
    catalog.add_tag("t", "a")
    catalog.env_vars.set({"A": "1", "B": "2"}, replace=False)
    catalog.remove_tag("t")
    catalog.remove("a", no_vms)
    catalog.env_vars.remove("A")
    for each in (catalog, Catalog.load()):
        assert everything(each) == (([], 0), [], {"B": "2"})


def test_what_is_kept_is_private(catalog: Catalog) -> None:
    catalog.add(commit("a"))
    catalog.add_tag("t", "a")
    catalog.env_vars.set({"TOKEN": "s"}, replace=False)
    files = [file for file in paths.platform_dir().rglob("*") if file.is_file()]
    assert {file.name for file in files} == {"a.json", "tags.json", "env_vars.json"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_commits_are_listed_newest_first_page_by_page(catalog: Catalog) -> None:
    for age, commit_id in enumerate("abcde"):
        catalog.add(commit(commit_id, age=age, is_public=commit_id in "bd"))
    assert [each.commit_id for each in catalog.page(2, 1)[0]] == ["b", "c"]
    assert catalog.page(2, 1)[1] == 5
    assert catalog.page(5, 9) == ([], 5)
    public, total = catalog.page(1, 0, public_only=True)
    assert ([each.commit_id for each in public], total) == (["b"], 2)


def test_a_commit_without_a_name_gets_one(catalog: Catalog) -> None:
    assert catalog.add(commit("0123456789")).name == "commit-01234567"


def test_a_commit_is_named_by_id_by_tag_and_by_a_name_no_other_has(catalog: Catalog) -> None:
    catalog.add(commit("a", name="b"))
    catalog.add(commit("b", name="twice"))
    catalog.add(commit("c", name="twice"))
    catalog.add(commit("d", name="once"))
    catalog.add_tag("once", "c")
    found = {ref: catalog.resolve(ref).commit_id for ref in ("a", "b", "once")}
    assert found == {"a": "a", "b": "b", "once": "c"}  # an id comes before a tag, a tag before a name
    catalog.remove_tag("once")
    assert catalog.resolve("once").commit_id == "d"
    with pytest.raises(ConflictError, match="2 commits have the name twice"):
        catalog.resolve("twice")
    with pytest.raises(UnknownError, match="no commit nobody"):
        catalog.resolve("nobody")


def test_a_change_changes_what_it_names_and_nothing_else(catalog: Catalog) -> None:
    catalog.add(commit("a", name="old", description="d", parent_vm_id="v"))
    catalog.change("a", CommitChange(name="new"))
    assert catalog.commit("a") == commit("a", name="new", description="d", parent_vm_id="v")
    catalog.change("a", CommitChange(is_public=True, name=None, description=None))
    assert catalog.commit("a") == commit("a", name="new", is_public=True, parent_vm_id="v")
    assert Catalog.load().commit("a") == catalog.commit("a")
    for change in (CommitChange(name=""), CommitChange(name="a" * 257), CommitChange(description="a" * 4097)):
        with pytest.raises(NotPossibleError):
            catalog.change("a", change)
    with pytest.raises(UnknownError):
        catalog.change("nobody", CommitChange(name="new"))


def test_parents_come_nearest_first(catalog: Catalog) -> None:
    catalog.add(commit("a"))
    catalog.add(commit("b", grandparent_commit_id="a"))
    catalog.add(commit("c", grandparent_commit_id="b"))
    assert [each.commit_id for each in catalog.parents("c")] == ["b", "a"]
    assert catalog.parents("a") == []
    with pytest.raises(UnknownError):
        catalog.parents("nobody")


def test_a_lineage_that_bites_its_tail_ends(catalog: Catalog) -> None:
    catalog.add(commit("a", grandparent_commit_id="b"))
    catalog.add(commit("b", grandparent_commit_id="a"))
    assert [each.commit_id for each in catalog.parents("a")] == ["b"]


def test_a_commit_goes_only_when_nothing_needs_it_and_what_does_is_named(catalog: Catalog) -> None:
    catalog.add(commit("a", name="base"))
    catalog.add(commit("b", name="child", grandparent_commit_id="a"))
    catalog.add_tag("golden", "a")
    with pytest.raises(ConflictError, match=r"base is needed by VM x, commit child, tag golden\."):
        catalog.remove("a", lambda commit_id: [f"VM {'x' if commit_id == 'a' else 'y'}"])
    with pytest.raises(ConflictError, match=r"VM 0, VM 1, VM 2, VM 3, VM 4 and 7 more\."):
        catalog.remove("a", lambda _: [f"VM {number}" for number in range(10)])
    assert catalog.commit("a") is not None
    catalog.remove("b", no_vms)
    catalog.remove_tag("golden")
    catalog.remove("a", no_vms)
    with pytest.raises(UnknownError):
        catalog.remove("a", no_vms)


def test_a_tag_is_made_once_moved_and_described(catalog: Catalog) -> None:
    catalog.add(commit("a"))
    catalog.add(commit("b"))
    made = catalog.add_tag("golden", "a", "the one")
    assert made.tag_id and made.created_at == made.updated_at
    with pytest.raises(ConflictError, match="of commit a"):
        catalog.add_tag("golden", "b")
    moved = catalog.change_tag("golden", TagChange(commit_id="b"))
    assert catalog.tagged("golden").commit_id == "b"
    assert (moved.tag_id, moved.created_at, moved.description) == (made.tag_id, made.created_at, "the one")
    assert moved.updated_at > made.updated_at
    assert catalog.change_tag("golden", TagChange(description=None)).description is None
    assert catalog.tag("golden").commit_id == "b"


def test_tags_are_only_of_commits_that_are_there(catalog: Catalog) -> None:
    catalog.add(commit("a"))
    catalog.add_tag("t", "a")
    for refused in (
        lambda: catalog.add_tag("u", "nobody"),
        lambda: catalog.change_tag("t", TagChange(commit_id="nobody")),
        lambda: catalog.change_tag("u", TagChange(commit_id="a")),
        lambda: catalog.remove_tag("u"),
        lambda: catalog.tagged("u"),
    ):
        with pytest.raises(UnknownError):
            refused()
    assert [tag.commit_id for tag in catalog.tags()] == ["a"]


def test_variables_are_added_or_replaced(catalog: Catalog) -> None:
    variables = catalog.env_vars
    variables.set({"A": "1", "B": "2"}, replace=False)
    variables.set({"B": "3"}, replace=False)
    assert variables.all() == {"A": "1", "B": "3"}
    variables.set({"C": "4"}, replace=True)
    assert variables.all() == {"C": "4"}
    with pytest.raises(UnknownError):
        variables.remove("A")


@pytest.mark.parametrize("value", ["a\nROOT=1", "a\r", "\0"])
def test_a_variable_is_one_line(catalog: Catalog, value: str) -> None:
    with pytest.raises(NotPossibleError, match="A cannot hold"):
        catalog.env_vars.set({"A": value}, replace=False)
    with pytest.raises(NotPossibleError, match="256 at most"):
        catalog.env_vars.set({f"A{number}": "" for number in range(257)}, replace=False)
    assert catalog.env_vars.all() == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"commit_id": 3}', b"\xff", b"[" * 100_000])
def test_one_commit_that_cannot_be_read_is_left_out_and_left_as_it_is(
    catalog: Catalog, content: bytes
) -> None:
    catalog.add(commit("a"))
    broken = commit("b").file
    broken.write_bytes(content)
    assert [each.commit_id for each in Catalog.load().page(9, 0)[0]] == ["a"]
    assert broken.read_bytes() == content


def test_a_copy_of_a_record_is_no_second_commit(catalog: Catalog) -> None:
    catalog.add(commit("a"))
    commit("copy").file.write_bytes(commit("a").file.read_bytes())
    assert Catalog.load().page(9, 0)[1] == 1


@pytest.mark.parametrize("name", ["tags", "env_vars"])
@pytest.mark.parametrize("content", [b"{", b"3", b'{"": 3}', b"\xff", b"[" * 100_000])
def test_a_file_that_cannot_be_read_is_set_aside_and_never_overwritten(name: str, content: bytes) -> None:
    file = paths.platform_dir() / f"{name}.json"
    file.write_bytes(content)
    catalog = Catalog.load()
    catalog.add(commit("a"))
    catalog.add_tag("t", "a")
    catalog.env_vars.set({"A": "1"}, replace=False)
    assert file.with_suffix(".unreadable").read_bytes() == content
    assert everything(Catalog.load()) == everything(catalog)


def test_a_full_disk_changes_nothing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.add(commit("a", name="base"))
    catalog.add_tag("t", "a")
    catalog.env_vars.set({"A": "1"}, replace=False)
    before = everything(catalog)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kept, "write_private", full)
    for attempt in (
        lambda: catalog.add(commit("b")),
        lambda: catalog.change("a", CommitChange(name="new")),
        lambda: catalog.add_tag("u", "a"),
        lambda: catalog.remove_tag("t"),
        lambda: catalog.env_vars.set({"B": "2"}, replace=True),
    ):
        with pytest.raises(NoRoomError, match="The disk is full"):
            attempt()
    assert everything(catalog) == everything(Catalog.load()) == before
