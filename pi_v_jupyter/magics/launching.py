"""`%bg start`, `%%bg` and `%%vm --bg`: what they may be told, and a process started and seen off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pi_v_jupyter import loops
from pi_v_jupyter.errors import RemoteCommandError, UsageError
from pi_v_jupyter.magics import output, words
from pi_v_jupyter.magics.following import Follower
from pi_v_jupyter.magics.options import HELP, SESSION, Pair, Seconds
from pi_v_jupyter.magics.parameters import Command, ProcessId, RemotePath, VMName
from pi_v_jupyter.remote.background import BackgroundProcess, compiled
from pi_v_jupyter.remote.tunnel import check_port
from pi_v_jupyter.views import background as views
from pi_v_jupyter.views import reach
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.extension import Extension

WAIT = 500  # milliseconds that a process is looked at once it was started


class Port(click.ParamType[int]):
    """A TCP port."""

    name = "PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Refuse what is none."""
        text = str(value)
        if not (text.isascii() and text.isdecimal()):
            self.fail(f"{value!r} is no port.", param, ctx)
        check_port(int(text))
        return int(text)


class Ready(click.ParamType[str | int]):
    """What tells that a process is ready: digits are a port, anything else is looked for in its lines."""

    name = "PATTERN|PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """Refuse what is neither a port nor a regular expression."""
        text = str(value)
        if text.isascii() and text.isdecimal():
            return Port().convert(text, param, ctx)
        compiled(text)
        return text


class IdThenOptions(click.Command):
    """A command that is called with an ID, options, and from there on words that are not its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Have click, which stops at the first word, find the ID behind the options."""
        at = self._behind_options(ctx, args)
        if at < len(args):
            process_id, rest = args[at], [*args[:at], *args[at + 1 :]]
            behind = self._behind_options(ctx, rest)
            args = [*rest[:behind], process_id, *rest[behind:]]
        return super().parse_args(ctx, args)

    def _behind_options(self, ctx: click.Context, args: list[str]) -> int:
        parser = click.Command(None, params=[*filter(_is_option, self.get_params(ctx))]).make_parser(ctx)
        return len(args) - len(parser.parse_args(list(args))[1])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """In the order in which they are typed."""
        options, process_id, *rest = super().collect_usage_pieces(ctx)
        return [process_id, options, *rest]


def _is_option(param: click.Parameter) -> bool:
    return isinstance(param, click.Option)


ID = click.Argument(["id"], type=ProcessId("ended"))
ON = click.Option(["--on"], type=VMName(), metavar="VM", help="On that VM; without it, the active one.")
LOCAL = click.Option(["--local"], is_flag=True, help="On this computer.")
OPTIONS = [
    ON,
    LOCAL,
    click.Option(["--cwd"], type=RemotePath(SESSION, folders=True), metavar="DIR", help="Run it in DIR."),
    click.Option(["-e", "--env"], type=Pair(), multiple=True, help="Set a variable for it."),
    click.Option(["--restart"], is_flag=True, help="Stop the one of that name that runs, if any, before."),
    click.Option(
        ["--wait"],
        type=click.IntRange(min=0),
        default=WAIT,
        show_default=True,
        metavar="MS",
        help="Show what it writes in its first milliseconds.",
    ),
    click.Option(
        ["--ready"],
        type=Ready(),
        help="Wait until a line of it matches a regular expression, or until it listens to a port.",
    ),
    click.Option(
        ["--timeout"],
        type=Seconds(min=0),
        metavar="S",
        help="Seconds until --ready; 0: any; else ssh_timeout, 120.",
    ),
    click.Option(["--tunnel"], type=Port(), help="Then have a port here lead to that port of it."),
]
START = IdThenOptions(
    "start",
    params=[
        ID,
        *OPTIONS,
        click.Argument(["rest"], nargs=-1, type=Command(), metavar="[--] COMMAND"),
    ],
    context_settings={**HELP, "allow_interspersed_args": False},
    short_help="Run a command in the background, under a name.",
    help="Run a command in the background, under a name: the line after the options, as it stands, by bash. "
    "It goes on when the cell, the notebook and the connection end, until `%bg stop ID`.",
)
CELL = click.Command(
    "bg",
    params=[ID, *OPTIONS],
    callback=lambda **given: given,
    context_settings=HELP,
    help="Run this cell in the background, by bash, under a name. It goes on when the notebook and the "
    "connection end, until `%bg stop ID`.",
)


@dataclass(frozen=True)
class Start:
    """What `%bg start` was told."""

    id: str
    on: str | None = None
    local: bool = False
    cwd: str | None = None
    env: Sequence[tuple[str, str]] = ()
    restart: bool = False
    wait: int = WAIT
    ready: str | int | None = None
    timeout: float | None = None
    tunnel: int | None = None


def chosen(extension: Extension, on: str | None, local: bool) -> Machine:
    """The machine that is meant.

    Raises:
        UsageError: two are named.
        UnknownVMError, VMGoneError: it is not there.
    """
    if on is not None and local:
        raise UsageError("--local and --on exclude each other.", "--local is this computer, --on names a VM.")
    if on is not None:
        return extension.wait(extension.find(on), f"looking for {on}")
    return extension.vers.here if local else extension.vers.machine


def start(
    extension: Extension, command: str | Sequence[str], how: Start, *, code: str | None = None
) -> BackgroundProcess:
    """Start it, show what it writes at first, wait until it is ready, and open the way to its port.

    Raises:
        RemoteCommandError: it has ended with another code than 0 by then.
        NotReadyError: it was not ready in time, and goes on.
    """
    if how.timeout is not None and how.ready is None:
        raise UsageError(
            "--timeout is how long --ready may take.", "A process in the background runs until `%bg stop`."
        )
    machine = chosen(extension, how.on, how.local)
    for text in (command, code):
        if isinstance(text, str):
            words.encoded(text, "the command")
    cwd = how.cwd or ""
    if how.local and not cwd.startswith("~"):
        cwd = str(Path.cwd() / cwd)
    elif not how.local and machine is extension.vers.here:
        print("(local)")
    process = extension.wait(
        machine.background.begin(
            command,
            how.id,
            cwd=cwd,
            env=dict(how.env),
            restart=how.restart,
            code=code,
            beside=SESSION,
        ),
        f"starting {how.id} on {machine.label}",
        "It may run all the same: `%bg list` shows it.",
    )
    output.to_cell("stdout", f"{views.started_text(process)}\n")
    _see_off(extension, process, how)
    if how.tunnel is not None and process.state == "running":
        _lead(extension, machine, how.tunnel)
    return extension.quietly(process)


def _see_off(extension: Extension, process: BackgroundProcess, how: Start) -> None:
    """Show what it writes until it is ready, or for its first moments."""
    screen = loops.Screen()
    limit = extension.vers.settings.ssh_timeout if how.timeout is None else how.timeout
    awaited = how.ready if isinstance(how.ready, str) else None

    async def look() -> None:
        async with Follower(process, screen, awaited=awaited) as follower:
            if how.ready is None:
                await follower.ended(how.wait / 1000)
                return
            try:
                await process.ready(how.ready, timeout=limit)
            except RemoteCommandError:  # it has ended: what it said tells why
                await follower.ended()
                raise
            if awaited is not None:
                await follower.caught_up()

    extension.wait(
        look(),
        f"waiting {'for' if how.ready is None else 'until'} {process.id} on {process.machine.label}"
        f"{'' if how.ready is None else ' is ready'}",
        f"It goes on: `%bg stop {process.id}{process.machine.option}` ends it.",
        screen=screen,
    )
    if process.state != "running":
        extension.wait(process.raise_if_failed(), "looking at its end")
        print(views.ended_text(process))


def _lead(extension: Extension, machine: Machine, port: int) -> None:
    if isinstance(machine, VM):
        there = [tunnel for tunnel in machine.tunnels if tunnel.remote_port == port]
        tunnel = there[0] if there else extension.wait(machine.tunnel(port), "opening the tunnel")
        print(reach.tunnel_text(tunnel))
    else:
        print(f"http://127.0.0.1:{port}")
