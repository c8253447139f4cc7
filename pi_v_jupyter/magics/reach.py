"""`%vers tunnel` and `%vers ssh-config`: VMs reached by more than cells. Thin: parse, wait, show."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.magics.parameters import Port, VMName
from pi_v_jupyter.remote.openssh import SSHConfig
from pi_v_jupyter.remote.tunnel import Tunnel, Tunnels, check_port
from pi_v_jupyter.views import reach

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

FORMS = "`%vers tunnel 8080:80`, `8080` for the same port here, `:80` for a free one; or `ls`, or `close`."


class _Forwarding(click.Group):
    """A group in which ports need no word before them: `tunnel 8080:80` is `tunnel open 8080:80`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["open", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Forwarding, invoke_without_command=True, subcommand_metavar="LOCAL:REMOTE [--on VM]")
@click.pass_context
def tunnel(context: click.Context) -> Tunnels | None:
    """Have a port of this computer lead to a port of a VM, or list such tunnels."""
    if context.invoked_subcommand is None:
        found: Tunnels = context.invoke(ls)
        return found
    return None


@tunnel.command("open", short_help="Open one; the word may be left out.")
@click.argument("ports", metavar="LOCAL:REMOTE")
@click.option(
    "--on", "vm", type=VMName(), default=".", metavar="VM", help="Which VM; without it, the active one."
)
@click.pass_obj
def open_(extension: Extension, ports: str, vm: str) -> Tunnel:
    """Have port LOCAL of this computer lead to port REMOTE of VM, or of the active one.

    One number stands for both; `:REMOTE` takes a free port of this computer.
    """
    local, remote = parsed(ports)

    async def listen() -> Tunnel:
        return await (await extension.find(vm)).tunnel(remote, local=local)

    opened = extension.wait(listen(), "opening the tunnel")
    click.echo(reach.tunnel_text(opened))
    return extension.quietly(opened)


def parsed(ports: str) -> tuple[int, int]:
    """The local and the remote port of `8080:80`, `8080`, `:80` or `0:80`."""
    local, colon, remote = ports.partition(":")
    numbers = (local or "0", remote) if colon else (local, local)
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        raise UsageError(f"{ports!r} names no ports.", FORMS)
    here, there = map(int, numbers)
    check_port(here, least=0)
    check_port(there)
    return here, there


@tunnel.command()
@click.pass_obj
def ls(extension: Extension) -> Tunnels:
    """List the tunnels that are open."""
    return extension.vers.tunnels()


@tunnel.command()
@click.argument("ports", nargs=-1, type=Port(), metavar="[LOCAL]…")
@click.option("--all", "everything", is_flag=True, help="Close all of them.")
@click.pass_obj
def close(extension: Extension, ports: tuple[int, ...], everything: bool) -> None:
    """Close the tunnels of these local ports, or the only one there is."""
    if ports and everything:
        raise UsageError("--all takes no ports.", "`%vers tunnel close --all`.")
    there = {tunnel.local_port: tunnel for tunnel in extension.vers.tunnels()}
    known = ", ".join(map(str, there)) or "none"
    if not ports and not everything and len(there) > 1:
        raise UsageError(f"There are {len(there)} tunnels.", f"Name some of {known}, or say `--all`.")
    for port in ports:
        if port not in there:
            raise UsageError(f"There is no tunnel at port {port}.", f"There are: {known}.")
    chosen = [there[port] for port in dict.fromkeys(ports)] or list(there.values())

    async def end() -> None:
        await asyncio.gather(*(tunnel.close() for tunnel in chosen))

    extension.wait(end(), "closing tunnels")
    click.echo("\n".join(map(reach.tunnel_text, chosen)) or "No tunnel is open.")


@click.command("ssh-config")
@click.argument("vms", nargs=-1, type=VMName(), metavar="[VM]…")
@click.option("--write", is_flag=True, help="Have ~/.ssh/config include it.")
@click.pass_obj
def ssh_config(extension: Extension, vms: tuple[str, ...], write: bool) -> SSHConfig:
    """Show how plain ssh, scp, rsync or VS Code reach VMs, or the active one."""

    async def make() -> SSHConfig:
        found = [await extension.find(name) for name in vms]
        return await extension.vers.ssh_config(*found, write=write)

    config = extension.wait(make(), f"connecting to {', '.join(vms) or 'the active VM'}")
    if not write:
        return config
    click.echo("\n".join(config.done))
    return extension.quietly(config)


COMMANDS = (tunnel, ssh_config)
