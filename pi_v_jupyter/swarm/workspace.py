"""What an agent changed in its workspace: a patch from how that was at its start, for a repository here.

The start is a tree in a repository of its own beside the workspace, so an agent that commits, rebases or
clones hides nothing. Files that a repository there ignores are left out; `.git` folders are too.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pi_v_jupyter import names
from pi_v_jupyter.errors import PatchError, RemoteCommandError, UsageError
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.swarm._there import source
from pi_v_jupyter.swarm._there.workspace import NO_FOLDER

WORKSPACE = "workspace"  # of the user's home
PATIENCE = 600.0  # seconds for a large workspace
GIT_PATIENCE = 120.0  # seconds for one call of git here
QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")  # those would run programs
HEADER = re.compile(rb"^diff --git a/(.*) b/\1$", re.MULTILINE)


@dataclass(frozen=True)
class Patch:
    """What `agent` changed: `data` is a patch as git writes it, of which every byte counts."""

    agent: str
    data: bytes

    @property
    def files(self) -> list[str]:
        """The paths of the files that it changes."""
        return [found[1].decode("utf-8", "backslashreplace") for found in HEADER.finditer(self.data)]

    @property
    def text(self) -> str:
        """To be looked at; bytes that are no UTF-8 are shown as `\\xff`."""
        return self.data.decode("utf-8", "backslashreplace")

    def __bool__(self) -> bool:
        return bool(self.data)

    async def apply(self, repository: str | Path, *, branch: str | None = None) -> str:
        """Commit it on a new branch (`swarm/AGENT` unless `branch` says another), made of what is checked out
        in `repository`; the branch's name. What is checked out there stays as it is.

        Raises:
            UsageError: there is nothing to apply, no repository, or such a branch already.
            PatchError: parts of it do not fit (`files` are those), or all of it is there already. Nothing was
                changed.
        """
        if not self.data:
            raise UsageError(
                f"{self.agent} has changed nothing.", "`%vers swarm read` shows what it answered."
            )
        name = branch or f"swarm/{self.agent}"
        top = Path(repository).expanduser()
        if not top.is_dir() or (await _git(top, "rev-parse", "--verify", "-q", "HEAD"))[0]:
            raise UsageError(
                f"{names.shown(str(repository))} is no git repository with a commit.", "Name its folder."
            )
        if (await _git(top, "check-ref-format", "--branch", name))[0]:
            raise UsageError(f"{names.shown(name)} cannot name a branch.", "Give another with `branch`.")
        if not (await _git(top, "rev-parse", "--verify", "-q", f"refs/heads/{name}"))[0]:
            raise UsageError(
                f"There is a branch {names.shown(name)} already.", "Delete it, or give another name."
            )
        own = (await _must(top, "rev-parse", "--absolute-git-dir")).removesuffix("\n")
        with tempfile.TemporaryDirectory(prefix="pi-v-") as scratch:
            commit = await self._commit(own, Path(scratch))
        await _must(top, "branch", "--no-track", name, commit)
        return name

    async def _commit(self, own: str, scratch: Path) -> str:
        """The id of a commit of it, in the repository at `own`.

        It is made in an index of its own, and no file of the agent's is written: what the user's
        configuration of git names by a relative path would be run from among those.
        """
        top = scratch / "tree"  # git compares an added file with what is checked out: nothing is
        top.mkdir()
        env = {
            "GIT_DIR": own,
            "GIT_WORK_TREE": str(top),
            "GIT_INDEX_FILE": str(scratch / "index"),
            **{f"GIT_{role}_NAME": self.agent for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": f"{self.agent}@swarm.invalid" for role in ("AUTHOR", "COMMITTER")},
        }
        await _must(top, "read-tree", "HEAD", env=env)
        code, _, errors = await _git(top, "apply", "--3way", "--cached", "-", stdin=self.data, env=env)
        left = await _must(top, "ls-files", "--unmerged", "-z", env=env)
        unfit = list(dict.fromkeys(entry.partition("\t")[2] for entry in left.split("\0") if entry))
        if code or unfit:
            raise PatchError(
                f"What {self.agent} changed does not fit: "
                + (", ".join(map(names.shown, unfit)) or names.shown(errors.strip().rpartition("\n")[2])),
                "Nothing was changed. `%vers swarm diff` without --apply shows all of it.",
                files=unfit,
            )
        tree = (await _must(top, "write-tree", env=env)).strip()
        if tree == (await _must(top, "rev-parse", "HEAD^{tree}", env=env)).strip():
            raise PatchError(
                f"What is checked out has all that {self.agent} changed already.", "Nothing was changed."
            )
        words = ("-p", "HEAD", "-m", f"What the agent {self.agent} changed")
        return (await _must(top, "commit-tree", tree, *words, env=env)).strip()


async def mark(machine: Machine) -> None:
    """Remember how the workspace is, unless that was done before."""
    await machine.run(["python3", "-c", source("workspace"), "mark", ""], timeout=PATIENCE)


async def changes(machine: Machine, agent: str, path: str = "") -> Patch:
    """What is changed since, in the folder `path` of the workspace, with paths relative to that.

    Raises:
        UsageError: there is no such folder, and was none.
        RemoteCommandError: nobody has marked its start, or it holds what git does not take.
    """
    try:
        result = await machine.run(["python3", "-c", source("workspace"), "patch", path], timeout=PATIENCE)
    except RemoteCommandError as error:
        if error.exit_code != NO_FOLDER:
            raise
        raise UsageError(
            f"There is no folder {names.shown(path)} in the workspace of {names.shown(agent)}, "
            "and there was none at its start.",
            f"`%vers swarm diff {names.shown(agent)}` shows all of it.",
        ) from None
    return Patch(agent, result.stdout_bytes)


async def _git(
    folder: Path, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """The exit code of git, and what it wrote; it is ended with whoever waits for it, and runs no hook."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *QUIET,
        *words,
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(GIT_PATIENCE):
            out, errors = await process.communicate(stdin)
    except TimeoutError:
        raise PatchError(
            f"git {words[0]} did not end in {GIT_PATIENCE:g} s.", "Look at the repository."
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None  # noqa: S101  it has ended
    return process.returncode, out.decode(errors="replace"), errors.decode(errors="replace")


async def _must(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> str:
    code, out, errors = await _git(folder, *words, env=env)
    if code:
        raise PatchError(f"git {words[0]} failed: {names.shown(errors.strip())}", "Look at the repository.")
    return out
