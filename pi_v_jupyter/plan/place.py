"""A machine as plan mode lets it be seen: shell commands are judged, run aside, and nothing else does."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from pi_v_jupyter.errors import PlanModeError, RemoteFileError, VMPausedError
from pi_v_jupyter.machine import Here, Machine, Starts
from pi_v_jupyter.plan import readonly
from pi_v_jupyter.plan.confined import Confinement, Report, Reported
from pi_v_jupyter.plan.ground import surroundings
from pi_v_jupyter.plan.grounds import Grounds
from pi_v_jupyter.remote.channel import Process, Request

TIMEOUT = 120.0  # seconds a command may take that was given no time
ENVIRONMENT_TIMEOUT = 20.0  # seconds


def check(command: str) -> None:
    """Pass a command that only looks.

    Raises:
        PlanModeError: a part of it may do more.
    """
    refusal = readonly.judge(command)
    if refusal is not None:
        raise PlanModeError(refusal.part, refusal.rule)


@dataclass
class Standing:
    """What lasts from one planned command on a machine to the next."""

    environment: Mapping[str, str]
    folder: str
    home: str


class Planned(Machine):
    """A machine in plan mode. `session`: the shell session there in whose folder the first command runs."""

    def __init__(
        self,
        machine: Machine,
        grounds: Grounds,
        standings: MutableMapping[Machine, Standing],
        session: str | None,
    ) -> None:
        self.home = machine.home
        self._machine, self._grounds, self._standings, self._session = machine, grounds, standings, session

    @property
    def label(self) -> str:
        """The machine's."""
        return self._machine.label

    @property
    def option(self) -> str:
        """The machine's."""
        return self._machine.option

    def _connection(self) -> Starts:
        raise PlanModeError(self.label, "nothing but a command of its shell is judged.")

    async def launch(self, request: Request) -> Process:
        """Judge a command, and start it where it can touch nothing.

        Raises:
            PlanModeError: it may do more than look; or cannot be confined there.
        """
        try:
            return await self._launch(request)
        except VMPausedError as error:
            hint = f"`%plan off` ends plan mode, and then `%vers resume {self.label}` has it go on."
            raise VMPausedError(error.message, hint) from None

    async def _launch(self, request: Request) -> Process:
        if request.command is None:
            raise PlanModeError(self.label, "nothing but a command of its shell is judged.")
        if request.env:
            raise PlanModeError(" ".join(request.env), "a variable may change what a command does.")
        check(request.command)
        standing = await self._standing()
        folders = [standing.folder, standing.home]
        if request.cwd is not None:
            folders = [_joined(standing, request.cwd)]
        ground = await self._grounds.of(self._machine)
        python = sys.executable if isinstance(self._machine, Here) else "python3"
        confinement = Confinement(python, standing.environment, ground.readonly, ground.namespaces)
        task, mark = confinement.process(
            request.command, folders, timeout=request.timeout or TIMEOUT, stdin=request.stdin
        )

        def on_report(report: Report) -> None:
            if report.cannot:
                raise PlanModeError(self.label, f"it cannot confine a command ({report.cannot}).")
            if report.folder.startswith("/"):
                standing.folder = report.folder

        try:
            process = await ground.machine.launch(task)
        except BaseException:
            ground.leave()
            raise
        return Reported(process, mark, on_report, ground.leave)

    async def _standing(self) -> Standing:
        known = self._standings.get(self._machine)
        if known is None:
            told = await self._machine.run(["env", "-0"], timeout=ENVIRONMENT_TIMEOUT)
            pairs = (pair.partition("=") for pair in told.stdout.split("\0"))
            environment = {name: value for name, _, value in pairs if name}
            home = environment.get("HOME", "/")
            known = Standing(surroundings(environment), await self._begins(home), home)
            self._standings[self._machine] = known
        return known

    async def _begins(self, home: str) -> str:
        """Where the shell session is; it may have none, or none any more."""
        if self._session is None:
            return home
        try:
            return posixpath.dirname((await self._machine.stat("./.", beside=self._session)).path)
        except RemoteFileError:
            return home


def _joined(standing: Standing, folder: str) -> str:
    if folder == "~" or folder.startswith("~/"):
        return posixpath.join(standing.home, folder[2:])
    return posixpath.join(standing.folder, folder)
