"""What an agent changed in its workspace: a patch from how that was at its start, for a repository here.

The start is a tree in a repository of its own beside the workspace, so an agent that commits, rebases or
clones hides nothing. Files that a repository there ignores are left out; `.git` folders are too.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pi_v_jupyter import names
from pi_v_jupyter.errors import PatchError, RemoteCommandError, UsageError
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.swarm._there import source
from pi_v_jupyter.swarm._there.workspace import NO_FOLDER

WORKSPACE = "workspace"  # of the user's home
PATIENCE = 600.0  # seconds for a large workspace
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
            PatchError: parts of it do not fit: `files` are those. Nothing was changed.
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
        with tempfile.TemporaryDirectory(prefix="pi-v-") as scratch:
            there = Path(scratch) / "tree"
            try:
                await _must(top, "worktree", "add", "-q", "--detach", str(there), "HEAD")
                await self._commit(there)
                commit = await _must(there, "rev-parse", "HEAD")
                await _must(top, "branch", name, commit.strip())
            finally:
                await _git(top, "worktree", "remove", "--force", str(there))
        return name

    async def _commit(self, there: Path) -> None:
        code, _, errors = await _git(there, "apply", "--3way", "--index", "--binary", "-", stdin=self.data)
        left = (await _must(there, "diff", "--name-only", "--diff-filter=U", "-z")).split("\0")
        unfit = [name for name in left if name]
        if code or unfit:
            raise PatchError(
                f"What {self.agent} changed does not fit: "
                + (", ".join(map(names.shown, unfit)) or names.shown(errors.strip().rpartition("\n")[2])),
                "Nothing was changed. `%vers swarm diff` without --apply shows all of it.",
                files=unfit,
            )
        author = f"{self.agent} <{self.agent}@swarm.invalid>"
        await _must(
            there,
            *("-c", f"user.name={self.agent}", "-c", f"user.email={self.agent}@swarm.invalid"),
            *("commit", "-q", "--no-verify", "--no-gpg-sign", "--author", author),
            *("-m", f"What the agent {self.agent} changed"),
        )


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


async def _git(folder: Path, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        "git",
        *words,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(stdin)
    assert process.returncode is not None  # noqa: S101  it has ended
    return process.returncode, out.decode(errors="replace"), errors.decode(errors="replace")


async def _must(folder: Path, *words: str) -> str:
    code, out, errors = await _git(folder, *words)
    if code:
        raise PatchError(f"git {words[0]} failed: {names.shown(errors.strip())}", "Look at the repository.")
    return out
