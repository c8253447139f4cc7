"""`%vers swarm collect`, `diff` and `log`: what agents made, changed and said, brought here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi_v_jupyter import names
from pi_v_jupyter.errors import UsageError, VersError
from pi_v_jupyter.magics.agentnames import AgentList, AgentName, AgentPath, LocalPath
from pi_v_jupyter.magics.files import bar
from pi_v_jupyter.magics.options import HELP
from pi_v_jupyter.magics.tasks import chosen, shown, single
from pi_v_jupyter.views import files as file_views
from pi_v_jupyter.views import patches
from pi_v_jupyter.views.transcripts import Log

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension
    from pi_v_jupyter.remote.copying import Copied
    from pi_v_jupyter.swarm.workspace import Patch


@click.command(context_settings=HELP)
@click.argument("labels", type=AgentList(), metavar="LABEL[,LABEL…|*]")
@click.argument("path", type=AgentPath())
@click.argument("dest", type=LocalPath(), default=".")
@click.pass_obj
def collect(extension: Extension, labels: str, path: str, dest: str) -> dict[str, Copied]:
    """Copy a file or folder of agents to this computer, from their workspaces on.

    Of several agents, each has a folder of its own in DEST.
    """
    from pi_v_jupyter.swarm.collection import collect as collected

    agents = chosen(extension, [labels])
    here = extension.vers.here
    with bar(extension) as on_progress:
        outcomes = extension.wait(
            collected(agents, path, here, dest, on_progress=on_progress),
            f"collecting {path}",
            "No half file has its final name.",
            speaks=True,
        )
    done, failed = {}, []
    for label, outcome in outcomes.items():
        if isinstance(outcome, VersError):
            failed.append(outcome)
        else:
            done[label] = outcome
            told = replace(outcome, target=_from_here(outcome.target))
            print(f"{names.shown(label)}: {file_views.copied_text(told)}")
    for error in failed[1:]:
        print(error)
    if failed:
        raise failed[0]
    return extension.quietly(done)


def _from_here(path: str) -> str:
    """A path below the current folder without that: what a notebook shows is read elsewhere too."""
    folder = Path.cwd()
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


@click.command(context_settings=HELP)
@click.argument("label", type=AgentName())
@click.argument("path", type=AgentPath(), default="")
@click.option(
    "--apply", "repository", type=LocalPath(), metavar="REPO", help="Commit it to a git repository."
)
@click.option("--branch", metavar="NAME", help="On a new branch of that name; else it is swarm/LABEL.")
@click.pass_obj
def diff(extension: Extension, label: str, path: str, repository: str | None, branch: str | None) -> Patch:
    """Show what an agent has changed in its workspace, or in a folder of it, since it began.

    --apply commits it on a new branch of a repository here, made of what is checked out there, which stays
    as it is. What does not fit is told, and nothing is changed.
    """
    if branch is not None and repository is None:
        raise UsageError("--branch names what --apply makes.", "`--apply REPO --branch NAME`.")
    agent = single(extension, label, "diff")

    async def look() -> Patch:
        from pi_v_jupyter.swarm import workspace

        return await workspace.changes(agent.vm, agent.label, path)

    patch = extension.wait(look(), f"looking at the workspace of {names.shown(agent.label)}")
    if repository is None:
        return shown(extension, patch)
    made = extension.wait(patch.apply(repository, branch=branch), f"applying it to {repository}")
    print(f"{patches.files_text(patch)}: committed on {made} of {repository}.")
    return extension.quietly(patch)


@click.command(context_settings=HELP)
@click.argument("label", type=AgentName())
@click.option("--html", "html", type=LocalPath(), metavar="FILE", help="Write it to FILE, as HTML.")
@click.option("--markdown", type=LocalPath(), metavar="FILE", help="Write it to FILE, as Markdown.")
@click.pass_obj
def log(extension: Extension, label: str, html: str | None, markdown: str | None) -> Log:
    """Show all that was told to an agent, that it said, and that its tools did."""
    agent = single(extension, label, "log")
    made = Log.of(agent)
    if html is None and markdown is None:
        return shown(extension, made)
    for file, text in ((html, made.page), (markdown, made.markdown)):
        if file is not None:
            _write(file, text)
            print(f"wrote {file_views.amount(len(text.encode()))} to {file}")
    return extension.quietly(made)


def _write(file: str, text: str) -> None:
    try:
        Path(file).expanduser().write_text(text, "utf-8")
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{file} cannot be written: {why}.", "Name another file.") from None


COMMANDS: list[click.Command] = [collect, diff, log]
