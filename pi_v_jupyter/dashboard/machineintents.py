"""VMs as intents name them, and commands and terminals on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from pi_v_jupyter.dashboard import arguments as given
from pi_v_jupyter.dashboard.execution import OUTPUT, Bounded, Lines
from pi_v_jupyter.dashboard.outcomes import Answer, Outcome, answer, each
from pi_v_jupyter.dashboard.terminals import Terminals
from pi_v_jupyter.errors import RemoteCommandError, UnknownVMError
from pi_v_jupyter.names import shown
from pi_v_jupyter.session import Vers
from pi_v_jupyter.vm import VM

EXEC_TIMEOUT = 120.0  # seconds


class MachineIntents:
    """What is done with VMs that are found by their ids; `tell` takes what there is to read meanwhile.

    `terminals`: those of who wants it.
    """

    def __init__(self, vers: Vers, tell: Callable[[str], object], terminals: Terminals) -> None:
        self.vers, self.tell, self.terminals = vers, tell, terminals

    async def find(self, id: str) -> VM:
        """The VM of that id.

        Raises:
            UnknownVMError: it is not there any more.
        """
        (vm,) = await self.found([id])
        return vm

    async def found(self, ids: Sequence[str]) -> list[VM]:
        """Those of these ids, each once, or none."""
        there = await self._there()
        for id in ids:
            if id not in there:
                raise _gone(id)
        return [there[id] for id in dict.fromkeys(ids)]

    async def with_each(
        self, ids: Sequence[str], act: Callable[[VM], Awaitable[str]], gone: str = ""
    ) -> Answer:
        """Do it with each, and say what came of it; one that has gone meanwhile spares the others.

        `gone`: a word or two for those, where it is as good that they have gone.
        """
        there = await self._there()

        def label(id: str) -> str:
            return shown(there[id].label) if id in there else shown(id[:8]) if gone else ""

        async def one(id: str) -> str:
            if id in there:
                return await act(there[id])
            if not gone:
                raise _gone(id)
            return gone

        return answer(await each(dict.fromkeys(ids), label, one))

    async def _there(self) -> dict[str, VM]:
        return {vm.id: vm for vm in await self.vers.fleet.all()}

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
        vms = await self.found(args.vms)
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

        outcomes = await each(vms, lambda vm: shown(vm.label), run)
        told = [
            _told(outcome, str(written[vm.id]), alone=len(vms) == 1)
            for vm, outcome in zip(vms, outcomes, strict=True)
        ]
        hints = (outcome.error.hint for outcome in outcomes if outcome.error is not None)
        ok = all(outcome.error is None for outcome in outcomes)
        return Answer(ok, "\n".join(told), next(filter(None, hints), ""))


def _gone(id: str) -> UnknownVMError:
    return UnknownVMError(f"VM {shown(id[:8])} is not there any more.", "Choose again.")


def _told(outcome: Outcome, output: str, *, alone: bool) -> str:
    """The output of one machine, and how it ended if not well."""
    head = "" if alone else f"[{outcome.label}]\n"
    error = outcome.error.message if outcome.error is not None else ""
    return head + "\n".join(filter(None, (output.rstrip("\n"), error)))
