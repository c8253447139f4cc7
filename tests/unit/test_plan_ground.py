"""What commands run on that the judge has let pass: neither habits nor repositories get a word in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pi_v_jupyter.plan.ground import SHELL, surroundings
from pi_v_jupyter.plan.readonly import judge


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`command` on the ground, in `folder`, by somebody who has `environment`."""
    assert judge(command) is None
    return subprocess.run(
        [*SHELL, command],
        cwd=folder,
        env=surroundings(os.environ | {"HOME": str(folder)} | environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One with a commit, a changed file, and a program `spy` beside it that leaves a trace."""
    spy = tmp_path / "spy"
    spy.write_text(f"#!/bin/sh\ntouch {tmp_path}/trace\ncat\n")
    spy.chmod(0o755)
    folder = tmp_path / "repository"
    folder.mkdir()
    environment = surroundings(os.environ | {"HOME": str(tmp_path)})
    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "a"],
        ["config", "user.email", "a@b"],
        ["add", "."],
        ["commit", "-q", "-m", "first"],
    ):
        (folder / "file.txt").write_text("one\n")
        subprocess.run(["git", *words], cwd=folder, env=environment, check=True)
    (folder / ".gitattributes").write_text("* filter=spy diff=spy\n")
    (folder / "file.txt").write_text("two\n")
    return folder


def configure(repository: Path, *pairs: str) -> None:
    for pair in pairs:
        key, _, value = pair.partition("=")
        subprocess.run(["git", "config", key, value], cwd=repository, check=True)


LOOKS = [
    *(
        "git status",
        "git diff",
        "git diff HEAD",
        "git log -p",
        "git show",
        "git blame file.txt",
        "git grep two",
    ),
    *("git ls-files -m", "git branch -a", "git log --format=%G?", "git diff-index HEAD", "git stash list"),
]


@pytest.mark.parametrize("command", LOOKS)
def test_what_a_repository_wants_started_is_not(repository: Path, command: str) -> None:
    spy = repository.parent / "spy"
    configure(
        repository,
        *(f"{key}={spy}" for key in ("core.fsmonitor", "core.pager", "core.sshCommand", "core.editor")),
        *(f"{key}={spy}" for key in ("pager.log", "pager.diff", "pager.status", "gpg.program")),
        "core.hooksPath=" + str(repository.parent),
        f"alias.status=!{spy}",
        "log.showSignature=true",
    )
    ran = run(command, repository)
    assert ran.returncode in {0, 1}, ran.stderr
    assert not (repository.parent / "trace").exists()


@pytest.mark.parametrize("command", LOOKS)
@pytest.mark.parametrize(
    "key",
    ["filter.spy.clean", "filter.spy.process", "diff.external", "diff.spy.textconv", "diff.spy.command"],
)
def test_a_repository_with_programs_of_its_own_is_left_alone(
    repository: Path, command: str, key: str
) -> None:
    configure(repository, f"{key}={repository.parent / 'spy'}")
    ran = run(f"cd .. && git -C repository{command.removeprefix('git')}", repository)
    assert ran.returncode == 126
    assert f"names a program of its own ({key})" in ran.stderr
    assert not (repository.parent / "trace").exists()


def test_a_program_that_an_included_file_names_is_found_too(repository: Path) -> None:
    (repository / "more").write_text(f'[filter "spy"]\n  clean = {repository.parent}/spy\n')
    configure(repository, "include.path=../more")
    assert run("git status", repository).returncode == 126
    assert not (repository.parent / "trace").exists()


def test_a_merge_is_not_done_again_to_show_it(repository: Path) -> None:
    spy = repository.parent / "spy"
    (repository / ".gitattributes").write_text("* merge=spy\n")
    for words in (
        ["checkout", "-q", "-b", "side"],
        ["commit", "-q", "-a", "-m", "second"],
        ["checkout", "-q", "main"],
    ):
        subprocess.run(["git", *words], cwd=repository, check=True)
    (repository / "file.txt").write_text("three\n")
    for words in (["commit", "-q", "-a", "-m", "third"], ["merge", "-q", "-s", "ours", "-m", "both", "side"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    configure(repository, "log.diffMerges=remerge", f"merge.spy.driver={spy}")
    assert "three" in run("git log -m -p", repository).stdout
    assert not (repository.parent / "trace").exists()


def test_without_the_ground_those_programs_do_start(repository: Path) -> None:
    configure(repository, f"filter.spy.clean={repository.parent / 'spy'}")
    subprocess.run(["git", "status"], cwd=repository, check=True, stdout=subprocess.DEVNULL)
    assert (repository.parent / "trace").exists()


def test_looking_does_not_write_the_index(repository: Path) -> None:
    (repository / ".gitattributes").unlink()
    (repository / "file.txt").write_text("one\n")
    before = (repository / ".git" / "index").read_bytes()
    for command in LOOKS:
        run(command, repository)
    assert (repository / ".git" / "index").read_bytes() == before


def test_a_user_s_start_files_functions_and_variables_are_not_heeded(tmp_path: Path) -> None:
    for name in (".bashrc", ".bash_profile", ".profile", "env"):
        (tmp_path / name).write_text(f"touch {tmp_path}/trace\n")
    mine = tmp_path / "bin"
    mine.mkdir()
    (mine / "ls").write_text(f"#!/bin/sh\ntouch {tmp_path}/trace\n")
    (mine / "ls").chmod(0o755)
    ran = run(
        "ls; cat env",
        tmp_path,
        BASH_ENV=str(tmp_path / "env"),
        ENV=str(tmp_path / "env"),
        PATH=f"{mine}:{os.environ['PATH']}",
        SHELLOPTS="xtrace",
        **{"BASH_FUNC_cat%%": f"() {{ touch {tmp_path}/trace; }}"},
    )
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert not (tmp_path / "trace").exists()


def test_a_command_has_its_lines_its_status_and_no_arguments(tmp_path: Path) -> None:
    ran = run('echo $# "$1"\nif false; then\n  pwd\nelse\n  cat <<E\na\nE\nfi\nexit 3', tmp_path)
    assert (ran.stdout, ran.returncode) == ("0 \na\n", 3)


def test_errors_are_of_the_lines_that_were_typed() -> None:
    ran = subprocess.run([*SHELL, "true\nno-such-program"], capture_output=True, text=True, check=False)
    assert ran.stderr == "bash: line 2: no-such-program: command not found\n"
