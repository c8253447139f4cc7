"""`%vers`: one line magic, one click command per sub-command. Thin: parse, wait, show."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

from pi_v_jupyter.doctor import Report, examine
from pi_v_jupyter.errors import PlatformError, UsageError
from pi_v_jupyter.lineage import Lineage
from pi_v_jupyter.magics import (
    account,
    branching,
    dashboard,
    examples,
    files,
    golden,
    guarding,
    kernels,
    reach,
    skills,
    swarm,
    terminal,
    values,
)
from pi_v_jupyter.magics.greeting import status_line
from pi_v_jupyter.magics.parameters import VMName
from pi_v_jupyter.roster import VMs
from pi_v_jupyter.settings import EmbeddedPlatform
from pi_v_jupyter.views import tables
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

HELP = {"help_option_names": ["-h", "--help"]}
MIB = click.IntRange(min=1)


@click.group(context_settings=HELP, invoke_without_command=True)
@click.pass_context
def vers(context: click.Context) -> Any:
    """Virtual machines: make them, choose the one that cells run on, look after them.

    Alone, it is `%vers dashboard`.
    """
    if context.invoked_subcommand is None:
        return context.invoke(dashboard.dashboard)
    return None


@vers.command()
@click.option("--tree", is_flag=True, help="Show VMs and commits under what they came from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def ls(extension: Extension, tree: bool, as_json: bool) -> VMs | Lineage | None:
    """List VMs; ★ marks the one cells run on."""
    if tree:
        lineage = extension.wait(extension.vers.lineage())
        if not as_json:
            return lineage
        infos: list[BaseModel] = [line.item.info for line in lineage]
    else:
        vms = extension.wait(extension.vers.list())
        if not as_json:
            return vms
        infos = [vm.info for vm in vms]
    click.echo(tables.json_text(infos))
    return None


@vers.command()
@click.option("--name", help="What to call it.")
@click.option("--vcpu", type=click.IntRange(min=1), help="Processors; else what the platform gives.")
@click.option("--mem", type=MIB, metavar="MIB", help="Memory; else what the platform gives.")
@click.option("--disk", type=MIB, metavar="MIB", help="Disk; else what the platform gives.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it runs.")
@click.option("--use", is_flag=True, help="Have cells run on it.")
@click.pass_obj
def create(
    extension: Extension,
    name: str | None,
    vcpu: int | None,
    mem: int | None,
    disk: int | None,
    no_wait: bool,
    use: bool,
) -> VM:
    """Make a VM."""
    if use and no_wait:
        raise UsageError("--use needs a VM that runs.", "Leave --no-wait out, or `%vers use` it later.")
    began = time.monotonic()
    doing = f"creating {name or 'a VM'}"
    if any((vcpu, mem, disk)) and extension.vers.settings.embedded:
        doing += ", which boots: only VMs of the default size are restored in a second"
    vm = extension.wait(
        extension.vers.create(name=name, vcpu=vcpu, mem=mem, disk=disk, wait=not no_wait),
        doing,
        "The platform may make it all the same: `%vers ls` shows it, `%vers rm` deletes it.",
    )
    if use:
        extension.wait(extension.vers.use(vm), f"connecting to {vm.label}")
    return extension.announce(vm, time.monotonic() - began)


@vers.command()
@click.argument("vm", type=VMName())
@click.pass_obj
def use(extension: Extension, vm: str) -> VM:
    """Have cells run on VM from now on."""

    async def connect() -> VM:
        return await extension.vers.use(await extension.find(vm))

    return extension.announce(extension.wait(connect(), f"connecting to {vm}"))


@vers.command()
@click.pass_obj
def local(extension: Extension) -> None:
    """Have cells run on this computer again."""
    extension.wait(extension.vers.local())
    extension.route.end()
    click.echo("Cells run on this computer.")


@vers.command()
@click.argument("state", type=click.Choice(["on", "off"]), required=False, metavar="[on|off]")
@click.pass_obj
def route(extension: Extension, state: str | None) -> None:
    """Have every cell run on the active VM, by the Python kernel there, until `off` or `%vers local`.

    `!cmd`, `%%bash`, `%%writefile`, `%cd`, `%env` and all else that IPython has act there too. Magics of ours
    stay here, and so does a cell that begins with `%%local`.
    """
    if state == "on":
        extension.route.begin()
    elif state == "off":
        extension.route.end()
    if extension.route.on and extension.vers.active is None:
        click.echo("Cells are routed, and no VM is active. `%vers use VM` makes one so.")
    elif extension.route.on:
        label = extension.vers.machine.label
        click.echo(f"Cells run on {label}; those that begin with `%%local`, and magics of ours, run here.")
    else:
        click.echo("Cells run here. `%%vm` runs one on the active VM, `%vers route on` all of them.")


@vers.command()
@click.argument("vms", nargs=-1, required=True, type=VMName(), metavar="VM…")
@click.option("-r", "branches", is_flag=True, help="Delete all that came from them too, at whatever remove.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def rm(extension: Extension, vms: tuple[str, ...], branches: bool, force: bool) -> None:
    """Delete VMs, with all that is on their disks. Their commits stay."""

    async def find() -> list[VM]:
        found = list(dict.fromkeys([await extension.find(name) for name in vms]))
        return [*found, *(await extension.vers.descendants(*found) if branches else ())]

    found = extension.wait(find())
    labels = ", ".join(vm.label for vm in found)
    if not force:
        extension.ask(
            f"Delete {labels} and all that is on {'it' if len(found) == 1 else 'them'}?", "%vers rm -f"
        )
    chosen = extension.vers.fleet.chosen
    extension.wait(
        extension.vers.delete(*found),
        f"deleting {labels}",
        "The platform may delete them all the same: `%vers ls` shows which are left.",
    )
    ended = chosen is not None and extension.vers.fleet.chosen is None
    if ended:
        extension.route.end()
    click.echo(f"Deleted {labels}." + (" Cells run on this computer again." if ended else ""))


@vers.command()
@click.pass_obj
def doctor(extension: Extension) -> Report:
    """Look at everything between this notebook and its VMs, and say what to do."""
    return extension.wait(examine(extension.vers), "looking")


@vers.command(context_settings={**HELP, "ignore_unknown_options": False})
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the API, on loopback; 0: a free one; else 7730, or a free one where that is taken.",
)
@click.option(
    "--gateway-port",
    type=click.IntRange(0, 65535),
    help="Port of the VMs' TLS gateway; 0: a free one; else 7731, or a free one where that is taken.",
)
@click.option("--domain", help="VMs are found at ID.vm.DOMAIN; else pi-v.localhost.")
@click.pass_obj
def up(extension: Extension, port: int | None, gateway_port: int | None, domain: str | None) -> None:
    """Start the embedded platform: real virtual machines on this computer."""
    given = (("--port", port), ("--gateway-port", gateway_port), ("--domain", domain))
    platform_command(
        extension, "up", *[word for name, value in given if value is not None for word in (name, str(value))]
    )
    extension.vers.settings.session["platform"] = "embedded"
    extension.tell_status(extension.wait(status_line(extension.vers)))


@vers.command()
@click.option("--purge", is_flag=True, help="Delete all VMs and commits, for good.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def down(extension: Extension, purge: bool, force: bool) -> None:
    """Save all VMs and stop the embedded platform; `%vers up` brings them back."""
    if purge and not force and EmbeddedPlatform.load() is not None:
        extension.ask(
            "Stop the embedded platform, and delete its VMs and commits for good?", "%vers down --purge -f"
        )
    extension.wait(extension.vers.fleet.close() if purge else extension.vers.fleet.let_go())
    platform_command(extension, "down", "-f", *(["--purge"] if purge else []))
    extension.vers.settings.session.pop("platform", None)


@vers.command("forget-host-key")
@click.argument("vm", type=VMName())
@click.pass_obj
def forget_host_key(extension: Extension, vm: str) -> None:
    """Accept the host key VM shows next, in place of the one it showed first."""

    async def forget() -> VM:
        found = await extension.find(vm)
        found.unpin()
        return found

    click.echo(f"The next host key of {extension.wait(forget()).label} is the one to trust.")


for command in (
    *account.COMMANDS,
    *branching.COMMANDS,
    *dashboard.COMMANDS,
    *files.COMMANDS,
    *golden.COMMANDS,
    *kernels.COMMANDS,
    *reach.COMMANDS,
    *skills.COMMANDS,
    *terminal.COMMANDS,
    *values.COMMANDS,
    swarm.swarm,
):
    vers.add_command(command)
examples.open_help("%vers", vers)
guarding.guard("%vers", vers)


def platform_command(extension: Extension, *words: str) -> None:
    """Run our own command line and show what it says, line by line."""
    extension.wait(
        _platform_command(extension, *words),
        f"`pi-v-jupyter {words[0]}`",
        "It ends what it had started.",
        speaks=True,
    )


async def _platform_command(extension: Extension, *words: str) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pi_v_jupyter",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # a stop is passed on by us, once
    )
    assert child.stdout is not None  # noqa: S101  it is a pipe
    last = ""
    try:
        async for line in child.stdout:
            last = line.decode(errors="replace").rstrip() or last
            if not last.startswith("Error: "):
                extension.notice(last)
        code = await child.wait()
    except asyncio.CancelledError:
        child.send_signal(signal.SIGINT)  # it has machines to end, or half an image to remove
        await child.wait()
        raise
    if code != 0:
        message, _, hint = last.removeprefix("Error: ").partition("  ")
        raise PlatformError(message or f"`pi-v-jupyter {words[0]}` failed.", hint)
