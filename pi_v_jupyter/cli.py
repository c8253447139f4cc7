"""`pi-v-jupyter`: the embedded platform from the command line.

Output is read by people and, line by line, by `%vers up`: results on stdout, progress and errors on
stderr. A failure is one sentence with the next step, and exit code 1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from pi_v_jupyter.errors import MissingToolError, VersError

if TYPE_CHECKING:
    from pi_v_jupyter.local.base import Resident

DEFAULT_DOMAIN = "pi-v.localhost"
MOST = click.IntRange(min=1)
_DOMAIN_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII | re.IGNORECASE)
_LONGEST_DOMAIN = 200  # a VM's id goes in front of it, and 253 is all that a host name can have


class _Group(click.Group):
    """Shows our errors as sentences."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VersError as error:
            raise click.ClickException(str(error)) from None
        except ModuleNotFoundError as error:
            extra = "lab" if str(error.name).startswith(("nb", "jupyter")) else "local"
            absent = MissingToolError(
                f"The Python package {error.name!r} is not installed.",
                f"Install pi-v-jupyter with its extra `{extra}`: pip install 'pi-v-jupyter[{extra}]'",
            )
            raise click.ClickException(str(absent)) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pi-v-jupyter")
def main() -> None:
    """Virtual machines on this computer, for notebooks."""


