"""`%vers kernels`: the Python kernels of a VM. Thin: parse, wait, show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pi_v_jupyter.magics.options import HELP
from pi_v_jupyter.magics.parameters import KernelName, VMName
from pi_v_jupyter.remote.kernel import DEFAULT, Kernel, Kernels

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

NAME = click.argument("name", type=KernelName(), default=DEFAULT, metavar="[NAME]")
ON = click.option(
    "--on", "vm", type=VMName(), default=".", metavar="VM", help="Of which VM; without it, the active one."
)


@click.group(context_settings=HELP, invoke_without_command=True)
@click.pass_context
def kernels(context: click.Context) -> Kernels | None:
    """The Python kernels of a VM: what cells of `%%vm python` define is in them."""
    if context.invoked_subcommand is None:
        found: Kernels = context.invoke(ls, vm=".")
        return found
    return None


@kernels.command()
@ON
@click.pass_obj
def ls(extension: Extension, vm: str) -> Kernels:
    """List those that run."""

    async def listed() -> Kernels:
        return await (await extension.find(vm)).kernels()

    return extension.wait(listed(), "looking for kernels")


@kernels.command()
@NAME
@ON
@click.pass_obj
def restart(extension: Extension, name: str, vm: str) -> Kernel:
    """Have a kernel begin afresh: what was defined in it is gone."""

    async def restarted() -> Kernel:
        kernel = (await extension.find(vm)).kernel(name)
        await kernel.restart()
        return kernel

    kernel = extension.wait(restarted(), f"restarting the kernel {name}")
    click.echo(f"{name} on {kernel.place.label} begins afresh.")
    return extension.quietly(kernel)


@kernels.command()
@NAME
@ON
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def rm(extension: Extension, name: str, vm: str, force: bool) -> None:
    """End a kernel, and all that is defined in it."""

    async def found() -> Kernel | None:
        kernel = (await extension.find(vm)).kernel(name)
        return kernel if await kernel.attach() else None

    kernel = extension.wait(found(), "looking for the kernel")
    if kernel is None:
        click.echo(f"No kernel {name} runs there.")
        return
    where = f"{name} on {kernel.place.label}"
    if not force:
        extension.ask(f"End {where} and all that is defined in it?", "%vers kernels rm -f")
    extension.wait(kernel.end(), f"ending {where}")
    click.echo(f"Ended {where}.")


COMMANDS = (kernels,)
