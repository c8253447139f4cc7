"""What a word in a line of `%vers`, `%vm`, `%bg` or their cells may name, for Tab to offer it.

While a line is completed the object of click's context is the `Tab`; a command that runs has the extension.
"""

from __future__ import annotations

import builtins
import keyword
import signal
import types
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from pi_v_jupyter import skills
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.keys import KEYS
from pi_v_jupyter.magics.completion import paths
from pi_v_jupyter.remote.kernel import DEFAULT
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.magics.completion.tab import Tab

    Items = list[CompletionItem[str]]

TYPES = "_jupyter_types_experimental"  # where a kernel says of what kind each completion is
COMMAND = "command line"  # the mark of what a shell completes
CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
KINDS = ("bash", "python", "write", "edit", "sh", "node", "perl", "ruby")


class Named(StringParamType, ABC):
    """A word that is taken as it stands. `offers` says what it may be; what does not begin so is left out."""

    @abstractmethod
    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """`given`: what the line says already; `word`: the beginning of what is looked for."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """Such as begin with `incomplete`, none that is there already."""
        already = ctx.params.get(param.name) if param.nargs == -1 or param.multiple else None
        return [
            item
            for item in self.offers(ctx.obj, ctx.params, incomplete)
            if item.value.startswith(incomplete) and item.value not in (already or ())
        ]


class VMName(Named):
    """A VM: its name, or the start of its id; or a variable that holds one."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """The VMs first."""
        for vm in tab.vms():
            yield CompletionItem(vm.label, type="VM")
            if word and vm.name:
                yield CompletionItem(vm.vm_id, type="VM")
        yield from (CompletionItem(name, type="variable") for name in tab.held(VM))


class Listed(Named):
    """Several of a kind, with commas."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """The last of them."""
        before, comma, word = incomplete.rpartition(",")
        items = super().shell_complete(ctx, param, word)
        already = before.split(",")
        return [
            CompletionItem(before + comma + item.value, type=item.type)
            for item in items
            if item.value not in already
        ]


class VMNames(Listed, VMName):
    """Several VMs, with commas."""


class CommitName(Named):
    """A commit: a tag or name of it, or the start of its id; or a variable that holds one."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """The latest first."""
        catalog = tab.extension.vers.fleet.commits
        for commit in reversed(tab.ask(("commits", tab.extension.vers.settings.base_url), catalog.all) or []):
            yield from (CompletionItem(tag, type="tag") for tag in commit.tags)
            if commit.name:
                yield CompletionItem(commit.name, type="commit")
            if word or commit.label == commit.id[:8]:
                yield CompletionItem(commit.id[:8], type="commit")
        yield from (CompletionItem(name, type="variable") for name in tab.held(Commit))


class TagName(Named):
    """A tag."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """By name."""
        catalog = tab.extension.vers.fleet.commits
        for tag in tab.ask(("tags", tab.extension.vers.settings.base_url), catalog.tags) or []:
            yield CompletionItem(tag.tag_name, type="tag")


class VMOrCommit(Named):
    """A VM or a commit."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """The VMs first."""
        yield from VMName().offers(tab, given, word)
        yield from CommitName().offers(tab, given, word)


class KernelName(Named):
    """A Python kernel on a VM."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """Those that run there, on the VM of `--on`."""
        machine = tab.machine(given.get("on") or given.get("vm") or given.get("vms"))
        if isinstance(machine, VM):
            running = tab.ask(("kernels", machine), machine.kernel_names) or [DEFAULT]
            yield from (CompletionItem(name, type="kernel") for name in running)


class ProcessId(Named):
    """A background process; of those in one `state` (see `Status`), or of all."""

    def __init__(self, state: str | None = None) -> None:
        self.state = state

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """Those of the machine that the line is about."""
        machine = tab.extension.vers.here if given.get("local") else tab.machine(given.get("on"))
        if machine is not None:
            for process in tab.ask(("background", machine), machine.processes) or []:
                if self.state in (None, process.state):
                    yield CompletionItem(process.id, type="process")


class SignalName(Named):
    """A signal of Unix."""

    name = "SIGNAL"

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """In the order of their numbers, but for those that one sends most."""
        names = ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", *(each.name for each in signal.Signals)]
        return (CompletionItem(name, type="signal") for name in dict.fromkeys(names))


class SkillName(Named):
    """A skill document."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """All there are."""
        return (CompletionItem(skill.name, type="skill") for skill in skills.every())


class Setting(Named):
    """A setting of a session."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """All there are."""
        return (CompletionItem(key, type="setting") for key in KEYS)


class Kind(Named):
    """What a cell of `%%vm` is: one of ours, or an interpreter there."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """The usual ones. A file's kind goes before the options."""
        options = any(given.get(name) for name in ("on", "timeout", "cwd", "env", "fresh", "out", "err"))
        return (
            CompletionItem(kind, type="kind") for kind in KINDS if not (options and kind in ("write", "edit"))
        )


