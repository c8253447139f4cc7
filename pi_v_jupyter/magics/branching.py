"""`%vers branch`, `commit`, `restore` and what belongs to them. Thin: parse, wait, show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pi_v_jupyter.commits import Commit, Commits, Tags
from pi_v_jupyter.errors import UnknownCommitError, UnknownVMError, UsageError
from pi_v_jupyter.lineage import Facts
from pi_v_jupyter.magics.parameters import CommitName, TagName, VMName, VMOrCommit
from pi_v_jupyter.views import history, tables
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

MOST_BRANCHES = 64
MAY_BE_MADE = "The platform may make it all the same: `%vers ls` shows it, `%vers rm` deletes it."


@click.command()
@click.argument("vm", type=VMName(), default=".")
@click.option("-n", "count", type=click.IntRange(1, MOST_BRANCHES), default=1, metavar="N", help="How many.")
@click.option("--name", help="What to call it; several are called NAME-1, NAME-2, …")
@click.option("--use", is_flag=True, help="Have cells run on it.")
@click.pass_obj
def branch(extension: Extension, vm: str, count: int, name: str | None, use: bool) -> VM | Sequence[VM]:
    """Fork VM, or the active one, as it is now: memory, processes, shell session and disk."""
    _one_to_use(use, count)
    began = time.monotonic()
    parent = extension.wait(extension.find(vm))
    made = extension.wait(parent.branch(count, name=name), f"branching {parent.label}", MAY_BE_MADE)
    if count > 1:
        return made
    if use:
        extension.wait(extension.vers.use(made[0]), f"connecting to {made[0].label}")
    return extension.announce(made[0], time.monotonic() - began)


@click.command()
@click.argument("vm", type=VMName(), default=".")
@click.option("--name", help="What to call the commit.")
@click.option("--tag", type=TagName(), metavar="T", help="Have the tag T name it.")
@click.option("--keep-paused", is_flag=True, help="Leave the VM paused, until `%vers resume`.")
@click.pass_obj
def commit(extension: Extension, vm: str, name: str | None, tag: str | None, keep_paused: bool) -> Commit:
    """Keep VM, or the active one, as it is now, memory and processes included."""
    began = time.monotonic()
    found = extension.wait(extension.find(vm))
    made = extension.wait(
        found.commit(name=name, tag=tag, keep_paused=keep_paused),
        f"committing {found.label}",
        "The platform may make it all the same: `%vers commits` shows it.",
    )
    click.echo(f"{history.commit_text(made)}  {time.monotonic() - began:.1f} s")
    return extension.quietly(made)


@click.command()
@click.argument("commit", type=CommitName())
@click.option("-n", "count", type=click.IntRange(1, MOST_BRANCHES), default=1, metavar="N", help="How many.")
@click.option("--name", help="What to call it; several are called NAME-1, NAME-2, …")
@click.option("--use", is_flag=True, help="Have cells run on it.")
@click.pass_obj
def restore(extension: Extension, commit: str, count: int, name: str | None, use: bool) -> VM | Sequence[VM]:
    """Make a VM that goes on from COMMIT: an id, a unique beginning of one, a name or a tag."""
    _one_to_use(use, count)
    began = time.monotonic()
    found = extension.held(commit, Commit) or commit
    made = extension.wait(extension.vers.restore(found, count, name=name), f"restoring {commit}", MAY_BE_MADE)
    if count > 1:
        return made
    if use:
        extension.wait(extension.vers.use(made[0]), f"connecting to {made[0].label}")
    return extension.announce(made[0], time.monotonic() - began)


@click.command()
@click.argument("vm", type=VMName(), default=".")
@click.pass_obj
def pause(extension: Extension, vm: str) -> VM:
    """Have VM, or the active one, stand still until `%vers resume`: nothing of it is lost."""
    found = extension.wait(extension.find(vm))
    extension.wait(found.pause(), f"pausing {found.label}")
    return extension.announce(found)


@click.command()
@click.argument("vm", type=VMName(), default=".")
@click.pass_obj
def resume(extension: Extension, vm: str) -> VM:
    """Have VM, or the active one, go on from where it was paused."""
    found = extension.wait(extension.find(vm))
    extension.wait(found.resume(), f"resuming {found.label}")
    return extension.announce(found)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "-d", "--delete", "doomed", type=CommitName(), multiple=True, metavar="COMMIT", help="Delete COMMIT."
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def commits(extension: Extension, as_json: bool, doomed: tuple[str, ...], force: bool) -> Commits | None:
    """List commits, the oldest first; or delete some."""
    if doomed:
        _delete(extension, doomed, force)
        return None
    found = extension.wait(extension.vers.commits())
    if not as_json:
        return found
    click.echo(tables.json_text([commit.info for commit in found]))
    return None


def _delete(extension: Extension, names: Sequence[str], force: bool) -> None:
    async def find() -> list[Commit]:
        return [extension.held(name, Commit) or await extension.vers.commit(name) for name in names]

    found = extension.wait(find())
    labels = ", ".join(dict.fromkeys(commit.label for commit in found))
    if not force:
        extension.ask(f"Delete {'commit' if len(found) == 1 else 'commits'} {labels}?", "%vers commits -f -d")
    extension.wait(extension.vers.delete_commits(*dict.fromkeys(found)), f"deleting {labels}")
    click.echo(f"Deleted {labels}.")


@click.command()
@click.argument("name", type=TagName(), required=False)
@click.argument("commit", type=CommitName(), required=False)
@click.option("-d", "--delete", is_flag=True, help="Delete the tag NAME; its commit stays.")
@click.pass_obj
def tag(extension: Extension, name: str | None, commit: str | None, delete: bool) -> Tags | Commit | None:
    """Have the tag NAME name COMMIT, or the active VM's last commit; without NAME, list tags."""
    if name is None:
        if delete:
            raise UsageError("-d needs the name of a tag.", "`%vers tag` shows them all.")
        return extension.wait(extension.vers.tags())
    if delete:
        if commit is not None:
            raise UsageError("-d takes one tag, and no commit.", "`%vers tag -d NAME`.")
        extension.wait(extension.vers.untag(name))
        click.echo(f"Deleted the tag {name}.")
        return None
    held = extension.held(commit, Commit) if commit else None
    made = extension.wait(extension.vers.tag(name, held or commit))
    click.echo(history.commit_text(made))
    return extension.quietly(made)


@click.command()
@click.argument("name", type=VMOrCommit(), default=".", metavar="VM|COMMIT")
@click.pass_obj
def info(extension: Extension, name: str) -> Facts:
    """Tell all that is known of a VM, or of a commit."""

    async def ask() -> Facts:
        try:
            return await extension.vers.info(name)
        except (UnknownVMError, UnknownCommitError):
            held = extension.held(name, VM) or extension.held(name, Commit)
            if held is None:
                raise
            return await extension.vers.info(held)

    return extension.wait(ask())


@click.command()
@click.argument("vm", type=VMName())
@click.argument("name")
@click.pass_obj
def rename(extension: Extension, vm: str, name: str) -> VM:
    """Give VM another name."""
    found = extension.wait(extension.find(vm))
    extension.wait(found.rename(name))
    return extension.announce(found)


def _one_to_use(use: bool, count: int) -> None:
    if use and count > 1:
        raise UsageError(
            "--use needs one VM, not several.", "Leave -n out, or `%vers use` one of them later."
        )


COMMANDS = (branch, commit, restore, pause, resume, commits, tag, info, rename)
