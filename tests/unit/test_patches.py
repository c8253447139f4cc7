"""A patch of an agent's becomes a branch here, and nothing of it is run or left lying about."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pi_v_jupyter.errors import PatchError
from pi_v_jupyter.swarm import workspace
from pi_v_jupyter.swarm.workspace import Patch

EVENTS = ("pre-commit", "post-commit", "post-checkout", "post-index-change", "reference-transaction", "clean")
WHO = ("-c", "user.name=t", "-c", "user.email=t@t.invalid")


def git(top: Path, *words: str) -> bytes:
    return subprocess.run(("git", *WHO, *words), cwd=top, check=True, capture_output=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One whose hooks and filter are where its own configuration says, in the tree, as husky does."""
    top = tmp_path / "project"
    (top / "sub").mkdir(parents=True)
    (top / "a.txt").write_text("one\ntwo\nthree\n")
    (top / ".husky").mkdir()
    (top / ".husky" / "pre-commit").write_text("#!/bin/sh\n")
    git(top, "init", "-q", "-b", "main")
    git(top, "add", "-A")
    git(top, "commit", "-qm", "start")
    git(top, "config", "core.hooksPath", ".husky")
    git(top, "config", "core.fsmonitor", ".husky/pre-commit")
    git(top, "config", "filter.tidy.clean", ".husky/clean")
    git(top, "config", "filter.tidy.smudge", ".husky/clean")
    return top


def patch(repository: Path, tmp_path: Path, files: dict[str, str]) -> Patch:
    """What an agent does to a copy: these files, all of them executable."""
    there = tmp_path / "agents"
    git(tmp_path, "clone", "-q", str(repository), str(there))
    for name, text in files.items():
        (there / name).write_text(text)
        (there / name).chmod(0o755)
    git(there, "add", "-A")
    return Patch("ann", git(there, "diff", "--cached", "--binary", "--full-index"))


async def test_no_program_of_an_agents_patch_is_run_here(repository: Path, tmp_path: Path) -> None:
    trap = f"#!/bin/sh\necho $0 >> {tmp_path}/ran\n"
    files = {f".husky/{event}": trap for event in EVENTS}
    made = patch(repository, tmp_path, {**files, ".gitattributes": "*.txt filter=tidy\n", "b.txt": "new\n"})
    assert await made.apply(repository) == "swarm/ann"
    assert not (tmp_path / "ran").exists()
    assert git(repository, "show", "swarm/ann:.husky/post-commit").decode() == trap
    assert git(repository, "log", "-1", "--format=%an %cn %P", "swarm/ann").split() == [
        *(b"ann", b"ann", git(repository, "rev-parse", "main").strip())
    ]


async def test_it_is_applied_to_the_whole_repository_from_any_folder_of_it(
    repository: Path, tmp_path: Path
) -> None:
    await patch(repository, tmp_path, {"a.txt": "one\n2\nthree\n"}).apply(repository / "sub")
    assert git(repository, "show", "swarm/ann:a.txt") == b"one\n2\nthree\n"
    assert git(repository, "rev-parse", "--abbrev-ref", "HEAD") == b"main\n"
    assert git(repository, "-c", "core.fsmonitor=false", "status", "--porcelain") == b""


async def test_what_does_not_fit_is_named_and_leaves_no_branch(repository: Path, tmp_path: Path) -> None:
    made = patch(repository, tmp_path, {"a.txt": "one\ntheirs\nthree\n", "b.txt": "new\n"})
    (repository / "a.txt").write_text("one\nmine\nthree\n")
    git(repository, "-c", "core.hooksPath=/dev/null", "commit", "-qam", "mine")
    with pytest.raises(PatchError, match=r"does not fit: a\.txt") as refused:
        await made.apply(repository)
    assert refused.value.files == ["a.txt"]
    assert git(repository, "branch", "--format=%(refname:short)") == b"main\n"


async def test_a_file_that_both_have_added_does_not_fit_and_a_checkout_stays_as_it_is(
    repository: Path, tmp_path: Path
) -> None:
    made = patch(repository, tmp_path, {"b.txt": "theirs\n"})
    (repository / "b.txt").write_text("mine\n")
    git(repository, "-c", "core.hooksPath=/dev/null", "add", "b.txt")
    git(repository, "-c", "core.hooksPath=/dev/null", "commit", "-qam", "mine")
    (repository / "b.txt").unlink()
    with pytest.raises(PatchError, match=r"does not fit: b\.txt"):
        await made.apply(repository)
    assert not (repository / "b.txt").exists()


async def test_git_ends_with_whoever_waits_for_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = patch(repository, tmp_path, {"b.txt": "new\n"})
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    os.mkfifo(tmp_path / "pid")
    fake.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    waiting = asyncio.create_task(made.apply(repository))
    pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    monkeypatch.setattr(workspace, "GIT_PATIENCE", 0.01)
    (tmp_path / "pid").unlink()
    with pytest.raises(PatchError, match="git rev-parse did not end"):
        await made.apply(repository)
