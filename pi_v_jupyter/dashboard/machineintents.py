"""VMs as intents name them, and commands and terminals on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from pi_v_jupyter.dashboard import arguments as given
from pi_v_jupyter.dashboard.execution import OUTPUT, Bounded, Lines
from pi_v_jupyter.dashboard.outcomes import Answer, Outcome, answer, each
from pi_v_jupyter.dashboard.terminals import Terminals
from pi_v_jupyter.errors import RemoteCommandError, UnknownVMError
from pi_v_jupyter.names import shown
from pi_v_jupyter.session import Vers
from pi_v_jupyter.texts import short
from pi_v_jupyter.vm import VM

EXEC_TIMEOUT = 120.0  # seconds


class MachineIntents:
    """What is done with VMs that are found by their ids; `tell` takes what there is to read meanwhile.

    `terminals`: those of who wants it. `asked`: what is done, where the answer alone would not tell.
    """

    def __init__(self, vers: Vers, tell: Callable[[str], object], terminals: Terminals) -> None:
        self.vers, self.tell, self.terminals = vers, tell, terminals
        self.asked = ""

    async def find(self, id: str) -> VM:
        """The VM of that id.

        Raises:
            UnknownVMError: it is not there any more.
        """
        vms, _ = await self.among([id])
        if not vms:
            raise self._gone(id)
        return vms[0]

    async def among(self, ids: Sequence[str], gone: str = "") -> tuple[list[VM], list[Outcome]]:
        """The VMs of these ids, each once, and what is said of those that are not there any more.

        `gone`: a word or two for these, where it is as good that they have gone. Of those that this session
        knows something is kept here, which is to go as well: they are among the VMs then.
        """
        known = {vm.id: vm for vm in self.vers.fleet.known()} if gone else {}
        there = known | {vm.id: vm for vm in await self.vers.fleet.all()}
        vms, absent = [], []
        for id in dict.fromkeys(ids):
            if id in there:
                vms.append(there[id])
            else:
                absent.append(Outcome(shown(id[:8]), gone) if gone else Outcome("", error=self._gone(id)))
        return vms, absent

    def _gone(self, id: str) -> UnknownVMError:
        known = {vm.id: vm.label for vm in self.vers.fleet.known()}
        called = known.get(id, id[:8])
        return UnknownVMError(f"VM {shown(called)} is not there any more.", "Choose again.")

    async def with_each(
        self, ids: Sequence[str], act: Callable[[VM], Awaitable[str]], gone: str = ""
    ) -> Answer:
        """Do it with each, and say what came of it; one that has gone meanwhile spares the others.

        `gone`: as of `among`.
        """
        vms, absent = await self.among(ids, gone)
        return answer([*await each(vms, _label, act), *absent])

    async def ending(self, work: Awaitable[Answer]) -> Answer:
        """What came of `work`, which ends VMs, and that cells run elsewhere if one was the active VM."""
        chosen = self.vers.fleet.chosen
        told = await work
        if chosen is not None and self.vers.fleet.chosen is None:
            told = replace(told, text=f"{told.text} Cells run on this computer now.")
        return told

    async def _connect(self, args: given.VMs) -> Answer:
        async def connect(vm: VM) -> str:
            await vm.connect()
            return "connected"

        return await self.with_each(args.vms, connect)

    async def _terminal(self, args: given.OneVM) -> Answer:
        screen = await self.terminals.open(await self.find(args.vm))
        return Answer(ok=True, text=screen.id)

    async def _close_terminal(self, args: given.OneVM) -> Answer:
        await self.terminals.end(args.vm)
        return Answer(ok=True, text="")

    async def _exec(self, args: given.Exec) -> Answer:
        self.asked = short(args.command)
        vms, absent = await self.among(args.vms)
        self.asked = " on ".join(filter(None, (self.asked, short(", ".join(map(_label, vms))))))
        written = {vm.id: Bounded(OUTPUT // len(vms)) for vm in vms}

        async def run(vm: VM) -> str:
            output, lines = written[vm.id], Lines(shown(vm.label), self.tell)
            tell = self.tell if len(vms) == 1 else lines.add
            try:
                async with aclosing(
                    self.vers.plan.machine(vm).stream(args.command, timeout=EXEC_TIMEOUT)
                ) as pieces:
                    async for _, text in pieces:
                        output.add(text)
                        tell(text)
            except RemoteCommandError as error:  # its hint is the end of its output, which is told anyway
                raise RemoteCommandError(error.message) from None
            finally:
                lines.end()
            return ""

        outcomes = [*absent, *await each(vms, _label, run)]
        outputs = [*("" for _ in absent), *map(str, written.values())]
        told = [
            _told(outcome, output, alone=len(outcomes) == 1)
            for outcome, output in zip(outcomes, outputs, strict=True)
        ]
        hints = (outcome.error.hint for outcome in outcomes if outcome.error is not None)
        ok = all(outcome.error is None for outcome in outcomes)
        return Answer(ok, "\n".join(told), next(filter(None, hints), ""))


def _label(vm: VM) -> str:
    return shown(vm.label)


def _told(outcome: Outcome, output: str, *, alone: bool) -> str:
    """The output of one machine, and how it ended if not well."""
    head = "" if alone or not outcome.label else f"[{outcome.label}]\n"
    error = outcome.error.message if outcome.error is not None else ""
    return head + "\n".join(filter(None, (output.rstrip("\n"), error)))