class Port(click.types.IntParamType):
    """The local port of an open tunnel."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """Those not named yet."""
        tab: Tab = ctx.obj
        already = ctx.params.get(param.name) or ()
        return [
            CompletionItem(str(tunnel.local_port), type="port")
            for tunnel in tab.extension.vers.tunnels()
            if str(tunnel.local_port).startswith(incomplete) and tunnel.local_port not in already
        ]


class RemotePath(Named):
    """A path on the machine of `--on`; a relative one begins where the session `beside` is."""

    def __init__(self, beside: str, *, folders: bool = False) -> None:
        self.beside, self.folders = beside, folders

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """What is in its folder."""
        if given.get("local"):
            return paths.here(tab, word, folders=self.folders)
        return paths.on_machine(
            tab, tab.machine(given.get("on")), word, beside=self.beside, folders=self.folders
        )


class Place(Named):
    """A path on any machine, as scp writes it; on VMs a relative one begins where the session `beside` is."""

    def __init__(self, beside: str) -> None:
        self.beside = beside

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """Paths of this computer and VMs; after a colon, paths on that VM."""
        name, colon, path = word.partition(":")
        if colon and "/" not in name:
            found = paths.on_machine(tab, tab.machine(name), path, beside=self.beside)
            return [CompletionItem(name + colon + item.value, type=item.type) for item in found]
        vms = [
            CompletionItem(f"{item.value}:", type=item.type)
            for item in ([] if "/" in word else VMName().offers(tab, given, word))
        ]
        return [*paths.here(tab, word), *vms]


class Variable(Named):
    """The name of a Python variable."""

    name = "VAR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what no cell could read again."""
        name = str(value)
        if not name.isidentifier() or keyword.iskeyword(name):
            self.fail(f"{name!r} cannot name a variable.", param, ctx)
        return name

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """Those of the user that hold values, rather than code."""
        held = tab.held(object)
        return [CompletionItem(name, type="variable") for name in held if not isinstance(held[name], CODE)]


class KernelVariable(Variable):
    """The name of a variable of a kernel on a VM."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """Those that the kernel knows, if it is being talked to."""
        machine = tab.machine(given.get("vms"))
        kernel = machine.kernel(given.get("kernel") or DEFAULT) if isinstance(machine, VM) else None
        if kernel is None or not kernel.connected or not word:
            return []
        question = partial(kernel.ask, "complete_request", code=word, cursor_pos=len(word))
        told = (tab.ask(("variables", machine, kernel.name, word), question) or {}).get("matches")
        return [
            CompletionItem(name, type="variable")
            for name in (told if isinstance(told, list) else ())
            if str(name).isidentifier() and not keyword.iskeyword(name) and not hasattr(builtins, name)
        ]


class Command(Named):
    """A command of a shell on the VM: completed as bash would, since its words are not click's."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """A mark for whoever knows the line as it was typed, as click itself has it for files."""
        return [CompletionItem(word, type=COMMAND)]
