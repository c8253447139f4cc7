"""Background processes as intents name them."""

from __future__ import annotations

from pi_v_jupyter.dashboard import arguments as given
from pi_v_jupyter.dashboard.execution import OUTPUT, Bounded
from pi_v_jupyter.dashboard.machineintents import MachineIntents
from pi_v_jupyter.dashboard.outcomes import Answer
from pi_v_jupyter.dashboard.snapshot import HERE
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.names import shown
from pi_v_jupyter.remote.background import BackgroundProcess


class ProcessIntents(MachineIntents):
    """What is done with them."""

    async def _process(self, name: str) -> BackgroundProcess:
        """That of a name such as "here web": the id of its VM or "here", and its own."""
        where, _, id = name.partition(" ")
        machine: Machine = self.vers.here if where == HERE else await self.find(where)
        return await machine.process(id)

    async def _stop(self, args: given.Process) -> Answer:
        process = await self._process(args.process)
        await process.stop()
        return Answer(ok=True, text=f"{process.id} on {shown(process.machine.label)}: {process.outcome}.")

    async def _forget(self, args: given.Process) -> Answer:
        process = await self._process(args.process)
        await process.remove()
        return Answer(
            ok=True, text=f"{process.id} on {shown(process.machine.label)} is forgotten, log and all."
        )

    async def _logs(self, args: given.Logs) -> Answer:
        process = await self._process(args.process)
        told = Bounded(OUTPUT)
        for line in await process.logs(args.last):
            told.add(f"{line}\n")
        return Answer(ok=True, text=str(told))
