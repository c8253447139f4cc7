"""What changed in a workspace, as a patch that fits a repository here, or says where it does not."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from platforms import Platform

from pi_v_jupyter import VM, Vers
from pi_v_jupyter.errors import PatchError, RemoteCommandError, UsageError
from pi_v_jupyter.swarm import workspace

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]
BINARY = bytes(range(256))


@pytest.fixture
async def vm(platform: Platform) -> AsyncIterator[VM]:
    """A VM whose workspace is a copy of `repository`, with a repository within it, and marked so."""
    async with Vers(platform.settings) as session:
        made = await session.create()
        yield made
        await made.delete()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit."""
    top = tmp_path / "project"
    top.mkdir()
    (top / "a.txt").write_text("one\ntwo\nthree\n")
    (top / "data.bin").write_bytes(BINARY)
    (top / ".gitignore").write_text("*.log\n")
    git(top, "init", "-q", "-b", "main")
    git(top, "add", "-A")
    git(top, "-c", "user.name=t", "-c", "user.email=t@t.invalid", "commit", "-qm", "start")
    return top


def git(top: Path, *words: str) -> str:
    return subprocess.run(("git", *words), cwd=top, check=True, capture_output=True, text=True).stdout


async def fill(vm: VM, repository: Path, at: str) -> None:
    for file in repository.iterdir():
        if file.is_file():
            await vm.write(f"{at}/{file.name}", file.read_bytes())


async def test_a_patch_has_all_that_changed_and_becomes_a_branch_here(vm: VM, repository: Path) -> None:
    await fill(vm, repository, "workspace")
    await workspace.mark(vm)
    assert not await workspace.changes(vm, "ann")
    await vm.run(
        """
        cd workspace && sed -i s/two/2/ a.txt && printf 'x\\xff\\0y' > data.bin && echo new > 'a new file.txt'
        echo noise > some.log && ln -s a.txt link && mkdir -p sub && echo deep > sub/deep && chmod +x sub/deep
        git init -q && git add -A && git -c user.name=a -c user.email=a@b.invalid commit -qm hidden
        """
    )
    await workspace.mark(vm)  # again: the first one counts
    patch = await workspace.changes(vm, "ann")
    assert sorted(patch.files) == ["a new file.txt", "a.txt", "data.bin", "link", "sub/deep"]
    assert "-two\n+2\n" in patch.text
    (repository / "mine.txt").write_text("in the middle of something")
    assert await patch.apply(repository) == "swarm/ann"
    assert git(repository, "status", "--porcelain") == "?? mine.txt\n"
    assert git(repository, "show", "swarm/ann:a.txt") == "one\n2\nthree\n"
    assert git(repository, "log", "-1", "--format=%an %s", "swarm/ann").startswith("ann ")
    assert git(repository, "ls-tree", "swarm/ann", "sub/deep").startswith("100755")
    git(repository, "checkout", "-q", "swarm/ann")
    assert (repository / "data.bin").read_bytes() == b"x\xff\0y" and (repository / "link").is_symlink()
    assert git(repository, "worktree", "list").count("\n") == 1
    with pytest.raises(UsageError, match="There is a branch swarm/ann already"):
        await patch.apply(repository)
    with pytest.raises(PatchError):  # what is checked out has it already
        await patch.apply(repository, branch="again")


async def test_a_repository_within_the_workspace_is_a_part_of_it_and_may_be_asked_for_alone(
    vm: VM, repository: Path
) -> None:
    await fill(vm, repository, "workspace/project")
    await vm.run("cd workspace/project && git init -q && echo beside > ../notes")
    await workspace.mark(vm)
    await vm.run("cd workspace && rm project/data.bin && echo more >> project/a.txt && echo x >> notes")
    assert (await workspace.changes(vm, "ann")).files == ["notes", "project/a.txt", "project/data.bin"]
    patch = await workspace.changes(vm, "ann", "project")
    assert patch.files == ["a.txt", "data.bin"]
    await patch.apply(repository)
    assert git(repository, "diff", "--stat", "main", "swarm/ann").endswith(
        "2 files changed, 1 insertion(+)\n"
    )


async def test_what_does_not_fit_is_shown_and_nothing_is_changed(vm: VM, repository: Path) -> None:
    await fill(vm, repository, "workspace")
    await workspace.mark(vm)
    await vm.run("cd workspace && sed -i s/two/theirs/ a.txt && echo new > b.txt")
    patch = await workspace.changes(vm, "ann")
    (repository / "a.txt").write_text("one\nmine\nthree\n")
    git(repository, "-c", "user.name=t", "-c", "user.email=t@t.invalid", "commit", "-qam", "mine")
    with pytest.raises(PatchError, match=r"does not fit: a\.txt") as refused:
        await patch.apply(repository)
    assert refused.value.files == ["a.txt"]
    assert git(repository, "branch", "--format=%(refname:short)") == "main\n"
    assert git(repository, "worktree", "list").count("\n") == 1


async def test_what_others_have_done_since_stays_where_the_patch_fits_beside_it(
    vm: VM, repository: Path
) -> None:
    await fill(vm, repository, "workspace")
    await workspace.mark(vm)
    await vm.run("cd workspace && echo four >> a.txt")
    patch = await workspace.changes(vm, "ann")
    (repository / "a.txt").write_text("zero\none\ntwo\nthree\n")
    git(repository, "-c", "user.name=t", "-c", "user.email=t@t.invalid", "commit", "-qam", "mine")
    await patch.apply(repository)
    assert git(repository, "show", "swarm/ann:a.txt") == "zero\none\ntwo\nthree\nfour\n"


async def test_what_cannot_be_applied_says_why(vm: VM, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(RemoteCommandError, match="its machine is of no golden image"):
        await workspace.changes(vm, "ann")
    await workspace.mark(vm)
    with pytest.raises(UsageError, match="ann has changed nothing"):
        await (await workspace.changes(vm, "ann")).apply(repository)
    await vm.run("echo new > workspace/b.txt")
    patch = await workspace.changes(vm, "ann")
    with pytest.raises(UsageError, match="is no git repository with a commit"):
        await patch.apply(tmp_path)
    with pytest.raises(UsageError, match="cannot name a branch"):
        await patch.apply(repository, branch="a..b")