def _domain(_: click.Context, __: click.Parameter, value: str) -> str:
    if len(value) > _LONGEST_DOMAIN or not all(map(_DOMAIN_LABEL.fullmatch, value.split("."))):
        raise click.BadParameter(
            f"{value[:80]!r} is no domain name: letters, digits, '-' and dots,"
            f" {_LONGEST_DOMAIN} characters at most."
        )
    return value


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Meanwhile SIGTERM does what Ctrl-C on a terminal does: it ends what was started here as well."""
    import psutil

    def end(number: int, frame: FrameType | None) -> None:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(child.pid) == os.getpgrp():  # as the terminal tells them from others
                    child.terminate()
        interrupted = signal.getsignal(signal.SIGINT)
        if callable(interrupted):
            interrupted(signal.SIGINT, frame)

    # A shell has SIGINT ignored by what it starts in the background; asyncio then would not clean up.
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@main.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Of the API; 0: a free one; else 7730, or a free one where that is taken.",
)
@click.option(
    "--gateway-port",
    type=click.IntRange(0, 65535),
    help="Of the VMs; 0: a free one; else 7731, or a free one where that is taken.",
)
@click.option(
    "--domain",
    default=DEFAULT_DOMAIN,
    callback=_domain,
    show_default=True,
    help="VMs are at <vm-id>.vm.DOMAIN.",
)
@click.option("--max-vms", type=MOST, help="All VMs together: how many there may be.")
@click.option("--max-vcpus", type=MOST, help="All VMs together: processors.")
@click.option("--max-memory", "max_memory_mib", type=MOST, metavar="MIB", help="All VMs together: memory.")
@click.option("--max-disk", "max_disk_mib", type=MOST, metavar="MIB", help="All VMs together: disks.")
@click.option("--foreground", is_flag=True, help="Stay in this terminal, with the log on it.")
@click.option("--report-fd", type=int, hidden=True)
def up(foreground: bool, report_fd: int | None, **wanted: Any) -> None:
    """Start the embedded platform; the first time, build its image."""
    from pi_v_jupyter.local import daemon, launcher

    options = daemon.Options(**wanted)
    if foreground:
        with _ended_like_ctrl_c():
            _serve(options, report_fd)
        return
    with _ended_like_ctrl_c():
        platform, new = launcher.up(options, _resident(), _progress)
    word = "up" if new else "up already"
    click.echo(
        f"embedded platform {word}: {platform.base_url} · VMs at *.vm.{platform.domain}:{platform.vm_port}"
        f" · QEMU, {platform.accelerator}"
    )


def _serve(options: Any, report_fd: int | None) -> None:
    from pi_v_jupyter.local import daemon

    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)

    def report(failure: dict[str, str] | None) -> None:
        if report_fd is not None:
            with os.fdopen(report_fd, "w") as pipe:
                json.dump(failure, pipe)

    try:
        asyncio.run(daemon.serve(options, _resident(), lambda _: report(None), _progress))
    except VersError as error:
        report({"message": error.message, "hint": error.hint})
        raise


@main.command()
@click.option(
    "--purge", is_flag=True, help="Delete the VMs for good, and all else the platform keeps of them."
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
def down(purge: bool, force: bool) -> None:
    """Save all VMs, end the embedded platform; `up` brings them back."""
    from pi_v_jupyter.local import daemon, launcher

    kept = launcher.vms_kept()
    if not force and purge and kept:
        _ask(f"{_vms(kept)} and all commits will be deleted for good.")
    options = daemon.Options(0, 0, DEFAULT_DOMAIN)
    ended = launcher.down(purge=purge, options=options, resident=_resident())
    saved = launcher.vms_saved()
    back = f" · {_vms(saved)} saved; `up` brings {'it' if saved == 1 else 'them'} back" if saved else ""
    click.echo(("embedded platform down" if ended else "the embedded platform was not up") + back)


def _vms(count: int) -> str:
    return "1 VM" if count == 1 else f"{count} VMs"


def _ask(consequence: str) -> None:
    if not sys.stdin.isatty():
        raise click.ClickException(f"{consequence}  `pi-v-jupyter down -f` does it without asking.")
    click.confirm(f"{consequence} Go on?", abort=True)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(as_json: bool) -> None:
    """Say whether the embedded platform is up, and what it runs."""
    from pi_v_jupyter.local import launcher

    now = launcher.status()
    if as_json:
        click.echo(json.dumps(now))
    elif now["up"]:
        states = ", ".join(f"{count} {state}" for state, count in now["vms"].items() if count) or "no VMs"
        click.echo(f"embedded platform up: {now['base_url']} · QEMU, {now['accelerator']} · {states}")
        click.echo(f"log: {now['log']}")
    else:
        click.echo("embedded platform down  `pi-v-jupyter up` starts it")
        if now["vms_left_running"]:
            count = now["vms_left_running"]
            still = "still runs  `up` takes it over" if count == 1 else "still run  `up` takes them over"
            click.echo(f"{_vms(count)} of a platform that died {still}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(as_json: bool) -> None:
    """Say what the embedded platform lacks here, and what to do."""
    from pi_v_jupyter.local import readiness

    found = readiness.findings()
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found]))
        return
    for each in found:
        click.echo(f"{'✓' if each.ok else '✗'} {each.what}: {each.found}")
        if each.remedy:
            click.echo(f"    {each.remedy}")
    if not all(each.ok for each in found):
        sys.exit(1)


_GOLDEN = click.option("--golden", is_flag=True, help="The one that agents start from.")


@main.group()
def image() -> None:
    """The image VMs start from."""


@image.command("build")
@click.option("--force", is_flag=True, help="Build it anew, as for Debian's latest updates.")
@_GOLDEN
def image_build(force: bool, golden: bool) -> None:
    """Build the VM image, unless it is there."""
    from pi_v_jupyter.local import image as images

    with _ended_like_ctrl_c():
        built = images.ensure(_progress, images.GOLDEN if golden else images.DEFAULT, force=force)
    click.echo(f"{built.digest}  Debian {built.suite}, Linux {built.kernel_version}")


@image.command("info")
@_GOLDEN
def image_info(golden: bool) -> None:
    """Say which image VMs start from."""
    from pi_v_jupyter.local import image as images

    name = images.GOLDEN if golden else images.DEFAULT
    current = images.current(name)
    if current is None:
        words = " --golden" if golden else ""
        raise click.ClickException(
            f"There is no {name} VM image yet.  `pi-v-jupyter image build{words}` makes it."
        )
    size = sum(file.stat().st_blocks * 512 for file in current.folder.iterdir())
    click.echo(
        f"{current.digest}  Debian {current.suite}, Linux {current.kernel_version}, built {current.built_at}"
    )
    click.echo(f"{current.folder}  {size / 1e6:.0f} MB on disk")


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _resident() -> Resident | None:
    """The programs of ours that every VM runs from the start."""
    from pi_v_jupyter.local.base import Resident
    from pi_v_jupyter.remote import kernel, resident

    return Resident(
        program=resident.program(),
        socket_path=resident.socket_path(),
        keeper=kernel.keeper(),
        keeper_path=kernel.socket_path(kernel.DEFAULT),
    )


@main.command("ssh-proxy")
@click.argument("host")
@click.argument("port", type=click.IntRange(1, 65535))
@click.option("--ca", "ca_file", metavar="FILE", help="Trust this authority (PEM) instead of the system's.")
def ssh_proxy(host: str, port: int, ca_file: str | None) -> None:
    """Carry SSH to a VM through TLS, for OpenSSH's ProxyCommand.

    `%vers ssh-config` writes the line that calls it.
    """
    from pi_v_jupyter.remote import proxy

    if not proxy.run(host, port, ca_file):
        sys.exit(1)


@main.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    default="demo-output",
    show_default=True,
    help="Where the executed notebook and its HTML copy go.",
)
def demo(output: str) -> None:
    """Run the first walkthrough on real VMs, shown here as it runs."""
    from pathlib import Path

    from pi_v_jupyter import demo

    executed = demo.run(Path(output))
    click.echo(f"\nexecuted: {executed} and {executed.with_suffix('.html')}")
