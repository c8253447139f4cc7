"""VMs as intents name them, and commands that run on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pi_v_jupyter.dashboard import arguments as given
from pi_v_jupyter.dashboard.outcomes import Answer, Outcome, each
from pi_v_jupyter.errors import RemoteCommandError, UnknownVMError
from pi_v_jupyter.names import shown
from pi_v_jupyter.session import Vers
from pi_v_jupyter.vm import VM

OUTPUT = 64 << 10  # characters that are told of a command's output, or of a log
EXEC_TIMEOUT = 120.0  # seconds


class Bounded:
    """The beginning and the end of a text that comes in pieces, in bounded memory."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._first = ""
        self._last: deque[str] = deque()
        self._kept = 0
        self._left_out = 0

    def add(self, text: str) -> None:
        """More of it."""
        room = self._half - len(self._first)
        self._first, text = self._first + text[:room], text[room:]
        if text:
            self._last.append(text)
            self._kept += len(text)
        while self._kept > self._half:
            over = self._kept - self._half
            piece = self._last.popleft()
            if len(piece) > over:
                self._last.appendleft(piece[over:])
            cut = min(over, len(piece))
            self._kept -= cut
            self._left_out += cut

    def __str__(self) -> str:
        missing = f"\n… {self._left_out} characters left out …\n" if self._left_out else ""
        return f"{self._first}{missing}{''.join(self._last)}"


class MachineIntents:
    """What is done with VMs that are found by their ids."""

    vers: Vers

    async def find(self, id: str) -> VM:
        """The VM of that id.

        Raises:
            UnknownVMError: it is not there any more.
        """
        (vm,) = await self.found([id])
        return vm

    async def found(self, ids: Sequence[str]) -> list[VM]:
        """Those of these ids, each once, or none."""
        there = {vm.id: vm for vm in await self.vers.fleet.all()}
        for id in ids:
            if id not in there:
                raise UnknownVMError(f"VM {shown(id[:8])} is not there any more.", "Choose again.")
        return [there[id] for id in dict.fromkeys(ids)]

    async def _exec(self, args: given.Exec) -> Answer:
        vms = await self.found(args.vms)
        written = {vm.id: Bounded(OUTPUT // len(vms)) for vm in vms}

        async def run(vm: VM) -> str:
            output = written[vm.id]
            try:
                async for _, text in vm.stream(args.command, timeout=EXEC_TIMEOUT):
                    output.add(text)
            except RemoteCommandError as error:  # its hint is the end of its output, which is told anyway
                raise RemoteCommandError(error.message) from None
            return ""

        outcomes = await each(vms, lambda vm: shown(vm.label), run)
        told = [
            _told(outcome, str(written[vm.id]), alone=len(vms) == 1)
            for vm, outcome in zip(vms, outcomes, strict=True)
        ]
        hints = (outcome.error.hint for outcome in outcomes if outcome.error is not None)
        ok = all(outcome.error is None for outcome in outcomes)
        return Answer(ok, "\n".join(told), next(filter(None, hints), ""))


def _told(outcome: Outcome, output: str, *, alone: bool) -> str:
    """The output of one machine, and how it ended if not well."""
    head = "" if alone else f"[{outcome.label}]\n"
    error = outcome.error.message if outcome.error is not None else ""
    return head + "\n".join(filter(None, (output.rstrip("\n"), error)))
