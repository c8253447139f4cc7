"""`%vers golden`: the image that agents start from. Thin: parse, wait, show."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from pi_v_jupyter import golden as images
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import UnknownCommitError, UnknownVMError, UsageError
from pi_v_jupyter.golden import GoldenImage
from pi_v_jupyter.magics.options import HELP
from pi_v_jupyter.magics.parameters import TagName, VMOrCommit
from pi_v_jupyter.views import golden as views
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

TAG = click.option(
    "--tag", type=TagName(), default=images.TAG, show_default=True, metavar="T", help="Which one, by its tag."
)


@click.group(context_settings=HELP, invoke_without_command=True)
@click.pass_context
def golden(context: click.Context) -> GoldenImage | None:
    """The image that agents start from: a machine with pi, Node and the tools they need, as a commit."""
    if context.invoked_subcommand is None:
        shown: GoldenImage = context.invoke(status)
        return shown
    return None


@golden.command()
@click.option(
    "--from", "source", type=VMOrCommit(), metavar="VM|COMMIT", help="Build on a copy of that, not a new VM."
)
@click.option(
    "--hot/--cold",
    default=None,
    help="Have pi run in it already, or not. Without either, it does where commits keep memory.",
)
@TAG
@click.option("--pi", "pi_version", metavar="VERSION", help="Of pi, in place of the one that was tried out.")
@click.option("--keep", is_flag=True, help="Leave the VM there that it was built on.")
@click.pass_obj
def build(
    extension: Extension, source: str | None, hot: bool | None, tag: str, pi_version: str | None, keep: bool
) -> GoldenImage:
    """Build the golden image, try it, and have a tag name it.

    A VM of its own is made for that, and deleted. On the embedded platform it starts from an image that
    `pi-v-jupyter image build --golden` has built, at the full speed of this computer.
    """
    began = time.monotonic()

    async def make() -> GoldenImage:
        found = await _source(extension, source) if source is not None else None
        return await extension.vers.golden.build(
            found, hot=hot, tag=tag, pi=pi_version, keep=keep, on_progress=extension.notice
        )

    image = extension.wait(make(), "building the golden image", "What was made for it is deleted.")
    click.echo(f"{views.golden_line(image)}  {time.monotonic() - began:.1f} s")
    return extension.quietly(image)


async def _source(extension: Extension, name: str) -> VM | Commit:
    held = extension.held(name, VM) or extension.held(name, Commit)
    if held is not None:
        return held
    try:
        return await extension.find(name)
    except UnknownVMError as no_vm:
        try:
            return await extension.vers.commit(name)
        except UnknownCommitError:
            raise UsageError(
                f"There is neither a VM nor a commit named {name!r}.",
                "`%vers ls` and `%vers commits` show those there are.",
            ) from no_vm


@golden.command()
@TAG
@click.pass_obj
def status(extension: Extension, tag: str) -> GoldenImage:
    """Tell which commit it is, when it was made, whether pi runs in it, and what it has."""
    return extension.wait(extension.vers.golden.status(tag), "looking for the golden image")


COMMANDS = (golden,)
