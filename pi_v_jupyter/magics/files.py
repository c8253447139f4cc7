"""`%%vm write`, `%%vm edit` and `%vers read`: files of the active VM, or of this computer."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
from tqdm import tqdm

from pi_v_jupyter.errors import UnknownVMError, UsageError
from pi_v_jupyter.magics import words
from pi_v_jupyter.magics.options import HELP, SESSION
from pi_v_jupyter.magics.output import to_cell
from pi_v_jupyter.magics.parameters import Place, RemotePath, VMName, VMNames
from pi_v_jupyter.remote import blocks
from pi_v_jupyter.remote.copying import Copied, OnProgress
from pi_v_jupyter.remote.files import Edited, Excerpt, Written
from pi_v_jupyter.views import files as views

if TYPE_CHECKING:
    from pi_v_jupyter.machine import Machine
    from pi_v_jupyter.magics.extension import Extension

T = TypeVar("T")


class Mode(click.ParamType[int]):
    """Permissions in octal, as chmod takes them."""

    name = "MODE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Such as 755."""
        try:
            mode = int(str(value), 8)
        except ValueError:
            mode = -1
        if not 0 <= mode <= 0o7777:
            self.fail(f"{value!r} is no mode; 755 or 600 is one.", param, ctx)
        return mode


ON = click.Option(["--on"], type=VMNames(), metavar="VM[,VM…]", help="There, on all of them.")
PATH = click.Argument(["path"], type=RemotePath(SESSION))
WRITE = click.Command(
    "write",
    params=[
        PATH,
        ON,
        click.Option(["-a", "--append"], is_flag=True, help="Add to the file."),
        click.Option(["--mode"], type=Mode(), help="Its permissions, in octal; a file keeps those it has."),
    ],
    callback=lambda **given: given,
    context_settings=HELP,
    help="Make this cell the content of PATH on the active VM, in one moment. Folders are made. A relative "
    "PATH begins where the shell session is.",
)
EDIT = click.Command(
    "edit",
    params=[PATH, ON],
    callback=lambda **given: given,
    context_settings=HELP,
    help="Replace texts in PATH, all or none: " + blocks.FORM + " Each old text must be there exactly once.",
)


def cell(extension: Extension, kind: str, given_words: list[str], body: str) -> Any:
    """`%%vm write …` or `%%vm edit …`."""
    command = WRITE if kind == "write" else EDIT
    given = words.run(command, f"%%vm {kind}", given_words, None)
    if not isinstance(given, dict):  # help was asked for, and shown
        return None
    extension.vers.plan.check(f"%%vm {kind}", given)
    path = given["path"]
    if kind == "write":
        data = body.encode("utf-8", "surrogateescape")

        async def write(machine: Machine) -> Written:
            return await machine.write(path, data, append=given["append"], mode=given["mode"], beside=SESSION)

        return _on_each(extension, given["on"], write, f"writing {path}", views.written_text)

    edits = blocks.parse(body)

    async def edit(machine: Machine) -> Edited:
        return await machine.edit_first_that_occurs(path, edits, beside=SESSION)

    return _on_each(extension, given["on"], edit, f"editing {path}", views.edited_text)


def _on_each(
    extension: Extension,
    listed: str | None,
    work: Callable[[Machine], Awaitable[T]],
    doing: str,
    text: Callable[[T, str], str],
) -> T | dict[str, T]:
    """Do it on the active machine or on those listed, all at once; show what was done, raise what was not."""
    machines = list(extension.find_all(listed)) if listed else [_active(extension)]

    async def all_of_them() -> Sequence[T | BaseException]:
        return await asyncio.gather(*map(work, machines), return_exceptions=True)

    outcomes = extension.wait(all_of_them(), doing)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    done = {
        machine.label: outcome
        for machine, outcome in zip(machines, outcomes, strict=True)
        if not isinstance(outcome, BaseException)
    }
    to_cell("stdout", "".join(text(outcome, label) for label, outcome in done.items()))
    for error in failed[1:]:
        to_cell("stderr", f"{error}\n")
    if failed:
        raise failed[0]
    return extension.quietly(done if listed and len(machines) > 1 else next(iter(done.values())))


def _active(extension: Extension) -> Machine:
    """Where files are; that it is this computer is said."""
    machine = extension.vers.machine
    if extension.vers.active is None:
        to_cell("stdout", "(local)\n")
    return machine


@click.command(context_settings=HELP)
@click.argument("path", type=RemotePath(SESSION))
@click.option("--offset", type=click.IntRange(min=1), default=1, metavar="LINE", help="The first line.")
@click.option("--limit", type=click.IntRange(min=1), metavar="LINES", help="How many lines at the most.")
@click.option("--on", type=VMName(), metavar="VM", help="There.")
@click.pass_obj
def read(extension: Extension, path: str, offset: int, limit: int | None, on: str | None) -> Excerpt:
    """Show lines of a text file, at most 50 KB. A relative PATH begins where the shell session is."""
    if on:
        (machine, *others) = extension.find_all(on)
        if others:
            raise UsageError("A file is read on one VM.", "Give --on one name.")
    else:
        machine = _active(extension)
    return extension.wait(machine.read(path, offset, limit, beside=SESSION), f"reading {path}")


class Bar(tqdm):  # type: ignore[type-arg]  # it is one at run time only
    """Bytes that go; seen after a second."""

    monitor_interval = 0  # no thread of its own: it would print where it likes


@click.command(context_settings=HELP)
@click.argument("places", nargs=-1, type=Place(SESSION), metavar="SRC… DST")
@click.option("-r", "folders", is_flag=True, help="Folders too, with all that is in them.")
@click.pass_obj
def cp(extension: Extension, places: tuple[str, ...], folders: bool) -> Copied:
    """Copy files between machines: NAME:/path, :/path on the active VM, or a path of this computer.

    Modes, times, links and holes are kept. What is stopped leaves no half file; one large file goes on from
    there the next time.
    """
    *sources, target = places if len(places) > 1 else ("", "")
    if not all(places) or not sources[0]:
        raise UsageError("What is to be copied, and where to?", "`%vers cp SRC… DST`, as scp has it.")
    fleet = extension.vers.fleet
    if fleet.active is None and any(place.startswith(":") for place in places):
        raise UnknownVMError(
            "No VM is active, and `:/path` is on the active one.", "`%vers use VM` makes one so."
        )
    with bar(extension) as on_progress:
        copied = extension.wait(
            fleet.places(find=extension.find).copy(
                sources, target, beside=SESSION, folders=folders, on_progress=on_progress
            ),
            f"copying to {target}",
            "No half file has its final name; of one large file the next copy goes on from here.",
            speaks=True,
        )
    click.echo(views.copied_text(copied))
    return extension.quietly(copied)


@contextmanager
def bar(extension: Extension) -> Iterator[OnProgress]:
    """What shows how far something is, once that has taken a second."""
    shown = Bar(unit="B", unit_scale=True, delay=1.0, leave=False, file=sys.stdout)
    due = 0.0

    def on_progress(done: int, total: int | None) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + 0.1
            extension.show(lambda: _advance(shown, done, total))

    try:
        yield on_progress
    finally:
        shown.close()


def _advance(bar: Bar, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(min(done, total or done) - bar.n)  # what surrounds the content counts too, a little


COMMANDS: list[click.Command] = [read, cp]
