"""`%vers push` and `%vers pull`: Python variables to and from kernels on VMs. Thin: parse, wait, show."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.magics.files import bar
from pi_v_jupyter.magics.options import HELP
from pi_v_jupyter.magics.parameters import KernelName, KernelVariable, Variable, VMNames
from pi_v_jupyter.remote.kernel import DEFAULT
from pi_v_jupyter.views.files import amount
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

ON = click.option(
    "--on",
    "vms",
    type=VMNames(),
    metavar="VM[,VM…]",
    help="Which VM, or several; without it, the active one.",
)
KERNEL = click.option(
    "--kernel", type=KernelName(), default=DEFAULT, metavar="NAME", help="Which kernel there."
)
PICKLE = click.option("--pickle", is_flag=True, help="By pickle, what else would not travel: trust the VM.")


def _vms(extension: Extension, listed: str | None) -> dict[VM, str]:
    """And what to call each."""
    if listed is None:
        vm = extension.wait(extension.find("."))
        return {vm: vm.label}
    found = extension.find_all(listed)
    return {vm: called or vm.label for vm, called in found.items() if isinstance(vm, VM)}


@click.command(context_settings=HELP)
@click.argument("names", nargs=-1, required=True, type=Variable(), metavar="NAME…")
@ON
@KERNEL
@PICKLE
@click.pass_obj
def push(extension: Extension, names: tuple[str, ...], vms: str | None, kernel: str, pickle: bool) -> None:
    """Give variables of this notebook to the Python kernel on the VM, under the same names."""
    missing = [name for name in names if name not in extension.shell.user_ns]
    if missing:
        raise UsageError(f"There is no variable {missing[0]} here.", "`%who` lists those there are.")
    values = {name: extension.shell.user_ns[name] for name in names}
    machines = _vms(extension, vms)
    with bar(extension) as on_progress:

        async def pushed() -> list[int]:
            return await asyncio.gather(
                *(vm.push(values, kernel=kernel, pickle=pickle, on_progress=on_progress) for vm in machines)
            )

        sizes = extension.wait(pushed(), f"sending {', '.join(names)}", speaks=True)
    for label, size in zip(machines.values(), sizes, strict=True):
        click.echo(f"{', '.join(names)} → {kernel} on {label}  {amount(size)}")


@click.command(context_settings=HELP)
@click.argument("names", nargs=-1, required=True, type=KernelVariable(), metavar="NAME…")
@ON
@KERNEL
@PICKLE
@click.pass_obj
def pull(extension: Extension, names: tuple[str, ...], vms: str | None, kernel: str, pickle: bool) -> None:
    """Take variables of the Python kernel on the VM into this notebook, under the same names.

    From several VMs, each variable is a dict of what it is on each.
    """
    machines = _vms(extension, vms)
    sizes = dict.fromkeys(machines, 0)
    with bar(extension) as on_progress:

        async def pulled(vm: VM) -> dict[str, Any]:
            def so_far(done: int, total: int | None) -> None:
                sizes[vm] = done
                on_progress(done, total)

            known = extension.shell.user_ns
            return await vm.pull(*names, kernel=kernel, known=known, pickle=pickle, on_progress=so_far)

        async def all_of_them() -> list[dict[str, Any]]:
            return await asyncio.gather(*map(pulled, machines))

        found = extension.wait(all_of_them(), f"fetching {', '.join(names)}", speaks=True)
    for name in names:
        each = {label: values[name] for label, values in zip(machines.values(), found, strict=True)}
        extension.shell.user_ns[name] = each if len(each) > 1 else next(iter(each.values()))
    for vm, label in machines.items():
        click.echo(f"{', '.join(names)} ← {kernel} on {label}  {amount(sizes[vm])}")


async def fetched(
    extension: Extension, machines: dict[VM, str], names: tuple[str, ...], kernel: str
) -> dict[str, dict[str, Any]]:
    """The variables of each machine, by its label."""
    known = extension.shell.user_ns
    values = await asyncio.gather(*(vm.pull(*names, kernel=kernel, known=known) for vm in machines))
    return dict(zip(machines.values(), values, strict=True))


COMMANDS = (push, pull)
